#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Bad policies and settings: one line on standard error, and the program's own output and exit status.
#
#     tests/preload-bad.sh BUILD_DIR
. "$(dirname "$0")/tap.sh"
tap_begin bad "${1-}"

# refused WHAT POLICY REGEX: what it says on standard error, in one line.
refused() {
    in_new_job "$2" "$victims/status" 37
    unchanged "$1"
    one_line "$1" "$3"
    [ -z "$(segment_files "$SHM_JOB")" ]
    verdict $? "$1: no segment"
}

accepted() { # accepted WHAT POLICY: it is in force
    in_new_job "$2" "$victims/sites"
    equals "$(cat "$work/out")" 'taken: alpha alpha' "$1"
    silent "$1"
}

test_texts() {
    bare "$victims/status" 37
    equals "$bare_status" 37 "the program itself"
    refused "unknown verb" $'export func=x\n  exprot func=y' "SHM_POLICY:2:3: .*'exprot'.*'export'"
    refused "unknown match" 'export fnc=x' "SHM_POLICY:1:8: .*'fnc=x'.*'func'"
    refused "unknown option" 'export func=x; share func=y nmae=z' "SHM_POLICY:1:29: .*'nmae=z'.*'name'"
    refused "unknown value" 'export func=x full=perhaps' "SHM_POLICY:1:20: .*'perhaps'"
    refused "missing value" 'export func=' 'SHM_POLICY:1:8: .*missing after func='
    refused "sizes the wrong way round" 'export size=5G..1G' "SHM_POLICY:1:13: .*'5G\.\.1G'"
    refused "unbalanced quotes" 'export func="abc' 'SHM_POLICY:1:13: '
    refused "no number" 'export size>=many' "SHM_POLICY:1:14: .*'many'"
    refused "a segment without SHARED" 'segment mine; export size>=0' "SHM_POLICY:1:9: .*SHARED"
    refused "a segment with a slash" 'segment SHARED/mine; export size>=0' "SHM_POLICY:1:9: .*/"
    refused "an undeclared segment" 'export size>=0 segment=SHARED::x' "SHM_POLICY:1:24: .*SHARED::x"
    refused "an unknown placeholder" 'export size>=0 name={sqe}' "SHM_POLICY:1:21: .*'\{sqe\}'"
    refused "an option of another verb" 'export when=manual' "SHM_POLICY:1:8: 'when=' is an option of merge"
    refused "a duration that is none" 'merge when=quiet:5' "SHM_POLICY:1:18: .*duration.*'5'"
    refused "control bytes" $'export \001func=x' 'SHM_POLICY:1:8: '
    # every rule is refused, not the bad one alone
    refused "a good rule before a bad one" $'export size>=0\nbad' 'SHM_POLICY:2:1: '
}

test_files() {
    head -c 1048576 /dev/zero | tr '\0' 'x' >"$work/noise"
    head -c 60000 /dev/urandom >"$work/random"
    printf '\001' | dd of="$work/random" conv=notrunc status=none # whatever the rest is, this is no policy
    printf 'export func=alpha\nexport func=\n' >"$work/bad"
    : >"$work/empty"
    mkfifo "$work/fifo"
    mkdir "$work/directory"
    bare "$victims/status" 37
    refused "1 MB of noise" "@$work/noise" "$work/noise: .*1048576 bytes"
    refused "60 kB of random bytes" "@$work/random" "$work/random:1:1: "
    refused "a bad file" "@$work/bad" "$work/bad:2:8: .*missing after func="
    refused "a missing file" "@$work/missing" "$work/missing: no such file"
    refused "no file name" "@" "name of a file is missing"
    refused "a FIFO" "@$work/fifo" "$work/fifo: .*FIFO"
    refused "a directory" "@$work/directory" "$work/directory: .*directory"
    refused "a device" "@/dev/zero" "/dev/zero: .*device"
    in_new_job "@$work/empty" "$victims/status" 37
    unchanged "an empty file"
    silent "an empty file"
}

test_accepted() {
    printf '\357\273\277export func=alpha\r\n# a comment\r\n' >"$work/windows"
    accepted "a file with CRLF and a BOM" "@$work/windows"
    accepted "a text with CRLF and a BOM" $'\357\273\277\r\nexport func=alpha\r\n'
    accepted "a line, a semicolon, a comment" $'\n ;; export  func=alpha ; # and no more\n'
    printf 'export func=alpha' >"$work/unfinished"
    accepted "a file without a newline at its end" "@$work/unfinished"
}

