#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Eight threads in each of two processes in one segment: contents, and that nothing is left over. For five seconds, with
# SHM_TESTS=long for twenty.
#
#     tests/preload-threads.sh BUILD_DIR [SECONDS]
. "$(dirname "$0")/tap.sh"
tap_begin threads "${1-}"
seconds=5
[ "${SHM_TESTS:-}" != long ] || seconds=20
seconds=${2:-$seconds}
policy='share func=meet name=meet/{seq}; export module=exe'
export VICTIM_ROUTED=1

start a "$policy" "$victims/churn" "$seconds"
start b "$policy" "$victims/churn" "$seconds"
await a ready
verdict $? "the first process comes to its end" "$work/a.out" "$work/a.err"
await b ready
verdict $? "the second process comes to its end" "$work/b.out" "$work/b.err"
blocks SHARED::node
verdict $? "the segment is there while they live" "$work/blocks.err"
equals "$(grep -v '^libc\.so' "$work/blocks" | head -n 5)" '' "every block is gone while both processes live"
finish a
exits 0 "the first process"
lacks a.out '^NO' "the first process: all contents as written"
finish b
exits 0 "the second process"
lacks b.out '^NO' "the second process: all contents as written"
cat "$work/a.err" "$work/b.err" >"$work/err"
silent "both processes"
[ -z "$(segment_files "$SHM_JOB")" ]
verdict $? "the file is gone with the last process"
tap_end
