#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Who meets whom under the shim, with real launchers and nothing but their own variables: the ranks of one mpirun do,
# those of two at once do not, and those of two in one batch job, as Slurm's steps, do. And the number of a rank.
#
#     tests/mpi/jobs.sh BUILD_DIR openmpi|mpich
. "$(dirname "$0")/../tap.sh"
tap_begin jobs "${1-}"
kind=$2
. "$(dirname "$0")/launch.sh"
unset SHM_JOB # the launcher's word is to count
segment=SHARED::jobs-$$
declare -A launched

# The program of each rank: named pipes stand for a terminal, because mpirun gives its own to rank 0 alone.
write_rank() {
    cat >"$work/rank" <<END
#!/bin/sh
id=\$1\${OMPI_COMM_WORLD_RANK:-\$PMI_RANK}
[ -z "\$2" ] || export SLURM_JOB_ID="\$2" SLURM_STEP_ID="\$1"
exec "$tool" run -p "segment $segment size=16M; share func=meeting_point \$3" -- "$victims/meet" "\$id " \
    <"$work/\$id.to" >"$work/\$id.from" 2>"$work/\$id.err"
END
    chmod +x "$work/rank"
}

# begin STEP SLURM-JOB NAME-OPTION: two ranks, up to where they wait.
begin() {
    local id to from
    for id in "$1"0 "$1"1; do
        rm -f "$work/$id.to" "$work/$id.from"
        mkfifo "$work/$id.to" "$work/$id.from"
        : >"$work/$id.out"
        exec {to}<>"$work/$id.to" {from}<>"$work/$id.from"
        held_in[$id]=$to
        held_out[$id]=$from
    done
    last="mpirun of step $1"
    launch 2 "$work/rank" "$1" "$2" "$3" >"$work/out" 2>"$work/err" </dev/null &
    launched[$1]=$!
}

# hear ID WORD: what the rank prints, up to the line that begins so. The pipe has no end, for it is open here for
# writing, too; who says nothing has failed.
hear() {
    local line
    while IFS= read -r -t 60 line <&"${held_out[$1]}"; do
        printf '%s\n' "$line" >>"$work/$1.out"
        [[ $line != "$2"* ]] || return 0
    done
    return 1
}

# What stands in a rank's block when all have written to it, one word a rank, sorted.
found_by() {
    sed -n "s/^now '\(.*\)'/\1/p" "$work/$1.out" | tr ' ' '\n' | grep . | LC_ALL=C sort | xargs
}

# two_steps SLURM-JOB NAME-OPTION: two launches at once; what each of the four ranks has found is in $found.
two_steps() {
    local id step
    begin a "$1" "$2"
    begin b "$1" "$2"
    for id in a0 a1 b0 b1; do
        hear "$id" ready
    done
    files=$(compgen -G "/dev/shm/shmcore.$(id -u).*.$segment" | wc -l)
    found=
    for id in a0 a1 b0 b1; do
        go "$id"
        hear "$id" now
        exec {held_in[$id]}>&- {held_out[$id]}>&-
        found+="$id: $(found_by "$id"); "
    done
    for step in a b; do
        wait "${launched[$step]}"
        status=$?
        exits 0 "$kind: mpirun"
    done
}

write_rank
reason=$(why_no_launch)
if [ -n "$reason" ]; then
    skip "$kind" "$reason"
else
    two_steps '' ''
    equals "$found" 'a0: a0 a1; a1: a0 a1; b0: b0 b1; b1: b0 b1; ' "$kind: the ranks of one mpirun meet, those of two do not"
    equals "$files" 2 "$kind: each mpirun has a segment of its own"
    two_steps 4711 'name=of/{rank}'
    equals "$found" 'a0: a0 b0; a1: a1 b1; b0: a0 b0; b1: a1 b1; ' "$kind: the steps of one batch job meet, rank by rank"
    equals "$files" 1 "$kind: they have one segment"
    equals "$(cat "$work"/??.err)" '' "$kind: nothing on standard error"
    equals "$(compgen -G "/dev/shm/shmcore.*.$segment")" '' "$kind: the files go with the last rank"
fi
tap_end
