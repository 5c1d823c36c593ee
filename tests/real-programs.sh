#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The promise: a program under the shim prints what it prints without it.
#
#     tests/real-programs.sh BUILD_DIR
#
# Each case is a small script around an unmodified program. It runs without the shim and then with it,
# under each of three policies, in an environment that is equal but for LD_PRELOAD; standard output,
# standard error and exit status must be the same. Every program of the script is preloaded into, the
# shell as well.
#
#   export  every malloc is a block of the segment, whatever its size
#   share   every malloc from 64 KiB on. The names hold the pid, because processes of one program that are not meant
#           to cooperate must not get one block
#   pass    the shim is there and does nothing
#
# TAP; exit status 1 when anything failed. Leaves nothing in /dev/shm, and sees to it that the shim does not.
#
# The cases are called by their names, which ShellCheck does not see.
# shellcheck disable=SC2317
set -u

build=$(cd "${1:?usage: real-programs.sh BUILD_DIR}" && pwd) || exit 1
source=$(cd "$(dirname "$(readlink -f "$0")")/.." && pwd) || exit 1
shim=$build/preload/libshmpreload.so
tool=$build/tools/shmpreload
python=/usr/bin/python3
seconds=120 # for one run
job=real-$$
number=0
failures=0

for file in "$shim" "$tool"; do
    [ -f "$file" ] || { printf 'Bail out! %s has not been built\n' "$file"; exit 1; }
done

# shellcheck source=/dev/null
. "$source/tests/real-inputs.sh"

work=$(mktemp -d)
input=$work/input
mkdir "$input" "$work/home"
clean_up() {
    rm -rf "$work" /dev/shm/shmcore*."$job"-*
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP

# ---------------------------------------------------------------- the cases

# Each runs in an empty directory, with bash. What it needs beyond coreutils:
declare -A needs=(
    [threads]=$python [fork]=$python [numpy]="$python python3:numpy" [sqlite3]=sqlite3 [perl]=perl
    [perl_fork]=perl [gcc]=gcc [gxx]=g++ [git]=git [git_log]="git source:repository" [xz]=xz
    [make]="make gcc" [awk]=awk [tar]="tar gzip" [find]="find xargs sed grep" [routing]=$python [gc]=$python)

# A forked child shares such blocks with its parent, as the word says. These rely on copies of large ones:
# the policy `share` is not for them.
declare -A relies_on_copies=([fork]=1 [numpy]=1 [perl_fork]=1)

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

# ---------------------------------------------------------------- running

# run CASE MODE POLICY: leaves standard output, standard error and the exit status in $work/CASE.MODE.*.
run() {
    local case=$1 mode=$2 policy=$3 preload=()
    [ "$mode" = plain ] || preload=("LD_PRELOAD=$shim")
    rm -rf "$work/room" && mkdir "$work/room"
    { printf 'cd %q || exit\n' "$work/room" && declare -f "case_$case" && printf 'case_%s\n' "$case"; } >"$work/script"
    timeout -k 10 "$seconds" env -i PATH=/usr/local/bin:/usr/bin:/bin HOME="$work/home" LC_ALL=C TZ=UTC \
        DATA="$input" TREE="$source" VIEWER="$tool" \
        PYTHONHASHSEED=0 PYTHONDONTWRITEBYTECODE=1 PERL_HASH_SEED=0 GIT_CONFIG_NOSYSTEM=1 \
        GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_AUTHOR_DATE='2024-01-01 00:00:00 +0000' \
        GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b GIT_COMMITTER_DATE='2024-01-01 00:00:00 +0000' \
        SHM_JOB="$job-$case" SHM_POLICY="$policy" SHM_LOG=info SHM_LOG_FILE="$work/log.%p" \
        "${preload[@]}" bash "$work/script" </dev/null >"$work/$case.$mode.out" 2>"$work/$case.$mode.err"
    printf '%s\n' "$?" >"$work/$case.$mode.status"
}

# verdict WHAT: good when $work/wrong is empty.
verdict() {
    number=$((number + 1))
    if [ ! -s "$work/wrong" ]; then
        printf 'ok %d - %s\n' "$number" "$1"
        return
    fi
    failures=$((failures + 1))
    printf 'not ok %d - %s\n' "$number" "$1"
    head -n 30 "$work/wrong" | cut -c 1-300 | sed 's/^/#   /'
}

skip() {
    number=$((number + 1))
    printf 'ok %d - %s # SKIP %s\n' "$number" "$1" "$2"
}

# The first thing that a case needs and that is not here.
missing_for() {
    local what
    for what in ${needs[$1]:-}; do
        case $what in
            python3:*)
                "$python" -c "import ${what#*:}" 2>/dev/null || { printf "python3 has no %s" "${what#*:}"; return; } ;;
            source:repository)
                git -C "$source" -c safe.directory="$source" rev-parse -q --verify HEAD >/dev/null 2>&1 ||
                    { printf 'the source is no git repository'; return; } ;;
            *) command -v "$what" >/dev/null || { printf '%s is not installed' "$what"; return; } ;;
        esac
    done
}

# The log of a run: the segment was used, and nothing went wrong. A rule that some program of the script never met
# is no fault. Under `pass` nothing at all is said.
check_log() {
    cat "$work"/log.* >"$work/log" 2>/dev/null
    case $1 in
        pass) cat "$work/log" ;;
        export) grep -q "info: attached segment" "$work/log" || echo "no process attached to a segment" ;;
    esac
    grep -v '^shmpreload: info: ' "$work/log" | grep -v 'never matched'
}

compare() {
    local case=$1 mode=$2 stream
    {
        for stream in status out err; do
            cmp "$work/$case.plain.$stream" "$work/$case.$mode.$stream" ||
                diff -a "$work/$case.plain.$stream" "$work/$case.$mode.$stream" | head -n 12
        done
        check_log "$mode"
    } >"$work/wrong" 2>&1
    verdict "$case, $mode: prints what it prints without the shim"
    find /dev/shm -maxdepth 1 -name "*.$job-$case.*" >"$work/wrong"
    verdict "$case, $mode: nothing is left in /dev/shm"
}

run_case() {
    local case=$1 mode missing relies=${relies_on_copies[$1]:-}
    local -A policy=([export]='export size>=0'
        [share]='share size>=64K name={module}+{offset}.{pid}.{thread}#{seq}' [pass]='pass')
    missing=$(missing_for "$case")
    if [ -n "$missing" ]; then
        skip "$case" "$missing"
        return
    fi
    run "$case" plain 'export size>=0'
    if ! grep -q . "$work/$case.plain.out" || [ "$(cat "$work/$case.plain.status")" = 124 ]; then
        cat "$work/$case.plain".* >"$work/wrong"
        verdict "$case: runs without the shim"
        return
    fi
    for mode in export share pass; do
        [ "$mode$relies" != share1 ] || continue
        rm -f "$work"/log.*
        run "$case" "$mode" "${policy[$mode]}"
        compare "$case" "$mode"
    done
}

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
mine = [b for b in json.loads(listing.stdout) if b["owner"] == os.getpid() and b["kind"] == "export"]
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
    rm -f "$work"/log.*
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
find /dev/shm -maxdepth 1 -name "*.$job-*" >"$work/wrong"
verdict "nothing is left in /dev/shm"
printf '1..%d\n' "$number"
[ "$failures" = 0 ]
