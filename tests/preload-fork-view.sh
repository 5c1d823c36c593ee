#!/bin/bash
# SPDX-License-Identifier: MIT
#
# What a forked child sees of exported blocks: fork=copy, overlay and share, also when it outlives its parents; and
# what becomes of a copy for which there is no memory.
#
#     tests/preload-fork-view.sh BUILD_DIR
. "$(dirname "$0")/tap.sh"
tap_begin fork-view "${1-}"

test_view() {
    local view option
    for view in copy overlay share; do
        for option in "fork=$view" "fork=$view reserve=touch"; do
            VICTIM_ROUTED=1 in_new_job "export module=exe $option" "$victims/fork-view" "$view"
            exits 0 "$option"
            lacks out '^NO' "$option: all facts hold"
            silent "$option"
            equals "$(segment_files "$SHM_JOB")" '' "$option: the file goes with the last process"
        done
    done
    bare "$victims/fork-view" copy
    VICTIM_ROUTED=1 in_new_job 'export module=exe' "$victims/fork-view" copy
    unchanged "without fork="
}

# Blocks of one process under different rules lie side by side.
test_side_by_side() {
    local view what
    for view in overlay share; do
        what="fork=$view beside copies"
        VICTIM_ROUTED=1 in_new_job "export func=made fork=$view; export size>=0" "$victims/fork-view" "$view"
        exits 0 "$what"
        lacks out '^NO' "$what: all facts hold"
        silent "$what"
    done
}

# Copies of large blocks are in huge pages, where the system gives them, but take no more memory for it.
test_huge() {
    local how
    if ! grep -qE '\[(madvise|always)\]' /sys/kernel/mm/transparent_hugepage/enabled 2>/dev/null; then
        skip 'copies in huge pages' 'transparent huge pages are turned off here'
        return
    fi
    for how in huge holes slabs; do
        VICTIM_ROUTED=1 in_new_job 'export module=exe size>=2000' "$victims/fork-huge" $how
        exits 0 "copies in huge pages: $how"
        lacks out '^NO' "copies in huge pages: $how: all facts hold"
        silent "copies in huge pages: $how"
    done
}

# The parents are gone, and the child still reads their pages.
test_orphans() {
    local view what
    for view in overlay share; do
        what="fork=$view, the parents are dead"
        new_job
        VICTIM_ROUTED=1 hold line "share func=common name=common; export module=exe fork=$view" "$victims/fork-orphan" 2
        "$tool" gc >/dev/null
        with_shim 'export size>=0' "$victims/status" 0 # and somebody comes
        exits 0 "$what: somebody else"
        go line
        await line written
        finish line
        lacks line.out '^NO' "$what: all facts hold"
        has line.out '^yes what was written is there' "$what: the last one has come to its end"
        equals "$(segment_files "$SHM_JOB")" '' "$what: the file goes with the last process"
    done
}

# poor WHAT REGEX COMMAND…: there is one warning, and the program goes on.
poor() {
    local what=$1 regex=$2
    shift 2
    bare "$@"
    VICTIM_ROUTED=1 in_new_job 'export func=made' "$@"
    unchanged "$what"
    exits 0 "$what"
    lacks out '^NO' "$what: all facts hold"
    one_line "$what" "$regex"
}

test_no_addresses() {
    export VICTIM_LIMIT=1
    poor "no room for a copy among the addresses" 'no memory for a copy' "$victims/fork-poor"
    if [ "$(id -u)" = 0 ]; then
        mkdir "$work/empty"
        export VICTIM_SHARED=1
        poor "neither addresses nor a file" 'share them' "$victims/fork-poor" "$work/empty"
        unset VICTIM_SHARED
    else
        skip "neither addresses nor a file" "only root can change its root directory"
    fi
    unset VICTIM_LIMIT
}

# group_of_memory BYTES: makes $group, a control group that has so much.
group_of_memory() {
    local limit=memory.limit_in_bytes
    group=/sys/fs/cgroup/memory/$tap_name-$$
    if [ ! -d /sys/fs/cgroup/memory ]; then
        group=/sys/fs/cgroup/$tap_name-$$
        limit=memory.max
    fi
    mkdir "$group" 2>/dev/null && [ -w "$group/$limit" ] && echo "$1" >"$group/$limit" 2>/dev/null
}

test_small_group() {
    local what="no memory for a copy in the control group"
    if group_of_memory 96M; then
        poor "$what" 'no memory for a copy' bash -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$group" "$victims/fork-poor"
        in_new_job 'export func=made fork=overlay' \
            bash -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$group" "$victims/fork-poor"
        exits 0 "fork=overlay takes no memory"
        silent "fork=overlay takes no memory"
    else
        skip "$what" "no control group can be made here"
    fi
    rmdir "$group" 2>/dev/null
}

test_view
test_side_by_side
test_huge
test_orphans 2>/dev/null # the shell says who was killed
test_no_addresses
test_small_group
tap_end
