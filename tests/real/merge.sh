#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Processes of python3 with NumPy that each load the same large file and prepare it in place, as many programs do:
# under `merge` they print what they print without the shim, and all of them together take the memory of one table,
# 3 % of it for each process, and the pages that they made different. As root and as nobody.
#
#     tests/real/merge.sh BUILD_DIR
#
# The cases are called by their names, which ShellCheck does not see.
# shellcheck disable=SC2317

# shellcheck source=tests/real/real.sh
. "$(dirname "$0")/real.sh"
real_begin real-merge "${1-}"
processes=4
needs=([tables]="$python python3:numpy" [tables_of_nobody]="$python python3:numpy root setpriv")
ordinary=([tables_of_nobody]=yes)

write_inputs() {
    cat >"$input/rank.py" <<'SOURCE'
import sys, zlib
import numpy as np

rank, path = int(sys.argv[1]), sys.argv[2]

def step(*words):
    print(*words, flush=True)
    sys.stdin.readline()

step("start")
# No sums of floating point numbers: their last bit depends on how an array is aligned.
table = np.load(path)
np.sqrt(table, out=table)
table.sort(axis=0)
table -= table[0]
table *= 1 / table.max()
order = np.lexsort((table[:, 3], np.floor(table[:, 0] * 1000) % 7))
table[:, 5] = table[order, 4]

def digest():
    return zlib.crc32(order, zlib.crc32(table))

step("built", digest(), table.nbytes + order.nbytes)
step("merged", digest())
table[rank::6400] = rank
step("written", digest(), 4096 * table[rank::6400].shape[0])
step("end", digest())
SOURCE
    # Takes the processes from step to step, all at once, and writes down what they take together. When they have
    # built their tables it waits until that is little enough; each time that it has become less there is time again.
    cat >"$input/ranks.py" <<'SOURCE'
import subprocess, sys, time

PATIENCE = 30
program, path, count, limit = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
ranks = [subprocess.Popen([sys.executable, program, str(rank), path], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True) for rank in range(count)]

def memory():
    total = 0
    for rank in ranks:
        with open(f"/proc/{rank.pid}/smaps_rollup") as rollup:
            total += sum(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
    return total / 1024

def settle():
    least, least_at = memory(), time.monotonic()
    while least > limit and time.monotonic() - least_at < PATIENCE:
        time.sleep(0.05)
        now = memory()
        if now < least - 0.25:
            least, least_at = now, time.monotonic()

with open("memory", "w") as notes:
    for step in ("start", "built", "merged", "written", "end"):
        words = [rank.stdout.readline().split() for rank in ranks]
        print(*(" ".join(line) for line in words), sep="\n")
        print(step, round(memory(), 1), *words[0][2:], file=notes)
        if step == "built":
            settle()
        for rank in ranks:
            rank.stdin.write("\n")
            rank.stdin.flush()
sys.exit(max(rank.wait() for rank in ranks))
SOURCE
    "$python" -c 'import sys, numpy as np
table = np.arange(6_291_456, dtype=np.float64) * 2654435761 % 1000003
np.save(sys.argv[1], table.reshape(-1, 8))' "$input/table.npy"
}

case_tables() {
    /usr/bin/python3 "$DATA/ranks.py" "$DATA/rank.py" "$DATA/table.npy" 4 "$(cat "$DATA/limit")"
}

case_tables_of_nobody() {
    /usr/bin/python3 "$DATA/ranks.py" "$DATA/rank.py" "$DATA/table.npy" 4 "$(cat "$DATA/limit")"
}

# What the processes have written down: `start`, `built` and so on, MiB, and what else there is to a step.
noted() { # noted CASE MODE STEP COLUMN
    awk -v step="$3" -v column="$4" '$1 == step { print $column }' "$work/$1.$2.memory"
}

run_and_keep() { # run_and_keep CASE MODE POLICY
    run "$@"
    cp "$work/room/memory" "$work/$1.$2.memory"
}

# Without the shim it is the same for everybody.
plain_run() { # plain_run CASE
    local file
    if [ ! -f "$work/tables.plain.memory" ]; then
        run_and_keep "$1" plain pass
    else
        for file in "$work"/tables.plain.*; do
            cp "$file" "$work/$1.plain.${file##*.}"
        done
    fi
}

# What the processes take without their tables when they have built them (temporary arrays are a part of that), one
# table, and 3 % of it for each process. MiB.
find_limit() {
    awk -v built="$(noted "$1" plain built 2)" -v bytes="$(noted "$1" plain built 3)" -v processes=$processes \
        'BEGIN { print built - bytes / 1048576 * (processes - 1 - 0.03 * processes) }'
}

takes_little() { # takes_little CASE STEP MORE: at most MORE bytes for each process above the limit
    awk -v found="$(noted "$1" merge "$2" 2)" -v limit="$(cat "$input/limit")" -v more="$3" -v processes=$processes \
        'BEGIN { limit += more * processes / 1048576; if (found == "" || found + 0 > limit) print found, "MiB, more than", limit }' \
        >"$work/wrong"
    [ ! -s "$work/wrong" ] || cat "$work/$1.plain.memory" "$work/$1.merge.memory" >>"$work/wrong"
    verdict "$1, merge: one table and 3 % of it for each process, $2"
}

test_tables() { # test_tables CASE
    local case=$1 missing
    missing=$(missing_for "$case")
    if [ -n "$missing" ]; then
        skip "$case" "$missing"
        return
    fi
    echo 1000000 >"$input/limit"
    plain_run "$case"
    {
        [ "$(grep -c '^end [0-9]' "$work/$case.plain.out")" = $processes ] || cat "$work/$case.plain".*
    } >"$work/wrong"
    verdict "$case: runs without the shim"
    find_limit "$case" >"$input/limit"
    rm -f "$work"/logs/*
    run_and_keep "$case" merge 'program python3*; merge size>=1M when=quiet:100ms'
    compare "$case" merge
    takes_little "$case" merged 0
    takes_little "$case" end "$(noted "$case" merge written 3)"
}

write_inputs
chmod -R a+rX "$input"
test_tables tables
test_tables tables_of_nobody
real_end
