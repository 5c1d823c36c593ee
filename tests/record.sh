#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Records: what is noted of each call site, in which file, and that the program does not notice.
#
#     tests/record.sh BUILD_DIR
if [ "${SHM_TEST_NAMESPACE:-}" != yes ]; then
    for options in -m -rm; do
        if unshare "$options" mount -t tmpfs tmpfs /mnt 2>/dev/null; then
            SHM_TEST_NAMESPACE=yes exec unshare "$options" bash "$0" "$@"
        fi
    done
fi
. "$(dirname "$0")/tap.sh"
tap_begin record "${1-}"
unset MALLOC_PERTURB_ # it would write to what the tests leave untouched
reader=$(dirname "$0")/record-read.py
victim=$victims/recorded
unset SHM_RECORD SHM_RECORD_SIZE

# recorded NAME COMMAND…: under `shmpreload record -o $work/NAME`; with $size as -s.
size=
recorded() {
    local name=$1
    shift
    rm -f "$work"/r.*
    last="record -o $name ${size:+-s $size} -- $*"
    "$tool" record -o "$work/$name" ${size:+-s "$size"} -- "$@" >"$work/out" 2>"$work/err" </dev/null
    status=$?
}

# says FILE WHAT EXPRESSION VALUE: of the record.
says() {
    equals "$(/usr/bin/python3 "$reader" "$work/$1" "$3" 2>&1 | tail -n 1)" "$4" "$2"
}

only_record() { # the name of the one record there is
    (cd "$work" && printf '%s ' r.*)
}

test_counts() {
    recorded r.one "$victim" counts
    exits 0 'counts'
    silent 'counts'
    local site='at("plain_make", "counts", "main")'
    # The two places in counts() are two stacks.
    says r.one 'call stacks' 'sorted(s["calls"] for s in every("plain_make", "counts", "main"))' '[3, 10]'
    says r.one 'calls, bytes, frees of blocks in turn' \
        '[(s["bytes"], s["frees"], s["live_blocks"], s["peak_blocks"], s["peak_bytes"]) for s in every("plain_make") if s["calls"] == 10]' \
        "[(1024000, 10, 0, 1, 102400)]"
    says r.one 'calls, bytes, frees of blocks that are there together' \
        '[(s["bytes"], s["frees"], s["live_blocks"], s["live_bytes"], s["peak_blocks"], s["peak_bytes"]) for s in every("plain_make") if s["calls"] == 3]' \
        "[(614400, 2, 1, 204800, 3, 614400)]"
    says r.one 'sizes' '[(s["sizes"], s["least_size"], s["most_size"]) for s in every("plain_make") if s["calls"] == 10]' \
        "[({16: 10}, 102400, 102400)]"
    says r.one 'as many lifetimes as frees' 'all(sum(s["lifetimes"].values()) == s["frees"] for s in r["sites"])' True
    # 100 KiB of x: a whole piece and a shorter one, the same each time.
    says r.one 'fingerprints' \
        '[(s["marks"], len(set(s["mark"])), s["read_bytes"], s["short_bytes"]) for s in every("plain_make") if s["calls"] == 10]' \
        "[(20, 2, 1024000, 286720)]"
    says r.one 'never written: zeros, also of the block that is live at the end' \
        '[(s["marks"], s["zeros"], s["read_bytes"]) for s in every("plain_make") if s["calls"] == 3]' "[(0, 12, 614400)]"
    says r.one 'the header' '(r["least_bytes"], r["ended"] > r["began"], r["program"].endswith("/recorded"), r["dropped_calls"], r["unread_bytes"])' \
        "(65536, True, True, 0, 0)"
    equals "$(($(stat -c '%b * %B' "$work/r.one") <= 65536))" 1 'the record is small'
    size=0 recorded r.all "$victim" counts
    says r.all 'smaller ones, too, when all are asked for' '[s["sizes"] for s in every("plain_make", "counts") if s["calls"] == 5]' \
        '[{9: 5}]'
    strip -o "$work/stripped" "$victim"
    recorded r.stripped "$work/stripped" counts
    says r.stripped 'a stripped program: module and offset' 'sorted(s["calls"] for s in r["sites"] if s["module"] == "stripped")' \
        '[3, 10]'
}

