#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The command `shmpreload merge`, and what `ls` says of merged memory, from outside. What merging does to programs is
# tested elsewhere: here, that the processes are asked, and that what is said of them is true.
#
#     tests/tools-merge.sh BUILD_DIR
. "$(dirname "$0")/tap.sh"
tap_begin tools-merge "${1-}"
policy='program merge-listing; merge size>=2M name=table when=manual; merge size>=64K name=small-{seq} when=manual'
listing=$victims/merge-listing
library=$build/core/libshmcore.so
node=SHARED::node

# tool ARGUMENT…: in this job. Leaves $status, $work/out and $work/err.
tool() {
    last="shmpreload $*"
    "$tool" "$1" --job "$SHM_JOB" "${@:2}" >"$work/out" 2>"$work/err" </dev/null
    status=$?
}

# is_so EXPRESSION: of Python, over `it`, which is the JSON on standard output.
is_so() {
    python3 -c "import json, sys
it = json.load(open(sys.argv[1]))
sys.exit(not ($1))" "$work/out" 2>>"$work/err"
}

holds() { # holds EXPRESSION WHAT
    is_so "$1"
    verdict $? "$2: $1"
}

# merge_until EXPRESSION: asks until it is so of what ls says. A piece whose writers did not come to a stop in time,
# on a busy machine, is left to the next request.
merge_until() {
    local try
    for try in {1..50}; do
        tool merge --wait 60 $node
        tool ls --json $node
        ! is_so "$1" || return 0
    done
    last="merge, $try times"
}

# fails WHAT REGEX: with one line on standard error, and no other.
fails() {
    exits 1 "$1"
    [ ! -s "$work/out" ] && [ "$(wc -l <"$work/err")" = 1 ] && grep -Eq "^shmpreload: $2" "$work/err"
    verdict $? "$1: one line on standard error alone"
}

# end ID…: they find their memory as they left it.
end() {
    local id
    for id in "$@"; do
        finish "$id"
        equals "$status $(grep -c ^NO "$work/$id.out")" '0 0' "process $id: its memory is as it was"
    done
}

test_merge() {
    new_job
    hold a "$policy" "$listing"
    hold b "$policy" "$listing"
    tool ls --json $node
    holds "it['blocks'] == []" "before"
    holds "[(m['name'], m['ranks']) for m in it['merged']] == [('small-*', 2), ('table', 2)]" "before"
    holds "all(m['merged'] == m['saved'] == m['percent'] == 0 for m in it['merged'])" "before"
    tool merge $node
    exits 0 "merge"
    has out '^2 processes merged: [0-9.]+[KM]? shared, [0-9.]+[KM]? of memory saved$' "merge: what was done"
    merge_until "sum(m['saved'] for m in it['merged']) == (100 << 16) + (6 << 20)"
    tool merge $node
    exits 0 "merge again"
    equals "$(cat "$work/out")" '2 processes merged: 24.5M shared, 12.2M of memory saved' "merge: a line"
    silent "merge"
    tool ls --json $node
    holds "[m['bytes'] for m in it['merged']] == [8 << 20, 6 << 20]" "after"
    holds "[m['merged'] for m in it['merged']] == [100 << 17, 12 << 20]" "after"
    holds "[m['saved'] for m in it['merged']] == [100 << 16, 6 << 20]" "after"
    holds "[m['percent'] for m in it['merged']] == [78.1, 100]" "after"
    tool ls $node
    exits 0 "ls SEGMENT"
    has out '^0 blocks, .* in 2 processes$' "ls SEGMENT: who merges is no process of it afterwards"
    has out '^MERGED +SIZE +RANKS +SHARED% +SAVED$' "ls SEGMENT: merged blocks have a table"
    has out '^small-\* +8M +2 +78\.1 +6\.2M$' "ls SEGMENT: small blocks are one row"
    has out '^table +6M +2 +100\.0 +6M$' "ls SEGMENT: a large block is a row"
    has out '^2 blocks that can be merged: 24\.5M shared, 12\.2M of memory saved$' "ls SEGMENT: a sum"
    equals "$(awk '/^0 blocks/ { sum = NR } /^MERGED/ { print (sum && NR > sum) }' "$work/out")" 1 \
        "ls SEGMENT: merged blocks come after the others"
    tool ls --sort size -b $node
    has out '^table +6291456 +2 +100\.0 +6291456$' "ls -b SEGMENT: exact bytes"
    tool ls
    has out "^$node +$SHM_JOB +[^ ]+ +[^ ]+ +[^ ]+ +12\.2M +2 +live$" "ls: what the segment saves"
    tool ls --json
    holds "[s['saved'] for s in it] == [(100 << 16) + (6 << 20)]" "ls"
    end a b
}

