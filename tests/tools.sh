#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The command shmpreload, from outside.
#
#     tests/tools.sh BUILD_DIR
#
# Prints TAP: `ok N - what` or `not ok N - what` with the command and its output below, and the plan
# at the end. Exit status 1 when anything failed. Segments are made through BUILD_DIR/core/libshmcore.so
# in a directory of their own on /dev/shm, so other segments of this user are neither seen nor touched.
# What the shim does to a program is tested elsewhere; here only that the command starts it rightly.
set -u

build=$(cd "${1:?usage: tools.sh BUILD_DIR}" && pwd)
tool=$build/tools/shmpreload
shim=$build/preload/libshmpreload.so
library=$build/core/libshmcore.so
segment=SHARED::tools
number=0
failures=0
holders=()

for file in "$tool" "$shim" "$library"; do
    if [ ! -f "$file" ]; then
        printf 'Bail out! %s has not been built\n' "$file"
        exit 1
    fi
done

work=$(mktemp -d)
shared=$(mktemp -d /dev/shm/shmpreload-tools-XXXXXX)

# A job or a policy of the caller's must not decide anything here.
unset LD_PRELOAD SHM_POLICY SHM_LOG SHM_LOG_FILE SHM_JOB SHM_POLICY_CHECK
unset PMIX_NAMESPACE SLURM_JOB_ID SLURM_JOBID SLURM_STEP_ID PBS_JOBID LSB_JOBID JOB_ID OAR_JOB_ID COBALT_JOBID

clean_up() {
    for pid in "${holders[@]}"; do
        kill -9 "$pid" 2>/dev/null
        wait "$pid" 2>/dev/null
    done
    rm -rf "$work" "$shared"
}
trap clean_up EXIT

# ---------------------------------------------------------------- asserting

# run COMMAND...: leaves $status, $work/out and $work/err.
run() {
    last="$*"
    "$@" >"$work/out" 2>"$work/err" </dev/null
    status=$?
}

# verdict STATUS WHAT: 0 is good.
verdict() {
    number=$((number + 1))
    if [ "$1" = 0 ]; then
        printf 'ok %d - %s\n' "$number" "$2"
        return
    fi
    failures=$((failures + 1))
    printf 'not ok %d - %s\n' "$number" "$2"
    {
        printf 'command: %s\nexit status: %s\n' "$last" "$status"
        head -n 20 "$work/out" "$work/err"
    } | sed 's/^/#   /'
}

exits() { # exits STATUS WHAT
    [ "$status" = "$1" ]
    verdict $? "$2: exit status $1"
}

has() { # has out|err REGEX WHAT
    grep -Eq -- "$2" "$work/$1"
    verdict $? "$3"
}

lacks() { # lacks out|err REGEX WHAT
    ! grep -Eq -- "$2" "$work/$1"
    verdict $? "$3"
}

empty() { # empty out|err WHAT
    [ ! -s "$work/$1" ]
    verdict $? "$2"
}

equals() { # equals TEXT WHAT: all of standard output
    [ "$(cat "$work/out")" = "$1" ]
    verdict $? "$2"
}

