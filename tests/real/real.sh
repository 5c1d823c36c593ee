# shellcheck shell=bash
# SPDX-License-Identifier: MIT
#
# What the scripts here have in common. Each case is a small script around an unmodified program. It runs without the
# shim and then with it, under policies, in an environment that is equal but for LD_PRELOAD; standard output, standard
# error and exit status must be the same. Every program of the script is preloaded into, the shell as well.
#
# To be sourced by a bash script, which has a function case_NAME for each case (most are in cases-*.sh), calls
# real_begin, then run_case NAME for each, and at last real_end. What it may set before:
#     needs[NAME]        what the case needs beyond coreutils: programs, python3:MODULE, source:repository, root
#     policy[MODE]       the policies; all that are there are tried
#     not_under[NAME]    modes that a case is not for
#     ordinary[NAME]     not as root: as nobody then
#     expected[NAME]     a line that it prints when all is well; anything at all without
#     says[NAME]         what the shim may say of it, as a regular expression: nothing otherwise
# and for tests/real/run, which sources all cases:
#     title[NAME]        what stands in the table
#     input_writers      functions that write what the cases work on to the directory that they are given
#
# In the mode `record` there is no policy: the shim writes down what the program allocates, and takes nothing.
set -u

declare -A needs=() policy=() not_under=() ordinary=() expected=() title=() says=()
declare -A outcome=() # of CASE.MODE: same, differs, or what else there is to say
input_writers=()
python=/usr/bin/python3