test_family() {
    recorded r.one "$victim" family
    silent 'every entry point'
    says r.one 'every entry point' 'sorted((s["calls"], s["frees"], s["entry_points"], s["bytes"]) for s in every("family"))' \
        "[(1, 1, 1, 71680), (1, 1, 2, 71680), (1, 1, 4, 71680), (1, 1, 8, 71680), (1, 1, 8, 71680), (1, 1, 8, 71680), (1, 1, 8, 71680), (1, 1, 8, 73728)]"
    recorded r.two "$victim" grow
    exits 0 'realloc'
    says r.two 'what realloc was given' '[(s["calls"], s["frees"]) for s in every("plain_make", "grow")]' '[(1, 1)]'
    says r.two 'what realloc made, and not what it refused' \
        '[(s["calls"], s["frees"], s["bytes"], s["peak_blocks"], s["peak_bytes"], s["entry_points"]) for s in every("grow")]' \
        '[(4, 4, 1966080, 1, 1048576, 4)]'
    [ -x "$victims/cxx-new" ] || return 0
    bare "$victims/cxx-new"
    size=0 recorded r.new "$victims/cxx-new"
    unchanged 'new and delete'
    says r.new 'new: its caller is the call site' 'sum(s["calls"] for s in r["sites"] if s["entry_points"] == 16 and s["module"] != "cxx-new")' 0
    says r.new 'new is not counted a second time' 'sum(s["calls"] for s in r["sites"] if s["module"] == "libstdc++.so.6" and s["entry_points"] == 1 and s["least_size"] < 72000)' 0
    says r.new 'new: its callers are known up to main()' '[s["functions"] for s in r["sites"] if s["entry_points"] == 16 and s["module"] == "cxx-new" and "main" not in s["functions"]]' '[]'
    says r.new 'each new has its delete' '[s for s in r["sites"] if s["entry_points"] == 16 and s["calls"] != s["frees"]]' '[]'
}

test_threads() {
    recorded r.one "$victim" threads
    exits 0 'threads'
    says r.one 'four threads' \
        '[(s["calls"], s["frees"], s["live_bytes"], sum(s["sizes"].values()), sum(s["lifetimes"].values())) for s in every("plain_make", "thread_make")]' \
        '[(8000, 8000, 0, 8000, 8000)]'
    says r.one 'freed by another thread' \
        '[(s["calls"], s["frees"], s["live_bytes"]) for s in every("thread_make")]' '[(4, 4, 0)]'
}

test_processes() {
    recorded r.%p.x "$victim" forks
    exits 0 'a fork'
    equals "$(only_record | wc -w)" 2 'a child that allocates has a record, one that does not has none'
    local file each=
    for file in "$work"/r.*.x; do
        each+=$(/usr/bin/python3 "$reader" "$file" '[(s["bytes"], s["frees"], s["live_blocks"]) for s in every("plain_make")]')
    done
    has_both() { [[ $each == *'[(102400, 1, 0)]'* && $each == *'[(204800, 1, 0)]'* ]]; }
    has_both
    verdict $? "a child's record has what it made, not what it inherited: $each"
    recorded r.one "$victim" forks
    equals "$(only_record | sed -E 's/\.[0-9]+ / PID /')" 'r.one r.one PID ' 'a name without %p: the child adds its own'
    recorded r.%p "$victim" executes
    equals "$(only_record | sed -E 's/[0-9]+/N/; s/[0-9]+/N/')" 'r.N r.N.1 ' 'exec: both programs have a record'
    says "$(cd "$work" && echo r.*[0-9].1)" 'exec: the second program' 'sum(s["calls"] for s in every("plain_make"))' 13
    local old
    old=$(cd "$work" && echo r.*[0-9].1)
    old=${old%.1}
    says "$old" 'exec: the first program has not ended' '(sum(s["calls"] for s in every("plain_make")), r["ended"])' '(1, 0)'
}

test_killed() {
    local file
    rm -f "$work"/r.*
    SHM_RECORD=$work/r.%p hold killed '' "$victim" waits
    kill -9 "${held_pid[killed]}"
    finish killed 2>/dev/null
    file=$(only_record)
    says "${file% }" 'kill -9: all that was done is there' \
        '(sorted((s["calls"], s["frees"], s["live_blocks"]) for s in every("plain_make")), r["ended"])' \
        '([(1, 0, 1), (10, 10, 0)], 0)'
}

