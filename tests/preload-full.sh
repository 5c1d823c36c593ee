#!/bin/bash
# SPDX-License-Identifier: MIT
#
# A /dev/shm that is full, a segment that is full, and things that lie where the segment should: one line, and the
# program gets its memory. In a mount namespace with a small /dev/shm of its own.
#
#     tests/preload-full.sh BUILD_DIR
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
tap_begin full "${1-}"

small_shm() { # small_shm SIZE: an empty one
    umount /dev/shm 2>/dev/null
    mount -t tmpfs -o "size=$1,mode=1777" tmpfs /dev/shm
}

# survives WHAT POLICY ROUTED REGEX: so much is routed, and there is one line that matches.
survives() {
    export VICTIM_ROUTED=$3
    bare "$victims/fill" 64 262144
    in_new_job "$2" "$victims/fill" 64 262144
    unchanged "$1"
    exits 0 "$1"
    one_line "$1" "$4"
    unset VICTIM_ROUTED
}

test_full() {
    local verb
    for verb in export share; do
        small_shm 6M
        survives "$verb, a small /dev/shm" "$verb func=store" some 'SHARED::node|/dev/shm'
        small_shm 64M
        survives "$verb, a small segment" "segment SHARED::s size=4M; $verb func=store" some 'SHARED::s'
        small_shm 6M
        survives "$verb, a segment larger than /dev/shm" "segment SHARED::s size=64M; $verb func=store" some \
            'SHARED::s|/dev/shm'
        head -c 16M /dev/zero >/dev/shm/others 2>/dev/null
        survives "$verb, /dev/shm is full from the start" "$verb func=store" none 'own memory'
    done
}

# Where the file system gives huge pages on request, blocks get them.
test_huge() {
    local pages
    small_shm 64M
    if ! mount -o remount,huge=advise /dev/shm 2>"$work/err"; then
        skip 'huge pages' "this kernel has none on a tmpfs: $(head -n 1 "$work/err")"
        return
    fi
    new_job
    hold a 'segment SHARED::node size=32M; export func=store' "$victims/fill" 1 16777216 1
    pages=$(awk '/\/dev\/shm\// { ours = 1 } /^VmFlags/ { ours = 0 } ours && /^ShmemPmdMapped/ { sum += $2 } END { print sum }' \
        "/proc/${held_pid[a]}/smaps")
    finish a
    exits 0 'huge pages'
    [ "${pages:-0}" -ge 8192 ]
    verdict $? "huge pages: most of a block of 16 MiB has them (${pages:-0} KiB)"
}

# Others fill /dev/shm while the program has its segment: what it has stays usable, who comes now has its own.
test_filled_later() {
    small_shm 16M
    new_job
    hold a 'share func=meeting_point' "$victims/meet" Anna
    head -c 32M /dev/zero >/dev/shm/others 2>/dev/null
    hold b 'share func=meeting_point' "$victims/meet" Bert
    cp "$work/b.err" "$work/err"
    one_line "a process that comes when /dev/shm is full" 'own memory'
    finish b
    exits 0 "a process that comes when /dev/shm is full"
    has b.out "^now 'Bert'$" "a process that comes when /dev/shm is full has memory"
    finish a
    exits 0 "a process that was there before"
    has a.out "^now 'Anna'$" "a process that was there before keeps its block"
}

test_read_only() {
    small_shm 16M
    mount -o remount,ro /dev/shm
    survives "a read-only /dev/shm" 'export func=store' none '/dev/shm'
    mount -o remount,rw /dev/shm
}

# obstacle WHAT REGEX: what lies at $path is left as it is, and the program runs.
obstacle() {
    local before after
    before=$(stat -c '%i %f %u %s' "$path")
    export VICTIM_ROUTED=none
    bare "$victims/fill" 10 1000
    with_shim 'export func=store' "$victims/fill" 10 1000
    unset VICTIM_ROUTED
    unchanged "$1"
    exits 0 "$1"
    one_line "$1" "$2"
    after=$(stat -c '%i %f %u %s' "$path")
    equals "$after" "$before" "$1: it is left alone"
    rm -rf "$path"
    new_path
}

new_path() {
    new_job
    path=/dev/shm/shmcore.$(id -u).$SHM_JOB.SHARED::node
}

test_obstacles() {
    small_shm 16M
    new_path
    (umask 077 && head -c 65536 /dev/zero | tr '\0' 'x' >"$path")
    obstacle "a file of something else" 'no segment|not a segment|damaged'
    (umask 077 && head -c 65536 /dev/zero | tr '\0' 'x' >"$path" && chmod 0644 "$path")
    obstacle "a file that others may read" '0600'
    (umask 077 && : >"$work/target" && ln -s "$work/target" "$path")
    obstacle "a symbolic link" 'symbolic link'
    equals "$(wc -c <"$work/target")" 0 "a symbolic link: nothing is written where it leads"
    ln -s /nowhere/at/all "$path"
    obstacle "a symbolic link to nothing" 'symbolic link'
    (umask 077 && mkfifo "$path")
    obstacle "a FIFO" 'regular file'
    (umask 077 && mkdir "$path")
    obstacle "a directory" 'shmcore\.'
    (umask 077 && : >"$path")
    if chown 12345 "$path" 2>/dev/null; then
        obstacle "another user's file" '12345'
    else
        rm -f "$path"
        skip "another user's file" "this namespace has one user only"
    fi
}

# A creator that died before it wrote anything is no obstacle.
test_half_born() {
    new_path
    (umask 077 && : >"$path")
    export VICTIM_ROUTED=all
    with_shim 'export func=store' "$victims/fill" 10 1000
    unset VICTIM_ROUTED
    exits 0 "an empty file"
    lacks out '^NO' "an empty file: taken over"
    silent "an empty file"
}

test_full
test_huge
test_filled_later
test_read_only
test_obstacles
test_half_born
tap_end