# The third's page is its own: the share is less than all, and not said to be all.
test_json_and_difference() {
    new_job
    hold a "$policy" "$listing" 1
    hold b "$policy" "$listing" 1
    hold c "$policy" "$listing" 2
    merge_until "len(it['merged']) == 2 and it['merged'][1]['percent'] > 99"
    tool merge --json --wait 60 $node
    exits 0 "merge --json"
    holds "it['processes'] == 3 and sorted(it) == ['merged', 'processes', 'saved']" "merge --json"
    cp "$work/out" "$work/told"
    tool ls --json $node
    holds "[m['ranks'] for m in it['merged']] == [3, 3] and 99 < it['merged'][1]['percent'] < 100" "a page differs"
    holds "[sum(m[k] for m in it['merged']) for k in ('merged', 'saved')] == [json.load(open('$work/told'))[k] for k in ('merged', 'saved')]" \
        "merge --json says what ls says"
    end a b c
}

# A process that does not run cannot answer, and is not waited for beyond the patience. One second of it may be too
# little for the other on a busy machine, or when the first was stopped with something that both want: then it is
# asked again.
test_stopped() {
    local try
    new_job
    hold a "$policy" "$listing"
    hold b "$policy" "$listing"
    kill -STOP "${held_pid[a]}" "${held_pid[b]}"
    tool merge --wait 1 $node
    fails "all are stopped" "no process of '$node' has merged: "
    kill -CONT "${held_pid[b]}"
    for ((try = 0; try < 30; try++)); do
        tool merge --wait 1 $node
        [ $status != 0 ] || break
    done
    exits 0 "one is stopped"
    has out '^1 process merged: ' "one is stopped: the other merged"
    kill -CONT "${held_pid[a]}"
    tool merge --wait 60 $node
    has out '^2 processes merged: ' "none is stopped any more"
    end a b
}

test_nobody() {
    local before
    new_job
    tool merge $node
    fails "no segment" "there is no segment '$node' of job '$SHM_JOB'"
    equals "$(segment_files "$SHM_JOB")" '' "no segment: none is made"
    hold a 'program merge-listing; export size>=64K' "$listing"
    tool merge $node
    fails "nothing to merge" "no process of '$node' has memory to merge$"
    tool merge --json $node
    fails "nothing to merge, --json" "no process of '$node' has memory to merge$"
    tool ls $node
    lacks out '^MERGED|merged' "nothing to merge: ls does not speak of it"
    end a
    hold a "$policy" "$listing"
    kill -9 "${held_pid[a]}"
    finish a
    before=$(segment_files "$SHM_JOB")
    tool merge $node
    fails "all are dead" "no process of '$node' has memory to merge: none has it open"
    equals "${before:+some} $(segment_files "$SHM_JOB")" "some $before" "all are dead: the segment is left to gc"
    "$tool" gc >"$work/out" 2>&1
}

test_jobs() {
    local first
    new_job
    first=$SHM_JOB
    hold a "$policy" "$listing"
    hold b "$policy" "$listing"
    new_job
    hold c "$policy" "$listing"
    last="shmpreload merge, of which job?"
    env -u SHM_JOB "$tool" merge $node >"$work/out" 2>"$work/err"
    status=$?
    exits 1 "two jobs"
    has err "segments are called '$node'; choose one with --job" "two jobs: a sentence"
    has err "^$node +$first +$(id -u) +/dev/shm/" "two jobs: the candidates"
    last="shmpreload merge, in a job"
    "$tool" merge $node >"$work/out" 2>"$work/err"
    status=$?
    has out '^1 process merged' "two jobs: the job of the environment is meant"
    last="shmpreload merge --job $first"
    "$tool" merge --job "$first" $node >"$work/out" 2>"$work/err"
    has out '^2 processes merged: ' "two jobs: --job chooses"
    end a b c
}

