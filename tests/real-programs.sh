#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The promise: a program under the shim prints what it prints without it.
#
#     tests/real-programs.sh BUILD_DIR
#
# Real programs, each without the shim and then with it, under each of four policies; see real.sh.
#
#   export  every malloc is a block of the segment, whatever its size
#   merge   likewise, in private memory that is merged whenever it is quiet for a moment
#   share   every malloc from 64 KiB on. The names hold the pid, because processes of one program that are not meant
#           to cooperate must not get one block
#   pass    the shim is there and does nothing
#
# TAP; exit status 1 when anything failed. Leaves nothing in /dev/shm, and sees to it that the shim does not.
#
# The cases are called by their names, which ShellCheck does not see.
# shellcheck disable=SC2317

# shellcheck source=tests/real.sh
. "$(dirname "$0")/real.sh"
# shellcheck source=tests/real-inputs.sh
. "$(dirname "$0")/real-inputs.sh"
real_begin real "${1-}"

# ---------------------------------------------------------------- the cases

# Each runs in an empty directory, with bash. What it needs beyond coreutils:
needs=(
    [threads]=$python [fork]=$python [numpy]="$python python3:numpy" [sqlite3]=sqlite3 [perl]=perl
    [perl_fork]=perl [gcc]=gcc [gxx]=g++ [git]=git [git_log]="git source:repository" [xz]=xz
    [make]="make gcc" [awk]=awk [tar]="tar gzip" [find]="find xargs sed grep" [routing]=$python [gc]=$python)

policy=([export]='export size>=0' [merge]='merge size>=0 when=quiet:100ms' [share]='share size>=64K name={module}+{offset}.{pid}.{thread}#{seq}' [pass]='pass')

# A forked child shares such blocks with its parent, as the word says. These rely on copies of large ones.
not_under=([fork]=share [numpy]=share [perl_fork]=share)

case_ls() {
    ls -lR "$DATA/tree"
    ls -lR /usr/include
    ls /nowhere
}

case_threads() {
    /usr/bin/python3 "$DATA/threads.py"
}

case_fork() {
    /usr/bin/python3 "$DATA/fork.py"
}

case_numpy() {
    /usr/bin/python3 "$DATA/fields.py"
}

case_sqlite3() {
    sqlite3 base.db <"$DATA/base.sql"
    sqlite3 base.db 'select count(*), sum(length(word)) from words; pragma integrity_check;'
    sqlite3 base.db .dump | cksum
    sqlite3 base.db 'select nothing from nowhere;'
}

case_perl() {
    perl "$DATA/words.pl" "$DATA/lines"
    perl -e 'die "on purpose\n"'
}

case_perl_fork() {
    perl -e '@long = map { "word$_" } 1 .. 40000; $child = fork;
        if (!$child) { @long = reverse sort @long; print "child $long[0]\n"; exit 3 }
        waitpid $child, 0; print "parent $long[0] $#long ", $? >> 8, "\n"; exit 1'
}

case_gcc() {
    gcc -std=gnu11 -D_GNU_SOURCE -O2 -g -S -I"$TREE" -I"$TREE/core" -o - "$TREE/core/heap.c"
    gcc -std=gnu11 -fsyntax-only "$DATA/wrong.c"
}

case_gxx() {
    g++ -O0 -pthread -o containers "$DATA/containers.cc" && ./containers
}

case_git() {
    local i
    git init -q -b trunk repository && cd repository || return
    for i in {1..8}; do
        seq "$i" $((i * 300)) >numbers
        cp "$DATA/lines" "copy-$i"
        git add . && git commit -q -m "number $i"
    done
    git branch side HEAD~5 && git checkout -q side && echo side >side && git add side && git commit -q -m side
    git merge -q -m merge trunk && git diff --stat HEAD~1 && git gc -q && git fsck --full
    git log --stat --format='%H %an %ad %s' && git grep -c 77 && git blame -s numbers | cksum
    git rev-list --objects --all | cksum && git clone -q --no-local . ../clone && git -C ../clone status
    git show nothing
}

case_git_log() {
    git -C "$TREE" -c safe.directory="$TREE" log -p --stat -n 20
    git -C "$TREE" -c safe.directory="$TREE" shortlog -s HEAD
}

