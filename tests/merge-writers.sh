#!/bin/bash
# SPDX-License-Identifier: MIT
#
# No write is lost, and no call answers differently, while memory is merged again and again: a program of three
# ranks that write in every way there is (victims/merge-writers.h), with each way of holding the writers, as root
# and as a user who may do less, merged when it goes quiet and whenever it is asked for.
#
#     SHM_TEST_SECONDS=2 tests/merge-writers.sh BUILD_DIR
#
# SHM_TEST_SECONDS: how long each run takes; with more than 4 all ways are tried,
# and so they are with SHM_TESTS=long. Root has a /dev/shm of its own for this, so that it can be seen whose
# files lie there: those of merged memory do not name their job.
if [ -z "${SHM_TEST_NAMESPACE:-}" ] && unshare -m mount -t tmpfs -o mode=1777 tmpfs /dev/shm 2>/dev/null; then
    SHM_TEST_NAMESPACE=yes exec unshare -m bash "$0" "$@"
fi
[ "${SHM_TEST_NAMESPACE:-}" != yes ] || mount -t tmpfs -o mode=1777,size=1G tmpfs /dev/shm
. "$(dirname "$0")/tap.sh"
tap_begin merge-writers "${1-}"
seconds=2
[ "${SHM_TESTS:-}" != long ] || seconds=10
seconds=${SHM_TEST_SECONDS:-$seconds}
unset SHM_TEST_SECONDS SHM_MERGE_HOLD

# Where everybody can read them.
make_public() {
    chmod 0711 "$work"
    public=$work/public
    mkdir -m 0755 "$public"
    mkdir -m 0755 "$public"/{core,tools}
    cp "$victims"/merge-{writers,naive.so} "$build"/preload/*.so "$public/"
    cp "$build"/core/libshmcore.so.0 "$public/core/"
    cp "$tool" "$public/tools/"
    chmod -R u=rwX,go=rX "$public"
    shim=$public/libshmpreload.so
    tool=$public/tools/shmpreload
}

# The program itself: it is sound, and finds what it looks for.
test_program() {
    bare "$public/merge-writers" "$seconds"
    equals "$bare_status" 0 'without the shim: exit status 0'
    cp "$work/bare.out" "$work/out"
    lacks out '^NO' 'without the shim: no kind of thread finds anything'
    NAIVE_MERGE=swap LD_PRELOAD=$public/merge-naive.so timeout 60 "$public/merge-writers" 2 >"$work/out" 2>"$work/err"
    status=$?
    exits 1 'pages swapped under the threads'
    has out '^NO  stores: .* lost' 'pages swapped under the threads: stores are lost'
    has out '^NO  readv of a pipe: .* (lost|torn)' 'pages swapped under the threads: what is read is lost'
    NAIVE_MERGE=signal LD_PRELOAD=$public/merge-naive.so timeout 60 "$public/merge-writers" 2 >"$work/out" 2>"$work/err"
    status=$?
    exits 1 'all threads interrupted'
    has out '^NO  epoll_wait: .* EINTR' 'all threads interrupted: epoll_wait says so'
    has out '^NO  recv with MSG_WAITALL: .* short' 'all threads interrupted: recv gets less'
}

# saved: whether a block has pages that several ranks share.
saved() {
    "${as[@]}" "$tool" ls --json --job "$SHM_JOB" SHARED::node 2>"$work/ls.err" | grep -Eq '"saved": *[1-9]'
}

goes_on() {
    jobs -pr | grep -qx "${held_pid[writers]}"
}

# watch HOW: looks at the list until it shows something; when asking, asks for merging until the program is over.
watch() {
    local shown=1
    while goes_on; do
        [ "$1" != asking ] || "${as[@]}" "$tool" merge --job "$SHM_JOB" SHARED::node >"$work/merge.out" 2>&1
        [ "$shown" = 0 ] || ! saved || shown=0
        [ "$shown" = 1 ] || [ "$1" = asking ] || break
    done
    return "$shown"
}

# What lies in /dev/shm, but for the registry, which stays.
left_over() {
    local ours="/dev/shm/shmcore.*.$SHM_JOB.*"
    [ "${SHM_TEST_NAMESPACE:-}" != yes ] || ours='/dev/shm/*'
    compgen -G "$ours" | grep -v '\.registry$'
}

# run_ranks WHAT WHEN HOW HOLD STEP: WHO is in `as`. 1: nothing was seen to be merged.
run_ranks() {
    local what=$1 shown
    new_job
    export SHM_MERGE_HOLD=$4 SHM_LOG=error # the launcher has nothing that a rule matches
    start writers "program merge-writers; merge module=exe size>=64K when=$2" \
        "${as[@]}" timeout $((seconds * 10 + 60)) "$public/merge-writers" "$seconds" "$5" # or it hangs: 124
    await writers started
    verdict $? "$what: the ranks start" "$work/writers.out" "$work/writers.err"
    watch "$3"
    shown=$?
    finish writers
    unset SHM_MERGE_HOLD SHM_LOG
    grep -v '^yes' "$work/writers.out" >"$work/out"
    cp "$work/writers.err" "$work/err"
    exits 0 "$what"
    lacks out '^NO' "$what: nothing is lost, nothing interrupted"
    silent "$what"
    equals "$(left_over)" '' "$what: nothing is left in /dev/shm"
    [ "$shown" = 0 ] && grep -Eq 'bursts, [1-9][0-9]* of them into parts that had been merged' "$work/out"
}

# hammer WHO HOW HOLD: where a machine has so much else to do that threads do not come when they are to stand still, or
# that the shim's thread looks seldom, nothing is merged: then again, with parts that rest longer.
hammer() {
    local what="$1, $2, $3" when=quiet:100ms step=120 tries merged=1
    [ "$2" != asking ] || { when=manual step=50; }
    for ((tries = 1; tries < 5 && merged != 0; tries++)); do
        run_ranks "$what, time $tries" "$when" "$2" "$3" "$step"
        merged=$?
        step=$((step * 2))
    done
    if [ "$merged" != 0 ] && [ "$3" != userfaultfd ]; then
        skip "$what: merged again and again" 'this machine is too busy'
    else
        [ "$merged" = 0 ]
        verdict $? "$what: merged again and again" "$work/out" "$work/ls.err"
    fi
}

# hammer_as WHO WAYS [COMMAND…]: the command makes one.
hammer_as() {
    local who=$1 ways=$2 way
    shift 2
    as=("$@")
    for way in $ways; do
        hammer "$who" "${way%,*}" "${way#*,}"
    done
}

# For a few seconds each, the ways that differ most; all of them when it is to last.
long='resting,userfaultfd resting,scan resting,compare asking,userfaultfd asking,scan asking,compare'
ways_of_root='resting,userfaultfd asking,compare' ways_of_nobody='resting,compare asking,scan'
[ "$seconds" -le 4 ] || ways_of_root=$long ways_of_nobody=$long

nobody=(setpriv --reuid 65534 --regid 65534 --clear-groups)
make_public
test_program
hammer_as "user $(id -u)" "$ways_of_root"
if ! "${nobody[@]}" true 2>/dev/null; then
    skip 'as a user who may do less' 'only root can become another user'
elif ! "${nobody[@]}" "$tool" -h >/dev/null 2>&1; then
    skip 'as a user who may do less' "who cannot reach $public"
else
    hammer_as nobody "$ways_of_nobody" "${nobody[@]}"
fi
tap_end