# real_begin NAME BUILD_DIR
real_begin() {
    build=$(cd "${2:?usage: $1 BUILD_DIR}" && pwd) || exit 1
    source=$(cd "$(dirname "$(readlink -f "$0")")/../.." && pwd) || exit 1
    tool=$build/tools/shmpreload
    seconds=240 # for one run, that hangs else
    job=$1-$$
    number=0
    failures=0
    local file
    for file in "$build/preload/libshmpreload.so" "$tool"; do
        [ -f "$file" ] || { printf 'Bail out! %s has not been built\n' "$file"; exit 1; }
    done
    # Programs may become another user on the way, who need not see the build.
    work=$(mktemp -d)
    shim=$work/shim/libshmpreload.so
    input=$work/input
    mkdir "$input" "$work/home" "$work/shim" "$work/logs" "$work/records"
    cp "$build"/preload/*.so "$work/shim"
    chmod 711 "$work"
    chmod 1777 "$work/logs" "$work/records"
    trap real_clean_up EXIT
    trap 'exit 130' INT TERM HUP
}

# A server whose case was ended by force would go on.
real_stop_servers() {
    local file master
    for file in "$work"/room/pid "$work"/room/data/postmaster.pid; do
        [ -f "$file" ] && read -r master <"$file" && kill -QUIT "$master" 2>/dev/null
    done
}

real_clean_up() {
    real_stop_servers
    rm -rf "$work" /dev/shm/shmcore*."$job"-*
}

# files_left CASE: what is still there when all its processes have had time to end; some helpers, such as Python's
# resource tracker, see only then that they are not needed any more.
files_left() {
    local tries files
    for ((tries = 0; tries < 100; tries++)); do
        files=$(find /dev/shm -maxdepth 1 -name "*.$job-$1.*")
        [ -n "$files" ] || return
        sleep 0.1
    done
    printf '%s\n' "$files"
}

# The last test of every script.
real_end() {
    find /dev/shm -maxdepth 1 -name "*.$job-*" >"$work/wrong"
    verdict "nothing is left in /dev/shm"
    printf '1..%d\n' "$number"
    exit $((failures > 0))
}

# ---------------------------------------------------------------- running

# run CASE MODE POLICY: leaves standard output, standard error and the exit status in $work/CASE.MODE.*.
run() {
    local case=$1 mode=$2 policy=$3 preload=() user=() began=${EPOCHREALTIME/./}
    [ "$mode" = plain ] || preload=("LD_PRELOAD=$shim")
    [ "$mode" != record ] || preload+=("SHM_RECORD=$work/records/%p")
    rm -rf "$work/room" && mkdir "$work/room"
    if [ -n "${ordinary[$case]:-}" ] && [ "$(id -u)" = 0 ]; then
        chown nobody "$work/room"
        user=(setpriv --reuid=nobody "--regid=$(id -g nobody)" --clear-groups)
    fi
    { printf 'cd %q || exit\n' "$work/room" && declare -f "case_$case" && printf 'case_%s\n' "$case"; } >"$work/script"
    timeout -k 10 "$seconds" "${user[@]}" env -i PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin HOME="$work/home" LC_ALL=C TZ=UTC \
        DATA="$input" TREE="$source" VIEWER="$tool" \
        PYTHONHASHSEED=0 PYTHONDONTWRITEBYTECODE=1 PERL_HASH_SEED=0 GIT_CONFIG_NOSYSTEM=1 \
        GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_AUTHOR_DATE='2024-01-01 00:00:00 +0000' \
        GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b GIT_COMMITTER_DATE='2024-01-01 00:00:00 +0000' \
        SHM_JOB="$job-$case" SHM_POLICY="$policy" SHM_LOG=info SHM_LOG_FILE="$work/logs/%p" \
        "${preload[@]}" bash "$work/script" </dev/null >"$work/$case.$mode.out" 2>"$work/$case.$mode.err"
    printf '%s\n' "$?" >"$work/$case.$mode.status"
    printf '%s\n' $((${EPOCHREALTIME/./} - began)) >"$work/$case.$mode.microseconds"
}

# verdict WHAT: good when $work/wrong is empty.
verdict() {
    number=$((number + 1))
    if [ ! -s "$work/wrong" ]; then
        printf 'ok %d - %s\n' "$number" "$1"
        return
    fi
    failures=$((failures + 1))
    printf 'not ok %d - %s\n' "$number" "$1"
    head -n 30 "$work/wrong" | cut -c 1-300 | sed 's/^/#   /'
}

skip() {
    number=$((number + 1))
    printf 'ok %d - %s # SKIP %s\n' "$number" "$1" "$2"
}

# The first thing that a case needs and that is not here.
missing_for() {
    local what
    for what in ${needs[$1]:-}; do
        case $what in
            python3:*)
                "$python" -c "import ${what#*:}" 2>/dev/null || { printf "python3 has no %s" "${what#*:}"; return; } ;;
            source:repository)
                git -C "$source" -c safe.directory="$source" rev-parse -q --verify HEAD >/dev/null 2>&1 ||
                    { printf 'the source is no git repository'; return; } ;;
            root) [ "$(id -u)" = 0 ] || { printf 'only root can do that'; return; } ;;
            *) command -v "$what" >/dev/null || { printf '%s is not installed' "$what"; return; } ;;
        esac
    done
}

# The log of a run: the segment was used, and nothing went wrong. A rule that some program of the script never met
# is no fault. Under `pass` nothing at all is said.
check_log() { # check_log CASE MODE
    cat "$work"/logs/* >"$work/log" 2>/dev/null
    case $2 in
        pass) cat "$work/log" ;;
        record) [ -n "$(ls -A "$work/records")" ] || echo "nothing was recorded" ;;
        export | merge) grep -q "info: attached segment" "$work/log" || echo "no process attached to a segment" ;;
    esac
    grep -v '^shmpreload: info: ' "$work/log" | grep -vE "never matched|${says[$1]:-never matched}"
}

compare() {
    local case=$1 mode=$2 stream
    {
        for stream in status out err; do
            cmp "$work/$case.plain.$stream" "$work/$case.$mode.$stream" ||
                diff -a "$work/$case.plain.$stream" "$work/$case.$mode.$stream" | head -n 12
        done
        check_log "$case" "$mode"
    } >"$work/wrong" 2>&1
    outcome[$case.$mode]=same
    [ ! -s "$work/wrong" ] || outcome[$case.$mode]=differs
    verdict "$case, $mode: prints what it prints without the shim"
    files_left "$case" >"$work/wrong"
    [ ! -s "$work/wrong" ] || outcome[$case.$mode]='leaves files'
    verdict "$case, $mode: nothing is left in /dev/shm"
}

run_case() {
    local case=$1 mode missing
    missing=$(missing_for "$case")
    if [ -n "$missing" ]; then
        skip "$case" "$missing"
        return
    fi
    run "$case" plain pass
    if ! grep -Eq "${expected[$case]:-.}" "$work/$case.plain.out" || [ "$(cat "$work/$case.plain.status")" = 124 ]; then
        cat "$work/$case.plain".* >"$work/wrong"
        verdict "$case: runs without the shim"
        return
    fi
    for mode in "${!policy[@]}"; do
        [[ " ${not_under[$case]:-} " != *" $mode "* ]] || continue
        rm -f "$work"/logs/* "$work"/records/*
        run "$case" "$mode" "${policy[$mode]}"
        compare "$case" "$mode"
    done
}
