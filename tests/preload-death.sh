#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Processes that are killed, exec, end with threads at work, or lose their first thread; whose number another one gets;
# that live in another pid namespace: what they held is given back when they are dead, and not before. In mount and pid
# namespaces of its own, because `gc` looks at everything in /dev/shm.
#
#     tests/preload-death.sh BUILD_DIR
if [ "${SHM_TEST_NAMESPACE:-}" != yes ]; then
    for options in -mpf -rmpf; do
        if unshare "$options" --mount-proc mount -t tmpfs -o mode=1777 tmpfs /dev/shm 2>/dev/null; then
            SHM_TEST_NAMESPACE=yes exec unshare "$options" --mount-proc --kill-child bash "$0" "$@"
        fi
    done
    echo '1..0 # SKIP namespaces need root or user namespaces'
    exit 0
fi
mount -t tmpfs -o mode=1777,size=512M tmpfs /dev/shm
. "$(dirname "$0")/tap.sh"
tap_begin death "${1-}"

# slay ID…: SIGKILL, and their ends of the pipes are closed.
slay() {
    local id to from
    for id in "$@"; do
        to=${held_in[$id]} from=${held_out[$id]}
        kill -9 "${held_pid[$id]}"
        wait "${held_pid[$id]}" 2>/dev/null
        unset "held_pid[$id]"
        exec {to}>&- {from}<&-
    done
}

# collects SEGMENTS PROCESSES WHAT: what `gc` says it did.
collects() {
    "$tool" gc --json >"$work/gc" 2>"$work/err"
    equals "$(tr -d ' \n' <"$work/gc" | sed -E 's/.*"segments":([0-9]+),"processes":([0-9]+).*/\1 \2/')" "$1 $2" "$3"
}

# holds WHAT NAME…: the blocks that there are.
holds() {
    local what=$1
    shift
    blocks "${segment:-SHARED::node}"
    equals "$(names | xargs)" "$*" "$what"
}

point='share func=meeting_point name=point'
own='export func=meeting_point name=own'

# ---------------------------------------------------------------- killed

test_killed() {
    new_job
    hold a "$own" "$victims/meet" Anna
    hold b "$point" "$victims/meet" Bert
    hold c "$own" "$victims/meet" Cora
    slay b c
    collects 0 2 "gc: the dead of a segment that lives"
    holds "gc: only the blocks of the living are left" own
    hold b "$point" "$victims/meet" Bert
    slay b
    hold c "$point" "$victims/meet" Cora
    has c.out "^found ''$" "an attach: the block of the dead is gone"
    finish c
    finish a
    has a.out "^now 'Anna'$" "the block of the living is as it was"
}

# One who is there already needs the room of the dead; while they live he does not get it.
test_room() {
    local way
    for way in export share; do
        new_job
        export VICTIM_ROUTED=all
        # a name of its own for each: Anna's blocks are not those of Bert
        hold a "segment SHARED::node size=6M; $way func=store name=a{seq}" "$victims/fill" 40 100000 1
        hold b "segment SHARED::node size=6M; $way func=store name=b{seq}" "$victims/fill" 40 100000 40
        slay b
        finish a
        unset VICTIM_ROUTED
        exits 0 "$way, a full segment"
        lacks a.out '^NO' "$way, a full segment: the room of the dead is used"
        cp "$work/a.err" "$work/err"
        silent "$way, a full segment"
    done
    new_job
    hold a "segment SHARED::node size=6M; export func=store name=a{seq}" "$victims/fill" 40 100000 1
    hold b "segment SHARED::node size=6M; export func=store name=b{seq}" "$victims/fill" 40 100000 40
    finish a
    cp "$work/a.err" "$work/err"
    one_line "the room of the living is not" 'no room'
    finish b
    lacks b.out '^NO' "the room of the living is theirs"
}

# The whole job is killed: nobody is left who could clear away.
test_job_killed() {
    local left way
    for way in bring-up gc; do
        new_job
        hold a "$own" "$victims/meet" Anna
        hold b "$point" "$victims/meet" Bert
        hold c 'segment SHARED::other; export func=meeting_point' "$victims/meet" Cora
        slay a b c
        left=$SHM_JOB
        equals "$(segment_files "$left" | wc -l)" 2 "a killed job leaves its files"
        new_job
        if [ $way = gc ]; then
            collects 2 0 "gc: the files of the killed job"
        else
            hold a "$own" "$victims/meet" Anna
            finish a
        fi
        equals "$(segment_files "$left")" '' "$way removes them"
    done
}

