#!/bin/bash
# SPDX-License-Identifier: MIT
#
# What `meson install` puts where is enough to build and run against: the header, shmcore.pc, the command, and the
# preload with its module beside it.
#
#     tests/install.sh SOURCE_ROOT BUILD_DIR
set -u

if [ $# != 2 ] || [ ! -f "$1/core/shmcore.h" ] || [ ! -d "$2" ]; then
    printf 'usage: install.sh SOURCE_ROOT BUILD_DIR\n' >&2
    exit 1
fi
source=$(cd "$1" && pwd)
build=$(cd "$2" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset LD_PRELOAD SHM_POLICY SHM_LOG SHM_LOG_FILE LD_LIBRARY_PATH
export SHM_JOB=install-$$
number=0
failures=0

verdict() { # verdict STATUS WHAT
    number=$((number + 1))
    if [ "$1" = 0 ]; then
        printf 'ok %d - %s\n' "$number" "$2"
        return
    fi
    failures=$((failures + 1))
    printf 'not ok %d - %s\n' "$number" "$2"
    sed 's/^/# /' "$work/out"
}

try() { # try WHAT COMMAND…
    local what=$1
    shift
    "$@" >"$work/out" 2>&1 </dev/null
    verdict $? "$what"
}

try 'meson install' env DESTDIR="$work/root" meson install -C "$build" --no-rebuild --quiet
pc=$(find "$work/root" -name shmcore.pc)
tool=$(find "$work/root" -path '*/bin/shmpreload')
export PKG_CONFIG_PATH=${pc%/*} PKG_CONFIG_SYSROOT_DIR=$work/root
library=$(pkg-config --variable=libdir shmcore)
try 'shmcore.pc has the version' test "$(pkg-config --modversion shmcore)" = "$("$tool" --version | grep -Eo '[0-9.]+$')"
# shellcheck disable=SC2046 # flags are words
try 'an example builds against it' gcc -o "$work/naming_shim" "$source/examples/naming_shim.c" \
    $(pkg-config --cflags --libs shmcore)
if [ -n "$(find "$work/root" -name shmcore-mpi.pc)" ]; then
    # the compiler of the MPI that the library was built with
    compiler=mpicc
    command -v "mpicc.$(pkg-config --variable=mpi shmcore-mpi)" >/dev/null && compiler+=.$(pkg-config --variable=mpi shmcore-mpi)
    # shellcheck disable=SC2046
    try 'an MPI program builds against shmcore-mpi.pc' "$compiler" -D_GNU_SOURCE -o "$work/mpi_table" \
        "$source/examples/mpi_table.c" $(pkg-config --cflags --libs shmcore-mpi)
fi
case $library in "$work/root"*) ;; *) library=$work/root$library ;; esac
try 'and runs' env LD_LIBRARY_PATH="$library" "$work/naming_shim"
try 'the module of names is beside the preload' test -f "$library/shmpreload-symbols.so" -a \
    -f "$library/libshmpreload.so"
gcc -o "$work/table" "$source/examples/table.c" >"$work/out" 2>&1
verdict $? 'a plain program builds'
try 'the installed command finds the installed libraries' "$tool" check 'export size>=0' -- "$work/table"
cp "$work/out" "$work/checked"
try 'and the preload has named a call site' grep 'table!0x' "$work/checked"
printf '1..%d\n' "$number"
exit $((failures > 0))
