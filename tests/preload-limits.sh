#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Each limit that a program can meet: the file system, the segment, the memory control group, address space, file
# size, descriptors, mappings. The program gets its own memory, or ENOMEM where the rule says so, and nothing kills
# it; one line says which limit it was, how much there is, and what to do. In a mount namespace with a small /dev/shm
# of its own.
#
#     tests/preload-limits.sh BUILD_DIR
if [ "${SHM_TEST_NAMESPACE:-}" != yes ]; then
    for options in -m -rm; do
        if unshare "$options" mount -t tmpfs tmpfs /dev/shm 2>/dev/null; then
            SHM_TEST_NAMESPACE=yes exec unshare "$options" bash "$0" "$@"
        fi
    done
    echo '1..0 # SKIP mounting needs root or user namespaces'
    exit 0
fi
. "$(dirname "$0")/tap.sh"
tap_begin limits "${1-}"
group=
trap 'leave_group; tap_clean_up' EXIT

small_shm() { # small_shm SIZE: an empty one
    umount /dev/shm 2>/dev/null
    mount -t tmpfs -o "size=$1,mode=1777" tmpfs /dev/shm
}

# falls_back WHAT POLICY ROUTED REGEX COMMAND…: so much is routed, the output is that without the shim, and there is
# one line that matches; none, when REGEX is empty.
falls_back() {
    local what=$1 policy=$2 regex=$4
    bare "${@:5}"
    export VICTIM_ROUTED=$3
    in_new_job "$policy" "${@:5}"
    unset VICTIM_ROUTED
    unchanged "$what"
    exits 0 "$what"
    if [ -n "$regex" ]; then
        one_line "$what" "$regex"
    else
        silent "$what"
    fi
}

# fails WHAT POLICY MISSING REGEX COMMAND…: so much is missing, with ENOMEM.
fails() {
    in_new_job "$2 full=fail" "${@:5}"
    exits 0 "$1, full=fail"
    equals "$(head -n 1 "$work/out")" "missing: $3" "$1, full=fail: NULL"
    lacks out '^NO' "$1, full=fail: ENOMEM, and what is there is whole"
    one_line "$1, full=fail" "$4.*fail"
}

# ---------------------------------------------------------------- memory

test_files() {
    local remount='free some, enlarge it \(mount -o remount,size=…\).*\(dir=\)'
    small_shm 16M
    head -c 32M /dev/zero >/dev/shm/others 2>/dev/null
    local regex="takes [0-9.]+ [KM]iB from the start: /dev/shm has 0 bytes left of 16 MiB; $remount"
    falls_back "a full file system" 'export func=store' none "$regex" "$victims/fill" 64 262144
    fails "a full file system" 'export func=store' all "$regex" "$victims/fill" 64 262144
    small_shm 16M
    regex="no memory left for (256|512) KiB more in segment 'SHARED::s': /dev/shm has [0-9.]+ [KMi]+B left of 16 MiB; $remount"
    falls_back "a file system smaller than the segment" 'segment SHARED::s size=64M; export func=store' some "$regex" \
        "$victims/fill" 100 262144
    fails "a file system smaller than the segment" 'segment SHARED::s size=64M; export func=store' some "$regex" \
        "$victims/fill" 100 262144
}

test_segment() {
    small_shm 64M
    local regex="segment 'SHARED::s' \(4 MiB\) has no room for 256 KiB; make it larger \(size=\)"
    local policy='segment SHARED::s size=4M; export func=store'
    falls_back "a full segment" "$policy" some "$regex" "$victims/fill" 64 262144
    fails "a full segment" "$policy" some "$regex" "$victims/fill" 64 262144
}

# A group of our own below the one that this test is in. Sets $group, or $why_not.
make_group() {
    local own limit
    own=$(sed -n 's/^[0-9]*:memory://p' /proc/self/cgroup)
    if [ -n "$own" ]; then
        group=/sys/fs/cgroup/memory${own%/}/shmcore-test-$$
        limit=memory.limit_in_bytes
    else
        own=$(sed -n 's/^0:://p' /proc/self/cgroup)
        group=/sys/fs/cgroup${own%/}/shmcore-test-$$
        limit=memory.max
    fi
    if ! mkdir "$group" 2>/dev/null; then
        why_not="no memory control group can be made below $own"
    elif ! echo $((64 << 20)) 2>/dev/null >"$group/$limit"; then
        why_not="the groups below $own have no memory controller"
    else
        return 0
    fi
    leave_group
    return 1
}

