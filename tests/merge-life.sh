#!/bin/bash
# SPDX-License-Identifier: MIT
#
# What programs do with memory that has been merged, and what is left when they are gone: realloc, free, fork, exec,
# the many ways to end, being killed. Always two processes with equal blocks, which print what they print without the
# shim; merging is asked for each time both of them pause.
#
# Root has a /dev/shm of its own for this, so that it can be seen how full that is.
#
#     tests/merge-life.sh BUILD_DIR
if [ -z "${SHM_TEST_NAMESPACE:-}" ] && unshare -m mount -t tmpfs -o mode=1777 tmpfs /dev/shm 2>/dev/null; then
    SHM_TEST_NAMESPACE=yes exec unshare -m bash "$0" "$@"
fi
[ "${SHM_TEST_NAMESPACE:-}" != yes ] || mount -t tmpfs -o mode=1777,size=512M tmpfs /dev/shm
. "$(dirname "$0")/tap.sh"
tap_begin merge-life "${1-}"
policy='program merge-life; program merge-fork; merge module=exe size>=64K when=manual'
lives=(realloc free calloc again protect advice wipe blocked sigwait pending identity leaderless exit exec)
forks=(copy nested stay raw orphan busy)
# What depends on how writers are held.
lives_that_differ=(again protect advice)
forks_that_differ=(copy busy)

# Until it makes no difference any more: the first time only lets go of a copy of what all have changed since, and
# threads that are late are waited for another time.
# On a busy machine threads may be late for a merge again and again, so an answer
# that nothing is shared is believed later than another one.
ask() {
    local same=0 before= enough
    for _ in {1..40}; do
        "$tool" merge --json --job "$SHM_JOB" SHARED::node >"$work/merge.out" 2>&1
        [ "$(<"$work/merge.out")" = "$before" ] && same=$((same + 1)) || same=0
        grep -Eq '"(merged|saved)": *[1-9]' "$work/merge.out" && enough=3 || enough=12
        [ "$same" -lt "$enough" ] || break
        before=$(<"$work/merge.out")
    done
}

# without_shim COMMAND…: where nothing is merged, nothing is said of it.
without_shim() {
    bare env -u VICTIM_MERGED -u VICTIM_MERGED_BLOCKED "$@"
}

# used: kilobytes in /dev/shm.
used() {
    df --output=used -k /dev/shm | tail -n 1
}

# What lies in /dev/shm, but for the registry, which stays. The files of merged memory do not name their job, so
# only who has a /dev/shm of its own can say whose they are.
left_over() {
    local ours="/dev/shm/*$SHM_JOB*"
    [ "${SHM_TEST_NAMESPACE:-}" != yes ] || ours='/dev/shm/*'
    compgen -G "$ours" | grep -v '\.registry$'
}

nothing_left() {
    equals "$(left_over)" '' "$1: nothing is left in /dev/shm"
}

# begin ID COMMAND…: one that does not get on is ended some time.
begin() {
    start "$1" "$policy" timeout 100 "${@:2}"
}

both_await() {
    await a "$1" && await b "$1"
}

ends_as_without() { # ends_as_without ID WHAT
    finish "$1"
    cp "$work/$1.out" "$work/out"
    cp "$work/$1.err" "$work/err"
    unchanged "$2"
    silent "$2"
}

# alike WHAT COMMAND…: two such processes do as one without the shim. The words of its pauses are told from what it
# finds by "yes" and the like.
alike() {
    local what=$1 pause pauses
    shift
    without_shim "$@"
    mapfile -t pauses < <(grep -Ex '[a-z]+' "$work/bare.out")
    new_job
    begin a "$@"
    begin b "$@"
    for pause in "${pauses[@]}"; do
        both_await "$pause" || break
        ask
        go a
        go b
    done
    ends_as_without a "$what"
    exits 0 "$what"
    ends_as_without b "$what, the other"
    nothing_left "$what"
}

# While one has locked memory, none of its is merged, and one of them says so.
test_lock() {
    without_shim "$victims/merge-life" lock
    new_job
    begin a "$victims/merge-life" lock
    begin b "$victims/merge-life" lock
    both_await ready
    ask
    go a
    go b
    both_await again
    ask
    finish a
    cp "$work/a.out" "$work/out"
    unchanged "$1"
    finish b
    cp "$work/b.out" "$work/out"
    unchanged "$1, the other"
    cat "$work/a.err" "$work/b.err" >"$work/err"
    one_line "$1" 'locked'
    nothing_left "$1"
}

