#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Rules that ask for the stack, and wrappers whose callers are the call sites: what is taken, and by which name.
#
#     tests/preload-stacks.sh BUILD_DIR
. "$(dirname "$0")/tap.sh"
tap_begin stacks "${1-}"
stacks=$victims/stacks

# takes POLICY WORDS: under it the shim takes these blocks and no others.
takes() {
    in_new_job "$1" "$stacks"
    equals "$(grep '^taken:' "$work/out")" "taken:${2:+ $2}" "$1"
    exits 0 "$1"
    silent "$1"
}

test_stacks() {
    takes 'export stack=wrapper' 'grid field nested sort recursive coroutine'
    takes 'export stack=wrapper<-grid_init' 'grid coroutine'
    takes 'export stack=wrapper<-grid_init<-make_all' 'grid'
    takes 'export stack=wrapper<-grid_init<-on_another_stack' 'coroutine'
    takes 'export stack=wrapper<-*_init' 'grid field recursive coroutine'
    takes 'export stack=wrapper<-outer_wrapper<-nested_init' 'nested'
    takes 'export stack=wrapper<-...<-nested_init' 'nested'
    takes 'export stack=wrapper<-...<-qsort*<-...<-main' 'sort' # through the C library
    takes 'export stack=...<-sort_init' 'sort'
    takes 'export stack=wrapper<-recursive_init<-recursive_init' 'recursive'
    takes 'export stack=wrapper<-...<-recursive_init<-make_all<-main' 'recursive'
    takes 'export stack=plain_init' 'plain'
    takes 'export stack=jump_init' 'jump' # a wrapper that jumps is not on the stack
    takes 'export stack=xmalloc' 'known'
    takes 'export stack=xmalloc<-known_init' 'known'
    takes 'export stack=known_init' 'known' # a known wrapper need not be named
    takes 'export stack=known_init<-make_all' 'known'
    takes 'export func=wrapper stack=wrapper<-field_init' 'field'
    takes 'export module=exe stack=wrapper<-field_init size=1000' 'field'
    takes 'share stack=wrapper<-field_init' 'field'
    takes 'pass stack=wrapper<-grid_init; export func=wrapper' 'field nested sort recursive'
    takes 'export stack=wrapper<-grid_init size>=5000; export stack=wrapper<-field_init' 'field coroutine'
}

test_never() {
    in_new_job 'export stack=grid_init; export stack=wrapper<-main; export stack=plain_init size>1M' "$stacks"
    equals "$(grep '^taken:' "$work/out")" 'taken:' 'stacks that do not occur'
    equals "$(grep -c 'never matched' "$work/err")" 3 'stacks that do not occur: named at exit'
}

test_wrappers() {
    takes 'wrapper func=wrapper; export func=grid_init' 'grid coroutine'
    takes 'wrapper func=wrapper module=exe; export func=field_init' 'field'
    takes 'wrapper func=wrapper module=libc.so*; export func=wrapper size<1500' 'grid field'
    takes 'wrapper func=wrapper; export func=outer_wrapper' 'nested'
    takes 'wrapper func=*wrapper; export func=nested_init' 'nested'
    takes 'wrapper func=*wrapper; export stack=nested_init<-make_all' 'nested'
    takes 'wrapper func=wrapper; export func=wrapper' 'grid field nested sort recursive coroutine'
    takes 'wrapper func=recursive_init; wrapper func=wrapper; export func=make_all' 'recursive'
    takes 'export func=known_init' 'known'
    takes 'export func=jump_init' 'jump'
    takes 'wrapper func=jumping_wrapper; export func=jump_init' 'jump'
}

# lists POLICY NAME…: the names that `ls` shows.
lists() {
    local policy=$1
    shift
    new_job
    hold victim "$policy" "$stacks" wait
    blocks
    equals "$(names | sed -E 's/\+0x[0-9a-f]+//' | paste -sd ' ')" "$*" "names under $policy"
    finish victim
}

test_names() {
    lists 'wrapper func=wrapper; export func=*_init size<1500' stacks:field_init#0 stacks:grid_init#0
    lists 'export func=known_init' stacks:known_init#0
    lists 'export stack=wrapper<-grid_init<-make_all' stacks:wrapper#0
    lists 'wrapper func=wrapper; export func=recursive_init' stacks:recursive_init#0
}

# All stacks of one call site have one name, so their blocks are counted together.
test_one_site() {
    new_job
    hold victim 'export func=wrapper name={func}/{seq} stack=wrapper<-*_init size=1000' "$stacks" wait
    blocks
    equals "$(names | paste -sd ' ')" 'wrapper/0 wrapper/1' 'two stacks of one call site'
    finish victim
}

test_threads() {
    local policy='wrapper func=*wrapper; export stack=wrapper<-grid_init; merge func=nested_init; export stack=...<-sort_init'
    in_new_job "$policy" "$stacks" threads 300
    exits 0 'four threads on stacks of all kinds'
    lacks out '^NO' 'four threads: each block is where it belongs'
    silent 'four threads'
}

# Of more callers than are remembered side by side each is told from the others, also when it comes again.
test_many_callers() {
    in_new_job 'wrapper func=wrapper; export func=taken_*' "$victims/callers"
    exits 0 'very many callers of a wrapper'
    equals "$(uniq <"$work/out")" '0 and 512' 'very many callers: those whose rule it is, and no others'
    silent 'very many callers'
}

test_stacks
test_many_callers
test_never
test_wrappers
test_names
test_one_site
test_threads
tap_end