json() { # json WHAT [PYTHON-EXPRESSION over `it`]
    python3 -m json.tool "$work/out" >/dev/null 2>&1
    verdict $? "$1: is JSON"
    [ $# -lt 2 ] || { python3 -c "import json, sys
it = json.load(open(sys.argv[1]))
sys.exit(not ($2))" "$work/out" 2>>"$work/err"; verdict $? "$1: $2"; }
}

# ---------------------------------------------------------------- without a segment

test_usage() {
    local command
    run "$tool"
    exits 2 "no command"
    has err '^shmpreload: ' "no command: a sentence"
    run "$tool" nonsense
    exits 2 "unknown command"
    has err "nonsense" "unknown command: is named"
    for command in run check ls show cat merge rm gc; do
        run "$tool" "$command" -h
        exits 0 "$command -h"
        has out "^Usage: shmpreload $command" "$command -h: usage on standard output"
        empty err "$command -h: nothing on standard error"
        cp "$work/out" "$work/help"
        run "$tool" "$command" --help
        equals "$(cat "$work/help")" "$command --help: the same"
        run "$tool" "$command" --nonsense
        exits 2 "$command --nonsense"
        has err '^shmpreload: .*--nonsense' "$command --nonsense: is named"
        empty out "$command --nonsense: nothing on standard output"
    done
    for command in run check "show $segment" "cat $segment" rm "ls a b" "gc a" "show a b c" "ls --sort colour" \
        "cat -o x a b" "cat -n -1 a b" "ls --job" "gc -f" "run --log loud -p pass true"; do
        # shellcheck disable=SC2086
        run "$tool" $command
        exits 2 "bad usage: $command"
        has err '^shmpreload: ' "bad usage: $command: a sentence"
    done
}

test_help() {
    local command
    run "$tool" -h
    exits 0 "-h"
    for command in run check ls show cat merge rm gc; do
        has out "^  $command +[a-z]" "-h: lists $command"
    done
    run "$tool" --version
    exits 0 "--version"
    has out '^shmpreload [0-9]+\.[0-9]+' "--version: has a number"
}

test_empty_directory() {
    run "$tool" ls --dir "$shared"
    exits 0 "ls of nothing"
    equals "NAME  JOB  USER  SIZE  USED  SAVED  PROCESSES  STATE" "ls of nothing: the header only"
    run "$tool" ls --json --dir "$shared"
    equals "[]" "ls --json of nothing"
    run "$tool" gc --json --dir "$shared"
    exits 0 "gc of nothing"
    json "gc of nothing" "it == {'segments': 0, 'processes': 0, 'bytes': 0}"
    run "$tool" ls --dir "$shared/missing"
    exits 1 "ls of a missing directory"
    has err '^shmpreload: .' "ls of a missing directory: a sentence"
    for command in "ls SHARED::no" "show SHARED::no a" "cat SHARED::no a" "rm SHARED::no"; do
        # shellcheck disable=SC2086
        run "$tool" $command --dir "$shared"
        exits 1 "$command"
        has err "SHARED::no" "$command: names it"
    done
    if [ -w /dev/full ]; then
        "$tool" ls --dir "$shared" >/dev/full 2>"$work/err"
        status=$? last="ls >/dev/full"
        : >"$work/out"
        exits 1 "ls to a full device"
        has err '^shmpreload: cannot write' "ls to a full device: says so"
    fi
}

test_check() {
    printf 'pass size<1K\nexport func=grid_* size>=1M name={func}/{seq}\nshare func=ring segment=SHARED::b\nsegment SHARED::a size=8G\nsegment SHARED::b\n' >"$work/good"
    for policy in "$work/good" "@$work/good" "$(cat "$work/good")"; do
        run "$tool" check "$policy"
        exits 0 "check ${policy:0:5}"
        has out '^ +2 +export +func=grid_\* size>=1M +SHARED::a +name=\{func\}/\{seq\}$' "check ${policy:0:5}: the rule as a row"
    done
    lacks out ' $' "check: no blanks at the end of a line"
    run "$tool" check --json "$work/good"
    json check "it['valid'] and [r['verb'] for r in it['rules']] == ['pass', 'export', 'share']"
    json check "it['rules'][2]['segment'] == 'SHARED::b' and it['rules'][1]['size_min'] == 1 << 20"
    run "$tool" check 'export full=fail reserve=touch fork=overlay'
    has out ' full=fail reserve=touch fork=overlay$' "check: the options of a rule"
    run "$tool" check 'segment SHARED::a scope=socket numa=interleave; export segment=SHARED::a'
    has out 'SHARED::a, half of the file system, one for each socket, spread over the NUMA nodes$' \
        "check shows what segments are like"
    run "$tool" check --json 'segment SHARED::a scope=socket numa=interleave; segment SHARED::b dir=/x; export segment=SHARED::a'
    json check "[(s['scope'], s['numa'], s.get('dir')) for s in it['segments']] == [('socket', 'interleave', None), ('node', 'local', '/x')]"
    run "$tool" check --json 'export fork=share; export'
    json check "[r['fork'] for r in it['rules']] == ['share', 'copy']"
    run "$tool" check 'merge func=init name=t; merge when=quiet:90000ms; merge when=quiet:1500ms; merge when=barrier'
    has out ' merge +func=init +SHARED::node +name=t when=quiet:2s$' "check: a merge rule waits for two quiet seconds"
    has out ' when=quiet:90s$' "check: quiet seconds"
    has out ' when=quiet:1500ms$' "check: quiet milliseconds"
    has out ' when=barrier$' "check: when=barrier"
    run "$tool" check --json 'merge when=manual; merge when=quiet:60m; merge when=quiet:60s; export'
    json check "[r.get('when') for r in it['rules']] == ['manual', 'quiet:1h', 'quiet:1m', None]"
    json check "['full' in r or 'reserve' in r or 'fork' in r for r in it['rules']] == [False] * 3 + [True]"
    run "$tool" check 'merge fork=copy'
    exits 1 "check of a merge rule with fork="
    has err "^policy:1:7: 'fork=' is no option of merge" "check of a merge rule with fork="
    run "$tool" check ''
    exits 0 "check of an empty policy"
    run "$tool" check $'pass\nexport funk=a'
    exits 1 "check of an error"
    has err '^policy:2:8: .*funk' "check of an error: line, column and the offending text"
    has err '^           \^$' "check of an error: a caret below"
    empty out "check of an error: nothing on standard output"
    printf 'pass\r\n\r\nexport size=5G..1G\r\n' >"$work/bad"
    run "$tool" check "$work/bad"
    exits 1 "check of a bad file"
    has err "^$work/bad:3:[0-9]+: " "check of a bad file: its name and line"
    lacks err $'\r' "check of a bad file: no carriage return"
    run "$tool" check --json "$work/bad"
    exits 1 "check --json of an error"
    json "check of an error" "not it['valid'] and it['error']['line'] == 3 and it['error']['message']"
    mkfifo "$work/fifo"
    head -c 1000000 /dev/urandom >"$work/noise"
    for policy in "$work/fifo" "$work" "$work/noise" "@$work/missing"; do
        run timeout 20 "$tool" check "$policy"
        exits 1 "check of $(basename "$policy")"
        has err "^shmpreload: .*$(basename "${policy#@}")" "check of $(basename "$policy"): a sentence"
    done
}

# ---------------------------------------------------------------- starting programs

test_run() {
    run "$tool" run true
    exits 2 "run without a policy"
    SHM_POLICY='' run "$tool" run true
    exits 2 "run with an empty SHM_POLICY"
    run "$tool" run -p 'exprot size>=1' -- touch "$work/ran"
    exits 2 "run with a bad policy"
    has err '^policy:1:1: ' "run with a bad policy: line and column"
    [ ! -e "$work/ran" ]
    verdict $? "run with a bad policy: the program is not run"
    run "$tool" run -p pass -- sh -c 'exit 7'
    exits 7 "run gives the program's"
    run "$tool" run -p pass -- sh -c 'kill -TERM $$'
    exits 143 "run gives the program's signal"
    run "$tool" run -p pass -- "$work/missing"
    exits 127 "run of a missing program"
    : >"$work/plain"
    run "$tool" run -p pass -- "$work/plain"
    exits 126 "run of a file that is not executable"
    # shellcheck disable=SC2016
    local show='printf "%s\n" "$LD_PRELOAD" "$SHM_POLICY" "${SHM_LOG-unset}" "$@"'
    LD_PRELOAD=libm.so.6 run "$tool" run -p pass -- sh -c "$show" sh -p -h
    equals "$shim:libm.so.6
pass
unset
-p
-h" "run: the shim first in LD_PRELOAD, the policy, the program's own options"
    run "$tool" run -p pass --log error sh -c "$show" sh -x
    equals "$shim
pass
error
-x" "run: works without --, and sets SHM_LOG"
    last="run -p @relative"
    (cd "$work" && "$tool" run -p @good -- sh -c "cd / && $show") >"$work/out" 2>"$work/err"
    has out "^@$(realpath "$work")/good$" "run: @file is made absolute"
    SHM_POLICY='pass size<2' run "$tool" run -- sh -c "$show"
    has out '^pass size<2$' "run: SHM_POLICY serves without -p"
}

test_dry_run() {
    local rules='export size>=1M; share func=no_such_function_anywhere' allocate='print(len(bytes(3000000)))'
    run "$tool" check "$rules" -- python3 -c "$allocate"
    exits 0 "check of a program"
    has out '^3000000$' "check of a program: it did its work"
    has out '^line 1: export size>=1M$' "check of a program: the rule that matched"
    has out '^  [^ ]+!0x[0-9a-f]+ .*python3' "check of a program: its call site"
    has out 'no_such_function_anywhere: matched nothing' "check of a program: the rule that did not"
    run "$tool" check 'pass size<1M; merge when=manual' -- python3 -c "$allocate"
    has out '^line 1: merge when=manual$' "check of a program: what a merge rule matches"
    lacks out 'matched nothing' "check of a program: a site under each of two rules"
    run "$tool" check --json "$rules" -- python3 -c "$allocate"
    json "check of a program" "it['rules'][0]['sites'] and not it['rules'][1]['sites']"
    has err '^3000000$' "check --json of a program: its output goes to standard error"
    run "$tool" check pass -- sh -c 'exit 3'
    exits 0 "check of a program that fails"
    has err 'exit status 3' "check of a program that fails: says so"
    run "$tool" check pass -- "$work/missing"
    exits 1 "check of a missing program"
}

# The program tells when it runs through the FIFO; then the command gets SIGTERM and nobody else. It sleeps
# for a minute so that a signal that is not handed on makes a failure and no hang.
test_interrupted_check() {
    local pid
    mkfifo "$work/started"
    mkdir "$work/temporary"
    TMPDIR=$work/temporary "$tool" check pass -- sh -c "echo started >$work/started; exec sleep 60" \
        >"$work/out" 2>"$work/err" &
    pid=$!
    read -r -t 60 _ <>"$work/started"
    [ -n "$(ls "$work/temporary")" ]
    verdict $? "check: its report is a file under TMPDIR while the program runs"
    kill -TERM "$pid"
    wait "$pid" 2>/dev/null
    status=$? last="check, SIGTERM"
    exits 143 "check ended by SIGTERM"
    [ -z "$(ls "$work/temporary")" ]
    verdict $? "check ended by SIGTERM: leaves no file"
    has err 'signal 15' "check ended by SIGTERM: the program was ended too"
}

# ---------------------------------------------------------------- with live segments

# hold JOB: a process that has the segment open and three blocks in it, until it is killed. JOB '' is no job. Sets $holder.
hold() {
    mkfifo "$work/ready"
    python3 "$work/holder.py" "$library" "$shared" "$segment" "$1" "$work/ready" &
    holder=$!
    holders+=("$holder")
    read -r -t 60 answer <>"$work/ready" # read-write, so that a holder that never opens it is no hang
    rm "$work/ready"
    [ "$answer" = ready ] || last="hold: $answer"
    [ "$answer" = ready ]
}

write_holder() {
    cat >"$work/holder.py" <<'PYTHON'
import ctypes, signal, sys


class Traits(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("scope", ctypes.c_int), ("resource", ctypes.c_int),
                ("read_only", ctypes.c_bool), ("persist", ctypes.c_bool),
                ("dir", ctypes.c_char_p), ("job", ctypes.c_char_p)]


def load(library):
    core = ctypes.CDLL(library)
    core.shmcore_default_traits.restype = Traits
    core.shmcore_open.restype = core.shmcore_allocate.restype = ctypes.c_void_p
    core.shmcore_open.argtypes = [ctypes.c_char_p, ctypes.POINTER(Traits)]
    core.shmcore_allocate.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
    core.shmcore_error.restype = ctypes.c_char_p
    return core


def fill(library, directory, name, job):
    core = load(library)
    traits = core.shmcore_default_traits()
    traits.size, traits.dir, traits.job = 64 << 20, directory.encode(), job.encode() or None
    segment = core.shmcore_open(name.encode(), traits)
    if not segment:
        return core.shmcore_error().decode()
    for block, size in ("alpha", 1500), ("täble/ö", 1 << 20), ("zero", 0):
        memory = core.shmcore_allocate(segment, block.encode(), size)
        if not memory:
            return core.shmcore_error().decode()
        ctypes.memmove(memory, bytes(i % 251 for i in range(size)), size)
    return "ready"


try:
    answer = fill(*sys.argv[1:5])
except Exception as error:
    answer = repr(error)
with open(sys.argv[5], "w") as pipe:
    print(answer, file=pipe)
if answer == "ready":
    signal.pause()
PYTHON
}

test_listing() {
    run "$tool" ls --dir "$shared"
    exits 0 "ls"
    has out "^$segment +- +[^ ]+ +64M +[0-9.]+[KM]? +0 +1 +live$" "ls: the segment's row"
    run "$tool" ls -b --dir "$shared"
    has out " 67108864 " "ls -b: exact bytes"
    run "$tool" ls --json --dir "$shared"
    json ls "len(it) == 1 and it[0]['name'] == '$segment' and it[0]['capacity'] == 64 << 20"
    json ls "it[0]['usable'] is True and it[0]['persist'] is False and it[0]['processes'] == 1 and it[0]['job'] == ''"
    json ls "it[0]['uid'] == $(id -u) and it[0]['path'].startswith('$shared/') and it[0]['reserved'] > 0 and it[0]['saved'] == 0"
    run "$tool" ls --dir "$shared" "$segment"
    exits 0 "ls SEGMENT"
    awk 'NR > 1 && NR < 5 { print $1 }' "$work/out" >"$work/names"
    [ "$(paste -sd, "$work/names")" = "alpha,täble/ö,zero" ]
    verdict $? "ls SEGMENT: sorted by name"
    has out "^alpha +1\.5K +named +$holder +1$" "ls SEGMENT: a block's row"
    has out "^3 blocks, .* in 1 process$" "ls SEGMENT: a summary, and the viewer does not count"
    run "$tool" ls --sort size --dir "$shared" "$segment"
    [ "$(awk 'NR == 2 { print $1 }' "$work/out")" = "täble/ö" ]
    verdict $? "ls --sort size: the largest first"
    run "$tool" ls --json --dir "$shared" "$segment"
    json "ls SEGMENT" "[b['name'] for b in it['blocks']] == ['alpha', 'täble/ö', 'zero'] and [b['bytes'] for b in it['blocks']] == [1500, 1 << 20, 0]"
    json "ls SEGMENT" "all(b['kind'] == 'named' and b['owner'] == $holder and b['refs'] == 1 and int(b['address'], 16) for b in it['blocks']) and it['merged'] == []"
}

test_block() {
    run "$tool" show --dir "$shared" "$segment" alpha
    exits 0 "show"
    has out '^bytes +1500 \(1\.5K\)$' "show: the size"
    has out "^owner +$holder$" "show: the owner"
    run "$tool" show --json --dir "$shared" "$segment" zero
    json show "it['name'] == 'zero' and it['bytes'] == 0 and it['segment'] == '$segment'"
    run "$tool" show --dir "$shared" "$segment" nobody
    exits 1 "show of a missing block"
    has err 'nobody' "show of a missing block: names it"
    python3 -c 'import sys; sys.stdout.buffer.write(bytes(i % 251 for i in range(1 << 20)))' >"$work/expected"
    run "$tool" cat --dir "$shared" "$segment" täble/ö
    exits 0 "cat"
    cmp -s "$work/out" "$work/expected"
    verdict $? "cat: every byte"
    "$tool" cat --dir "$shared" "$segment" täble/ö 2>"$work/err" | cmp -s - "$work/expected"
    verdict $? "cat into a pipe: every byte"
    run "$tool" cat --dir "$shared" -o 1K -n 300 "$segment" alpha
    [ "$(od -An -tu1 -v "$work/out")" = "$(tail -c +1025 "$work/expected" | head -c 300 | od -An -tu1 -v)" ]
    verdict $? "cat -o -n: that part"
    run "$tool" cat --dir "$shared" -o 1400 -n 300 "$segment" alpha
    [ "$(stat -c %s "$work/out")" = 100 ]
    verdict $? "cat -n beyond the end: up to the end"
    run "$tool" cat --dir "$shared" -o 1501 "$segment" alpha
    exits 1 "cat -o beyond the end"
    empty out "cat -o beyond the end: no byte"
    run "$tool" cat --dir "$shared" "$segment" zero
    exits 0 "cat of an empty block"
    empty out "cat of an empty block: no byte"
    last="cat | head, SIGPIPE ignored" status=-
    (
        trap '' PIPE
        "$tool" cat --dir "$shared" "$segment" täble/ö 2>"$work/err" | head -c 1
    ) >"$work/out"
    empty err "cat to a reader that goes away: not a word"
}

test_jobs() {
    hold 4711
    verdict $? "a second segment of the name, of another job"
    run "$tool" ls "$segment" --dir "$shared"
    exits 1 "an ambiguous name"
    has err "^$segment +4711 +$(id -u) +$shared/" "an ambiguous name: the candidates"
    empty out "an ambiguous name: nothing on standard output"
    run "$tool" show "$segment" alpha --job 4711 --dir "$shared"
    has out "^owner +$holder$" "--job chooses"
    SHM_JOB=4711 run "$tool" show "$segment" alpha --dir "$shared"
    has out "^owner +$holder$" "the job of the environment chooses"
    run "$tool" show "$segment" alpha --job '' --dir "$shared"
    has out "^owner +${holders[0]}$" "--job '' chooses the one without a job"
    run "$tool" ls --json --job 4711 --dir "$shared"
    json "ls --job" "[s['job'] for s in it] == ['4711']"
}

test_removal() {
    run "$tool" rm "$segment" --job 4711 --dir "$shared"
    exits 1 "rm of a segment in use"
    has err '^shmpreload: 1 process has ' "rm of a segment in use: says by how many"
    run "$tool" rm -f "$segment" --job 4711 --dir "$shared"
    exits 0 "rm -f"
    run "$tool" ls --json --dir "$shared"
    json "after rm -f" "[s['job'] for s in it] == ['']"
    run "$tool" gc --json --dir "$shared"
    json "gc spares the living" "it['segments'] == 0"
    kill -9 "${holders[0]}"
    wait "${holders[0]}" 2>/dev/null
    run "$tool" ls --dir "$shared"
    has out "^$segment .* 0 +dead$" "ls: a segment whose process was killed is dead"
    run "$tool" gc --json --dir "$shared"
    exits 0 "gc"
    json gc "it['segments'] == 1 and it['bytes'] > 0"
    run "$tool" ls --json --dir "$shared"
    equals "[]" "gc: nothing is left"
}

test_usage
test_help
test_empty_directory
test_check
test_run
test_dry_run
test_interrupted_check
write_holder
status=- last="a process that holds a segment"
: >"$work/out"
: >"$work/err"
if hold ''; then
    test_listing
    test_block
    test_jobs
    test_removal
else
    verdict 1 "a process can hold a segment"
fi
printf '1..%d\n' "$number"
[ "$failures" = 0 ]
