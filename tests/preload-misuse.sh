#!/bin/bash
# SPDX-License-Identifier: MIT
#
# What programs do that they must not, and what malloc(3) allows but few do: wrong pointers, another process's
# pointers, frees at the very end, in signal handlers, after dlclose, after all descriptors were closed; advice
# and protection of routed memory. (Wrong frees of each kind of block: preload-family.sh; stray writes over
# the tables: preload-scribble.sh.)
#
#     tests/preload-misuse.sh BUILD_DIR
. "$(dirname "$0")/tap.sh"
tap_begin misuse "${1-}"
ignored='free\(\) or realloc\(\) in .*no live block.*ignored$'

# places: of the calls that were found wrong, sorted.
places() {
    sed -nE 's/^shmpreload: error: free\(\) or realloc\(\) in (.*) of 0x[0-9a-f]+, .*/\1/p' "$1" | LC_ALL=C sort
}

# The call site is named as rules name it, once, however often and in however many processes.
test_report() {
    export VICTIM_ROUTED=1
    local i policy
    in_new_job 'export size>=0' "$victims/misuse" double 200
    has err "in wrong_free\+0x[0-9a-f]+ \(misuse!0x[0-9a-f]+\) of 0x" "the function is named"
    local site
    site=$(places "$work/err" | sed -E 's/.*\((.*)\)/\1/')
    in_new_job 'export size>=0 name=n{seq}' "$victims/misuse" double 200
    equals "$(places "$work/err")" "$site" "without names of functions: the module and the offset"
    # and the offset is one that site= takes
    in_new_job 'export size>=0' "$victims/misuse-foreign" freed
    site=$(places "$work/err" | sed -nE 's/^wrong_resize.*\((.*)\)/\1/p')
    in_new_job "export site=$site; export func=main" "$victims/misuse-foreign" freed
    exits 7 "a rule for the place that was reported"
    lacks err 'never matched' "a rule for the place that was reported matches"
    new_job
    hold first 'export size>=0' "$victims/misuse-foreign" freed
    hold second 'export size>=0' "$victims/misuse-foreign" freed
    finish first
    finish second
    equals "$(cat "$work/first.err" "$work/second.err" | grep -Ec "$ignored")" 2 \
        "two processes of a job: one line for each place"
    for policy in 'export size>=0' 'share size>=0'; do
        for i in freed interior tables; do
            in_new_job "$policy" "$victims/misuse-foreign" $i
            exits 7 "$policy, $i"
            lacks out '^NO' "$policy, $i: all facts hold"
            equals "$(places "$work/err" | sed 's/+.*//' | xargs)" 'wrong_free wrong_resize' \
                "$policy, $i: one line for each of the two places"
        done
    done
}

test_elsewhere() {
    bare "$victims/misuse-foreign" nowhere
    in_new_job 'export size>=0' "$victims/misuse-foreign" nowhere
    unchanged "a pointer to nowhere in the window"
}

# stranger VERB KIND: B gets pointers of A's; A's blocks are none of its business.
stranger() {
    local verb=$1 address
    new_job
    hold a "$verb size>=0 name={func}/{seq}/{pid}" "$victims/misuse-foreign" none
    blocks
    cp "$work/blocks" "$work/before"
    address=$(awk -F'\t' '$2 == 100 && $1 ~ /^main/ { print $6; exit }' "$work/blocks")
    start b "$verb size>=0 name={func}/{seq}/{pid}" "$victims/misuse-foreign" "$2"
    printf '%s\n' "$address" >&"${held_in[b]}"
    await b ready
    verdict $? "$verb, another process's pointer: it runs on" "$work/b.out" "$work/b.err"
    blocks
    grep -F "$(cut -f1 "$work/before" | head -n1 | sed 's/.*\///')" "$work/blocks" >"$work/after"
    equals "$(cat "$work/after")" "$(cat "$work/before")" "$verb, another process's pointer: the owner has all it had"
    finish b
    exits 7 "$verb, another process's pointer"
    lacks b.out '^NO' "$verb, another process's pointer: all facts hold"
    equals "$(places "$work/b.err" | sed 's/+.*//' | xargs)" 'wrong_free wrong_resize' \
        "$verb, another process's pointer: one line for each place"
    finish a
    exits 7 "$verb, the owner"
    lacks a.out '^NO' "$verb, the owner's contents"
}

