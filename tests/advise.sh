#!/bin/bash
# SPDX-License-Identifier: MIT
#
# shmpreload advise, and check against records: from records to a policy that the shim then keeps.
#
#     tests/advise.sh BUILD_DIR
#
# The records are written by record-write.py, for a program that has run in the mind of this test only; but its
# file is real, and so are its symbols and lines; and the policies that come out are tried on it.
. "$(dirname "$0")/tap.sh"
tap_begin advise "${1-}"
writer=$(cd "$(dirname "$0")" && pwd)/record-write.py
advised=$victims/advised

for command in objdump readelf strip objcopy python3; do
    if ! command -v "$command" >/dev/null; then
        echo "1..0 # SKIP $command is not installed"
        exit 77
    fi
done

python=$(python3 -c 'import sys; print(sys.executable)') # past whatever else finds one

# records NAME PROGRAM KEY=VALUE…: four processes in $work/NAME.N.rec, each with eight stacks; half of these hold the
# same in all. KEY=VALUE goes to the description of each (a Python expression, in which `rank` is 0 to 3).
records() {
    "$python" -S - "$writer" "$work/$1" "$2" "$advised" "${@:3}" <<'PY'
import importlib.util, sys
path, out, program, like, *extra = sys.argv[1:]
spec = importlib.util.spec_from_file_location("writer", path)
writer = importlib.util.module_from_spec(spec)
spec.loader.exec_module(writer)
stacks = [(True, ["make_table>malloc", "main>make_table"]),
          (False, ["make_noise>malloc", "main>make_noise"]),
          (True, ["table_alloc>malloc", "build_sections>table_alloc", "main>build_sections"]),
          (False, ["table_alloc>malloc", "build_scratch>table_alloc", "main>build_scratch"]),
          (True, ["obtain>calloc", "build_mesh>obtain", "main>build_mesh"]),
          (False, ["obtain>calloc", "build_halo>obtain", "main>build_halo"]),
          (True, ["acquire>malloc", "build_both>acquire#0", "main>build_both"]),
          (False, ["acquire>malloc", "build_both>acquire#1", "main>build_both"])]
for rank in range(4):
    what = {"program": program, "process": 100 + rank, "rank": str(rank), "host": "node",
            "modules": [{"path": program, "like": like}],
            "sites": [{"frames": frames, "sizes": {"1048576": 1},
                       "marks": [1000 * n + i + (0 if same else 100000 * (rank + 1)) for i in range(16)]}
                      for n, (same, frames) in enumerate(stacks)]}
    for item in extra:
        key, _, value = item.partition("=")
        what[key] = eval(value)
    writer.write(f"{out}.{rank}.rec", what)
PY
}

# advise ARGUMENT…
advise() {
    last="shmpreload advise $*"
    "$tool" advise "$@" >"$work/out" 2>"$work/err" </dev/null
    status=$?
}

# check ARGUMENT…
check() {
    last="shmpreload check $*"
    "$tool" check "$@" >"$work/out" 2>"$work/err" </dev/null
    status=$?
}

# rules WHAT RULE…: the policy in $work/policy has these and no others.
rules() {
    local what=$1
    shift
    equals "$(grep '^merge' "$work/policy" | LC_ALL=C sort)" "$(printf '%s\n' "$@" | LC_ALL=C sort)" "$what"
}

# offset FUNCTION>CALLED[#N]: where the call returns to, all of them found at the first time.
offset() {
    printf '%s' "${offsets[$1]}"
}

find_offsets() {
    local call found
    declare -gA offsets
    while read -r call found; do
        offsets[$call]=$found
    done < <("$python" -S - "$writer" "$advised" <<'PY'
import importlib.util, sys
spec = importlib.util.spec_from_file_location("writer", sys.argv[1])
writer = importlib.util.module_from_spec(spec)
spec.loader.exec_module(writer)
for (caller, called), found in writer.calls_in(sys.argv[2]).items():
    print(f"{caller}>{called}", hex(found[0]))
    for number, offset in enumerate(found):
        print(f"{caller}>{called}#{number}", hex(offset))
PY
    )
}

# tried PROGRAM WHAT: each rule of the policy matches in a real run, at one site; and there are four.
tried() {
    check "$work/policy" -- "$1"
    exits 0 "$2: the policy is good"
    equals "$(grep -c '^line' "$work/out")" 4 "$2: there are four rules"
    lacks out 'matched nothing' "$2: each matches in a real run"
    equals "$(grep -c '!0x.* 1M ' "$work/out")" 4 "$2: each matches one call site"
}