case_bash() {
    local words=() i total=0
    for ((i = 0; i < 3000; i++)); do
        words[i]="word$i"
        total=$((total + ${#words[i]}))
    done
    echo "$total ${words[*]:100:5}"
    for i in {1..40}; do
        total=$( (echo "$i $total" | { read -r a b && echo $((a + b)); }) )
    done
    echo "$total"
    while read -r i; do echo "${i//7/seven}"; done < <(seq 200) | tail -n 3
    for i in 1 2 3 4; do (exit "$i") & wait $! || echo "status $?"; done
    seq 100000 | head -n 1
    echo "${PIPESTATUS[@]}"
    words=("$(cat "$DATA/lines")")
    echo "${#words[0]}"
    printf '%s\n' "${words[0]}" | cksum
    cat <<<"${words[0]}" | wc
    no_such_command
}

case_sort() {
    sort --parallel=2 -S 2M -k2,2n -k1,1 "$DATA/lines" | cksum
    sort --parallel=2 -u "$DATA/lines" | tail -n 3
}

case_xz() {
    xz -T2 --block-size=256KiB -k -c "$DATA/lines" >lines.xz && cksum lines.xz
    xz -T2 -d -c lines.xz | cmp - "$DATA/lines" && xz --list lines.xz
    head -c 5000 lines.xz | xz -d -c | cksum
}

case_make() {
    cp "$DATA/Makefile" . && make -s -j2 && ./sum && make -j2 && make impossible
}

case_awk() {
    awk '{ n[$1 % 977] += $2; w[$3]++ } END { for (k in n) print k, n[k]; for (k in w) print k, w[k] }' \
        "$DATA/lines" | sort | cksum
    awk 'BEGIN { while (i++ < 20000) s = s "x"; print length(s); exit 3 }'
}

case_tar() {
    tar -C "$DATA" --sort=name -czf tree.tar.gz tree && cksum <(gzip -dc tree.tar.gz)
    mkdir out && tar -C out -xzf tree.tar.gz && diff -r "$DATA/tree" out/tree && tar -tzvf tree.tar.gz
}

case_find() {
    find "$DATA/tree" -type f -print0 | sort -z | xargs -0 -n 20 -P 1 grep -c 7 | sed 's/^.*tree//' | cksum
    grep -rE '(1|2)+5' "$DATA/tree" | wc -l
}

cases=(ls threads fork numpy sqlite3 perl perl_fork gcc gxx git git_log bash sort xz make awk tar find)

# Is it really the segment's memory that these programs ran in? Python asks, of itself.
case_routing() {
    # shellcheck disable=SC2016
    /usr/bin/python3 -c '
import json, os, subprocess
keep = [bytearray(100000 + i) for i in range(50)]
environment = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
listing = subprocess.run([os.environ["VIEWER"], "ls", "SHARED::node", "--job", os.environ["SHM_JOB"], "--json"],
                         env=environment, capture_output=True)
if listing.returncode != 0:
    raise SystemExit("no segment")
mine = [b for b in json.loads(listing.stdout)["blocks"] if b["owner"] == os.getpid() and b["kind"] == "export"]
inside = {b["bytes"] for b in mine}
print(len(mine) > 300, sum(100001 + i in inside for i in range(50)), any(b["bytes"] < 64 for b in mine),
      len({b["name"] for b in mine}) == len(mine))'
}

test_routing() {
    local missing
    missing=$(missing_for routing)
    if [ -n "$missing" ]; then
        skip "routing" "$missing"
        return
    fi
    rm -f "$work"/logs/*
    run routing export 'export size>=0'
    printf 'True 50 True True\n' | diff - "$work/routing.export.out" >"$work/wrong"
    cat "$work/routing.export.err" >>"$work/wrong"
    verdict "under export, python3's arrays and small blocks are in the segment, each with a name of its own"
    run routing pass 'pass'
    printf 'no segment\n' | diff - "$work/routing.pass.err" >"$work/wrong"
    verdict "under pass there is no segment"
}

# A process that is killed takes its segment with it as soon as anybody else comes, of whatever job.
case_killed() {
    find /dev/shm -maxdepth 1 -name "*.$SHM_JOB.*"
    kill -9 $$
}

case_next() {
    echo next
}

test_killed() {
    { run killed export 'export size>=0'; } 2>/dev/null # the shell says who was killed
    run next export 'export size>=0'
    {
        grep -q '^/dev/shm/.*SHARED::node$' "$work/killed.export.out" || echo "there was no segment to remove"
        find /dev/shm -maxdepth 1 -name "*.$job-killed.*" -print -delete
    } >"$work/wrong"
    verdict "the next process of any job removes the segment of one that was killed"
}

# A process that is killed in a segment that lives on: `gc`, another process, gives back what it held. Python
# starts programs with vfork, so it does not look after the dead itself on the way.
case_gc() {
    # shellcheck disable=SC2016
    /usr/bin/python3 -c '
import json, os, subprocess
environment = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
def viewer(*arguments):
    return subprocess.run([os.environ["VIEWER"], *arguments], env=environment, capture_output=True, text=True)
def processes():
    listing = json.loads(viewer("ls", "--json", "--job", os.environ["SHM_JOB"]).stdout)
    return [segment["processes"] for segment in listing]
keep = bytearray(1000000)
children = [subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(3)]
for child in children:
    child.stdin.write(b"x")
    child.stdin.flush()
    child.stdout.read(1)
before = processes()
for child in children:
    child.kill()
    child.wait()
print("gc", viewer("gc").returncode, [b - a for a, b in zip(processes(), before)])'
}

test_gc() {
    local missing
    missing=$(missing_for gc)
    if [ -n "$missing" ]; then
        skip "gc" "$missing"
        return
    fi
    run gc export 'export size>=0'
    printf 'gc 0 [3]\n' | diff - "$work/gc.export.out" >"$work/wrong"
    verdict "gc gives back what killed processes held in a segment that lives on"
}

write_inputs "$input"
for case in "${cases[@]}"; do
    run_case "$case"
done
test_routing
test_killed
test_gc
real_end
