#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Modules that come and go: a rule that is meant for one plug-in does not take what another makes that lies where the
# first lay; plug-ins that are bound to a C library past the shim do as they do without it.
#
#     tests/preload-plugins.sh BUILD_DIR
. "$(dirname "$0")/tap.sh"
tap_begin plugins "${1-}"

# The plug-ins take turns, with three calls each.
readonly all='0 0 0 1 1 1 2 2 2 3 3 3 4 4 4 5 5 5'
readonly first='0 0 0 -1 -1 -1 2 2 2 -3 -3 -3 4 4 4 -5 -5 -5'
readonly second='-0 -0 -0 1 1 1 -2 -2 -2 3 3 3 -4 -4 -4 5 5 5'
readonly none='-0 -0 -0 -1 -1 -1 -2 -2 -2 -3 -3 -3 -4 -4 -4 -5 -5 -5'

# takes POLICY WORDS: of plug-ins $one and $two, which are described as $kind, and take $turns.
turns=turns
takes() {
    in_new_job "$1" "$victims/plugins" $turns "$one" "$two"
    equals "$(grep '^taken:' "$work/out")" "taken: $2" "$kind: $1"
    exits 0 "$kind: $1"
    lacks out '^NO' "$kind: $1: the second lies where the first lay"
}

test_turns() {
    one=$victims/plugins-alpha$1.so two=$victims/plugins-bravo$1.so kind=$2
    takes 'export func=alpha_make' "$first"
    takes 'export func=bravo_make' "$second"
    takes 'merge func=bravo_make' "$second"
    takes 'export module=plugins-alpha*' "$first"
    takes 'export module=plugins-*' "$all"
    takes "export site=plugins-bravo$1.so!0x$(offset_of_call "$two" bravo_make)" "$second"
    takes 'export stack=alpha_make<-use' "$first"
    takes 'export stack=...<-bravo_make<-use<-...<-main' "$second"
    takes 'export stack=alpha_make<-main' "$none"
    takes 'wrapper func=alpha_make; export func=use' "$first"
    takes 'wrapper func=bravo_make; export stack=use<-*' "$second"
}

# It is the program that calls malloc, and stays: what is known of its stacks is what comes and goes.
test_called_back() {
    local turns=back
    one=$victims/plugins-alpha.so two=$victims/plugins-bravo.so kind='called back'
    takes 'wrapper func=host_make; export func=alpha_call_back' "$first"
    takes 'wrapper func=host_make; export func=bravo_call_back' "$second"
    takes 'export stack=host_make<-alpha_call_back' "$first"
    takes 'export stack=host_make<-bravo_call_back' "$second"
    takes 'export stack=...<-bravo_call_back<-...<-main' "$second"
}

# Where the call of malloc returns to: nothing but that is found in the function.
offset_of_call() {
    objdump -d --no-show-raw-insn --disassemble="$2" "$1" |
        awk '/call.*malloc/ { found = 1; next } found { sub(":", "", $1); print $1; exit }'
}

# The same file under two names: the same build-id, the same functions.
test_copies() {
    cp "$victims/plugins-alpha.so" "$work/here.so"
    cp "$victims/plugins-alpha.so" "$work/there.so"
    one=$work/here.so two=$work/there.so kind='copies of a file'
    takes 'export module=here.so' "$first"
    takes 'export module=there.so' "$second"
    takes 'export func=alpha_make' "$all"
    takes 'export func=alpha_make module=here.so stack=alpha_make<-use' "$first"
    takes 'wrapper func=alpha_make module=there.so; export func=use' "$second"
}

test_past_the_shim() { # test_past_the_shim WORD WHAT
    local policy
    export VICTIM_ROUTED=1
    for policy in 'export size>=0' 'merge size>=0' 'export stack=host_make<-...<-main'; do
        same "$2, $policy" "$policy" "$victims/plugins" "$1" "$victims/plugins-alpha.so"
        exits 0 "$2, $policy"
        lacks out '^NO' "$2, $policy: all facts hold"
    done
    unset VICTIM_ROUTED
}

# Four threads load and unload a file of their own, all at once.
test_threads() {
    local name files=()
    for name in here1 here2 there1 there2; do
        cp "$victims/plugins-alpha.so" "$work/$name.so"
        files+=("$work/$name.so")
    done
    in_new_job 'export module=here*.so stack=alpha_make<-use' "$victims/plugins" threads 1000 "${files[@]}"
    equals "$(grep '^taken:' "$work/out")" 'taken: 1000 1000 0 0' 'four threads load and unload'
    exits 0 'four threads load and unload'
}

test_turns '' 'with build-ids'
test_turns -plain 'without build-ids'
test_copies
test_called_back
test_threads
test_past_the_shim deep RTLD_DEEPBIND
test_past_the_shim apart dlmopen
tap_end
