#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The promise, for programs that live on fork: servers with a process for each client, pools of workers, shells, make.
#
#     tests/real/forks.sh BUILD_DIR
#
# Each runs without the shim and then with it, with every malloc exported, and must print the same; see real.sh. A
# forked child shares `share` blocks with its parent, as the word says, so that policy is not for them.
#
# The cases are called by their names, which ShellCheck does not see.
# shellcheck disable=SC2317

# shellcheck source=tests/real/real.sh
. "$(dirname "$0")/real.sh"
# shellcheck source=tests/real/cases-forks.sh
. "$(dirname "$0")/cases-forks.sh"
real_begin real-forks "${1-}"
policy=([export]='export size>=0')

write_fork_inputs "$input"
for case in "${fork_cases[@]}"; do
    run_case "$case"
done
real_end
