#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The promise: a program under the shim prints what it prints without it.
#
#     tests/real/programs.sh BUILD_DIR
#
# Real programs, each without the shim and then with it, under each of four policies (some of them only with
# SHM_TESTS=long); see real.sh.
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

# shellcheck source=tests/real/real.sh
. "$(dirname "$0")/real.sh"
# shellcheck source=tests/real/inputs.sh
. "$(dirname "$0")/inputs.sh"
# shellcheck source=tests/real/cases-programs.sh
. "$(dirname "$0")/cases-programs.sh"
real_begin real "${1-}"
needs+=([routing]=$python [gc]=$python)

policy=(
    [export]='export size>=0'
    [merge]='merge size>=0 when=quiet:100ms'
    [share]='share size>=64K name={module}+{offset}.{pid}.{thread}#{seq}'
    [pass]='pass')
# Under these two little of a program's memory is ours, so some programs do for them.
for case in gcc gxx git git_log bash sort xz make awk tar; do
    not_under[$case]='share pass'
done
# Merging while a compiler runs costs most of all, and to one of those that work alike it is as to the others.
if [ "${SHM_TESTS:-}" != long ]; then
    for case in gxx git_log make awk; do
        not_under[$case]+=' merge'
    done
fi

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
for case in "${program_cases[@]}"; do
    run_case "$case"
done
test_routing
test_killed
test_gc
real_end