# The new bearer of the number maps the segment too, so that the time of its start alone tells it from the old one.
test_number_again() {
    local bearer ticks
    new_job
    hold a "$own" "$victims/meet" Anna
    hold b "$point" "$victims/meet" Bert
    bearer=${held_pid[b]}
    slay b
    read -r ticks _ </proc/uptime
    while [ "$(cut -d' ' -f1 /proc/uptime)" = "$ticks" ]; do :; done
    if ! (echo 1000 >/proc/sys/kernel/ns_last_pid) 2>/dev/null; then
        skip "a number that is used again" "/proc/sys/kernel/ns_last_pid may not be written"
        finish a
        return
    fi
    hold c "program meet; $point" "$victims/same-pid" "$bearer" "$victims/meet" Cora
    blocks
    equals "$(grep -P '^point\t' "$work/blocks" | cut -f4,5)" "$bearer"$'\t1' "a number that is used again: the block's owner"
    has c.out "^found ''$" "a number that is used again: the former bearer's block is gone"
    finish c
    exits 0 "a number that is used again"
    finish a
}

# ---------------------------------------------------------------- alive after all

# lives_on ID WHAT: nobody takes anything of the one process from it.
lives_on() {
    local i before
    blocks
    before=$(cat "$work/blocks")
    collects 0 0 "$2: gc finds nothing"
    for i in 1 2 3; do
        with_shim 'export func=store' "$victims/fill" 3 100000
    done
    lacks out '^NO' "$2: others that come are served"
    blocks
    equals "$(cat "$work/blocks")" "$before" "$2: its blocks are there"
    "$tool" ls --json >"$work/ls"
    has ls '"processes": *1' "$2: ls counts it"
}

test_without_first_thread() {
    local way
    for way in export share; do
        new_job
        export VICTIM_ROUTED=all
        hold a "$way func=store name=a{seq}.{thread}" "$victims/leaderless"
        lives_on a "$way, the first thread is gone"
        unset VICTIM_ROUTED
        finish a
        exits 0 "$way, the first thread is gone"
        lacks a.out '^NO' "$way, the first thread is gone: the others work on"
        equals "$(segment_files "$SHM_JOB")" '' "$way, the first thread is gone: the file goes with the last"
    done
}

test_stopped() {
    new_job
    hold a "$own" "$victims/meet" Anna
    kill -STOP "${held_pid[a]}"
    lives_on a "a stopped process"
    kill -CONT "${held_pid[a]}"
    finish a
    has a.out "^now 'Anna'$" "a stopped process: goes on"
}

# ---------------------------------------------------------------- exec

test_exec() {
    new_job
    hold a "$own" "$victims/meet" Anna
    hold b "$point" "$victims/become" "$victims/meet" Bert
    go b
    await b ready
    has b.out "^found ''$" "exec with the shim: what was held before is gone"
    holds "exec with the shim: the new program's block" own point
    finish b
    has b.out "^now 'Bert'$" "exec with the shim: the new program works"
    hold b "$point" "$victims/become" env -u LD_PRELOAD "$victims/meet" Bert
    holds "before exec" own point
    go b
    await b ready
    collects 0 1 "exec without the shim: dead, though the process lives"
    holds "exec without the shim: the block is gone" own
    finish a
    equals "$(segment_files "$SHM_JOB")" '' "exec without the shim: does not count as the last process"
    finish b
    has b.out "^now 'Bert'$" "exec without the shim: the new program works"
    new_job
    hold b "$point" "$victims/become" env -u LD_PRELOAD "$victims/meet" Bert
    go b
    await b ready
    collects 1 0 "exec without the shim of the last process: gc removes the file"
    finish b
}

# ---------------------------------------------------------------- exit

busy='segment SHARED::node size=64M; share func=common; export func=store'

test_exit() {
    new_job
    export VICTIM_ROUTED=all
    hold a "segment SHARED::node size=64M; $own" "$victims/meet" Anna
    start b "$busy" "$victims/exit-busy" wait
    await b exiting
    collects 0 0 "exit with threads at work: not dead yet"
    with_shim "$busy" "$victims/fill" 200 100000
    exits 0 "exit with threads at work: another process"
    lacks out '^NO' "exit with threads at work: nobody's memory is written"
    silent "exit with threads at work: another process"
    finish b
    exits 37 "exit with threads at work"
    cp "$work/b.err" "$work/err"
    silent "exit with threads at work"
    collects 0 2 "exit with threads at work: dead now, as is the other one that came"
    holds "exit with threads at work: its blocks come back" own
    finish a
    has a.out "^now 'Anna'$" "exit with threads at work: the others' blocks are as they were"
    unset VICTIM_ROUTED
}