test_names() {
    records named "$advised"
    advise -o "$work/policy" "$work"/named.*.rec
    exits 0 'with names'
    silent 'with names'
    has out '^1 +make_table +advised\.c:[0-9]+ +4 +4 +4M +100\.0 +3M$' 'function, line, calls, processes, peak, share, saving'
    has out '^2 +build_sections +advised\.c:' 'a function that is called as an allocator is none: its caller is the site'
    has out '^3 +obtain<-build_mesh +advised\.c:' 'where callers matter they are named'
    has out '^5 +make_noise .* 0\.0 +0$' 'what differs saves nothing'
    has out '^4 processes compared; 32M at the peaks of their call sites; 4 rules would save 12M$' 'sums'
    lacks out '^merge' '-o: the policy is not printed as well'
    rules 'the plainest rules' 'merge func=make_table size>=1M' 'merge func=build_sections size>=1M' \
        'merge stack=obtain<-build_mesh size>=1M' "merge stack=acquire<-advised!$(offset 'build_both>acquire#0') size>=1M"
    equals "$(grep -E '^(wrapper|program)' "$work/policy")" 'program advised
wrapper func=table_alloc module=exe' 'program and wrappers'
    has policy '^# +make_table, advised\.c:[0-9]+: 4M at the peaks of 4 processes, 100% of it identical$' 'a comment for each rule'
    tried "$advised" 'with names'
}

test_stripped() {
    strip -s -o "$work/stripped" "$advised"
    records stripped "$work/stripped"
    advise -o "$work/policy" "$work"/stripped.*.rec
    exits 0 'stripped'
    silent 'stripped'
    has out "^1 +stripped!$(offset 'make_table>malloc') " 'without names a site is an offset'
    rules 'rules with offsets' "merge site=stripped!$(offset 'make_table>malloc') size>=1M" \
        "merge stack=stripped!$(offset 'table_alloc>malloc')<-stripped!$(offset 'build_sections>table_alloc') size>=1M" \
        "merge stack=stripped!$(offset 'obtain>calloc')<-stripped!$(offset 'build_mesh>obtain') size>=1M" \
        "merge stack=stripped!$(offset 'acquire>malloc')<-stripped!$(offset 'build_both>acquire#0') size>=1M"
    tried "$work/stripped" 'stripped'
}

# The shim does not look for debug information beside the file, so rules must not speak of it.
test_apart() {
    mkdir "$work/apart"
    objcopy --only-keep-debug "$advised" "$work/apart/program.debug"
    strip -s -o "$work/apart/program" "$advised"
    (cd "$work/apart" && objcopy --add-gnu-debuglink=program.debug program)
    records apart "$work/apart/program"
    advise -o "$work/policy" "$work"/apart.*.rec
    has out '^1 +make_table +advised\.c:[0-9]+ ' 'debug information apart from the file: names and lines'
    has policy "^merge site=program!$(offset 'make_table>malloc') size>=1M$" 'debug information apart: rules do without'
    tried "$work/apart/program" 'debug information apart'
}

test_other_file() {
    records other "$advised" 'modules=[{"path": program, "like": like, "build_id": "00112233445566778899"}]'
    advise "$work"/other.*.rec
    exits 0 'another build-id'
    equals "$(grep -c "is not the file that was recorded" "$work/err")" 1 'another build-id: said once'
    has out "^1 +advised!$(offset 'make_table>malloc') " 'another build-id: offsets'
    records gone "$work/nowhere/program"
    advise "$work"/gone.*.rec
    exits 0 'a program that is gone'
    has err "cannot open '.*/nowhere/program': No such file" 'a program that is gone: said'
    has out '^1 +program!0x' 'a program that is gone: offsets'
}

test_few() {
    advise "$work/named.0.rec"
    exits 0 'one process'
    has out '^note: there is one process of advised: record at least two' 'one process: said'
    lacks out '^merge|would save' 'one process: no rule'
    has out '^1 +(obtain|acquire|table_alloc) .* 2M +- +-$' 'one process: ranked by peak, no share'
    records apart1 "$advised" 'host=f"node{rank}"'
    advise "$work"/apart1.*.rec
    has out '^note: the 4 processes of advised ran on a host each' 'one process on each host: said'
    lacks out '^merge' 'one process on each host: no rule'
    records pairs "$advised" 'host=f"node{rank % 2}"'
    advise "$work"/pairs.*.rec
    has out '4 rules would save 8M$' 'two on each of two hosts: two are left of four'
}

