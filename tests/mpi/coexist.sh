#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Messages from and into memory that is routed, shared and merged, by every transport that the MPI library has for one
# machine, some of which copy between processes, and some of which put hooks of their own into the C library's mmap and
# munmap: test-mpi-coexist says whether all contents are right.
#
#     tests/mpi/coexist.sh BUILD_DIR openmpi|mpich
#
# A transport that does not work without the shim is left out, with the reason.
. "$(dirname "$0")/../tap.sh"
tap_begin coexist "${1-}"
kind=$2
. "$(dirname "$0")/launch.sh"
program=$build/tests/mpi/test-mpi-coexist-$kind
rounds=1
[ "${SHM_TESTS:-}" != long ] || rounds=5

chosen='export func=take_routed; merge func=take_merged when=manual'
everything='merge func=take_merged when=manual; export size>=0' # MPI's own memory, too
all_merged='export func=take_routed; merge size>=16K when=quiet:100ms'

# What the program itself sets, so that nothing else on the way has it.
settings=()
without=()

try() { # try RANKS COMMAND…: with the transport's options, which are in $options and $settings
    launch "$1" "${options[@]}" env "${settings[@]}" "${@:2}" >"$work/out" 2>"$work/err" </dev/null
    status=$?
}

# Does a program that does next to nothing run with this transport?
why_not() {
    patience=20 try 2 "$program" plain 0
    [ $status != 0 ] || return
    [ $status != 124 ] || { printf 'without the shim it hangs'; return; }
    printf 'without the shim it fails: %s' "$(grep -m 1 -E '[a-z]{3}' "$work/err")"
}

# Windows are there as they are without the shim; some transports have none.
compare_windows() { # compare_windows NAME WITHOUT-THE-SHIM
    equals "$(grep '^windows:' "$work/out")" "$2" "$1: the same windows"
    [[ $2 == *created* ]] || skip "$1: windows on blocks" 'without the shim MPI makes none over this transport'
}

# over NAME RANKS POLICY HOW: HOW often memory of another process is copied: some, none, or any number of times.
over() {
    local name="$kind, $1, $2 ranks" reason windows
    new_job
    last="mpirun ${options[*]} -n $2 ${settings[*]} test-mpi-coexist-$kind shim $rounds, under: $3"
    reason=$(why_not)
    if [ -n "$reason" ]; then
        skip "$name" "$reason"
        return
    fi
    windows=$(grep '^windows:' "$work/out")
    try "$2" "$tool" run -p "$3" -- "$program" shim "$rounds" "${without[@]}"
    take_over "$name"
    compare_windows "$name" "$windows"
    has out '^read from others' "$name: it comes to its end"
    case $4 in
    some) has out '^read from others [1-9]' "$name: the kernel copies from process to process" ;;
    none) has out '^read from others 0 times, written to others 0 times' "$name: the kernel copies nothing" ;;
    esac
    exits 0 "$name"
    lacks err '^shmpreload:' "$name: the shim has nothing to say"
}

# over_vader MECHANISM …, as for over
over_vader() {
    options=(--mca pml ob1 --mca btl vader,self --mca btl_vader_single_copy_mechanism "$1") settings=()
    over "vader with $1" "${@:2}"
}

# Of what UCX 1.13 gets, or puts by way of a queue of 64 messages of 8 KiB, not all is there when the fence, or the flush,
# has returned if the queue was full meanwhile: plain MPI shows it, with nothing of ours, where there are more ranks than
# processors (107 of 60 000 puts of 400 000 bytes, 32 of 180 000 of 280 000 bytes, none of 960 000 of 120 000 bytes).
no_pieces() {
    without=(no-pieces)
    skip "$kind, UCX: MPI_Get, and windows with more than 120 000 bytes at once" \
        'UCX itself completes them before their bytes have come'
}

# With hooks by bistro UCX puts a jump to itself at the start of the shim's own madvise(), so the shim is not asked.
no_advice() {
    without+=(no-advice)
    skip "$kind, UCX, hooks by bistro: madvise()" 'UCX overwrites the beginning of the madvise() of the shim'
}

over_ucx() { # over_ucx TRANSPORTS HOOKS …
    options=(--mca pml ucx --mca osc ucx,sm --mca pml_ucx_tls any --mca pml_ucx_devices any)
    [ "$kind" = openmpi ] || options=()
    settings=("UCX_TLS=$1" UCX_MEM_EVENTS=y "UCX_MEM_MMAP_HOOK_MODE=$2" UCX_LOG_LEVEL=error)
    no_pieces
    [ "$2" != bistro ] || no_advice
    over "UCX, $1, hooks by $2" "${@:3}"
    without=()
}

open_mpi() {
    options=() settings=()
    over 'as it comes' 4 "$chosen" some
    export SHM_MERGE_HOLD=compare # by which writes from other processes are kept out by the shim alone
    over_vader cma 2 "$chosen" some
    unset SHM_MERGE_HOLD
    over_vader none 2 "$all_merged" none
    over_vader emulated 2 "$everything" none
    options=(--mca pml ob1 --mca btl tcp,self) settings=()
    over TCP 2 "$everything" none
    options=(--mca pml cm --mca mtl ofi) settings=()
    over libfabric 2 "$chosen" any
    over_ucx posix,cma,self bistro 4 "$chosen" some
    over_ucx posix,cma,self reloc 2 "$everything" some
    over_ucx tcp,self bistro 2 "$all_merged" any # what UCX writes across it writes without the shim, too
}

mpich() {
    options=() settings=()
    no_pieces
    no_advice
    over 'as it comes' 2 "$chosen" any
    over_ucx posix,cma,self bistro 4 "$everything" some
    over_ucx posix,cma,self reloc 2 "$chosen" some
}

reason=$(why_no_launch)
if [ -n "$reason" ]; then
    skip "$kind" "$reason"
elif [ "$kind" = mpich ]; then
    mpich
else
    open_mpi
fi
tap_end