# A program of its own with a directory of its own: memory that nobody listens for, in a segment that is kept.
test_api() {
    local directory
    new_job
    directory=$(mktemp -d /dev/shm/tools-merge-XXXXXX)
    cat >"$work/holder.py" <<'PYTHON'
import ctypes, sys


class Traits(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("scope", ctypes.c_int), ("resource", ctypes.c_int),
                ("read_only", ctypes.c_bool), ("persist", ctypes.c_bool),
                ("dir", ctypes.c_char_p), ("job", ctypes.c_char_p)]


core = ctypes.CDLL(sys.argv[1])
core.shmcore_default_traits.restype = Traits
core.shmcore_open.restype = core.shmcore_private.restype = ctypes.c_void_p
core.shmcore_merge.restype = ctypes.c_ssize_t
core.shmcore_open.argtypes = [ctypes.c_char_p, ctypes.POINTER(Traits)]
core.shmcore_private.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
core.shmcore_merge.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
traits = core.shmcore_default_traits()
traits.size, traits.dir, traits.persist = 64 << 20, sys.argv[2].encode(), True
segment = core.shmcore_open(b"SHARED::kept", traits)
memory = core.shmcore_private(segment, b"own", 4 << 20)
ctypes.memset(memory, 7, 4 << 20)
print("ready", flush=True)
sys.stdin.readline()
print("merged", core.shmcore_merge(segment, memory), flush=True)
print("done", flush=True)
sys.stdin.readline()
PYTHON
    hold a pass python3 "$work/holder.py" "$library" "$directory"
    tool ls --json --dir "$directory" SHARED::kept
    holds "[(m['name'], m['bytes'], m['ranks'], m['merged']) for m in it['merged']] == [('own', 4 << 20, 1, 0)]" "the API"
    tool merge --dir "$directory" SHARED::kept
    fails "nobody listens" "no process of 'SHARED::kept' has merged: those with memory for it do not listen"
    go a
    await a 'done'
    has a.out '^merged 4194304$' "the API: it merges by itself"
    tool ls --json --dir "$directory" SHARED::kept
    holds "[(m['merged'], m['saved']) for m in it['merged']] == [(4 << 20, 0)]" "the API, one process"
    finish a
    tool ls --json --dir "$directory"
    holds "[(s['persist'], s['processes']) for s in it] == [(True, 0)]" "the API: a kept segment stays"
    rm -r "$directory"
}

test_another_user() {
    if [ "$(id -u)" != 0 ] || ! command -v setpriv >/dev/null; then
        skip "another user's segment" "only root can be another user"
        return
    fi
    new_job
    mkdir "$work/built"
    cp "$shim" "$listing" "$library"* "$work/built" 2>/dev/null
    chmod 711 "$work"
    local shim=$work/built/libshmpreload.so # the other user need not see the build
    hold a "$policy" setpriv --reuid 65534 --regid 65534 --clear-groups "$work/built/merge-listing"
    tool merge $node
    fails "another user's segment" "the segment '$node' belongs to user [^ ]+, and only that user can open it"
    tool ls
    has out "^$node +$SHM_JOB +[^ ]+ +[^ ]+ +[^ ]+ +- +1 +live$" "ls: another user's segment does not tell what it saves"
    tool ls --json
    shim=$build/preload/libshmpreload.so
    hold b "$policy" "$listing" # a segment of the same name and job
    tool ls --json --sort owner
    holds "[s.get('saved') for s in it] == [0, None]" "ls, one segment is another user's"
    tool merge $node
    has out '^1 process merged: ' "two users: the segment of one's own is meant"
    end a b
}

test_usage() {
    local seconds
    for seconds in 0 -1 1K 1.5 86401 99999999999999999999 ''; do
        tool merge --wait "$seconds" $node
        exits 2 "--wait '$seconds'"
        has err "^shmpreload: --wait takes a number of seconds from 1 to 86400, not '$seconds'$" "--wait '$seconds': a sentence"
    done
    tool merge
    exits 2 "no segment is named"
    tool merge $node more
    exits 2 "two segments are named"
}

test_merge
test_json_and_difference
test_stopped
test_nobody
test_jobs
test_api
test_another_user
test_usage
tap_end
