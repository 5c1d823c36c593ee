#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Ranks that each build the same table, small blocks and large, and then write to a hundredth of its pages: what they
# read is what they read without the shim, and all of them together take the memory of one copy, 3 % of a copy for
# each rank, and the pages that they made different. As root and as nobody, who may hold writers in other ways; merged
# when it is quiet, when somebody asks, and after the barriers of an MPI program.
#
# Each user has memory merged when it is quiet; of the two other times root has one and nobody the other, and with
# SHM_TESTS=long both have both.
#
#     tests/merge-ranks.sh BUILD_DIR
. "$(dirname "$0")/tap.sh"
tap_begin ranks "${1-}"
ranks=4
mib=80
patience=60 # seconds without any progress, on a busy machine; nothing waits for them when all is well
user=
as=() # what makes a command the user's

# Nobody need not see the build, but has to run what is in it.
copy_programs() {
    mkdir "$work/built" "$work/home"
    cp -r "$build"/{core,preload,tools,examples} "$work/built" 2>/dev/null
    chmod 711 "$work"
    chmod 1777 "$work/home"
    tool=$work/built/tools/shmpreload
    shim=$work/built/preload/libshmpreload.so
    table=$work/built/examples/table_ranks
}

become() { # become root|nobody|USER
    user=$1
    as=(env "HOME=$work/home" "TMPDIR=$work/home")
    [ "$user" != nobody ] || as=(setpriv --reuid 65534 --regid 65534 --clear-groups "${as[@]}")
}

# ---------------------------------------------------------------- what a run says of itself

figure() { # figure FILE ROW COLUMN: 2 Pss, 3 Rss, 4 different, 5 mappings; ROW copy: MiB of one
    if [ "$2" = copy ]; then
        sed -n 's/^[0-9]* ranks, \([0-9.]*\) MiB a copy.*/\1/p' "$work/$1"
    else
        awk -v row="$2" -v column="$3" '$1 == row { print $column }' "$work/$1"
    fi
}

# holds WHAT VALUE LIMIT [FILE…]: is there a value, and is it at most so much?
holds() {
    local what=$1 value=$2 limit=$3
    printf 'found:   %s\nat most: %s\n' "$value" "$limit" >"$work/holds"
    shift 3
    [ -n "$value" ] && awk -v value="$value" -v limit="$limit" 'BEGIN { exit !(value + 0 <= limit + 0) }'
    verdict $? "$what" "$work/holds" "$@"
}

# allowed FILE: MiB that the program may take by the claim, beside what is different. What it takes without the table is
# not the table's: in the last bare run, or in that of FILE, for others that have the same libraries share their pages,
# and were there in one of them, perhaps.
allowed() {
    awk -v bare="$(figure bare.out start 2)" -v here="$(figure "$1" start 2)" -v copy="$(figure bare.out copy)" \
        -v ranks=$ranks \
        'BEGIN { printf "%d", (here + 0 > bare + 0 ? here : bare) + copy * (1 + 0.03 * ranks) + 0.5 }'
}

plus() {
    awk -v one="$1" -v other="$2" 'BEGIN { print one + other }'
}

checksums() {
    grep '^checksums' "$work/$1"
}

# good WHAT FILE ERRORS: the verdicts on a run whose output is in FILE.
good() {
    local what=$1 out=$2 err=$3 row
    checksums bare.out >"$work/bare.sums"
    checksums "$out" | diff "$work/bare.sums" - >"$work/diff"
    verdict $? "$what: the same checksums" "$work/diff" "$work/$err"
    equals "$status" 0 "$what: exit status 0"
    diff "$work/bare.err" "$work/$err" >"$work/diff"
    verdict $? "$what: the same on standard error" "$work/diff"
    for row in merged written; do
        holds "$what, $row: one copy, 3 % of it for each rank, and what is different" "$(figure "$out" $row 2)" \
            "$(plus "$(allowed "$out")" "$(figure "$out" $row 4)")" "$work/$out"
    done
    holds "$what: the peak is that without the shim and a chunk for each rank" "$(figure "$out" peak 2)" \
        "$(plus "$(figure bare.out peak 2)" $((2 * ranks)))" "$work/$out"
}

