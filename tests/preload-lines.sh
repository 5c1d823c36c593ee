#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Rules that ask for source lines, and for functions that the compiler has inlined: what is taken, and what is said
# where there is no debug information.
#
#     tests/preload-lines.sh BUILD_DIR
. "$(dirname "$0")/tap.sh"
tap_begin lines "${1-}"
lines=$victims/lines
plugin=$victims/lines-plugin.so

# takes POLICY WORDS COMMAND…: under it the shim takes these blocks and no others, and says nothing.
takes() {
    local policy=$1 words=$2
    shift 2
    in_new_job "$policy" "$@"
    equals "$(grep '^taken:' "$work/out")" "taken:${words:+ $words}" "$policy"
    exits 0 "$policy"
    silent "$policy"
}

test_lines() {
    takes 'export src=plain.c:502' 'plain' "$lines"
    takes 'share src=/src/solver/plain.c:500-510' 'plain' "$lines"
    takes 'export src=solver/small.c' 'small' "$lines" # libdw needs a larger stack than the thread has
    takes 'merge src=plain.c:502 when=manual' 'plain' "$lines"
    takes 'export src=plain.c name={seq}' 'plain' "$lines" # without names of functions
    takes 'pass src=rows.h; export func=*_init' 'small plain' "$lines"
    takes 'export src=plain.c:502 func=plain_init module=exe size>=4000' 'plain' "$lines"
}

test_never() {
    in_new_job 'export src=plain.c:503; export src=lain.c; export src=plain.c func=main; export src=plain.c size=1' "$lines"
    equals "$(grep '^taken:' "$work/out")" 'taken:' 'lines that do not call'
    equals "$(grep -c 'never matched' "$work/err")" 4 'lines that do not call: named at exit'
}

# Any of the frames that a debugger shows may be named.
test_inlined() {
    takes 'export src=rows.h:102' 'table field' "$lines"
    takes 'export src=cells.h:202' 'table' "$lines"
    takes 'export src=table.c:302' 'table' "$lines"
    takes 'export src=field.c:402' 'field' "$lines"
    takes 'export src=rows.h func=table_init' 'table' "$lines"
    takes 'export func=rows_new' 'table field' "$lines"
    takes 'export func=cells_*' 'table' "$lines"
    takes 'export func=table_init' 'table' "$lines"
    takes 'export stack=rows_new<-cells_new<-table_init' 'table' "$lines"
    takes 'export stack=rows_new<-field_init<-main' 'field' "$lines"
    takes 'export stack=table_init<-main' 'table' "$lines"
    takes 'export src=rows.h stack=...<-main' 'table field' "$lines"
    takes 'export src=rows.h stack=rows_new<-...<-table_init' 'table' "$lines"
    takes 'wrapper func=field_init; export src=field.c stack=rows_new<-field_init' 'field' "$lines"
}

test_cxx() {
    local victim=$victims/lines-cxx
    if [ ! -e "$victim" ]; then
        skip 'inlined members of templates' 'there is no C++ compiler'
        return
    fi
    takes 'export src=doubles.cpp:103' 'doubles' "$victim"
    takes 'export src=lines-cxx.cpp' 'doubles floats' "$victim"
    takes 'export func=grid::Table<double>::grow' 'doubles' "$victim"
    takes 'export func=*Table*::grow src=floats.cpp' 'floats' "$victim"
}

# One that is loaded, unloaded, and loaded again.
test_plugin() {
    takes 'export src=load.c:72' 'plugin again' "$lines" "$plugin" "$plugin"
    takes 'export src=plugin/load.c module=lines-plugin.so' 'plugin again' "$lines" "$plugin" "$plugin"
}

# libdw is five libraries: it comes when there is debug information, or with the first module that may have some.
test_lazily() {
    strip -o "$work/bare-lines" "$lines"
    takes 'export func=plugin_room' 'plugin' "$work/bare-lines" "$plugin"
    in_new_job 'export func=plugin_room' "$(command -v cat)" /proc/self/maps
    lacks out 'shmpreload-|libdw|liblzma' 'a program without debug information: nothing else is loaded'
    cp "$lines" "$work/with-lines"
    in_new_job 'export func=plugin_room' env LD_DEBUG=files "$work/with-lines"
    has err 'calling init: .*libdw' 'a program with debug information: libdw is there from the start'
}

# The dynamic linker looks where the module says that calls dlopen().
test_run_path() {
    takes 'export func=plugin_room' 'plugin' "$lines" lines-plugin.so
}

test_missing() {
    strip -o "$work/bare-lines" "$lines"
    strip -o "$work/bare-plugin.so" "$plugin"
    in_new_job 'export src=plain.c:502; export src=field.c; export func=plain_init' "$work/bare-lines"
    has err "^shmpreload: warning: src= matches nothing in bare-lines: $work/bare-lines has no debug information: install" \
        'no debug information: that is said, and what to install'
    equals "$(grep -c 'debug information' "$work/err")" 1 'no debug information: said once'
    exits 0 'no debug information'
    in_new_job 'export func=table_init' "$work/bare-lines"
    lacks err 'debug information' 'no debug information: nobody misses it where only functions are asked for'
    takes 'export src=plain.c' 'plain' "$lines" "$work/bare-plugin.so" # nor in a library that no rule names
    in_new_job 'export src=load.c module=bare-plugin.so' "$lines" "$work/bare-plugin.so"
    has err "src= matches nothing in bare-plugin.so: $work/bare-plugin.so has no debug information" \
        'no debug information in a library that a rule names'
}

# The module may not have been built, or a file may lie in its place.
test_without_module() {
    mkdir "$work/preload"
    cp "$shim" "${shim%/*}/shmpreload-symbols.so" "$work/preload"
    local shim=$work/preload/libshmpreload.so
    takes 'export func=plain_init' 'plain' "$lines"
    in_new_job 'export src=plain.c; export func=field_init' "$lines"
    has out '^taken: field$' 'without the module: the other rules hold'
    has err 'cannot load shmpreload-lines.so, .*src= matches nothing' 'without the module: that is said'
    exits 0 'without the module'
}

# A server of debug information is not asked, and no descriptor is left.
test_quiet() {
    if ! command -v strace >/dev/null; then
        skip 'no server is asked, no descriptor kept' 'there is no strace'
        return
    fi
    in_new_job 'export src=plain.c; export src=load.c' env DEBUGINFOD_URLS=http://127.0.0.1:9/ \
        strace -f -e trace=socket,connect,openat,close -o "$work/trace" "$lines" "$work/bare-plugin.so"
    has out '^taken: plain$' 'with a server in the environment'
    ! grep -E 'socket|connect|debuginfod' "$work/trace" >"$work/asked"
    verdict $? 'no server is asked' "$work/asked"
}

test_lines
test_never
test_inlined
test_cxx
test_plugin
test_lazily
test_run_path
test_missing
test_without_module
test_quiet
tap_end
