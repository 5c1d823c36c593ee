#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Every verb, match and option of a policy, seen from the program and from `shmpreload ls`.
#
#     tests/preload-policy.sh BUILD_DIR
. "$(dirname "$0")/tap.sh"
tap_begin policy "${1-}"
sites=$victims/sites

# takes POLICY WORDS: under it the shim takes the blocks of these call sites and no others.
takes() {
    in_new_job "$1" "$sites"
    equals "$(grep '^taken:' "$work/out")" "taken:${2:+ $2}" "$1"
    exits 0 "$1"
    silent "$1"
}

test_matches() {
    takes 'export func=alpha' 'alpha alpha'
    takes 'export func=beta' 'beta' # a static function
    takes 'export func=*et*' 'beta'
    takes 'export func=[ab]*' 'alpha beta alpha'
    takes 'export func=library_make' 'library'
    takes 'export module=exe' 'alpha beta gamma_grow delta alpha'
    takes 'export module=sites' 'alpha beta gamma_grow delta alpha'
    takes 'export module=libvictim*.so' 'library'
    takes 'export module=exe size>=1001' 'beta gamma_grow delta'
    takes 'export module=exe size>1000' 'beta gamma_grow delta'
    takes 'export module=exe size<4096' 'alpha alpha'
    takes 'export module=exe size<=4K' 'alpha beta alpha'
    takes 'export module=exe size=4096..6400' 'beta delta'
    takes 'export module=exe size>=2K size<64K' 'beta delta'
    takes 'export module=exe call=malloc' 'alpha alpha'
    takes 'export module=exe call=calloc' 'beta'
    takes 'export module=exe call=realloc' 'gamma_grow'
    takes 'export module=exe call=aligned' 'delta'
    takes 'export module=exe call=calloc,aligned' 'beta delta'
    takes 'share module=exe func=beta size>=4K call=calloc' 'beta'
}

test_order() {
    takes 'pass size<4K; export module=exe' 'beta gamma_grow delta'
    takes 'export func=alpha; pass size<4K; export module=exe size<64K' 'alpha beta delta alpha'
    takes 'pass func=alpha; export module=exe' 'beta gamma_grow delta'
    takes 'export module=exe call=malloc; export func=beta' 'alpha beta alpha'
    in_new_job 'export module=exe; export func=library_none; share func=alpha' "$sites"
    equals "$(grep '^taken:' "$work/out")" 'taken: alpha beta gamma_grow delta alpha' "a rule that comes too late"
    equals "$(grep -c 'never matched' "$work/err")" 2 "two rules that never match are named at exit"
    has err 'line 1 .*never matched: share func=alpha$' "a rule that comes too late is named"
    PMIX_RANK=1 in_new_job 'export func=library_none' "$sites"
    silent "a rank but the first leaves it to that one to name rules"
    PMIX_RANK=0 in_new_job 'export func=library_none' "$sites"
    has err 'line 1 .*never matched: export func=library_none$' "the first rank names them"
    takes 'pass' ''
    takes '# nothing but a comment' ''
}