# Each has pages that the other has not.
test_differ() {
    without_shim "$victims/merge-life" differ
    new_job
    begin a "$victims/merge-life" differ 1
    begin b "$victims/merge-life" differ 2
    both_await ready
    ask
    go a
    go b
    both_await again
    ask
    ends_as_without a "$1"
    ends_as_without b "$1, the other"
    nothing_left "$1"
}

# What is freed goes with the last who has it, and then at once.
test_room() {
    local before merged
    if [ "${SHM_TEST_NAMESPACE:-}" != yes ]; then
        skip "$1" 'a /dev/shm of its own needs root'
        return
    fi
    new_job
    begin a "$victims/merge-life" free
    begin b "$victims/merge-life" free
    both_await ready
    before=$(used)
    ask
    merged=$(used)
    [ $((merged - before)) -gt 5000 ] && [ $((merged - before)) -lt 8000 ]
    verdict $? "$1: there is one copy of 6 MiB ($before, then $merged)" "$work/merge.out"
    go a
    await a freed
    go b
    await b freed
    equals "$(($(used) < merged - 5000))" 1 "$1: what both have freed is gone at once ($(used))"
    finish a
    finish b
    nothing_left "$1"
}

# A server that has become another user may not open the files of common copies: it goes on, and says why.
test_stranger() {
    local id tries=0
    if [ "$(id -u)" != 0 ]; then
        skip "$1" 'only root can become another user'
        return
    fi
    new_job
    chmod 711 "$work" && : >"$work/said" && chmod 666 "$work/said" # nobody cannot open root's standard error again
    for id in a b; do # one alone has nobody to merge with
        SHM_LOG_FILE=$work/said start "$id" 'merge module=exe size>=64K when=quiet:100ms' \
            timeout 100 "$victims/merge-stranger"
    done
    both_await ready
    # Not the first thing that is said: while it is becoming nobody it may not read what /proc says of it.
    until grep -qs 'another user' "$work/said" || ((tries++ > 600)); do
        sleep 0.05 # it has to be quiet for a while before anybody tries
    done
    for id in a b; do
        finish "$id"
        exits 0 "$1, $id"
        grep -q '^yes the block is whole' "$work/$id.out"
        verdict $? "$1, $id: the block is whole" "$work/$id.out"
    done
    has said 'not merged for now: the process has become another user' "$1: why nothing is merged"
    "$tool" gc >"$work/gc.out" 2>&1 # it could not remove root's file either
}

# Those who were there before are gone; a child that they left has all.
test_last() {
    local tries=0
    new_job
    begin a "$victims/merge-fork" last
    begin b "$victims/merge-life" stay
    both_await ready
    ask
    finish b
    go a
    await a last
    while jobs -pr | grep -qx "${held_pid[a]}"; do
        sleep 0.05
    done
    finish a
    exits 0 "$1"
    cp "$work/a.out" "$work/out"
    has out '^yes the child has all' "$1: the child has all"
    lacks out '^NO' "$1: nothing is wrong"
    until [ -z "$(left_over)" ] || ((tries++ > 100)); do
        sleep 0.05 # the child has said its last word, but need not be gone
    done
    nothing_left "$1"
}

# ---------------------------------------------------------------- killed

# One that ends so that nothing of the shim's is called is as one that is killed.
test_exit_now() {
    new_job
    begin a "$victims/merge-life" exit-now
    begin b "$victims/merge-life" exit-now
    both_await ready
    ask
    finish a
    exits 0 "$1"
    finish b
    exits 0 "$1, the other"
    "$tool" gc >"$work/gc.out" 2>&1
    nothing_left "$1, after gc"
}

kill_process() {
    kill -9 "${held_pid[$1]}"
    wait "${held_pid[$1]}" 2>/dev/null
    unset "held_pid[$1]"
}

start_three() {
    local id
    new_job
    for id in a b c; do
        start "$id" "$policy" env -u VICTIM_MERGED "$victims/merge-life" again
    done
    for id in a b c; do
        await "$id" ready
    done
    ask
}

# saves WHAT: some of those who are left share something.
saves() {
    grep -Eq '"saved": *[1-9]' "$work/merge.out"
    verdict $? "$1" "$work/merge.out"
}