leave_group() {
    [ -z "$group" ] || [ ! -d "$group" ] || rmdir "$group"
    group=
}

killed_in_group() {
    cat "$group"/memory.{oom_control,events} 2>/dev/null | sed -n 's/^oom_kill //p'
}

test_group() {
    local policy='program fill; segment SHARED::s size=256M; export func=store'
    local regex="'SHARED::s': the memory control group of this process has [0-9.]+ MiB left of 64 MiB.*raise its limit"
    # shellcheck disable=SC2016
    local inside=(bash -c 'echo $$ >"$0/cgroup.procs" && exec "$@"')
    small_shm 0
    if ! make_group; then
        skip "a memory control group" "$why_not"
        return
    fi
    falls_back "a memory control group" "$policy" some "$regex" \
        "${inside[@]}" "$group" "$victims/fill" 200 262144
    lacks err 'remount' "a memory control group: no advice about /dev/shm"
    fails "a memory control group" "$policy" some "$regex" \
        "${inside[@]}" "$group" "$victims/fill" 400 262144
    equals "$(killed_in_group)" 0 "a memory control group: nothing is killed there"
    leave_group
}

# ---------------------------------------------------------------- what setrlimit() limits

test_address_space() {
    small_shm 64M
    local regex='cannot map the 128 MiB of .*: this process may have 58\.5 MiB of address space; raise ulimit -v .*\(size=\)'
    # shellcheck disable=SC2016
    local limited=(bash -c 'ulimit -v 60000; exec "$0" "$@"') policy='program fill; segment SHARED::s size=128M; export func=store'
    falls_back "RLIMIT_AS" "$policy" none "$regex" "${limited[@]}" "$victims/fill" 64 262144
    fails "RLIMIT_AS" "$policy" all "$regex" "${limited[@]}" "$victims/fill" 64 262144
}

# The signal that goes with this limit must not come either.
test_file_size() {
    small_shm 64M
    # shellcheck disable=SC2016
    local limited=(bash -c 'ulimit -f 1000; exec "$0" "$@"') policy='program fill meet; segment SHARED::s size=16M; export func=store; share func=meeting_point'
    falls_back "RLIMIT_FSIZE" "program fill; segment SHARED::s size=16M; export func=store" none \
        'cannot make the segment .*: its 16 MiB are more .*; raise ulimit -f .*\(size=\)' \
        "${limited[@]}" "$victims/fill" 10 262144
    new_job
    hold a "${policy/program fill meet;/}" "$victims/meet" Anna
    export VICTIM_ROUTED=all
    with_shim "program fill; ${policy#*;}" "${limited[@]}" "$victims/fill" 10 262144
    unset VICTIM_ROUTED
    exits 0 "RLIMIT_FSIZE, the segment is there"
    lacks out '^NO' "RLIMIT_FSIZE, the segment is there: its blocks are routed"
    finish a
}

test_descriptors() {
    small_shm 64M
    local regex='no descriptor left \(ulimit -n\)'
    falls_back "RLIMIT_NOFILE at the first match" 'export module=exe size=100000' none "cannot open [^ ]*shmcore\.[0-9]+\.limits-[^ ]*: .*$regex" \
        "$victims/descriptors"
    falls_back "RLIMIT_NOFILE after the first match" 'export module=exe size=100000' all '' "$victims/descriptors" late
    falls_back "RLIMIT_NOFILE when a function is to be named" 'export func=store' none "func= does not match it: .*$regex" \
        "$victims/descriptors"
}

# ---------------------------------------------------------------- mappings

test_mappings() {
    small_shm 64M
    local most
    most=$(cat /proc/sys/vm/max_map_count)
    if [ "$most" -gt 100000 ]; then
        skip "vm.max_map_count" "it is $most, more than a test should use up"
        return
    fi
    falls_back "vm.max_map_count at the first match" 'segment SHARED::s size=32M; export module=exe size=100000' none \
        'cannot map the 32 MiB of .*: .*as many mappings as it may have; raise vm.max_map_count' "$victims/many-maps"
    falls_back "vm.max_map_count after the first match" 'segment SHARED::s size=32M; export module=exe size=100000' all \
        '' "$victims/many-maps" late
    falls_back "vm.max_map_count at a fork" 'segment SHARED::s size=32M; export module=exe size=100000' all \
        'no.* copy of the exported blocks at a fork, .*: parent and child share them; .*raise vm.max_map_count' \
        "$victims/many-maps" fork
}

test_files
test_segment
test_group
test_address_space
test_file_size
test_descriptors
test_mappings
tap_end
