#!/bin/bash
# SPDX-License-Identifier: MIT
#
# What a program can find out about itself is the same with and without the shim: descriptors, signals,
# environment, threads, limits, exit status.
#
#     tests/preload-quiet.sh BUILD_DIR
. "$(dirname "$0")/tap.sh"
tap_begin quiet "${1-}"
ulimit -c 0 # programs are killed here

everywhere() { # everywhere WHAT COMMAND…: under each policy
    local what=$1 policy
    shift
    for policy in '' 'pass' 'export size>=0' 'share size>=0' 'export func=*'; do
        unset VICTIM_ROUTED
        [[ $policy != *size* ]] || export VICTIM_ROUTED=1
        same "$what, '$policy'" "$policy" "$@"
    done
    unset VICTIM_ROUTED
}

# The victim with descriptors, a mask and ignored signals that are not the usual ones.
test_strange_start() {
    # shellcheck disable=SC2016
    everywhere "descriptors 3, 7 and 200 open" \
        bash -c 'exec 3</dev/null 7>/dev/null 200</dev/null; exec "$0" exit 5' "$victims/quiet"
    # shellcheck disable=SC2016
    everywhere "standard input closed" bash -c 'exec <&-; exec "$0" exit 6' "$victims/quiet"
    # shellcheck disable=SC2016
    everywhere "signals ignored" bash -c 'trap "" USR1 TERM PIPE; exec "$0" exit 7' "$victims/quiet"
    # shellcheck disable=SC2016
    everywhere "a limit of 8 files" bash -c 'ulimit -n 8; exec "$0" exit 8' "$victims/quiet"
}

test_exit() {
    local code
    for code in 0 1 77 255; do
        everywhere "exit status $code" "$victims/quiet" exit "$code"
        equals "$bare_status" "$code" "exit status $code is seen"
    done
}

# Runs gc until nothing of ours is left: it leaves alone what another process is looking at just then.
collect() {
    local try
    for ((try = 0; try < 100; try++)); do
        "$tool" gc >/dev/null
        [ -n "$(segment_files "$tap_name-$$-*")" ] || return
    done
}

test_signal() {
    local signal
    for signal in 1 6 9 11 15; do
        everywhere "killed by signal $signal" "$victims/quiet" signal "$signal"
        equals "$bare_status" $((128 + signal)) "signal $signal is seen"
        collect
        equals "$(segment_files "$tap_name-$$-*")" '' "what a program killed by signal $signal left goes with gc"
    done 2>"$work/shell.err" # where the shell says who was killed
}

test_exit
everywhere "a thread" "$victims/quiet" threads
test_signal
test_strange_start
tap_end
