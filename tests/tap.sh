# shellcheck shell=bash
# SPDX-License-Identifier: MIT
#
# What the tests preload-*.sh have in common: TAP, running a program with and without the shim, and looking
# into a segment while a program waits. To be sourced by a bash script, which then calls tap_begin.
#
# Every run is a job of its own, so tests neither meet each other nor each other's messages. After a run:
#     $status            its exit status
#     $work/out, /err    what it printed
set -u

# tap_begin NAME BUILD_DIR
tap_begin() {
    tap_name=$1
    build=$(cd "${2:?usage: preload-$1.sh BUILD_DIR}" && pwd) || exit 1
    tool=$build/tools/shmpreload
    shim=$build/preload/libshmpreload.so
    victims=$build/tests/victims
    number=0
    failures=0
    jobs_made=0
    last=
    status=
    declare -gA held_pid held_in held_out
    local file
    for file in "$tool" "$shim" "$victims"; do
        if [ ! -e "$file" ]; then
            printf 'Bail out! %s has not been built\n' "$file"
            exit 1
        fi
    done
    work=$(mktemp -d)
    # A job, a policy or a rank of the caller's must not decide anything here.
    unset LD_PRELOAD SHM_POLICY SHM_LOG SHM_LOG_FILE SHM_POLICY_CHECK VICTIM_ROUTED
    unset PMI_FD PMIX_NAMESPACE SLURM_JOB_ID SLURM_JOBID SLURM_STEP_ID PBS_JOBID LSB_JOBID JOB_ID OAR_JOB_ID COBALT_JOBID
    unset PMIX_RANK OMPI_COMM_WORLD_RANK PMI_RANK MV2_COMM_WORLD_RANK SLURM_PROCID
    export SHM_JOB
    new_job
    trap tap_clean_up EXIT
    trap : PIPE # a program that has ended does not read any more; not ignored, for that would be inherited
    trap 'exit 1' TERM INT
}

tap_clean_up() {
    local id
    for id in "${!held_pid[@]}"; do
        kill -9 "${held_pid[$id]}" 2>/dev/null
        wait "${held_pid[$id]}" 2>/dev/null
    done
    rm -f /dev/shm/shmcore.*".$tap_name-$$-"*
    rm -rf "$work"
}

# The last test of every script: all jobs are over, so nothing of theirs may lie about.
tap_end() {
    last="(everything above)"
    equals "$(segment_files "$tap_name-$$-*")" '' "no segment file is left in /dev/shm"
    printf '1..%d\n' "$number"
    exit $((failures > 0))
}

new_job() {
    jobs_made=$((jobs_made + 1))
    SHM_JOB=$tap_name-$$-$jobs_made
}

# segment_files JOB-GLOB: the files there are.
segment_files() {
    compgen -G "/dev/shm/shmcore.$(id -u).$1.*"
}

# ---------------------------------------------------------------- verdicts

