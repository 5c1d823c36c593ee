#!/bin/bash
# SPDX-License-Identifier: MIT
#
# shellcheck disable=SC2016 # what is quoted so is for another shell
#
# Another user of the machine, and a program that must not trust its environment. With real users: a program of one,
# 12345, and a stranger, 23456, who has put something where its segment or its registry is to be, or wants to get at the
# segment. In a mount namespace with a /dev/shm of its own.
#
#     tests/preload-strangers.sh BUILD_DIR
if [ "${SHM_TEST_NAMESPACE:-}" != yes ]; then
    if ! unshare -m mount -t tmpfs -o mode=1777 tmpfs /dev/shm 2>/dev/null; then
        echo '1..0 # SKIP mounting needs root'
        exit 0
    fi
    if ! setpriv --reuid 12345 --regid 12345 --clear-groups true 2>/dev/null; then
        echo '1..0 # SKIP only root can become another user'
        exit 0
    fi
    SHM_TEST_NAMESPACE=yes exec unshare -m bash "$0" "$@"
fi
mount -t tmpfs -o mode=1777,size=256M tmpfs /dev/shm
. "$(dirname "$0")/tap.sh"
tap_begin strangers "${1-}"
over=
trap 'take_away_libraries; tap_clean_up' EXIT

owner=12345
stranger=23456
mine=(setpriv --reuid "$owner" --regid "$owner" --clear-groups)
theirs=(setpriv --reuid "$stranger" --regid "$stranger" --clear-groups)
policy='program meet; share func=meeting_point'
filling='program fill; export func=store'

