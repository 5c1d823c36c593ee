#!/bin/bash
# SPDX-License-Identifier: MIT
#
# fork, vfork, exec and what libc builds on them, with everything exported and with shared blocks.
#
#     tests/preload-fork.sh BUILD_DIR
. "$(dirname "$0")/tap.sh"
tap_begin fork "${1-}"

alike() { # alike WHAT POLICY COMMAND…
    same "$@"
    exits 0 "$1"
    lacks out '^NO' "$1: all facts hold"
    equals "$(segment_files "$SHM_JOB")" '' "$1: the file goes with the last process"
}

everything_exported() {
    local name
    export VICTIM_ROUTED=1
    for name in copy nested free exec threads late storm raw spawn; do
        alike "export, fork-$name" 'export size>=0' "$victims/fork-$name"
    done
    alike "export of the program's own blocks, fork-threads" 'export module=exe' "$victims/fork-threads"
    unset VICTIM_ROUTED
    export SHM_LOG=error # a rule that never matches is meant here
    for name in copy nested free exec; do
        alike "nothing matches, fork-$name" 'export size>=1T' "$victims/fork-$name"
    done
    unset SHM_LOG
}

test_daemon() {
    local policy
    mkfifo "$work/answer"
    export VICTIM_ROUTED=1
    for policy in 'export size>=0' 'share size>=0 name={offset}.{pid}#{seq}'; do
        alike "$policy, a daemon that closes every descriptor" "$policy" "$victims/fork-daemon" "$work/answer"
    done
    unset VICTIM_ROUTED
}

test_shared() {
    local policy
    for policy in 'share func=common' 'share func=common; export size>=0'; do
        in_new_job "$policy" "$victims/fork-share"
        exits 0 "$policy"
        lacks out '^NO' "$policy: all facts hold"
        silent "$policy"
        equals "$(segment_files "$SHM_JOB")" '' "$policy: the file goes with the last process"
    done
}

everything_exported
test_daemon
test_shared
tap_end
