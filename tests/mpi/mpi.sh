#!/bin/bash
# SPDX-License-Identifier: MIT
#
# libshmcore-mpi under mpirun, with one, two and four ranks.
#
#     tests/mpi/mpi.sh BUILD_DIR openmpi|mpich RANKS…
#
# And the example in C, Fortran and Python, linked with the library itself, where that is for this MPI.
. "$(dirname "$0")/../tap.sh"
tap_begin mpi "${1-}"
kind=$2
shift 2
. "$(dirname "$0")/launch.sh"
source=$(cd "$(dirname "$0")/../.." && pwd)
mib=512 # of the segment whose blocks come and go
patience=200

run() { # run RANKS
    new_job
    last="mpirun -n $1 test-mpi $mib"
    launch "$1" "$build/tests/mpi/test-mpi-$kind" "$mib" >"$work/out" 2>"$work/err" </dev/null
    status=$?
    take_over "$kind, $1"
    has out '^ok - some communicators' "$kind, $1 ranks: it comes to its end"
    exits 0 "$kind, $1 ranks"
}

# The example, with one node and none of the library's insides.
example() {
    seq 100000 >"$work/table"
    new_job
    last="mpirun -n 2 mpi_table"
    launch 2 "$build/examples/mpi_table" "$work/table" >"$work/out" 2>"$work/err" </dev/null
    status=$?
    exits 0 "mpi_table"
    has out '^2 ranks in 1 segments, a table of 0.6 MiB$' "mpi_table: one copy"
    has out '^checksum [0-9a-f]{16}$' "mpi_table: the same in all ranks"
    launch 2 "$build/examples/mpi_table" "$work/no such file" >"$work/out" 2>"$work/err" </dev/null
    [ $? != 0 ]
    verdict $? "mpi_table: a file that is not there"
    "$tool" gc >"$work/out" 2>"$work/err" # what was killed cannot tidy up
}

# What an example prints without the times, which are its own.
without_times() {
    sed -E 's/ [0-9]+\.[0-9]+ s,/ … s,/' "$work/out"
}

# The same in other languages: the C program's output. After example().
example_in() { # example_in LANGUAGE COMMAND…
    local language=$1 printed
    shift
    launch 2 "$build/examples/mpi_table" "$work/table" >"$work/out" 2>"$work/err" </dev/null
    printed=$(without_times)
    new_job
    last="mpirun -n 2 $*"
    launch 2 "$@" "$work/table" >"$work/out" 2>"$work/err" </dev/null
    status=$?
    exits 0 "mpi_table in $language"
    equals "$(without_times)" "${printed:-output of the one in C}" "mpi_table in $language: prints what the one in C prints"
    launch 2 "$@" "$work/no such file" >"$work/out" 2>"$work/err" </dev/null
    [ $? != 0 ] && grep -q '^mpi_table.*no such file' "$work/err"
    verdict $? "mpi_table in $language: a file that is not there"
    "$tool" gc >"$work/out" 2>"$work/err" # what was killed cannot tidy up
}

in_fortran() {
    if [ -x "$build/examples/mpi_table_fortran" ]; then
        example_in Fortran "$build/examples/mpi_table_fortran"
    else
        skip 'mpi_table in Fortran' 'built without Fortran, or without the module mpi_f08'
    fi
}

in_python() {
    local python=/usr/bin/python3
    if ! $python -c 'import numpy, mpi4py' 2>/dev/null; then
        skip 'mpi_table in Python' 'python3 has no numpy or no mpi4py'
    elif ! launch 1 $python -c 'from mpi4py import MPI; print(MPI.Get_library_version())' 2>/dev/null </dev/null |
        grep -qi "${kind/openmpi/open mpi}"; then
        skip 'mpi_table in Python' "mpi4py is for another MPI than $kind"
    else
        example_in Python env "PYTHONPATH=$source/bindings/python" "SHMCORE_LIBRARY=$build/core/libshmcore.so" \
            "SHMCORE_MPI_LIBRARY=$build/mpi/libshmcore-mpi.so" PYTHONDONTWRITEBYTECODE=1 \
            $python "$source/examples/mpi_table.py"
    fi
}

reason=$(why_no_launch)
for ranks; do
    if [ -n "$reason" ]; then
        skip "$kind, $ranks ranks" "$reason"
    else
        run "$ranks"
    fi
done
library=libmpi\.so
[ "$kind" != mpich ] || library=libmpich
if [ -z "$reason" ] && ldd "$build/examples/mpi_table" 2>/dev/null | grep -q "$library"; then
    example
    in_fortran
    in_python
fi
tap_end