# The programs where everybody can read them.
make_public() {
    chmod 0711 "$work"
    public=$work/public
    mkdir -m 0755 "$public"
    cp "$victims"/{drop,fill,meet,keep-lock,secure-api} "$build"/preload/*.so "$public/"
    chmod 0755 "$public"/*
    shim=$public/libshmpreload.so
    "${theirs[@]}" "$public/keep-lock" 2>/dev/null # without an argument it says 2
    if [ $? != 2 ]; then
        printf 'Bail out! %s cannot be reached by other users\n' "$public"
        exit 1
    fi
}

stranger_does() { # stranger_does COMMAND…: with a umask that hides nothing
    (umask 0 && "${theirs[@]}" bash -c "$1" stranger "${@:2}" 2>/dev/null)
}

new_path() {
    new_job
    path=/dev/shm/shmcore.$owner.$SHM_JOB.SHARED::node
}

# runs WHAT ROUTED: the owner's program, with the shim as without it, so much of it routed.
runs() {
    bare "${mine[@]}" "$public/fill" 10 100000
    export VICTIM_ROUTED=$2
    with_shim "$filling" "${mine[@]}" "$public/fill" 10 100000
    unset VICTIM_ROUTED
    unchanged "$1"
    exits 0 "$1"
}

# ---------------------------------------------------------------- in the segment's place

# obstacle WHAT REGEX: what is at $path, and what it leads to, is left as it is; one line says what is the matter.
obstacle() {
    local before
    before=$(stat -c '%i %f %u %s %h' "$path")
    runs "$1" none
    one_line "$1" "$2.*own memory"
    equals "$(stat -c '%i %f %u %s %h' "$path")" "$before" "$1: it is left alone"
    rm -rf "$path"
    new_path
}

test_obstacles() {
    local belongs="belongs to (user $stranger|another user)"
    new_path
    stranger_does ': >"$1"' "$path"
    obstacle "a stranger's empty file for all" "$belongs"
    stranger_does 'umask 077; : >"$1"' "$path"
    obstacle "a stranger's own empty file" "$belongs"
    stranger_does 'truncate -s 1T "$1"' "$path"
    obstacle "a stranger's huge file" "$belongs"
    stranger_does 'ln -s "$2" "$1"' "$path" "$precious"
    obstacle "a stranger's symbolic link to a file of the owner" 'symbolic link|another user'
    stranger_does 'mkfifo "$1"' "$path"
    obstacle "a stranger's FIFO" 'not a regular file|another user'
    stranger_does 'mkdir "$1"' "$path"
    obstacle "a stranger's directory" 'not a regular file|another user'
    stranger_does ': >"$1"' "$path"
    hold culprit pass "${theirs[@]}" "$public/keep-lock" "$path"
    obstacle "a stranger's file that he keeps locked" "$belongs"
    finish culprit
    ln "$precious" "$path" # as root: where fs.protected_hardlinks is 0 the stranger could
    obstacle "a hard link to an empty file of the owner" 'hard link'
    equals "$(stat -c '%s %h' "$precious")" '0 1' "nothing has been written where the links led"
}

# What the owner's program made, somebody has loosened.
test_loosened() {
    new_path
    hold a "$policy" "${mine[@]}" "$public/meet" Anna
    chmod 0660 "$path"
    runs "a segment that others may use now" none
    one_line "a segment that others may use now" '0600.*own memory'
    chmod 0600 "$path"
    runs "a segment that is the owner's again" all
    silent "a segment that is the owner's again"
    finish a
}

# ---------------------------------------------------------------- getting at a segment

test_attack() {
    local attack
    new_path
    (umask 0 && hold a "$policy" "${mine[@]}" "$public/meet" Anna && stat -c %a "$path" >"$work/mode" && finish a)
    equals "$(cat "$work/mode")" 600 "a segment's mode, whatever the umask"
    hold a "$policy" "${mine[@]}" "$public/meet" Anna
    local before
    before=$(stat -c '%i %s %h %b' "$path")
    # shellcheck disable=SC2016
    for attack in 'head -c 1 "$1"' 'exec 3>>"$1"' 'exec 3<>"$1"' 'truncate -s 0 "$1"' 'truncate -s 2T "$1"' \
        'fallocate -l 1M -o 1T "$1"' 'rm -f "$1"' 'mv "$1" "$1.away"' 'chmod 0666 "$1"' 'chown "$UID" "$1"'; do
        last=$attack
        ! stranger_does "$attack" "$path"
        verdict $? "a stranger cannot: $attack"
    done
    equals "$(stat -c '%i %s %h %b' "$path")" "$before" "the segment is as it was"
    LD_LIBRARY_PATH=$public "${theirs[@]}" bash -c 'kill -9 "$1"' stranger "${held_pid[a]}" 2>/dev/null
    finish a
    has a.out "^now 'Anna'$" "and so is what is in it"
}

# Without the sticky bit anybody can take the file away, but not pretend that his is ours.
test_not_sticky() {
    new_path
    chmod 0777 /dev/shm
    hold a "$policy" "${mine[@]}" "$public/meet" Anna
    stranger_does 'mv "$1" "$1.away" && cp /bin/true "$1"' "$path"
    verdict $? "/dev/shm without a sticky bit: a stranger takes the file away"
    runs "/dev/shm without a sticky bit" none
    one_line "/dev/shm without a sticky bit" 'belongs to'
    stranger_does 'rm "$1"' "$path"
    runs "/dev/shm without a sticky bit, nothing is there" all
    silent "/dev/shm without a sticky bit, nothing is there"
    finish a
    exits 0 "who had it open"
    has a.out "^now 'Anna'$" "who had it open still has it"
    chmod 1777 /dev/shm
    rm -f "$path" "$path.away"
}

# ---------------------------------------------------------------- the registry

# registry WHAT: what lies in its place is left alone, and the program works without.
registry() {
    local before
    before=$(stat -c '%i %f %u %s %h' "$registry")
    new_path
    runs "$1 as registry" all
    silent "$1 as registry"
    equals "$(stat -c '%i %f %u %s %h' "$registry")" "$before" "$1 as registry: it is left alone"
}

test_registry() {
    registry=/dev/shm/shmcore-$owner.registry
    rm -f "$registry"
    stranger_does ': >"$1"' "$registry"
    registry "a stranger's file for all"
    hold culprit pass "${theirs[@]}" "$public/keep-lock" "$registry"
    if strace -o "$work/trace" true 2>/dev/null; then
        registry "a stranger's file that he keeps locked"
        new_path
        strace -f -e trace=flock -o "$work/trace" -E LD_PRELOAD="$shim" -E SHM_POLICY="$filling" "${mine[@]}" \
            "$public/fill" 10 100000 >"$work/out" 2>"$work/err" </dev/null
        grep -q 'flock(.* = 0' "$work/trace" && ! grep -q 'EAGAIN' "$work/trace"
        verdict $? "a stranger's lock is not waited for" "$work/trace"
    else
        skip "a stranger's lock is not waited for" "strace is missing or may not trace"
    fi
    finish culprit
    rm -f "$registry"
    stranger_does 'umask 077; : >"$1"' "$registry"
    registry "a stranger's own file"
    rm -f "$registry"
    stranger_does 'mkdir "$1"' "$registry"
    registry "a stranger's directory"
    rmdir "$registry"
    stranger_does 'mkfifo "$1"' "$registry"
    registry "a stranger's FIFO"
    rm -f "$registry"
    stranger_does 'ln -s "$2" "$1"' "$registry" "$precious"
    registry "a stranger's symbolic link"
    rm -f "$registry"
    ln "$precious" "$registry"
    registry "a hard link to a file of the owner"
    rm -f "$registry"
    equals "$(stat -c '%s %h' "$precious")" '0 1' "nothing has been written where the links led"
}

# ---------------------------------------------------------------- root becomes somebody else

# Its environment cannot be read any more then, but it still is in its job, and meets others of it.
test_drop() {
    new_path
    export VICTIM_ROUTED=all
    hold a 'export func=store' "$public/drop" $owner
    equals "$(all_segment_files)" "$path" "a program that drops its privileges: whose segment, and which job"
    finish a
    unset VICTIM_ROUTED
    exits 0 "a program that drops its privileges"
    lacks a.out '^NO' "a program that drops its privileges: routed, contents"
    cp "$work/a.err" "$work/err"
    silent "a program that drops its privileges"
    equals "$(all_segment_files)" '' "a program that drops its privileges: its file goes with it"
}

all_segment_files() { # of every user and job
    compgen -G "/dev/shm/shmcore.*.*.SHARED::*"
}

# ---------------------------------------------------------------- programs that trust nobody

# What a program says that may do more than its caller, and that this caller has given a job.
secure_job() { # secure_job PROGRAM
    SHM_JOB=evil PMIX_NAMESPACE=evil "${mine[@]}" "$1" 2>&1
}

test_secure_api() {
    local program=$public/secure-api
    equals "$(secure_job "$program")" "user $owner group $owner job 'evil'" "the C API in an ordinary program"
    install -o 34567 -g 34567 -m 4755 "$program" "$program-user"
    install -o 34567 -g 34567 -m 2755 "$program" "$program-group"
    install -m 0755 "$program" "$program-file"
    if [ "$(secure_job "$program-user" | cut -d' ' -f2)" != 34567 ]; then
        skip "the C API in a setuid program" "$public is on a file system without setuid programs"
        return
    fi
    equals "$(secure_job "$program-user")" "user 34567 group $owner job ''" "the C API in a setuid program"
    equals "$(secure_job "$program-group")" "user $owner group 34567 job ''" "the C API in a setgid program"
    if PATH=$PATH:/usr/sbin:/sbin setcap cap_net_raw+p "$program-file" 2>/dev/null; then
        equals "$(secure_job "$program-file")" "user $owner group $owner job ''" "the C API in a program with capabilities"
    else
        skip "the C API in a program with capabilities" "setcap is missing or may not be used here"
    fi
}

# Where the loader takes libraries from for such programs, too: only in our mount namespace.
install_for_all() {
    system=$(dirname "$(ldd "$public/meet" | sed -n 's/.*=> \(.*libc\.so\.6\).*/\1/p')")
    over=$work/over
    mkdir "$over" && mount -t tmpfs tmpfs "$over" && mkdir "$over"/{upper,work} &&
        mount -t overlay -o "lowerdir=$system,upperdir=$over/upper,workdir=$over/work" overlay "$system" \
            2>/dev/null && install -m 4755 "$shim" "$system/" && install -m 0755 "$public/shmpreload-symbols.so" "$system/"
}