test_contents() {
    recorded r.one "$victim" closed
    exits 0 'a part may not be read'
    silent 'a part may not be read'
    says r.one 'a part may not be read' '([(s["marks"], s["read_bytes"]) for s in every("closed")], r["unread_bytes"])' \
        '([(15, 983040)], 65536)'
    bare "$victim" closed-freed
    recorded r.one "$victim" closed-freed
    unchanged 'a part may not be read, freed'
    recorded r.one "$victim" sparse
    lacks out '^NO' 'sparse blocks stay so'
    says r.one 'sparse blocks: what was written has marks' 'sum(s["marks"] for s in every("plain_make", "sparse"))' 3
    says r.one 'sparse blocks: the rest is zeros' 'sum(s["zeros"] for s in every("plain_make", "sparse"))' 8189
}

test_modules() {
    size=0 recorded r.one "$victims/unloaded" "$victims/unloaded-first.so" "$victims/unloaded-second.so"
    exits 0 'modules that come and go'
    says r.one 'modules that come and go: each its own' \
        'sorted((s["module"], s["calls"]) for s in every("plugin_make"))' \
        "[('unloaded-first.so', 2), ('unloaded-first.so', 2), ('unloaded-second.so', 2)]"
}

test_nothing() {
    recorded r.one "$victim" nothing
    exits 0 'nothing to note'
    equals "$(only_record)" 'r.* ' 'nothing to note: no file'
    recorded r.one sh -c 'exit 7'
    exits 7 'the exit status is the program'\''s'
    recorded r.one sh -c 'kill -TERM $$'
    exits 143 'the signal is the program'\''s'
    recorded missing/r.one touch "$work/ran"
    exits 1 'no such directory'
    has err "^shmpreload: cannot record to .*missing.*No such file" 'no such directory: said before'
    [ ! -e "$work/ran" ]
    verdict $? 'no such directory: the program is not run'
    echo text >"$work/r.text"
    last='record over a text'
    "$tool" record -o "$work/r.text" -- touch "$work/ran" >"$work/out" 2>"$work/err"
    status=$?
    exits 1 'a file that is no record'
    equals "$(cat "$work/r.text")" text 'a file that is no record stays'
    recorded r.one "$victim" counts
    last='record again'
    "$tool" record -o "$work/r.one" -- "$victim" counts >"$work/out" 2>"$work/err"
    equals "$(only_record)" 'r.one ' 'a record of that name is replaced'
    last='SHM_RECORD alone'
    SHM_RECORD=$work/r.one LD_PRELOAD=$shim "$victim" counts >"$work/out" 2>"$work/err"
    equals "$(only_record | sed -E 's/\.[0-9]+ / PID /')" 'r.one r.one PID ' 'the shim alone writes over nothing'
    last='SHM_RECORD_SIZE=much'
    SHM_RECORD_SIZE=much SHM_RECORD=$work/r.one LD_PRELOAD=$shim "$victim" counts >"$work/out" 2>"$work/err"
    one_line 'a bad size' "SHM_RECORD_SIZE: expected a number of bytes .*'much'; 64K is used"
}

test_policy() {
    new_job
    bare "$victim" counts
    last='record under a policy'
    rm -f "$work"/r.*
    SHM_RECORD=$work/r.one SHM_POLICY='export func=plain_make' LD_PRELOAD=$shim "$victim" counts >"$work/out" 2>"$work/err"
    status=$?
    unchanged 'with a policy'
    says r.one 'with a policy: the same is noted' 'sorted((s["calls"], s["frees"]) for s in every("plain_make", "counts"))' \
        '[(3, 2), (10, 10)]'
    last='record of small blocks under a policy'
    rm -f "$work"/r.*
    SHM_RECORD=$work/r.one SHM_RECORD_SIZE=0 SHM_POLICY='export func=plain_make' LD_PRELOAD=$shim "$victim" counts \
        >"$work/out" 2>"$work/err"
    status=$?
    unchanged 'small blocks with a policy'
    says r.one 'with a policy: small blocks that are routed again and again are noted each time' \
        'sorted((s["calls"], s["frees"]) for s in every("plain_make", "counts"))' '[(3, 2), (5, 5), (10, 10)]'
}

