#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Segments of a socket and of a NUMA domain in policies: processes of one domain share, those of different ones do
# not, and who may run in several is told so and goes on with its own memory. In a mount namespace the second
# processor is given another socket than it has.
#
#     tests/preload-scopes.sh BUILD_DIR
. "$(dirname "$0")/tap.sh"
tap_begin scopes "${1-}"
meet=$victims/meet
cpus=/sys/devices/system/cpu
policy='segment SHARED::table scope=socket; share func=meeting_point'
in_machine=() # what makes a command see two sockets
processors=() # the two that are used

# The first two processors that this process may run on.
find_processors() {
    local range
    for range in $(taskset -pc $$ | sed 's/.*: //; s/,/ /g'); do
        # shellcheck disable=SC2046 # numbers are words
        processors+=($(seq "${range%-*}" "${range#*-}"))
    done
    processors=("${processors[@]:0:2}")
}

make_machine() {
    printf '7\n' >"$work/seven"
    printf '8\n' >"$work/eight"
    cat >"$work/machine" <<END
#!/bin/sh
mount --bind "$work/seven" $cpus/cpu${processors[0]}/topology/physical_package_id &&
mount --bind "$work/eight" $cpus/cpu${processors[1]}/topology/physical_package_id && exec "\$@"
END
    chmod +x "$work/machine"
    in_machine=(unshare -m "$work/machine")
}

why_no_machine() {
    if [ ${#processors[@]} -lt 2 ]; then
        printf 'there is one processor only'
    elif ! "${in_machine[@]}" true 2>"$work/mount"; then
        printf 'no other /sys can be mounted: %s' "$(head -n 1 "$work/mount")"
    fi
}

# taskset and unshare begin with the shim, too, so the policy names the program.
start_on() { # start_on ID 0|1 TEXT: on the first processor or the second
    hold "$1" "program meet; $policy" "${in_machine[@]}" taskset -c "${processors[$2]}" "$meet" "$3"
}

test_sockets() {
    new_job
    start_on first 0 one
    start_on second 0 two
    start_on third 1 three
    equals "$(grep found "$work/second.out")" "found 'one'" "processes of one socket share"
    equals "$(grep found "$work/third.out")" "found ''" "those of another one do not"
    equals "$(segment_files "$SHM_JOB" | sed 's/.*SHARED/SHARED/' | xargs)" 'SHARED::table@socket7 SHARED::table@socket8' \
        "a file for each socket"
    blocks SHARED::table@socket7
    equals "$(cut -f2,5 "$work/blocks")" "200000	2" "a viewer finds it by its full name"
    "$tool" ls SHARED::table >"$work/out" 2>"$work/err"
    equals "$? $(grep -o 'table@socket[78] ' "$work/err" | sort -u | xargs)" '1 table@socket7 table@socket8' \
        "and is told of both when it asks by the name in the policy"
    finish third
    finish second
    equals "$(grep now "$work/second.out")" "now 'onetwo'" "the other socket's text is not in it"
    finish first
    exits 0 "scope=socket"
    equals "$(segment_files "$SHM_JOB")" '' "the files go with the last process of each socket"
}

test_unbound() {
    new_job
    last='unbound'
    LD_PRELOAD=$shim SHM_POLICY="program meet; $policy" "${in_machine[@]}" \
        taskset -c "${processors[0]},${processors[1]}" "$meet" text >"$work/out" 2>"$work/err" </dev/null
    status=$?
    exits 0 "a process that may run on two sockets"
    has out "found ''" "it has memory of its own"
    one_line "a process that may run on two sockets" \
        'scope=socket .* socket 7 and on socket 8: .*mpirun --bind-to socket.*; the program runs on'
    equals "$(segment_files "$SHM_JOB")" '' "it makes no segment"
}

# On the machine as it is.
test_numa() {
    new_job
    LD_PRELOAD=$shim SHM_POLICY='program meet; segment SHARED::a scope=numa; share func=meeting_point' \
        SHM_LOG=info taskset -c "${processors[0]}" "$meet" text >"$work/out" 2>"$work/err" </dev/null
    status=$?
    exits 0 "scope=numa"
    has out "found ''" "scope=numa: the program runs"
    has err "attached segment 'SHARED::a@numa[0-9]+'" "scope=numa: the domain is in the name"
}

# The mapping of the segment in a program that has a routed block: how the kernel finds pages for it.
spread() { # spread POLICY [COMMAND…]: leaves that, or "other", in $work/out
    LD_PRELOAD=$shim SHM_POLICY="program python3*; $1; export size>=4M" "${@:2}" python3 -c '
block = bytearray(8 << 20)
print(*[word for line in open("/proc/self/numa_maps") if "shmcore" in line for word in line.split()
        if word.startswith("interleave")] or ["other"])' >"$work/out" 2>"$work/err" </dev/null
    status=$?
}

why_no_interleaving() {
    if [ ! -e /proc/self/numa_maps ]; then
        printf 'the kernel does not know NUMA nodes'
    elif ! python3 -c 'import ctypes, mmap, platform, sys
mbind = {"x86_64": 237, "aarch64": 235}[platform.machine()]
with mmap.mmap(-1, 4096) as page:
    nodes = (ctypes.c_ulong * 16)(1)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    sys.exit(ctypes.CDLL(None).syscall(mbind, ctypes.c_void_p(address), 4096, 3, nodes, 1024, 0) != 0)' \
        >"$work/mbind" 2>&1; then
        printf 'mbind() is not allowed here'
    fi
}

test_interleaving() {
    new_job
    spread 'segment SHARED::node numa=interleave'
    exits 0 "numa=interleave"
    has out '^interleave' "numa=interleave: the pages of the segment are spread"
    equals "$(cat "$work/err")" '' "numa=interleave: nothing is said"
    new_job
    spread 'segment SHARED::node numa=local'
    has out '^other' "numa=local: they are not"
    new_job
    spread 'segment SHARED::node numa=interleave' strace -f -o /dev/null -e inject=mbind:error=EPERM
    exits 0 "numa=interleave that is not allowed"
    has out '^other' "numa=interleave that is not allowed: the program has its block"
    one_line "numa=interleave that is not allowed" "'SHARED::node' is not spread over NUMA nodes"
}

find_processors
make_machine
reason=$(why_no_machine)
if [ -n "$reason" ]; then
    skip "two sockets" "$reason"
else
    test_sockets
    test_unbound
fi
if [ -e $cpus/cpu0/topology ]; then
    test_numa
else
    skip "scope=numa" "the kernel tells nothing of processors here"
fi
reason=$(why_no_interleaving)
if [ -n "$reason" ]; then
    skip "numa=interleave" "$reason"
else
    test_interleaving
fi
tap_end