test_programs() {
    records shell /bin/bash 'modules=[{"path": "/bin/bash", "like": like}]'
    advise "$work"/named.*.rec "$work"/shell.*.rec
    exits 0 'with a launcher'
    has out '^note: 4 processes of bash left out' 'a launcher is left out'
    has out '^4 processes compared; 32M' 'a launcher does not count'
    advise "$work"/shell.*.rec
    has out '^4 processes compared' 'a launcher alone is a program'
    advise -o "$work/policy" "$work"/named.*.rec "$work"/stripped.*.rec
    exits 0 'two programs'
    has out 'SAVES +PROGRAM$' 'two programs: named in the table'
    has out '^8 processes compared; 64M .*; 8 rules would save 24M$' 'two programs: each compared with itself'
    has policy '^program stripped$' 'two programs: both in the policy'
    check "$work/policy" "$work"/named.*.rec "$work"/stripped.*.rec
    lacks out 'matched nothing' 'two programs: the policy does for both'
}

test_notes() {
    records notes "$advised" 'dropped_calls=5' 'dropped_blocks=7' 'unread_bytes=1 << 20' 'ended=0' 'least_bytes=4096' \
        'parent=100 if rank else 1'
    advise "$work"/notes.*.rec
    has out '^note: 20 calls are missing' 'dropped calls'
    has out '^note: the end of 28 blocks was not seen' 'dropped blocks'
    has out '^note: 4M were not looked at' 'unread bytes'
    has out '^note: 4 processes did not come to an end' 'processes that did not end'
    has out '^note: requests of less than 4K bytes' 'the least that was recorded'
    has out '^note: 3 processes of advised forked from another' 'forked processes'
    records brief "$advised" 'sites=[dict(site, lifetimes={"10": 1}, frees=1) for site in what["sites"]]'
    advise "$work"/brief.*.rec
    has out '^note: blocks of #[1-8], [1-8], [1-8], [1-8] are freed before' 'short-lived blocks'
    lacks out '^merge' 'short-lived blocks: no rule'
}

# cut NAME BYTES: the first record, that long.
cut_at() {
    cp --sparse=always "$work/named.0.rec" "$work/$1.rec"
    truncate -s "$2" "$work/$1.rec"
}

test_damaged() {
    local at cut
    : >"$work/empty.rec"
    head -c 100000 /dev/zero >"$work/zeros.rec"
    head -c 100000 /dev/urandom >"$work/noise.rec"
    records version "$advised" 'magic=0x3244524F43455253'
    mkfifo "$work/fifo.rec"
    advise "$work/empty.rec" "$work/zeros.rec" "$work/noise.rec" "$work/version.0.rec" "$work/fifo.rec" "$work" \
        "$work/missing.rec" "$work"/named.*.rec
    exits 0 'damaged ones among good ones'
    has out '4 rules would save 12M$' 'damaged ones among good ones: the good ones count'
    equals "$(grep -c '^shmpreload: cannot use the record ' "$work/err")" 7 'a sentence for each damaged one'
    equals "$(wc -l <"$work/err")" 7 'one sentence for each'
    has err "empty\.rec': it is empty" 'empty'
    has err "zeros\.rec': it holds no record" 'zeros'
    has err "noise\.rec': it is not a record" 'noise'
    has err "version.*another version" 'another version'
    has err "fifo\.rec': it is not a regular file" 'a FIFO'
    has err "missing\.rec': No such file" 'missing'
    advise "$work/empty.rec"
    exits 1 'no good record'
    has err 'there is no record to advise from' 'no good record: said'
    check 'merge size>=1M' "$work/empty.rec"
    exits 1 'check: no good record'
    at=0
    for cut in 1 100 4095 4096 4500 528384 529000 538000 21630976 21631100 21633000; do
        cut_at "cut$cut" "$cut"
        advise "$work/cut$cut.rec"
        [ "$status" = 1 ] && grep -q 'cut short' "$work/err" && at=$((at + 1))
    done
    equals "$at" 11 'cut short anywhere: refused'
    records rows "$advised" 'sites=[dict(site, frame_count=(17 if i == 0 else len(site["frames"]))) for i, site in enumerate(what["sites"])]'
    advise "$work"/rows.*.rec
    has out "^note: 1 row of '.*rows\.0\.rec' are damaged and left out|^note: 1 row of '.*rows\.0\.rec' is damaged" 'a damaged row is left out'
    has out '3 rules would save 9M$' 'a damaged row: the others count'
    for at in 0 1 2 3 4 5 6 7 8 9 10 11; do
        cp --sparse=always "$work/named.0.rec" "$work/flipped$at.rec"
    done
    "$python" -S - "$work"/flipped*.rec <<'PY'
import os, random, sys
random.seed(5)
for number, path in enumerate(sys.argv[1:]):
    with open(path, "r+b") as file:
        for area in ((8, 4096), (4096, 4608), (528384, 538688), (21630976, os.path.getsize(path))):
            for _ in range(number + 1):
                file.seek(random.randrange(*area))
                file.write(bytes([random.randrange(256)]))
PY
    at=0
    for cut in "$work"/flipped*.rec; do
        advise "$cut" "$work"/named.[123].rec
        [ "$status" = 0 ] && at=$((at + 1))
    done
    equals "$at" 12 'random bytes changed: the other records count'
}