take_away_libraries() {
    [ -z "$over" ] || umount -l "$system" "$over" 2>/dev/null
}

test_secure_shim() {
    local program kind
    if ! install_for_all; then
        skip "the shim in setuid programs" "the system's libraries cannot be overlaid here"
        return
    fi
    shim=libshmpreload.so
    for kind in uid gid; do
        for program in fill meet; do
            install -o 34567 -g 34567 -m "$([ $kind = uid ] && echo 4755 || echo 2755)" "$public/$program" \
                "$public/$program-$kind"
        done
        new_path
        export SHM_LOG_FILE=/dev/shm/log.%p SHM_LOG=debug
        hold a 'program meet-* fill-*; export size>=0' "${mine[@]}" "$public/meet-$kind" Anna
        grep -q libshmpreload "/proc/${held_pid[a]}/maps"
        verdict $? "a set$kind program has the shim"
        finish a
        exits 0 "a set$kind program"
        bare "${mine[@]}" "$public/fill" 10 100000
        export VICTIM_ROUTED=none
        with_shim 'bad' "${mine[@]}" "$public/fill-$kind" 10 100000
        unchanged "a set$kind program, a bad policy"
        silent "a set$kind program, a bad policy"
        with_shim 'program meet-* fill-*; export size>=0' "${mine[@]}" "$public/fill-$kind" 10 100000
        unset VICTIM_ROUTED
        unchanged "a set$kind program, a policy"
        unset SHM_LOG_FILE SHM_LOG
        equals "$(find /dev/shm -type f -uid 34567; find /dev/shm -name 'log.*' -gid 34567)" '' \
            "a set$kind program makes neither segment nor log"
        rm -f /dev/shm/log.* /dev/shm/shmcore-0.registry # setpriv itself complained of the policy, as root
    done
    runs "the same program as itself" all
    silent "the same program as itself"
}

make_public
precious=/dev/shm/precious
install -o $owner -g $owner -m 0600 /dev/null "$precious"
test_obstacles
test_loosened
test_attack
test_not_sticky
test_registry
test_drop
test_secure_api
test_secure_shim
rm -f "$precious"
equals "$(find /dev/shm -type f)" '' "nothing is left in /dev/shm"
tap_end
