#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The examples do what they say: the two of the API, and the demo, which runs the main job. With SHM_TESTS=long the
# demo builds for itself, as for a user; else it is run in this build.
#
#     tests/examples.sh SOURCE_ROOT BUILD_DIR
set -u

if [ $# != 2 ] || [ ! -x "$1/examples/demo" ] || [ ! -d "$2/examples" ]; then
    printf 'usage: examples.sh SOURCE_ROOT BUILD_DIR\n' >&2
    exit 1
fi
source=$(cd "$1" && pwd)
build=$(cd "$2" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset LD_PRELOAD SHM_POLICY SHM_LOG SHM_LOG_FILE LD_LIBRARY_PATH
export SHM_JOB=examples-$$ SHM_SETUP=no
[ "${SHM_TESTS:-}" = long ] || export SHM_DEMO_BUILD=$build
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

for example in named_api naming_shim; do
    "$build/examples/$example" >"$work/out" 2>&1 </dev/null
    verdict $? "$example"
done

"$source/examples/demo" >"$work/out" 2>&1 </dev/null
verdict $? 'the demo runs to its end'
for line in 'the checksums are equal' 'demo/field/0' 'demo/ring .* share .* 4$' 'private +shared'; do
    grep -Eq "$line" "$work/out"
    verdict $? "the demo shows: $line"
done
! grep -q $'\033\|\r' "$work/out"
verdict $? 'no colour and no progress bar in a pipe'
[ -z "$(find /dev/shm -maxdepth 1 -name 'shmcore.*.demo-*' -print -quit)" ]
verdict $? 'the demo leaves nothing behind'
printf '1..%d\n' "$number"
exit $((failures > 0))
