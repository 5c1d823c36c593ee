#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Stray writes of a program over the tables of the segment that its blocks lie in: it runs on, with its own
# memory where it must; so does another process that has the segment open; and who looks from outside gets an
# answer.
#
#     tests/preload-scribble.sh BUILD_DIR
. "$(dirname "$0")/tap.sh"
tap_begin scribble "${1-}"
segment='segment SHARED::node size=256M'

# struck WHERE WHAT: in this job. Where bits say that slots of named blocks are free, and make sense otherwise, they are
# given away: nobody knows better, as several processes have them in common.
struck() {
    with_shim "$policy" timeout 100 "$victims/scribble" "$1" "$2"
    if [ "$verb $1 $2" = 'share slabs low' ]; then
        grep -v '^NO  other blocks are whole$' "$work/out" >"$work/others"
        mv "$work/others" "$work/out"
        [ $status = 1 ] && status=7
    fi
    exits 7 "$verb, $2 over $1"
    lacks out '^NO' "$verb, $2 over $1: all facts hold"
    [ "$(wc -l <"$work/err")" -le 8 ]
    verdict $? "$verb, $2 over $1: it is not said again and again" "$work/err"
}

# seen_from_outside WHERE: the listing ends by itself, with something or with a sentence.
seen_from_outside() {
    timeout 100 "$tool" ls --job "$SHM_JOB" SHARED::node >"$work/ls" 2>"$work/ls.err"
    local answer=$?
    [ $answer -le 1 ] && { [ $answer = 0 ] || [ "$(wc -l <"$work/ls.err")" = 1 ]; }
    verdict $? "$verb, noise over $1: a look from outside" "$work/ls" "$work/ls.err"
}

test_everywhere() {
    local where what
    for where in header pool pool-lock pool-undo rows shards directories bins partial undo held region-owners \
        region-free quanta "$@"; do
        new_job
        hold other "$policy" "$victims/scribble" nothing none
        struck "$where" noise
        seen_from_outside "$where"
        finish other
        exits 7 "$verb, noise over $where: another process runs on"
        lacks other.out '^NO' "$verb, noise over $where: another process has its contents"
    done
}

# What may pass for real values, and words that are all alike; alone in the segment.
test_kinds() {
    local where what
    for where in "$@"; do
        for what in zeros ones low; do
            new_job
            struck "$where" $what
        done
    done
}

# A lock that somebody seems to hold for ever, and one that is none.
test_locks() {
    local what
    for what in ones noise; do
        new_job
        struck locks $what
    done
}

verb=export
policy="$segment; export size>=0"
test_everywhere export-slabs export-slab-bits labels quanta-of-one
test_kinds pool bins export-slabs export-slab-bits
test_locks
verb=share
policy="$segment; share size>=0 name={func}/{seq}/{pid}"
test_everywhere slabs records buckets
test_kinds directories bins partial slabs records
test_locks
# A damaged header is nobody's segment, so nobody removes it.
rm -f /dev/shm/shmcore.*".$tap_name-$$-"*
tap_end