test_output() {
    advise --json -o "$work/policy.json" "$work"/named.*.rec
    exits 0 '--json'
    equals "$("$python" -S -c 'import json, sys
a = json.load(sys.stdin)
s = a["sites"]
print(a["processes"], a["peak_bytes"], a["saved_bytes"], len(s), s[0]["function"], s[0]["module"], s[0]["line"] > 1,
      s[0]["identical_percent"], s[0]["rule"], len(s[2]["stack"]), "rule" in s[7], a["policy"].count("\nmerge "))' <"$work/out")" \
        '4 33554432 12582912 8 make_table advised True 100.0 merge func=make_table size>=1M 2 False 4' '--json: all of it'
    [ -s "$work/policy.json" ]
    verdict $? '--json: the policy is written as well'
    advise --json "$work/named.0.rec"
    equals "$("$python" -S -c 'import json, sys; a = json.load(sys.stdin); print(len(a["notes"]), "identical_percent" in a["sites"][0])' <"$work/out")" \
        '1 False' '--json of one process'
    advise -o - "$work"/named.*.rec
    equals "$(grep -c '^merge' "$work/out")" 4 '-o -: the policy'
    lacks out 'PROCESSES' '-o -: the policy alone'
    cp "$work/out" "$work/policy"
    check "$work/policy"
    exits 0 '-o -: it is a policy'
    advise "$work"/named.*.rec
    equals "$(grep -c '^merge' "$work/out")" 4 'without -o the policy stands below the table'
    advise -n 3 "$work"/named.*.rec
    has out '^and 5 more; --all shows them$' '-n 3'
    advise -n 3 --all "$work"/named.*.rec
    has out '^8 +' '--all'
    advise --min-saving 4M "$work"/named.*.rec
    has out 'no rule is worth having$' '--min-saving'
    advise -o "$work/policy" --min-saving 4M "$work"/named.*.rec
    check "$work/policy"
    exits 0 'a policy without rules is one'
    has policy '^# No rule is worth having' 'a policy without rules says so'
}

test_files() {
    echo old >"$work/target"
    ln -s target "$work/link"
    advise -o "$work/link" "$work"/named.*.rec
    exits 0 '-o: a symbolic link'
    [ -L "$work/link" ] && grep -q '^merge' "$work/target"
    verdict $? '-o: a symbolic link stays one' "$work/target"
    equals "$(stat -c %a "$work/target")" "$(printf '%o' $((0666 & ~$(umask))))" '-o: the rights of a new file'
    advise -o /dev/stdout "$work"/named.*.rec
    exits 0 '-o /dev/stdout'
    has out '^merge' '-o /dev/stdout: what is no regular file is written to'
    advise -o "$work/nowhere/policy" "$work"/named.*.rec
    exits 1 '-o: no such directory'
    has err "cannot write the policy to '.*nowhere/policy': No such file" '-o: no such directory: said'
    has out '^1 +make_table' '-o: no such directory: the table all the same'
    equals "$(find "$work" -name '*.??????' -newer "$work/target" ! -name '*.rec*' | wc -l)" 0 'nothing is left aside'
    advise
    exits 2 'no operand'
    advise --min-saving x "$work/named.0.rec"
    exits 2 '--min-saving x'
    advise -h
    exits 0 '-h'
    has out '^Usage: shmpreload advise' '-h'
}