# Nothing may be written, above all not into the file that gets the number 2.
test_closed_standard_error() {
    local policy
    for policy in 'bad' 'export func=none' 'segment SHARED::s size=1M; export size>=0'; do
        "$victims/status" 37 "$work/second" >"$work/bare.out" 2>&- </dev/null
        bare_status=$?
        new_job
        last="SHM_POLICY='$policy' $victims/status 37 $work/second 2>&-"
        : >"$work/err"
        LD_PRELOAD=$shim SHM_POLICY=$policy "$victims/status" 37 "$work/second" >"$work/out" 2>&- </dev/null
        status=$?
        unchanged "descriptor 2 closed, $policy"
        has out 'the first file is 2$' "descriptor 2 closed, $policy: 2 is free for the program"
        equals "$(wc -c <"$work/second")" 0 "descriptor 2 closed, $policy: nothing is written into the program's file"
    done
}

# Descriptor 2 is another file at the end than at the start: what is said at exit must not go there.
test_changed_standard_error() {
    last="bash with another standard error"
    new_job
    # the program itself, and no shell, changes its descriptor
    LD_PRELOAD=$shim SHM_POLICY='program bash; export func=none' \
        bash -c 'exec 2>"$0"; exit 37' "$work/changed" >"$work/out" 2>"$work/err" </dev/null
    status=$?
    exits 37 "descriptor 2 changed"
    equals "$(wc -c <"$work/changed")" 0 "descriptor 2 changed: nothing is written into the program's file"
    silent "descriptor 2 changed"
    in_new_job 'program bash; export func=none' bash -c 'exit 37'
    one_line "descriptor 2 unchanged" 'never matched'
}