# ---------------------------------------------------------------- processes

run_bare() { # run_bare ARGUMENT…
    bare "${as[@]}" "$table" -n $ranks -m $mib "$@"
    [ "$bare_status" = 0 ] && [ "$(checksums bare.out | wc -l)" = $ranks ]
    verdict $? "$user: it runs without the shim" "$work/bare.out" "$work/bare.err"
}

test_quiet() { # test_quiet HOLD: a way to hold writers, or default
    [ "$1" = default ] || export SHM_MERGE_HOLD=$1
    in_new_job 'program table_ranks; merge size>=32 when=quiet:100ms' \
        "${as[@]}" "$table" -n $ranks -m $mib -q $patience -u "$(allowed bare.out)"
    unset SHM_MERGE_HOLD
    good "$user, when=quiet, hold $1" out err
}

# Ranks whose tables differ in scattered pages already: those are the ones that could cost a mapping each.
test_manual() {
    new_job
    hold manual 'program table_ranks; merge func=make_* when=manual' \
        "${as[@]}" "$table" -n $ranks -m $mib -d 1 -p -q $patience -u "$(allowed bare.out)"
    "${as[@]}" "$tool" merge SHARED::node >"$work/merge.out" 2>&1
    equals $? 0 "$user, when=manual: shmpreload merge" "$work/merge.out"
    equals "$(wc -l <"$work/merge.out")" 1 "$user, when=manual: shmpreload merge prints a line" "$work/merge.out"
    finish manual
    good "$user, when=manual" manual.out manual.err
    # Beside those of whole runs, two at most at the ends of each of four arenas.
    holds "$user, when=manual: at most 300 mappings more for a GiB of each rank" "$(figure manual.out merged 5)" \
        $(($(figure manual.out built 5) + ranks * (mib * 300 / 1024 + 8))) "$work/manual.out"
}

test_processes() { # test_processes USER HOLD TIME…: when it is quiet, and at those of the other times
    become "$1"
    run_bare
    test_quiet "$2"
    [[ " ${*:3} " != *" manual "* ]] || { run_bare -d 1 && test_manual; }
    [[ " ${*:3} " != *" barrier "* ]] || test_barrier
}

# ---------------------------------------------------------------- MPI

mpi() { # mpi COMMAND…: so many ranks of it
    local may=()
    [ "$user" != root ] || may=(--allow-run-as-root)
    last="mpirun $*"
    "${as[@]}" mpirun "${may[@]}" --oversubscribe -n $ranks "$@" </dev/null
}

why_no_mpi() {
    if [ ! -x "${table}_mpi" ]; then
        printf 'built without MPI'
    elif ! command -v mpirun >/dev/null; then
        printf 'mpirun is not installed'
    elif ! mpi true >"$work/mpirun" 2>&1; then
        printf 'mpirun does not run here: %s' "$(grep -m 1 '[a-z]' "$work/mpirun")"
    fi
}

test_barrier() {
    local reason
    reason=$(why_no_mpi)
    if [ -n "$reason" ]; then
        skip "$user, when=barrier" "$reason"
        return
    fi
    mpi "${table}_mpi" -m $mib >"$work/bare.out" 2>"$work/bare.err"
    equals "$? $(checksums bare.out | wc -l)" "0 $ranks" "$user: it runs under mpirun without the shim"
    new_job
    mpi "$tool" run -p 'merge func=make_* when=barrier' -- \
        "${table}_mpi" -m $mib -q $patience -u "$(allowed bare.out)" >"$work/out" 2>"$work/err"
    status=$?
    good "$user, when=barrier" out err
}

copy_programs
if [ "$(id -u)" = 0 ]; then
    times_of_root=manual times_of_nobody=barrier
    [ "${SHM_TESTS:-}" != long ] || times_of_root='manual barrier' times_of_nobody='manual barrier'
    test_processes root default $times_of_root
    test_processes nobody compare $times_of_nobody
else
    skip root "only root can be root"
    test_processes "$(id -un)" compare manual barrier
fi
last="(everything above)"
equals "$(compgen -G "/dev/shm/shmcore*$tap_name-$$-*")" '' "no user's file is left in /dev/shm"
tap_end