test_many_exits() {
    local i bad=0
    new_job
    export VICTIM_ROUTED=all
    start a "export size>=0" "$victims/churn" 2
    for ((i = 0; i < 25; i++)); do
        with_shim 'share func=common; export func=store' "$victims/exit-busy"
        [ "$status" = 37 ] && [ ! -s "$work/err" ] || bad=$((bad + 1))
    done
    equals "$bad" 0 "25 processes that end with threads at work"
    await a ready
    finish a
    unset VICTIM_ROUTED
    exits 0 "who was there all the time"
    lacks a.out '^NO' "who was there all the time: nothing of his was written"
}

# ---------------------------------------------------------------- another pid namespace

test_pid_namespace() {
    if ! unshare -fp --mount-proc true 2>/dev/null; then
        skip "another pid namespace" "none can be made in here"
        return
    fi
    local elsewhere=(unshare -fp --mount-proc --kill-child)
    new_job
    hold a "$own" "$victims/meet" Anna
    bare "$victims/fill" 20 100000
    export VICTIM_ROUTED=none
    with_shim 'program fill; export func=store' "${elsewhere[@]}" "$victims/fill" 20 100000
    unset VICTIM_ROUTED
    unchanged "another pid namespace"
    exits 0 "another pid namespace"
    one_line "another pid namespace" "made in another pid namespace .*container.* /dev/shm of its own or another SHM_JOB"
    equals "$("${elsewhere[@]}" "$tool" gc --json | tr -d ' \n' | sed 's/,"bytes.*//')" '{"segments":0,"processes":0' \
        "another pid namespace: gc there"
    finish a
    has a.out "^now 'Anna'$" "another pid namespace: the others do not notice"
    new_job
    hold a "program meet; $own" "${elsewhere[@]}" "$victims/meet" Anna
    collects 0 0 "gc spares the living of another pid namespace"
    equals "$(segment_files "$SHM_JOB" | wc -l)" 1 "gc spares the file of another pid namespace"
    finish a
    has a.out "^now 'Anna'$" "who lives there goes on"
    equals "$(segment_files "$SHM_JOB")" '' "its file goes with it"
}

# ---------------------------------------------------------------- gc for all

# The programs where everybody can read them.
make_public() {
    public=$work/public
    chmod 0711 "$work"
    mkdir -m 0755 "$public"
    cp "$victims/meet" "$tool" "$public/"
    cp "$build/preload/"*.so "$public/"
    cp -L "$build/core/libshmcore.so.0" "$public/" 2>/dev/null
    chmod 0755 "$public"/*
}

test_users() {
    local as=(setpriv --reuid 12345 --regid 12345 --clear-groups) private=$shim
    if ! "${as[@]}" true 2>/dev/null; then
        skip "gc for other users" "only root can become another user"
        return
    fi
    make_public
    shim=$public/libshmpreload.so
    new_job
    hold a "program meet; $own" "${as[@]}" "$public/meet" Anna
    hold b "program meet; segment SHARED::dead; export func=meeting_point" "${as[@]}" "$public/meet" Bert
    hold c "$own" "$public/meet" Cora
    slay b c
    equals "$(find /dev/shm -name "*.$SHM_JOB.*" -printf '%u %f\n' | sort)" \
        "$(printf '%s\n' "12345 shmcore.12345.$SHM_JOB.SHARED::"{dead,node} "root shmcore.0.$SHM_JOB.SHARED::node")" \
        "the living and the dead of two users"
    equals "$(LD_LIBRARY_PATH=$public setpriv --reuid 23456 --regid 23456 --clear-groups "$public/shmpreload" gc --json 2>"$work/err" |
        tr -d ' \n' | sed 's/,"proc.*//')" '{"segments":0' "gc of a third user removes nothing"
    collects 2 0 "gc of root removes the files of the dead"
    equals "$(find /dev/shm -name "*.$SHM_JOB.*" -printf '%u %f\n')" "12345 shmcore.12345.$SHM_JOB.SHARED::node" \
        "gc of root leaves the one of the living"
    finish a
    has a.out "^now 'Anna'$" "the other user's program goes on"
    equals "$(find /dev/shm -name "*.$SHM_JOB.*")" '' "its file goes with it"
    shim=$private
}

test_killed
test_room
test_job_killed
test_number_again
test_without_first_thread
test_stopped
test_exec
test_exit
test_many_exits
test_pid_namespace
test_users
collects 0 0 "at the end there is nothing to collect"
tap_end
