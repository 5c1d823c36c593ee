# shellcheck shell=bash
# SPDX-License-Identifier: MIT
#
# What the two commands of a fresh clone have in common: the packages they need and the build.
# To be sourced, by scripts that have `set -eu`; defines functions and does nothing by itself.
#
# Nothing is installed that is there already, and nothing at all where SHM_SETUP=no says so.

say() {
    printf '%s\n' "$*"
}

die() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

# Reads lines "package: why it is needed" and prints those whose package is not installed.
setup_missing() {
    local package why
    while IFS=: read -r package why; do
        if [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" != installed ]; then
            printf '%s:%s\n' "$package" "$why"
        fi
    done
}

# setup_packages LIST: installs what is missing of LIST (lines "package: why"), with apt. On a system
# without apt, or without the right to install, prints what is needed and ends the script.
setup_packages() {
    local list=$1 missing names sudo=()
    [ "${SHM_SETUP:-}" != no ] || return 0
    if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
        say "This is not a Debian system. Please install what these Debian packages hold:"
        setup_list "$list"
        say "and start again with SHM_SETUP=no in the environment."
        exit 1
    fi
    missing=$(setup_missing <<<"$list")
    [ -n "$missing" ] || return 0
    say "These packages are missing and are installed now with apt:"
    setup_list "$missing"
    mapfile -t names < <(cut -d: -f1 <<<"$missing")
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || die "only root can install packages, and there is no sudo; as root: apt-get install ${names[*]}"
        sudo=(sudo)
    fi
    setup_apt "${names[@]}"
}

setup_list() {
    local package why
    while IFS=: read -r package why; do
        printf '  %-18s%s\n' "$package" "$why"
    done <<<"$1"
}

# Runs apt without questions; its output is shown only when it fails. Uses the caller's `sudo`.
setup_apt() {
    local log
    log=$(mktemp)
    if ! { "${sudo[@]}" apt-get update &&
        "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"; } \
        </dev/null >"$log" 2>&1; then
        tail -n 30 "$log" >&2
        rm -f "$log"
        die "apt could not install: $*"
    fi
    rm -f "$log"
}

# setup_build SOURCE DIRECTORY MESON-OPTION...: configures (again) and builds. Meson's and Ninja's
# output goes to DIRECTORY/setup.log. Returns non-zero when it fails, after having shown the end of it.
setup_build() {
    local source=$1 directory=$2 again=()
    shift 2
    if [ -f "$directory/build.ninja" ]; then
        again=(--reconfigure)
    fi
    mkdir -p "$directory"
    if ! { meson setup "${again[@]}" "$@" "$directory" "$source" && ninja -C "$directory"; } \
        </dev/null >"$directory/setup.log" 2>&1; then
        tail -n 40 "$directory/setup.log" >&2
        printf '%s: %s does not build; the whole output is in %s\n' "$(basename "$0")" "$(basename "$directory")" \
            "$directory/setup.log" >&2
        return 1
    fi
}