# The site as `check` tells it holds in every run, wherever the program lies.
# alone COMMAND...: as the first process of a container, which has no parent, with a /dev/shm of its own; `left` is what
# lies there afterwards.
alone() {
    left=$(unshare -m bash -c 'mount -t tmpfs -o mode=1777 tmpfs /dev/shm || exit
        unshare -p -f --mount-proc env LD_PRELOAD="$1" SHM_POLICY="$2" "${@:4}" >"$3/out" 2>"$3/err" </dev/null
        ls /dev/shm' alone "$shim" "$1" "$work" "${@:2}")
}

# Who has the last word, and nobody above him who carries the shim, leaves nothing of it.
test_last_word() {
    if ! unshare -m unshare -p -f --mount-proc true 2>/dev/null; then
        skip 'the first process of a container' 'there may be no namespaces here'
        return
    fi
    alone 'export func=none' "$sites"
    has err 'never matched: export func=none$' 'the first process of a container: it has the last word'
    equals "$left" '' 'and nothing of it stays'
    alone 'export func=none' bash -c '"$1"; "$1"; true' bash "$sites"
    equals "$(grep -c 'never matched' "$work/err")" 1 'a shell and what it starts: one of them has it'
    equals "$left" '' 'and nothing of theirs stays'
}

test_site() {
    local site
    "$tool" check 'export func=beta' -- "$sites" >"$work/out" 2>"$work/err"
    site=$(grep -Eo '[^ ]+!0x[0-9a-f]+' "$work/out" | head -n 1)
    equals "${site%!*}" sites "check names the call site"
    takes "export site=$site" 'beta'
    takes "export site=$site" 'beta' # at another address
    takes "export site=exe!${site#*!}" 'beta'
    in_new_job "export site=other!${site#*!}" "$sites"
    equals "$(grep '^taken:' "$work/out")" 'taken:' "the site of another module"
}

# lists POLICY WHAT EXPECTED…: the names that ls shows, without the process.
lists() {
    local policy=$1 what=$2
    shift 2
    new_job
    hold sites "$policy" "$sites" wait
    blocks
    equals "$(names)" "$(printf '%s\n' "$@")" "$what"
    finish sites
    exits 0 "$what"
}

test_names() {
    lists 'export module=exe name=field/{func}/{seq}' 'name={func}/{seq}' \
        field/alpha/0 field/alpha/1 field/beta/0 field/delta/0 field/gamma_grow/0
    lists 'share func=beta name=plain' 'a plain name' plain
    lists 'share func=alpha name=plain' 'a plain name for two blocks' plain 'plain#1'
    lists 'share module=exe name={module}-{size}-{thread}' 'name={module}-{size}-{thread}' \
        sites-1000-0 'sites-1000-0#4' 'sites-100000-0#2' 'sites-4096-0#1' 'sites-6400-0#3'
    lists 'export func=beta name=plain' 'a plain name under export: the process follows' plain
    lists 'share func=beta name="two words; {seq} # é"' 'a quoted name' 'two words; 0 # é'
    new_job
    hold sites 'export func=beta name={pid}.{func}; share func=alpha; export func=delta' "$sites" wait
    blocks
    equals "$(grep -c "^${held_pid[sites]}\.beta	" "$work/blocks")" 1 'name={pid} is the pid, and nothing follows'
    equals "$(grep -Ec '^sites:alpha\+0x[0-9a-f]+#[01]	1000	share	' "$work/blocks")" 2 'the default name of share'
    equals "$(grep -Ec "^sites:delta\+0x[0-9a-f]+#0@p${held_pid[sites]}	6400	export	${held_pid[sites]}	1	" "$work/blocks")" 1 \
        'the default name of export: with the process'
    finish sites
    new_job
    export PMIX_RANK=3
    hold sites 'export func=beta; export func=delta name=r{rank}' "$sites" wait
    unset PMIX_RANK
    blocks
    equals "$(cut -f1 "$work/blocks" | sed -E 's/0x[0-9a-f]+/X/')" $'r3\nsites:beta+X#0@3' 'under MPI: with the rank'
    finish sites
}

test_offset_name() {
    new_job
    hold sites 'export func=beta name={offset}; export func=library_make' "$sites" wait
    blocks
    equals "$(grep -Ec '^0x[0-9a-f]+@p' "$work/blocks")" 1 'name={offset}'
    equals "$(grep -Ec '^libvictim.so:library_make\+0x' "$work/blocks")" 1 "a library's block"
    finish sites
}

test_segments() {
    new_job
    hold sites 'segment SHARED::one size=16M; segment SHARED::two size=32M
        export func=alpha; export func=beta segment=SHARED::two' "$sites" wait
    equals "$("$tool" ls --json --job "$SHM_JOB" | grep -Ec '"capacity": (16777216|33554432)')" 2 \
        "two segments, as large as declared"
    blocks SHARED::one
    equals "$(cut -f2 "$work/blocks" | xargs)" '1000 1000' "the first one declared is the default"
    blocks SHARED::two
    equals "$(cut -f2 "$work/blocks")" 4096 "segment="
    finish sites
    exits 0 "two segments"
}

test_directory() {
    local directory
    directory=$(mktemp -d "/dev/shm/shmcore-policy-XXXXXX")
    new_job
    hold sites "segment SHARED::there dir=$directory; export func=alpha" "$sites" wait
    equals "$(find "$directory" -name '*.SHARED::there' | wc -l)" 1 "dir=: the segment lies there"
    finish sites
    equals "$(ls -A "$directory")" '' "dir=: and is gone afterwards"
    rmdir "$directory"
    in_new_job 'segment SHARED::there dir=/proc; export func=alpha' "$sites"
    exits 0 "dir= that is no tmpfs"
    one_line "dir= that is no tmpfs" 'not on a tmpfs.*own memory'
}

test_full() {
    local verb
    for verb in export share; do
        export VICTIM_ROUTED=some
        bare "$victims/fill" 64 65536
        in_new_job "segment SHARED::small size=2M; $verb func=store" "$victims/fill" 64 65536
        unchanged "$verb, a full segment"
        one_line "$verb, a full segment" "SHARED::small.*own memory"
        in_new_job "segment SHARED::small size=2M; $verb func=store full=fail" "$victims/fill" 64 65536
        exits 0 "$verb full=fail"
        equals "$(head -n 1 "$work/out")" 'missing: some' "$verb full=fail: NULL when it is full"
        one_line "$verb full=fail" "SHARED::small.*fails"
        in_new_job "segment SHARED::small size=2M; $verb func=store" "$victims/fill" 8 16777216
        equals "$(head -n 1 "$work/out")" 'missing: none' "$verb, blocks larger than the segment"
        one_line "$verb, blocks larger than the segment" "SHARED::small"
        export VICTIM_ROUTED=all
        in_new_job "segment SHARED::small size=2M; $verb func=store full=fail" "$victims/fill" 100 100
        exits 0 "$verb full=fail, there is room"
        silent "$verb full=fail, there is room"
    done
    unset VICTIM_ROUTED
}

reserved() {
    "$tool" ls --json --job "$SHM_JOB" | sed -nE 's/.*"reserved": ([0-9]+).*/\1/p'
}

test_reserve() {
    local bytes
    new_job
    hold sparse 'export module=exe size>=1M reserve=touch' "$victims/sparse"
    bytes=$(reserved)
    [ "${bytes:-99999999}" -lt $((32 << 20)) ]
    verdict $? "reserve=touch takes memory when it is touched: ${bytes:-nothing} bytes" "$work/sparse.err"
    finish sparse
    exits 0 "reserve=touch"
    new_job
    hold sparse 'export module=exe size>=1M reserve=full' "$victims/sparse"
    bytes=$(reserved)
    [ "${bytes:-0}" -ge $((64 << 20)) ]
    verdict $? "reserve=full takes it at once: ${bytes:-nothing} bytes" "$work/sparse.err"
    finish sparse
    exits 0 "reserve=full"
}

test_verbs() {
    new_job
    hold sites 'export func=alpha; share func=beta; pass module=exe' "$sites" wait
    blocks
    equals "$(cut -f2,3 "$work/blocks" | xargs)" '1000 export 1000 export 4096 share' "export and share are told apart"
    finish sites
    exits 0 "three verbs"
    cp "$work/sites.err" "$work/err"
    silent "three verbs"
}

# The rules hold for the programs that are named, not for the shells on the way.
test_program() {
    local owners
    new_job
    hold sites "program sites; export size>=0" bash -c "'$sites' wait; exit \$((\$? + 40))"
    blocks
    owners=$(cut -f4 "$work/blocks" | sort -u)
    equals "$(tr '\0' ' ' <"/proc/$owners/cmdline")" "$sites wait " "program: the named one and no other has blocks"
    finish sites
    exits 40 "program, started by bash"
    in_new_job 'program other ./sites; export func=alpha' "$sites"
    equals "$(grep '^taken:' "$work/out")" 'taken: alpha alpha' 'program ./sites'
    in_new_job 'program other sit*; export func=alpha' "$sites"
    equals "$(grep '^taken:' "$work/out")" 'taken: alpha alpha' 'program sit*'
    in_new_job 'program other ./elsewhere/sites; export size>=0' "$sites"
    equals "$(grep '^taken:' "$work/out")" 'taken:' 'program: another one'
    silent 'program: another one'
}

test_twins() {
    local kind
    mkdir -p "$work/a" "$work/b"
    for kind in twin twin-plain; do
        cp "$victims/$kind-one" "$work/a/program"
        cp "$victims/$kind-two" "$work/b/program"
        new_job
        hold a 'share func=make' "$work/a/program"
        hold b 'share func=make' "$work/b/program"
        blocks
        equals "$(cut -f1 "$work/blocks" | sort -u | wc -l)/$(cut -f6 "$work/blocks" | sort -u | wc -l)" 1/2 \
            "$kind: two programs, one name to see, two blocks"
        equals "$(cut -f5 "$work/blocks" | xargs)" '1 1' "$kind: each has its own"
        finish a
        exits 0 "$kind: the first one's block stays its own"
        finish b
        exits 0 "$kind: the second one's block stays its own"
    done
}

address() {
    sed -n 's/^block //p' "$work/$1.out"
}

# Two ranks: the same program twice, at different addresses.
test_ranks() {
    new_job
    hold a 'share func=meeting_point' "$victims/meet" Anna
    hold b 'share func=meeting_point' "$victims/meet" Bert
    if [ "$(cat /proc/sys/kernel/randomize_va_space)" = 0 ]; then
        skip "the program lies elsewhere in the second run" "this system does not randomise addresses"
    else
        [ "$(grep '^main' "$work/a.out")" != "$(grep '^main' "$work/b.out")" ]
        verdict $? "the program lies elsewhere in the second run" "$work/a.out" "$work/b.out"
    fi
    equals "$(address a)" "$(address b)" "share: one address"
    blocks
    equals "$(cut -f2,3,5 "$work/blocks")" $'200000\tshare\t2' "share: one block, two references"
    has b.out "^found 'Anna'$" "share: calloc of the second one does not zero"
    finish a
    has a.out "^now 'AnnaBert'$" "share: the first one sees what the second one wrote"
    blocks
    equals "$(cut -f5 "$work/blocks")" 1 "share: one reference is left"
    finish b
    has b.out "^now 'AnnaBert'$" "share: the second one's block outlives the first one"
    new_job
    hold a 'export func=meeting_point' "$victims/meet" Anna
    hold b 'export func=meeting_point' "$victims/meet" Bert
    blocks
    equals "$(names | sort -u | wc -l)/$(wc -l <"$work/blocks")" 1/2 "export: the same name but for the process"
    has b.out "^found ''$" "export: nobody else's contents"
    finish a
    has a.out "^now 'Anna'$" "export: nobody else writes to it"
    finish b
}

test_threads() {
    new_job
    hold threads 'share func=make name={func}{seq}' "$victims/threads-names"
    blocks
    equals "$(cut -f1,2 "$work/blocks")" $'make0\t3000\nmake0.t1\t1000\nmake0.t2\t2000\nmake0.t2.1\t2100' \
        "threads are numbered by their place in the tree of creation"
    finish threads
    exits 0 "threads"
    new_job
    hold threads 'share func=make name=x{thread}y' "$victims/threads-names"
    blocks
    equals "$(cut -f1 "$work/blocks" | xargs)" 'x0y x1y x2.1y x2y' "name={thread}"
    finish threads
    new_job
    hold threads 'export func=make' "$victims/threads-names"
    blocks
    equals "$(names | sed -E 's/0x[0-9a-f]+/X/' | xargs)" \
        'threads-names:make+X#0 threads-names:make+X#0.t1 threads-names:make+X#0.t2 threads-names:make+X#0.t2.1' \
        "threads in default names"
    finish threads
}

# The program's copy of the library and the shim's are attached to one segment, in either order.
test_api() {
    same "the program opens the same segment" 'export func=make' "$victims/own-segment"
    silent "the program opens the same segment"
}

test_matches
test_api
test_order
test_last_word
test_site
test_verbs
test_names
test_offset_name
test_segments
test_directory
test_full
test_reserve
test_program
test_twins
test_ranks
test_threads
tap_end
