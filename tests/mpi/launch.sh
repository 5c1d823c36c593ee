# shellcheck shell=bash
# SPDX-License-Identifier: MIT
#
# Starting MPI programs, and what they say, for the tests: to be sourced after tap_begin, with $kind (openmpi or mpich) set.

# Open MPI does not start as root, nor more ranks than there are processors, unless it is told to.
launcher=(mpirun)
command -v "mpirun.$kind" >/dev/null && launcher=("mpirun.$kind")
if [ "$kind" = openmpi ]; then
    launcher+=(--oversubscribe)
    [ "$(id -u)" != 0 ] || launcher+=(--allow-run-as-root)
fi

launch() { # launch RANKS COMMAND…
    timeout "${patience:-100}" "${launcher[@]}" -n "$@"
}

# Nothing when MPI programs can be started.
why_no_launch() {
    if ! command -v "${launcher[0]}" >/dev/null; then
        printf '%s is not installed' "${launcher[0]}"
    elif ! launch 1 true >"$work/launch" 2>&1 </dev/null; then
        printf '%s does not run here: %s' "${launcher[0]}" "$(grep -m 1 '[a-z]' "$work/launch")"
    fi
}

# Each verdict of the program, in $work/out, is one of ours.
take_over() { # take_over WHAT
    local line
    while IFS= read -r line; do
        [[ $line == 'ok - '* ]]
        verdict $? "$1: ${line#*ok - }" "$work/err"
    done < <(grep -E '^(not )?ok - ' "$work/out")
}