# verdict STATUS WHAT [FILE…]: 0 is good; else the last command and the files, $work/out and $work/err
# without any, are shown.
verdict() {
    local good=$1 what=$2
    shift 2
    number=$((number + 1))
    if [ "$good" = 0 ]; then
        printf 'ok %d - %s\n' "$number" "$what"
        return 0
    fi
    failures=$((failures + 1))
    printf 'not ok %d - %s\n' "$number" "$what"
    [ $# -gt 0 ] || set -- "$work/out" "$work/err"
    {
        printf 'command: %s\nexit status: %s\n' "$last" "$status"
        head -n 12 "$@" 2>&1
    } | sed 's/^/#   /'
    return 1
}

skip() { # skip WHAT REASON
    number=$((number + 1))
    printf 'ok %d - %s # SKIP %s\n' "$number" "$1" "$2"
}

exits() { # exits STATUS WHAT
    [ "$status" = "$1" ]
    verdict $? "$2: exit status $1"
}

has() { # has FILE REGEX WHAT
    grep -Eq -- "$2" "$work/$1"
    verdict $? "$3" "$work/$1"
}

lacks() { # lacks FILE REGEX WHAT
    ! grep -Eq -- "$2" "$work/$1"
    verdict $? "$3" "$work/$1"
}

silent() { # silent WHAT: nothing on standard error
    [ ! -s "$work/err" ]
    verdict $? "$1: nothing on standard error"
}

equals() { # equals FOUND EXPECTED WHAT
    printf 'found:    %s\nexpected: %s\n' "$1" "$2" >"$work/equals"
    [ "$1" = "$2" ]
    verdict $? "$3" "$work/equals" "$work/err"
}

# one_line WHAT REGEX: standard error is one line of ours that matches.
one_line() {
    [ "$(wc -l <"$work/err")" = 1 ] && grep -Eq "^shmpreload: [a-z]+: .*$2" "$work/err"
    verdict $? "$1: one line on standard error" "$work/err"
}

# ---------------------------------------------------------------- running

# bare COMMAND…: without the shim. Leaves $bare_status, $work/bare.out and $work/bare.err.
bare() {
    env -u VICTIM_ROUTED "$@" >"$work/bare.out" 2>"$work/bare.err" </dev/null
    bare_status=$?
}

# with_shim POLICY COMMAND…: in this job. An exported VICTIM_ROUTED goes with it.
with_shim() {
    local policy=$1
    shift
    last="SHM_POLICY='$policy' $*"
    LD_PRELOAD=$shim SHM_POLICY=$policy "$@" >"$work/out" 2>"$work/err" </dev/null
    status=$?
}

# in_new_job POLICY COMMAND…
in_new_job() {
    new_job
    with_shim "$@"
}

# unchanged WHAT: the last run printed and returned what the last bare one did.
unchanged() {
    diff "$work/bare.out" "$work/out" >"$work/diff"
    verdict $? "$1: the same output" "$work/diff" "$work/err"
    equals "$status" "$bare_status" "$1: the same exit status"
}

# same WHAT POLICY COMMAND…: the command is the same in all with and without the shim.
same() {
    local what=$1 policy=$2
    shift 2
    bare "$@"
    in_new_job "$policy" "$@"
    unchanged "$what"
    diff "$work/bare.err" "$work/err" >"$work/diff"
    verdict $? "$what: the same on standard error" "$work/diff"
}

# ---------------------------------------------------------------- programs that wait

# start ID POLICY COMMAND…: in this job, without waiting. What it prints is in $work/ID.out as far as it has been
# waited for, its standard error in $work/ID.err.
start() {
    local id=$1 policy=$2 to from
    shift 2
    last="SHM_POLICY='$policy' $*"
    rm -f "$work/$id.from" "$work/$id.to"
    mkfifo "$work/$id.from" "$work/$id.to"
    : >"$work/$id.out"
    LD_PRELOAD=$shim SHM_POLICY=$policy "$@" <"$work/$id.to" >"$work/$id.from" 2>"$work/$id.err" &
    held_pid[$id]=$!
    exec {to}>"$work/$id.to" {from}<"$work/$id.from"
    held_in[$id]=$to
    held_out[$id]=$from
}

# hold ID POLICY COMMAND…: starts it and returns when it says `ready` (or has ended).
hold() {
    start "$@"
    await "$1" ready
}

# await ID WORD: until it says so; 1 when it ended before.
await() {
    local line
    while IFS= read -r line <&"${held_out[$1]}"; do
        printf '%s\n' "$line" >>"$work/$1.out"
        [ "$line" != "$2" ] || return 0
    done
    return 1
}

go() { # go ID: lets it run on
    printf '\n' >&"${held_in[$1]}"
}

# finish ID: lets it run to its end. Leaves $status.
finish() {
    local to=${held_in[$1]} from=${held_out[$1]}
    go "$1" 2>/dev/null
    exec {to}>&-
    cat <&"$from" >>"$work/$1.out"
    exec {from}<&-
    wait "${held_pid[$1]}"
    status=$?
    unset "held_pid[$1]"
}

# blocks [SEGMENT]: the blocks there are in this job, in $work/blocks: NAME BYTES KIND OWNER REFS ADDRESS,
# separated by tabs, sorted.
blocks() {
    "$tool" ls --json --job "$SHM_JOB" "${1:-SHARED::node}" >"$work/blocks.json" 2>"$work/blocks.err"
    local found=$?
    python3 -c 'import json, sys
for b in sorted(json.load(sys.stdin)["blocks"], key=lambda b: b["name"]):
    print(*(b[k] for k in ("name", "bytes", "kind", "owner", "refs", "address")), sep="\t")' \
        <"$work/blocks.json" >"$work/blocks" 2>>"$work/blocks.err"
    return $found
}

# names: the names in $work/blocks, one a line, without the process at their end.
names() {
    cut -f1 "$work/blocks" | sed -E 's/@p[0-9]+$//' | LC_ALL=C sort
}
