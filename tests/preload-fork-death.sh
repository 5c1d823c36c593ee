#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Parents that die before their children, children that are killed at once, and servers that give up their rights:
# who lives on keeps what he had at the fork, nobody gets a dead parent's room too early, and in the end all of it is
# given back.
#
#     tests/preload-fork-death.sh BUILD_DIR
. "$(dirname "$0")/tap.sh"
tap_begin fork-death "${1-}"

test_killed() {
    local who policy='share func=common name=common/{pid}#{seq}; export size>=0'
    export SHM_LOG=error # one of the two never calls common()
    for who in parent child; do
        VICTIM_ROUTED=1 same "a $who that is killed after a fork" "$policy" "$victims/fork-killed" "$who"
        exits 0 "a $who that is killed after a fork"
        lacks out '^NO' "a $who that is killed after a fork: all facts hold"
        equals "$(segment_files "$SHM_JOB")" '' "a $who that is killed after a fork: the file is gone"
    done
    unset SHM_LOG
}

small='segment SHARED::node size=64M'

# fits HOW-MANY COUNT WHAT: of so many blocks of 1 MiB those get room in the segment.
fits() {
    VICTIM_ROUTED=$1 with_shim "$room; export func=store" "$victims/fill" "$2" 1048576
    exits 0 "$3"
    lacks out '^NO' "$3"
}

# orphan GENERATIONS: the processes before the last one are gone, and it goes on.
orphan() {
    local what="$1 generations, ${VICTIM_EXITS+ended}${VICTIM_EXITS-killed}" room=$small last_pid
    new_job
    hold keeper "$small; share func=work" "$victims/status" 0 - wait
    VICTIM_ROUTED=1 hold line "$small; share func=common name=common; export module=exe name={func}/{seq}" \
        "$victims/fork-orphan" "$1"
    "$tool" gc >/dev/null
    blocks
    equals "$(names | paste -sd ' ')" 'common own/0' "$what: the blocks of the living are there, and no others"
    last_pid=$(awk -F '\t' '$1 ~ /^own/ { print $4 }' "$work/blocks")
    equals "$(awk -F '\t' '$1 == "common" { print $3, $4, $5 }' "$work/blocks")" "share $last_pid 1" \
        "$what: the common block is the last one's"
    fits some 40 "$what: nobody gets the room of the dead while the last one lives"
    go line
    await line written
    fits some 40 "$what: nor later"
    finish line
    lacks line.out '^NO' "$what: all facts hold"
    has line.out '^yes what was written is there' "$what: the last one has come to its end"
    cp "$work/line.err" "$work/err"
    silent "$what"
    fits all 40 "$what: then everybody can have it"
    finish keeper
}

test_orphans() {
    orphan 1
    orphan 2
    orphan 3
    export VICTIM_EXITS=1
    orphan 1
    orphan 3
    unset VICTIM_EXITS
}

# What a parent frees while a child has copies over it stays the parent's, and is given back after the child.
test_room() {
    local room='segment SHARED::node size=256M'
    new_job
    VICTIM_ROUTED=1 start line "$room; export func=large_block" "$victims/fork-room"
    await line freed
    blocks
    equals "$(names)" '' "freed under a child: there are no blocks any more"
    fits some 160 "freed under a child: nobody gets the room"
    go line
    await line alone
    "$tool" gc >/dev/null
    go line
    await line cleared
    fits all 160 "freed under a child: when the child is gone it is everybody's"
    finish line
    exits 0 "freed under a child"
    lacks line.out '^NO' "freed under a child: all facts hold"
}

# dropped WHAT: it goes on, and there is one line at most: names of functions are out of reach, too.
dropped() {
    bare "$victims/fork-drop" "$work/empty"
    VICTIM_ROUTED=1 in_new_job 'share func=common; export size>=0' "$victims/fork-drop" "$work/empty"
    unchanged "$1"
    lacks out '^NO' "$1: all facts hold"
    has out "^yes its blocks are whole" "$1: it has come to its end"
    [ "$(wc -l <"$work/err")" -le 1 ] && ! grep -qv '^shmpreload: warning: ' "$work/err"
    verdict $? "$1: one line on standard error at most" "$work/err"
}

# As web servers do: the segment was made as root, and then the file is out of reach.
test_dropped() {
    local job
    mkdir "$work/empty"
    dropped "a server that becomes nobody"
    job=$SHM_JOB
    in_new_job 'export size>=0' "$victims/status" 0
    equals "$(segment_files "$job")" '' "a server that becomes nobody: the next program removes its file"
    export VICTIM_KILLED=1
    dropped "a server that is killed as nobody" 2>/dev/null
    unset VICTIM_KILLED
    "$tool" gc >/dev/null
    equals "$(segment_files "$SHM_JOB")" '' "a server that is killed as nobody: gc removes its file"
}

test_killed
test_orphans 2>/dev/null # the shell says who was killed
test_room
if [ "$(id -u)" = 0 ]; then
    test_dropped
else
    skip "servers that become nobody" "only root can give up rights"
fi
tap_end