# crowd POLICY…: 64 processes at once, policies in turn, all alive until the last one is up. Their standard error
# is in $work/err.
crowd() {
    local i to from
    rm -f "$work/crowd.to" "$work/crowd.from"
    mkfifo "$work/crowd.to" "$work/crowd.from"
    new_job
    exec {to}<>"$work/crowd.to" {from}<>"$work/crowd.from"
    : >"$work/err"
    last="64 × SHM_POLICY='$*' status 3 - wait"
    local -a pids=()
    for ((i = 0; i < 64; i++)); do
        LD_PRELOAD=$shim SHM_POLICY=${!#} "$victims/status" 3 - wait <"$work/crowd.to" >&"$from" 2>>"$work/err" \
            {to}>&- {from}>&- &
        pids+=($!)
        held_pid["crowd$i"]=$!
        set -- "${!#}" "${@:1:$#-1}"
    done
    local ready=0 line
    while [ $ready -lt 64 ] && IFS= read -r line <&"$from"; do
        [ "$line" != ready ] || ready=$((ready + 1))
    done
    for ((i = 0; i < 64; i++)); do
        printf '\n'
    done >&"$to"
    status=0
    for ((i = 0; i < 64; i++)); do
        wait "${pids[i]}"
        status=$((status + $?))
        unset "held_pid[crowd$i]"
    done
    exec {to}>&- {from}>&-
}

test_crowd() {
    crowd 'bad'
    one_line "64 processes with one bad policy" 'SHM_POLICY:1:1: '
    equals "$status" $((64 * 3)) "64 processes with one bad policy: their own exit status"
    crowd 'segment SHARED::node size=1M; export size>=0'
    equals "$status" $((64 * 3)) "64 processes in a segment that is too small: their own exit status"
    equals "$(sort "$work/err" | uniq -d | wc -l)" 0 "64 processes in a segment that is too small: no line twice"
    equals "$(segment_files "$SHM_JOB")" '' "64 processes that end at once: the file goes with the last one"
    crowd 'bad' 'export func=' 'export func=work'
    equals "$(sort "$work/err" | sed -E 's/.*SHM_POLICY:([0-9:]+):.*/\1/' | xargs)" '1:1 1:8' \
        "ranks with different policies: one line for each"
    equals "$status" $((64 * 3)) "ranks with different policies: their own exit status"
}

# Each rank does what its own policy says; of a segment that two declare with two sizes, the first one's counts.
test_ranks() {
    new_job
    hold a 'share func=meeting_point' "$victims/meet" Anna
    hold b 'export func=meeting_point' "$victims/meet" Bert
    hold c 'pass func=meeting_point' "$victims/meet" Cora
    blocks SHARED::node
    equals "$(cut -f3 "$work/blocks" | sort | xargs)" 'export share' "ranks with different verbs"
    finish b
    exits 0 "the rank that exports"
    finish c
    exits 0 "the rank that passes"
    finish a
    has a.out "^now 'Anna'$" "the rank that shares"
    new_job
    hold a 'segment SHARED::node size=4M; share func=meeting_point' "$victims/meet" Anna
    hold b 'segment SHARED::node size=8M; share func=meeting_point' "$victims/meet" Bert
    cp "$work/b.err" "$work/err"
    one_line "ranks with different sizes" 'SHARED::node.*own memory'
    finish b
    has b.out "^now 'Bert'$" "ranks with different sizes: the second one runs on"
    finish a
    has a.out "^now 'Anna'$" "ranks with different sizes: the first one runs on"
}

test_log() {
    export SHM_LOG=error
    in_new_job 'bad' "$victims/status" 37
    silent "SHM_LOG=error, bad policy"
    in_new_job 'export func=none' "$victims/status" 37
    silent "SHM_LOG=error, a rule that never matches"
    SHM_LOG=warn
    in_new_job 'export func=none' "$victims/status" 37
    one_line "SHM_LOG=warn, a rule that never matches" 'line 1 .*never matched: export func=none$'
    in_new_job 'export func=work' "$victims/status" 37
    silent "SHM_LOG=warn, nothing to say"
    SHM_LOG=info
    in_new_job 'export func=work' "$victims/status" 37
    has err 'shmpreload: info: .*1 rule' "SHM_LOG=info"
    SHM_LOG=debug
    in_new_job 'export func=work' "$victims/status" 37
    has err 'shmpreload: info: .*1 rule' "SHM_LOG=debug says what info says"
    SHM_LOG=loud
    in_new_job 'export func=work' "$victims/status" 37
    one_line "SHM_LOG=loud" "SHM_LOG: .*'loud'"
    unset SHM_LOG
    export SHM_MERGE_HOLD=skan
    in_new_job 'export func=work' "$victims/status" 37
    one_line "SHM_MERGE_HOLD=skan" "SHM_MERGE_HOLD: .*'skan'.*'scan'.*userfaultfd is used"
    unset SHM_MERGE_HOLD
}

test_log_file() {
    bare "$victims/status" 37
    export SHM_LOG_FILE=$work/log.%p.end
    new_job
    hold held 'bad' "$victims/status" 37 - wait
    finish held
    unset SHM_LOG_FILE
    exits 37 "SHM_LOG_FILE"
    cp "$work/held.err" "$work/err"
    silent "SHM_LOG_FILE"
    equals "$(cd "$work" && compgen -G 'log.*.end' | wc -l)" 1 "SHM_LOG_FILE: one file"
    cp "$work"/log.*[0-9].end "$work/err"
    one_line "SHM_LOG_FILE" 'SHM_POLICY:1:1: '
    rm "$work"/log.*.end
    export SHM_LOG_FILE=$work/directory
    in_new_job 'bad' "$victims/status" 37
    unset SHM_LOG_FILE
    unchanged "SHM_LOG_FILE is a directory"
}

# nothing_in_shm WHAT VALUE: with SHM_POLICY=VALUE, or without it when VALUE is `unset`.
nothing_in_shm() {
    local setting=(-E "SHM_POLICY=$2")
    [ "$2" != unset ] || setting=()
    if ! strace -o "$work/trace" true 2>"$work/err"; then
        skip "$1: /dev/shm is not looked at" "strace is missing or may not trace"
        return
    fi
    last="strace ${setting[*]} status 37"
    strace -f -o "$work/trace" -E LD_PRELOAD="$shim" "${setting[@]}" "$victims/status" 37 \
        >"$work/out" 2>"$work/err" </dev/null
    status=$?
    unchanged "$1"
    silent "$1"
    ! grep -q '/dev/shm' "$work/trace"
    verdict $? "$1: /dev/shm is not looked at" "$work/trace"
    ! grep -Eq '(clone|clone3|fork|vfork)\(' "$work/trace"
    verdict $? "$1: no thread is started" "$work/trace"
}

test_without_policy() {
    bare "$victims/status" 37
    nothing_in_shm "no SHM_POLICY" unset
    nothing_in_shm "an empty SHM_POLICY" ''
    nothing_in_shm "a blank SHM_POLICY" $' \n\t'
    nothing_in_shm "a SHM_POLICY of comments" '# export size>=0'
    nothing_in_shm "a SHM_POLICY that passes everything" 'pass size<1M; pass'
    nothing_in_shm "a SHM_POLICY for another program" 'program other; export size>=0'
}

test_texts
test_files
test_accepted
test_closed_standard_error
test_changed_standard_error
test_crowd
test_ranks
test_log
test_log_file
test_without_policy
tap_end
