#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The whole shim under valgrind's memcheck, through fork and exec: the same output, and not one error found, in a
# handful of programs. valgrind must leave the shim's malloc in place, see README, Limits.
#
#     tests/preload-valgrind.sh BUILD_DIR
. "$(dirname "$0")/tap.sh"
tap_begin valgrind "${1-}"
segment='segment SHARED::node size=64M'
memcheck=(valgrind --quiet --trace-children=yes --error-exitcode=99 --leak-check=no
    --soname-synonyms=somalloc=nouserintercepts)

if ! LD_PRELOAD=$shim SHM_POLICY="$segment; export size>=0" "${memcheck[@]}" "$victims/status" 0 \
    >"$work/out" 2>"$work/err" </dev/null; then
    if ! command -v valgrind >/dev/null; then
        printf '1..0 # SKIP valgrind is not installed\n'
        exit 0
    fi
    verdict 1 "valgrind runs here"
fi

# checked WHAT POLICY COMMAND…: what memcheck has to say would stand on standard error.
checked() {
    local what=$1 policy=$2
    shift 2
    bare "$@"
    in_new_job "$segment; $policy" "${memcheck[@]}" "$@"
    unchanged "$what"
    lacks err '^==' "$what: memcheck finds nothing"
    lacks out '^NO' "$what: all facts hold"
}

export VICTIM_ROUTED=1
checked "export and pass, realloc from one to the other" 'export size=1000..100000' "$victims/family-realloc" cross
checked "export, a forked child" 'export size>=0' "$victims/fork-free"
checked "share, freed at the end" 'share size>=0' "$victims/exit-free"
[ ! -e "$victims/cxx-new" ] || checked "export, new" 'export size>=0' "$victims/cxx-new"
unset VICTIM_ROUTED
checked "export, programs that a shell starts" 'export size>=0' sh -c 'echo one | cat; (exit 3); echo $?; true'
# memcheck sees no wrong frees of routed blocks; the shim does
in_new_job "$segment; export size>=0" "${memcheck[@]}" "$victims/misuse" double 200
exits 7 "a double free"
one_line "a double free" 'no live block'
tap_end
