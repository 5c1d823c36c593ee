#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Several nodes, for real: hosts with memory, network, processes and a name of their own, and one Open MPI job over them.
# Who is together is what the hosts are, one rank of the whole job fills a block and each host has it, merging stays
# within a host, ranks are numbered throughout, a rank that is killed does its mates no harm, and nothing stays behind.
#
#     tests/mpi/nodes.sh BUILD_DIR
#
# A *host* is a set of namespaces on this machine: network, UTS, IPC, pid, and mount with a fresh /dev/shm and a
# directory for temporary files; only the rest of the file system is the same, as on a cluster. Each is joined by a pair
# of veth devices to a bridge in the *front end*, a set of namespaces, too, where mpirun runs and no rank. mpirun starts
# its daemons by a script that enters the host, where it would otherwise be ssh, and with as little environment.
#
# The script is the first process of the front end, so whatever it ends by, the kernel ends all that is in there and in
# the hosts, and takes the devices and mounts away.
trap 'exit 1' TERM INT # the first process of a pid namespace is not ended by what it does not expect
if [ "${SHM_TEST_NAMESPACE:-}" != yes ]; then
    if ! command -v ip >/dev/null; then
        echo '1..0 # SKIP iproute2 is not installed'
        exit 0
    fi
    for options in -mnuipf -rmnuipf; do
        if reason=$(unshare $options --mount-proc sh -c 'mount -t tmpfs tmpfs /dev/shm && hostname front &&
            ip link add name front type bridge && ip link add name host1 type veth peer name eth0' 2>&1); then
            SHM_TEST_NAMESPACE=yes exec unshare $options --mount-proc --kill-child bash "$0" "$@"
        fi
    done
    echo "1..0 # SKIP namespaces with a network of their own are not permitted here: ${reason%%$'\n'*}"
    exit 0
fi
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
. "$(dirname "$0")/../tap.sh"
tap_begin nodes "${1-}"
kind=openmpi
. "$(dirname "$0")/launch.sh"
unset SHM_JOB # the launcher's word is to count
hosts=3
network=10.213.77 # nobody else sees it

# ---------------------------------------------------------------- hosts

# The first process of a host: its number in the front end, when all is there. From then on it waits for orphans.
init='
read -r number _ </proc/self/stat
mount -t proc proc /proc && mount -t tmpfs -o mode=1777 tmpfs /dev/shm && mount -t tmpfs tmpfs "$2" &&
    hostname "$1" && ip link set lo up || exit
echo "$number" >"$3"
read -r _ <"$4"
'

make_front_end() {
    local i
    mkdir "$work/tmp" # each host mounts something there, and what mpirun keeps of itself here goes with all the rest
    export TMPDIR=$work/tmp
    mkfifo "$work/up" "$work/never"
    {
        printf '127.0.0.1 localhost\n%s.254 front\n' $network
        for ((i = 1; i <= hosts; i++)); do
            printf '%s.%d host%d\n' $network "$i" "$i"
        done
    } >"$work/names"
    cat >"$work/agent" <<END
#!/bin/sh
host=\$1
shift
exec env -i PATH="\$PATH" TMPDIR="$work/tmp" nsenter -m -n -u -i -p -t "\$(cat "$work/\$host")" sh -c "\$*"
END
    chmod +x "$work/agent"
    mount --bind "$work/names" /etc/hosts && hostname front && ip link set lo up &&
        ip link add name front type bridge && ip addr add $network.254/24 dev front && ip link set front up
}

make_host() { # make_host NUMBER
    local name=host$1 pid
    unshare -mnuipf bash -c "$init" init "$name" "$work/tmp" "$work/up" "$work/never" &
    read -r -t 60 pid <>"$work/up" && echo "$pid" >"$work/$name" &&
        ip link add name "$name" type veth peer name eth0 netns "$pid" && ip link set "$name" master front up &&
        on "$name" "ip addr add $network.$1/24 dev eth0 && ip link set eth0 up"
}

make_hosts() {
    local i
    make_front_end || return
    for ((i = 1; i <= hosts; i++)); do
        make_host $i || return
    done
}

on() { # on HOST COMMAND…
    "$work/agent" "$@"
}

# What of ours lies in memory, on any host and on the front end.
left() {
    local i
    ls /dev/shm
    for ((i = 1; i <= hosts; i++)); do
        on host$i "ls /dev/shm | sed s/^/host$i:/"
    done | grep shmcore
}

nothing_left() { # nothing_left WHAT
    equals "$(left)" '' "$1: nothing of ours is left on any host"
}

# ---------------------------------------------------------------- jobs

launcher+=(--mca plm_rsh_agent "$work/agent" --mca plm_rsh_no_tree_spawn 1 --bind-to none --mca mpi_yield_when_idle 1
    --mca btl 'tcp,vader,self' --mca btl_tcp_if_include $network.0/24 --mca oob_tcp_if_include $network.0/24)

# over HOSTS EACH: the options for so many ranks on each of so many hosts
over() {
    echo $(($1 * $2)) --host "$(seq -s , -f "host%g:$2" "$1")"
}

run() { # run HOSTS EACH [OPTION…] COMMAND…
    last="mpirun over $1 hosts with $2 ranks each: ${*:3}"
    launch $(over "$1" "$2") "${@:3}" >"$work/out" 2>"$work/err" </dev/null &
    wait $! # which a signal ends
    status=$?
}

# ranks FROM STEP COUNT: as in 0,2,4
ranks() {
    local i text=
    for ((i = 0; i < $3; i++)); do
        text+=,$(($1 + i * $2))
    done
    printf '%s' "${text#,}"
}

# What node-ranks is to say of blocks that one rank of all fills.
expected_of_filled() { # expected_of_filled HOSTS EACH
    local host each=$2 rank all=$(($1 * $2)) leaders column
    for ((rank = 0; rank < all; rank++)); do
        host=$((rank / each)) leaders=-
        [ $((rank % each)) != 0 ] || leaders=$(ranks 0 "$each" "$1")
        echo "world: rank $rank on host$((host + 1)): with $(ranks $((host * each)) 1 "$each"), leaders $leaders," \
            "filled $((rank == 0)) times, whole, $each references"
    done
    for ((rank = 0; rank < all; rank++)); do
        host=$((rank / each)) column=$((rank % each))
        echo "column$column: rank $rank on host$((host + 1)): with $rank," \
            "leaders $(ranks $((all - each + column)) -"$each" "$1")," \
            "filled $((host == $1 - 1)) times, whole, 1 references"
    done
    for ((rank = 0; rank < all; rank++)); do
        echo "taken: rank $rank: -1, EEXIST, filled 0 times:" \
            "rank $((all - each)): segment 'SHARED::node' has a block 'taken' already"
    done
}

test_filled() { # test_filled HOSTS EACH
    local what="$1 hosts, $2 ranks each, filled"
    run "$1" "$2" "$build/tests/mpi/node-ranks" filled
    exits 0 "$what"
    expected_of_filled "$1" "$2" | diff - "$work/out" >"$work/diff"
    verdict $? "$what: who is together, who leads, who fills, and what all read" "$work/diff" "$work/err"
    nothing_left "$what"
}

# ---------------------------------------------------------------- merging

rules='merge func=make_table when=barrier
export func=make_note name=note'

# The job of the segment that a host has.
job_of() { # job_of HOST
    on "$1" ls /dev/shm | sed -n 's/^shmcore\.[0-9]*\.\(.*\)\.SHARED::node$/\1/p'
}

# in_segment HOST JOB: how many processes have the block that is merged, and names of those that are not.
in_segment() {
    on "$1" "$tool" ls --json --job "$2" SHARED::node 2>>"$work/err" |
        sed -n 's/.*"name": "\(note.*\)",/\1/p; s/.*"ranks": \([0-9]*\),/\1/p' | LC_ALL=C sort | xargs
}

# While all ranks wait: each host has a segment of the same job, with what its ranks have made and no others.
look_into_segments() { # look_into_segments HOSTS EACH WHAT
    local i job found= expected=
    job=$(job_of host1)
    for ((i = 1; i <= hosts; i++)); do
        found+="host$i: $(job_of host$i)"
        expected+="host$i: "
        if ((i <= $1)); then
            found+=": $(in_segment host$i "$job")"
            expected+="$job: $2 $(seq -s ' ' -f 'note@%g' $(((i - 1) * $2)) $((i * $2 - 1)))"
        fi
        found+='; ' expected+='; '
    done
    [ -n "$job" ]
    verdict $? "$3: there is a job" "$work/table.err"
    equals "$found" "$expected" "$3: each host has a segment of the job with the blocks of its ranks"
}

# Each host has one copy: no more memory than that and a page's rounding for each rank, all of it in files of its own.
one_copy_each() { # one_copy_each HOSTS EACH WHAT
    grep '^memory' "$work/table.out" >"$work/memory"
    awk -v hosts="$1" -v each="$2" '
        $2 == "host" NR && $3 <= 4096 + 4 * each && $4 == 4096 * each && $5 == 0 { good++ }
        END { exit !(good == hosts && NR == hosts) }' "$work/memory"
    verdict $? "$3: each host has one copy, in files of its own" "$work/memory" "$work/table.err"
}

text_of() { # text_of FILE: without what depends on memory, and where it waits
    grep -Ev '^(memory|ready)' "$work/$1"
}

# What was said on standard error, but by the launcher of what it does itself: where it starts an agent that has begun
# its command already, Open MPI says that it cannot change its group any more.
said_of() { # said_of FILE
    grep -v 'plm:rsh: Warning: setpgid(.*) failed' "$work/$1"
}

test_merged() { # test_merged HOSTS EACH POLICY COMMAND…: mpirun under that, with the command
    local what="$1 hosts, $2 ranks each, merged"
    hold table "$3" launch $(over "$1" "$2") "${@:4}" merged
    look_into_segments "$1" "$2" "$what"
    finish table
    exits 0 "$what"
    one_copy_each "$1" "$2" "$what"
    diff <(text_of bare.out) <(text_of table.out) >"$work/diff"
    verdict $? "$what: the same output as without the shim" "$work/diff"
    equals "$(said_of table.err)" '' "$what: nothing on standard error"
    nothing_left "$what"
}

test_merging() {
    local table=$build/tests/mpi/node-table
    run 2 3 "$table"
    cp "$work/out" "$work/bare.out"
    equals "$status $(text_of bare.out | wc -l)" '0 12' "node-table runs without the shim"
    test_merged 2 3 "program node-table; $rules" -x LD_PRELOAD -x SHM_POLICY "$table"
    test_merged 3 2 '' "$tool" run -p "$rules" -- "$table"
}

# ---------------------------------------------------------------- death

# Open MPI lets the others live if it is told so; then it ends them when the first one has ended.
test_survivors() {
    local what='2 hosts, a rank is killed' rank expected=
    run 2 3 --mca orte_abort_on_non_zero_status 0 "$build/tests/mpi/node-ranks" killed
    for rank in 0 2 3 4 5; do
        expected+="killed: rank $rank on host$((rank / 3 + 1)): 0 refused, what the dead one held is gone"$'\n'
    done
    equals "$(cat "$work/out")" "${expected%$'\n'}" "$what: the others work on, on its host and elsewhere"
    equals "$status" 137 "$what: mpirun comes to its end"
    nothing_left "$what"
}

# As it is usual, it kills all, in the middle of whatever they do.
test_end_of_all() {
    local what='3 hosts, a rank is killed and so are all'
    run 3 2 "$build/tests/mpi/node-ranks" all-killed
    equals "$status" 137 "$what: mpirun comes to its end"
    on host1 "$tool" gc >"$work/out" 2>"$work/err"
    equals "$(left | grep host1)" '' "$what: gc leaves nothing on its host"
}

if ! make_hosts 2>"$work/err"; then
    verdict 1 "hosts can be made" "$work/err"
elif reason=$(why_no_launch) && [ -n "$reason" ]; then
    skip nodes "$reason"
else
    test_filled 2 3
    test_merging
    test_survivors
    test_end_of_all
    test_filled 3 2 # which also tidies up on the other hosts
fi
tap_end