test_killed_one() {
    without_shim "$victims/merge-life" again
    start_three
    saves "$1: three share"
    kill_process a
    go b
    go c
    await b again
    await c again
    ask
    saves "$1: the two that are left share what they have now"
    go b
    await b again
    kill_process b
    ask
    ends_as_without c "$1"
    "$tool" gc >"$work/gc.out" 2>&1
    nothing_left "$1, after gc"
}

saved() {
    "$tool" ls --json --job "$SHM_JOB" SHARED::node 2>"$work/ls.err" | grep -Eq '"saved": *[1-9]'
}

# own_kilobytes ID: of what is mapped from canonical copies, how much the process has for itself.
own_kilobytes() {
    awk '/^[0-9a-f]+-[0-9a-f]+ / { merged = /shmcore-merge/ && / rw-p / }
         /^Private_Dirty:/ && merged { sum += $2 }
         END { print sum + 0 }' "/proc/${held_pid[$1]}/smaps"
}

comes_to() { # comes_to COMPARISON…: until that is so of what b and c have for themselves; 1: not in two minutes
    local tries
    for ((tries = 0; tries < 1200; tries++)); do
        [ "$(own_kilobytes b)" "$@" ] && [ "$(own_kilobytes c)" "$@" ] && return
        sleep 0.1
    done
    return 1
}

# Nobody reaps the one that was killed; the others go on merging what they have since.
test_killed_unseen() {
    local policy='program merge-life; merge module=exe size>=64K when=quiet:100ms' id tries=0
    new_job
    for id in a b c; do
        start "$id" "$policy" env -u VICTIM_MERGED "$victims/merge-life" again
    done
    for id in a b c; do
        await "$id" ready
    done
    until saved || ((tries++ == 300)); do # when=quiet, so that nobody needs to be asked
        sleep 0.1
    done
    [ "$tries" -lt 300 ] && comes_to -lt 100
    verdict $? "$1: all are merged"
    kill_process a
    go b
    go c
    await b again
    await c again
    comes_to -lt 100
    verdict $? "$1: what the others have written since is merged"
    for _ in 2 3 4 5; do # their other rounds
        go b
        go c
        await b again
        await c again
    done
    finish b
    exits 0 "$1"
    finish c
    exits 0 "$1, the other"
    "$tool" gc >"$work/gc.out" 2>&1
    nothing_left "$1, after gc"
}

test_killed_all() {
    local id full
    start_three
    full=$(used)
    for id in c b a; do
        kill_process "$id"
    done
    "$tool" gc >"$work/gc.out" 2>&1
    verdict $? "$1: gc says that it is done" "$work/gc.out"
    nothing_left "$1, after gc"
    [ "${SHM_TEST_NAMESPACE:-}" = yes ] || return
    equals "$(($(used) < full - 5000))" 1 "$1, after gc: there is room again ($full, then $(used))"
}

# hold_by HOLD: with this way of holding writers.
hold_by() {
    export SHM_MERGE_HOLD=$1 VICTIM_ROUTED=1 VICTIM_MERGED=yes
    # One who can hold writers only by stopping them cannot hold one that no signal reaches.
    [ "$1" = userfaultfd ] || export VICTIM_MERGED_BLOCKED=no
}

# lead_lives HOLD LIVES FORKS
lead_lives() {
    local name
    hold_by "$1"
    for name in $2; do
        alike "$1, $name" "$victims/merge-life" "$name"
    done
    for name in $3; do
        alike "$1, fork-$name" "$victims/merge-fork" "$name"
    done
    test_differ "$1, differences"
}

lead_lives userfaultfd "${lives_that_differ[*]} blocked sigwait pending" "${forks_that_differ[*]}"
lead_lives scan "${lives_that_differ[*]}" "${forks_that_differ[*]}"
lead_lives compare "${lives[*]/blocked/}" "${forks[*]}"
test_killed_unseen "one is killed and nobody sees it"
test_lock "lock"
test_room "room"
test_last "the last child"
test_exit_now "exit-now"
test_killed_one "one after another is killed"
test_killed_all "all are killed"
unset SHM_MERGE_HOLD VICTIM_ROUTED VICTIM_MERGED VICTIM_MERGED_BLOCKED
test_stranger "become another user"
tap_end