test_check() {
    check 'wrapper func=table_alloc; merge func=build_s*; pass func=make_noise; merge func=nowhere; share size>2M' \
        "$work"/named.*.rec
    exits 0 'check with records'
    equals "$(grep -c 'matched nothing' "$work/out")" 2 'check with records: rules that match nothing'
    has out "^  advised!$(offset 'build_sections>table_alloc') +build_sections +4 +4M +4 " 'check with records: sites of a rule'
    has out '^no rule matches call sites with peaks of 20M together$' 'check with records: what is left'
    check --json 'merge stack=obtain<-build_halo' "$work"/named.*.rec
    equals "$("$python" -S -c 'import json, sys
r = json.load(sys.stdin)["rules"][0]
print(r["stack"], len(r["sites"]), r["sites"][0]["function"], r["sites"][0]["peak_bytes"], r["sites"][0]["processes"])' <"$work/out")" \
        'obtain<-build_halo 1 obtain 4194304 4' 'check with records: --json'
    check 'merge src=advised.c:1-35' "$work"/named.*.rec
    equals "$(grep -cE '!0x.* make_(table|noise) ' "$work/out")" 2 'check with records: src='
    check 'program other; merge size>=1' "$work"/named.*.rec
    has out 'matched nothing$' 'check with records: program'
    check 'merge size>=1M call=calloc' "$work"/named.*.rec
    has out 'matched nothing$' 'check with records: call='
}

# row RULE-LINE SITE: what the table below a rule says of a call.
row() {
    sed -n "/^line $1:/,/^line $(($1 + 1)):/p" "$work/out" | grep -F " $2 " | sed -E 's/ +/ /g; s/^ //'
}

test_static() {
    local table obtain
    table=advised!$(offset 'make_table>malloc')
    obtain=advised!$(offset 'obtain>calloc')
    check --static 'merge func=make_table
merge stack=obtain<-build_mesh
merge site=nowhere!0x1
share module=exe call=calloc' -- "$advised"
    exits 0 '--static'
    silent '--static'
    equals "$(row 1 "$table")" "$table make_table yes" '--static: a call that a rule matches'
    equals "$(row 2 "$obtain")" "$obtain obtain for some callers" '--static: a call that a rule with stack= may match'
    has out '^line 3: .*: matches no call$' '--static: a rule that matches nothing'
    equals "$(row 4 "$obtain")" "$obtain obtain yes" '--static: a later rule has what is left'
    equals "$(grep -c 'malloc\|make_noise' "$work/out")" 0 '--static: call='
    check --static "merge site=stripped!$(offset 'make_table>malloc')" -- "$work/stripped"
    has out "^  stripped!$(offset 'make_table>malloc') +- +yes$" '--static: stripped'
    check --static --json 'merge func=make_*' -- "$advised"
    equals "$("$python" -S -c 'import json, sys; print([s["function"] for s in json.load(sys.stdin)["rules"][0]["sites"] if s["certain"]])' \
        <"$work/out")" "['make_table', 'make_noise']" '--static --json'
    check --static 'merge size>=1' -- touch "$work/touched"
    exits 0 '--static: found as the shell does'
    [ ! -e "$work/touched" ]
    verdict $? '--static: the program is not run'
    check --static 'program other; merge size>=1' -- "$advised"
    has err "the rules do not hold for '.*advised'" '--static: program'
    printf '#!/bin/sh\n' >"$work/script"
    chmod +x "$work/script"
    check --static 'merge size>=1' -- "$work/script"
    exits 1 '--static: a script'
    has err 'is no object file' '--static: a script: said'
    check --static 'merge size>=1' -- no-such-program
    exits 1 '--static: no such program'
}

test_seconds() {
    check --seconds 1 'pass size>=1' -- sleep 1000
    exits 0 '--seconds: a program that goes on is asked to end'
    silent '--seconds'
    check --seconds 100 'merge func=make_table' -- "$advised"
    has out "^  advised!$(offset 'make_table>malloc') " '--seconds: one that ends before'
    check --seconds 0 'pass size>=1' -- true
    exits 2 '--seconds 0'
}

# The whole loop, with what the shim itself has recorded.
test_loop() {
    local run
    if ! "$tool" record -h >/dev/null 2>&1; then
        skip 'from record to policy' 'this build cannot record'
        return
    fi
    for run in 1 2 3; do
        "$tool" record -o "$work/loop.%p.rec" -- "$advised"
    done
    advise -o "$work/policy" "$work"/loop.*.rec
    exits 0 'from record to policy'
    has out '^1 +make_table +advised\.c:[0-9]+ +3 +3 +3M +100\.0 +2M$' 'from record to policy: ranked'
    rules 'from record to policy: the same rules' 'merge func=make_table size>=1M' 'merge func=build_sections size>=1M' \
        'merge stack=obtain<-build_mesh size>=1M' "merge stack=acquire<-advised!$(offset 'build_both>acquire#0') size>=1M"
    tried "$advised" 'from record to policy'
}

find_offsets
test_names
test_stripped
test_apart
test_other_file
test_few
test_programs
test_notes
test_damaged
test_output
test_files
test_check
test_static
test_seconds
test_loop
tap_end
