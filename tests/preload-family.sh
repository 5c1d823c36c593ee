#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The malloc family, with everything exported and with everything shared.
#
#     tests/preload-family.sh BUILD_DIR
. "$(dirname "$0")/tap.sh"
tap_begin family "${1-}"

whole_family() {
    local verb=$1 name
    export VICTIM_ROUTED=2097152
    for name in zero calloc realloc usable errno sized libc; do
        same "$verb, $name" "$verb size>=0" "$victims/family-$name"
        equals "$status" 0 "$verb, $name: all facts hold"
    done
}

# A size that no segment can hold is said so once, and malloc says no as it does without us.
test_huge() {
    local verb=$1
    export VICTIM_ROUTED=1
    bare "$victims/family-huge"
    in_new_job "$verb size>=0" "$victims/family-huge"
    unchanged "$verb, huge"
    exits 0 "$verb, huge"
    lacks err '^[^s]|^s[^h]' "$verb, huge: nobody but the shim complains"
}

test_aligned() {
    export VICTIM_ROUTED=2097152
    same "export, aligned" 'export size>=0' "$victims/family-aligned"
    exits 0 "export, aligned"
    export VICTIM_ROUTED=16384 # named blocks are aligned to 16 KiB at the most
    bare "$victims/family-aligned"
    in_new_job 'share size>=0' "$victims/family-aligned"
    unchanged "share, aligned"
    exits 0 "share, aligned"
    one_line "share, aligned beyond what it can do" 'aligned to 16 KiB'
}

# A rule for some sizes only: realloc moves blocks from one allocator to the other and back.
test_crossing() {
    local verb
    export VICTIM_ROUTED=1
    for verb in export share; do
        same "$verb, crossing" "$verb size=1000..100000" "$victims/family-realloc" cross
        exits 0 "$verb, crossing"
    done
}

# Without the shim these end the program; here they are reported, once for each place, and ignored.
test_misuse() {
    local verb=$1 kind bytes
    export VICTIM_ROUTED=1
    for kind in double interior resize; do
        for bytes in 200 100000; do
            in_new_job "$verb size>=0" "$victims/misuse" "$kind" "$bytes"
            exits 7 "$verb, misuse $kind $bytes"
            has out '^done$' "$verb, misuse $kind $bytes: it runs to its end"
            one_line "$verb, misuse $kind $bytes" '(free|realloc)\(\).*0x[0-9a-f]+.*ignored'
        done
    done
}

whole_family export
whole_family share
test_huge export
test_huge share
test_aligned
test_crossing
test_misuse export
test_misuse share
tap_end
