#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Programs in C++, Fortran, Python with NumPy, Rust and Go: what is taken by which rule, and that it changes nothing.
#
#     tests/preload-languages.sh BUILD_DIR
. "$(dirname "$0")/tap.sh"
tap_begin languages "${1-}"
sources=$(cd "$(dirname "$0")/victims" && pwd)

# takes POLICY WORDS: what it says that the shim took, of $command; all else that it prints is as without the shim.
takes() {
    in_new_job "$1" "${command[@]}"
    equals "$(grep '^taken:' "$work/out")" "taken:${2:+ $2}" "$language: $1"
    diff <(grep -v '^taken:' "$work/bare.out") <(grep -v '^taken:' "$work/out") >"$work/diff"
    verdict $? "$language: $1: the same output" "$work/diff" "$work/err"
    exits 0 "$language: $1"
    silent "$language: $1"
}

begin() { # begin LANGUAGE COMMAND…
    language=$1
    command=("${@:2}")
    bare "${command[@]}"
    equals "$bare_status" 0 "$language: it runs without the shim"
}

# What containers ask for memory is known, so the function that uses them is the call site.
test_cxx() {
    if [ ! -e "$victims/lang-containers" ]; then
        skip 'C++' 'there was no C++ compiler'
        return
    fi
    begin C++ "$victims/lang-containers"
    takes 'export module=exe' 'vector map table array wide quiet' # strings are filled inside libstdc++
    takes 'merge module=exe' 'vector map table array wide quiet'
    takes 'export func=std::vector<double*' 'vector' # it moves what it has, so it is no mere wrapper
    takes 'export stack=...<-mesh::make_vector*' 'vector'
    takes 'export func=mesh::make_array' 'array'
    takes 'export func=mesh::make_wide' 'wide'
    takes 'export func=mesh::make_quiet call=new' 'quiet'
    takes 'export stack=...<-mesh::make_map*<-main' 'map string'
    takes 'export stack=...<-mesh::make_table*' 'table'
    takes 'export call=new size=256..1K' 'wide quiet'
}

# gfortran calls malloc itself in ALLOCATE, in assignments and for automatic arrays: the procedure is the call site. What
# libgfortran needs for its own work is asked for in its own functions.
test_fortran() {
    if [ ! -e "$victims/lang-fortran" ]; then
        skip Fortran 'there was no Fortran compiler'
        return
    fi
    begin Fortran "$victims/lang-fortran"
    takes 'export module=exe' 'field direct component copy automatic'
    takes 'merge module=exe' 'field direct component copy automatic'
    takes 'export func=__grid_MOD_make_field' 'field'
    takes 'export func=__grid_MOD_make_direct' 'direct'
    takes 'export func=__grid_MOD_make_cells size>=1K' 'component'
    takes 'export func=__grid_MOD_make_copy' 'copy'
    takes 'export func=__grid_MOD_automatic' 'automatic'
    takes 'export func=__grid_MOD_make_*' 'field direct component copy'
    takes 'export stack=__grid_MOD_*<-MAIN__' 'field direct component copy automatic'
    takes 'export module=libgfortran*' ''
}

# Debian's NumPy has no names for its functions, so its arrays are known by their module, and by who calls it.
test_numpy() {
    if ! /usr/bin/python3 -c 'import numpy' 2>/dev/null; then
        skip 'Python with NumPy' 'python3 has no numpy'
        return
    fi
    begin 'Python with NumPy' /usr/bin/python3 "$sources/lang-numpy.py"
    takes 'export module=_multiarray_umath* size>=300K' 'zeros empty product matrix resized'
    takes 'merge module=_multiarray_umath* size>=300K' 'zeros empty product matrix resized'
    takes 'export module=_multiarray_umath* call=calloc size>=300K' 'zeros'
    takes 'pass module=_multiarray_umath*; export size>=300K' 'bytearray'
    takes 'export stack=...<-_PyEval_EvalFrameDefault size>=300K' 'zeros empty product matrix resized bytearray'
}

test_rust() {
    local log=$work/rustc.log
    if ! rustc -O -o "$work/lang-rust" "$sources/lang-rust.rs" 2>"$log"; then
        skip Rust "there is no rustc, or it does not compile"
        return
    fi
    begin Rust "$work/lang-rust"
    takes 'export module=exe size=3K..8K' 'field zeros grown boxed'
    takes 'export func=make_field' 'field'
    takes 'export func=make_zeros' 'zeros'
    takes 'export func=make_boxed' 'boxed'
    takes 'export func=make_grown' 'grown'
    takes 'export stack=...<-make_grown' 'grown'
    takes 'merge func=make_*' 'field zeros grown boxed'
}

# Go has an allocator of its own, which asks the kernel: nothing can be taken, and nothing is disturbed.
test_go() {
    local program
    program=$(command -v fzf) || program=
    if [ -z "$program" ]; then
        skip Go 'there is no fzf, a program in Go'
        return
    fi
    seq 3000 >"$work/lines"
    same 'Go, export' 'export size>=0' "$program" --filter 77 --no-sort --version
    same 'Go, merge' 'merge size>=0' "$program" --filter 77 --no-sort --version
}

test_cxx
test_fortran
test_numpy
test_rust
test_go
"$tool" gc >"$work/gc.out" 2>&1 # Go ends without a word to the C library; the next program would do
tap_end