test_late() {
    local verb
    for verb in export share; do
        same "$verb, freed at the end" "$verb size>=0" "$victims/exit-free"
        exits 7 "$verb, freed at the end"
        lacks out '^NO' "$verb, freed at the end: all facts hold"
        equals "$(grep -c '^yes' "$work/out")" 8 "$verb, freed at the end: every handler has run"
    done
}

# Modules that lie at the same addresses one after the other: each block is known by the module that made it.
test_unloaded() {
    local verb
    for verb in export share; do
        new_job
        hold unloaded "$verb module=unloaded-*.so" "$victims/unloaded" "$victims/unloaded-first.so" \
            "$victims/unloaded-second.so"
        blocks
        equals "$(names | sed 's/:.*//' | xargs)" 'unloaded-first.so unloaded-first.so unloaded-second.so' \
            "$verb, modules that are unloaded: who made the blocks"
        finish unloaded
        exits 0 "$verb, modules that are unloaded"
        lacks unloaded.out '^NO' "$verb, modules that are unloaded: all facts hold"
        equals "$(cat "$work/unloaded.err")" '' "$verb, modules that are unloaded: nothing on standard error"
    done
}

# no_block_left WHAT: the program that waits has freed all it has allocated itself.
no_block_left() {
    blocks
    equals "$(grep -Ev '^(libc|ld-linux)' "$work/blocks")" '' "$1: no block is lost"
}

test_signals() {
    local verb
    for verb in export share; do
        new_job
        hold inside "$verb module=exe" "$victims/signal-inside"
        no_block_left "$verb, signals inside malloc"
        finish inside
        exits 0 "$verb, signals inside malloc"
        lacks inside.out '^NO' "$verb, signals inside malloc: all facts hold"
        equals "$(cat "$work/inside.err")" '' "$verb, signals inside malloc: nothing on standard error"
        new_job
        hold inside "$verb module=exe" "$victims/signal-inside" twice
        no_block_left "$verb, freed twice inside malloc"
        finish inside
        exits 0 "$verb, freed twice inside malloc"
        cp "$work/inside.err" "$work/err"
        one_line "$verb, freed twice inside malloc" 'in handle\+0x[0-9a-f]+ \(signal-inside!0x'
        new_job
        hold storm "$verb module=exe" "$victims/signal-storm" 5000
        verdict $? "$verb, a storm of signals: it comes to its end" "$work/storm.out" "$work/storm.err"
        no_block_left "$verb, a storm of signals"
        finish storm
        exits 0 "$verb, a storm of signals"
        lacks storm.out '^NO' "$verb, a storm of signals: all facts hold"
    done
}

# The mistake that the victim makes with its descriptors changed is not told, for nobody is there to be told.
test_closed() {
    local verb
    for verb in export share; do
        mkdir "$work/$verb-files" "$work/bare-files"
        VICTIM_ROUTED='' bare "$victims/closed" "$work/bare-files"
        in_new_job "$verb size>=0" "$victims/closed" "$work/$verb-files"
        exits 7 "$verb, all descriptors closed"
        diff "$work/bare-files/result" "$work/$verb-files/result" >"$work/diff"
        verdict $? "$verb, all descriptors closed: the same result" "$work/diff"
        equals "$(grep -Ec "$ignored" "$work/err")" 1 "$verb, all descriptors closed: what was wrong before is said"
        equals "$(wc -l <"$work/err")" 1 "$verb, all descriptors closed: and nothing else"
        rm -r "$work/bare-files"
    done
}

test_advice() {
    local verb kind
    for verb in export share; do
        for kind in forget protect; do
            same "$verb, advice $kind" "$verb size>=0" "$victims/advice" $kind
            exits 0 "$verb, advice $kind"
            lacks out '^NO' "$verb, advice $kind: all facts hold"
        done
        in_new_job "$verb size>=0" "$victims/advice" across
        exits 0 "$verb, advice across the end of a block"
        lacks out '^NO' "$verb, advice across the end of a block: all facts hold"
    done
    same "export, protected pages inherited" 'export size>=0' "$victims/advice" inherit
    exits 0 "export, protected pages inherited"
}

test_report
test_elsewhere
stranger export given
stranger share given-shared
test_late
test_unloaded
test_signals
test_closed
test_advice
tap_end