test_full() {
    if [ "${SHM_TEST_NAMESPACE:-}" != yes ]; then
        skip 'a full disk' 'mounting needs root or user namespaces'
        return
    fi
    mkdir -p "$work/small"
    mount -t tmpfs -o size=256k tmpfs "$work/small"
    new_job
    last='record on a disk that is full'
    SHM_RECORD=$work/small/r SHM_RECORD_SIZE=0 LD_PRELOAD=$shim "$victim" many >"$work/out" 2>"$work/err"
    status=$?
    exits 0 'a disk that fills'
    one_line 'a disk that fills' 'cannot grow, further call sites are left out: '
    equals "$(/usr/bin/python3 "$reader" "$work/small/r" \
        '(sum(s["calls"] for s in every("plain_make")) + r["dropped_calls"] >= 2048, len(r["sites"]) > 50, r["dropped_calls"] > 0)')" \
        '(True, True, True)' 'a disk that fills: what has no row is counted'
    head -c 1M /dev/zero >"$work/small/others" 2>/dev/null
    new_job
    SHM_RECORD=$work/small/second LD_PRELOAD=$shim "$victim" counts >"$work/out" 2>"$work/err"
    status=$?
    exits 0 'a disk that is full'
    one_line 'a disk that is full' 'cannot be made, nothing is recorded'
    [ ! -e "$work/small/second" ]
    verdict $? 'a disk that is full: no file is left'
    umount "$work/small"
    new_job
    last='ulimit -f'
    (ulimit -f 100 && SHM_RECORD=$work/r.limit LD_PRELOAD=$shim "$victim" counts) >"$work/out" 2>"$work/err"
    status=$?
    exits 0 'a limit to the length of files'
    one_line 'a limit to the length of files' 'cannot grow'
    size=0 recorded r.many "$victim" many
    says r.many 'a thousand stacks' '(len(every("plain_make", "deeper")), {s["calls"] for s in every("plain_make", "deeper")}, r["dropped_calls"])' \
        '(1024, {2}, 0)'
}

test_mpi() {
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    if ! mpirun --oversubscribe -n 2 true >"$work/out" 2>&1; then
        skip 'under mpirun' "mpirun is not there or starts nothing here: $(head -n 1 "$work/out")"
        return
    fi
    rm -f "$work"/r.*
    last='mpirun record'
    mpirun --oversubscribe -n 2 "$tool" record -o "$work/r.%r.x" -- "$victim" counts >"$work/out" 2>"$work/err" </dev/null
    equals "$(only_record)" 'r.0.x r.1.x ' 'mpirun in front of record: one for each rank'
    says r.1.x 'mpirun: the rank' '(r["rank"], sum(s["calls"] for s in every("plain_make")))' "('1', 13)"
    last='record mpirun'
    "$tool" record -o "$work/r.%h.%p" -- mpirun --oversubscribe -n 2 "$victim" counts >"$work/out" 2>"$work/err" </dev/null
    local file ranks=
    for file in "$work/r.$(hostname)".*; do
        ranks+=$(/usr/bin/python3 "$reader" "$file" 'r["rank"] if r["program"].endswith("/recorded") else ""')
    done
    [ "$ranks" = 01 ] || [ "$ranks" = 10 ]
    verdict $? "record in front of mpirun: one for each rank, found '$ranks'"
}

# unnoticed WHAT COMMAND…: the same output and standard error.
unnoticed() {
    local what=$1
    shift
    bare "$@"
    size=0 recorded r.%p "$@"
    unchanged "$what"
    diff "$work/bare.err" "$work/err" >"$work/diff"
    verdict $? "$what: the same on standard error" "$work/diff"
    compgen -G "$work/r.*" >/dev/null
    verdict $? "$what: there is a record"
}

test_real_programs() {
    unnoticed python /usr/bin/python3 -c 'import json, sys; print(len(json.dumps([{"a": str(i)} for i in range(2000)])), file=sys.stderr); print("x" * 300000)'
    printf 'int f(int a) { return a * 3; }\nint g(void) { return h(); }\n' >"$work/a.c"
    unnoticed gcc gcc -O1 -Wall -S -o - "$work/a.c"
    unnoticed 'sh and awk' sh -c 'seq 3000 | awk "{ s[\$1 % 7] = s[\$1 % 7] \$1 } END { for (i in s) print length(s[i]) }" | sort -n; echo done >&2'
    if command -v sqlite3 >/dev/null; then
        unnoticed sqlite sqlite3 :memory: 'with recursive n(i) as (select 1 union all select i+1 from n where i<5000) select count(*), sum(i) from n;'
    else
        skip sqlite 'sqlite3 is not installed'
    fi
}

test_counts
test_family
test_threads
test_processes
test_killed
test_contents
test_modules
test_nothing
test_policy
test_full
test_mpi
test_real_programs
tap_end
