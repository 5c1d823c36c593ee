#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Where the shim has the names of functions from, and where it has none: full and stripped
# libraries, MiniDebugInfo, separate debug files, files of another build.
#
#     names.sh BUILD_DIR
. "$(dirname "$(readlink -f "$0")")/tap.sh"
tap_begin names "$1"

symbols=$build/preload/shmpreload-symbols.so
places=$victims/name-places

for needed in objcopy strip nm xz; do
    command -v "$needed" >/dev/null || { printf '1..0 # SKIP %s is not installed\n' "$needed"; exit 0; }
done

full='named_first+2
-
named_static+2
named_inner+0
named_inner+2
named_outer+7
named_shared+2
named_sizeless+2
sim::Grid::grow+2'
# what others see, and the innermost of them
public='named_first+2
-
-
named_outer+2
named_outer+4
named_outer+7
named_shared+2
named_sizeless+2
sim::Grid::grow+2'
nothing='-
-
-
-
-
-
-
-
-'

# named LIBRARY EXPECTED WHAT [COMMAND]
named() {
    last=$(basename "$1")
    equals "$("$places" "$symbols" "$1" "${@:4}" 2>&1)" "$2" "$3"
}

cp "$victims/named.so" "$work/full.so"
strip "$work/full.so" -o "$work/stripped.so"
objcopy --remove-section .note.gnu.build-id "$work/full.so" "$work/no-build-id.so"

# mini FROM TO: what Fedora does to its libraries
mini() {
    nm -D "$1" --format=posix --defined-only | awk '{ print $1 }' | sort >"$work/dynamic"
    nm "$1" --format=posix --defined-only | awk '$2 ~ /^[Tt]$/ { print $1 }' | sort >"$work/all"
    comm -13 "$work/dynamic" "$work/all" >"$work/keep"
    objcopy --only-keep-debug "$1" "$work/debug"
    objcopy --strip-all --remove-section .gdb_index --remove-section .comment --keep-symbols="$work/keep" \
        "$work/debug" "$work/mini"
    xz -k -f "$work/mini"
    strip "$1" -o "$work/bare"
    objcopy --add-section ".gnu_debugdata=$work/${3:-mini.xz}" "$work/bare" "$2"
}

named "$work/full.so" "$full" 'the full table names static functions and the innermost'
named "$work/stripped.so" "$public" 'a stripped library: what it exports, and no neighbour'\''s name for the others'
named "$work/no-build-id.so" "$full" 'a library without a build-id is believed'

mini "$work/full.so" "$work/mini.so"
equals "$("$places" - "$work/mini.so" 2>&1)" "$public" 'without the module that reads it: what it exports'
named "$work/mini.so" "$full" 'MiniDebugInfo names static functions of a stripped library'
head -c 150 "$work/mini.xz" >"$work/cut.xz"
mini "$work/full.so" "$work/cut.so" cut.xz
named "$work/cut.so" "$public" 'damaged MiniDebugInfo is let alone'
head -c 4000 /dev/urandom >"$work/noise.xz"
mini "$work/full.so" "$work/noise.so" noise.xz
named "$work/noise.so" "$public" 'noise in its place, too'

cp "$work/full.so" "$work/replaced.so"
named "$work/replaced.so" "$nothing" 'a file of another build in its place names nothing' \
    "cp '$victims/named-other.so' '$work/next' && mv '$work/next' '$work/replaced.so'"
cp "$work/full.so" "$work/gone.so"
named "$work/gone.so" "$nothing" 'nor does a file that is gone' "rm '$work/gone.so'"

if [ -d /usr/lib/debug ] && unshare -m true 2>/dev/null; then
    id=$(readelf -n "$work/full.so" | awk '/Build ID/ { print $3 }')
    mkdir -p "$work/root/.build-id/${id:0:2}"
    objcopy --only-keep-debug "$work/full.so" "$work/root/.build-id/${id:0:2}/${id:2}.debug"
    last=debug
    equals "$(unshare -m sh -c "mount --bind '$work/root' /usr/lib/debug && '$places' '$symbols' '$work/stripped.so'")" \
        "$full" 'a separate debug file names static functions'
else
    skip 'a separate debug file names static functions' 'there is no /usr/lib/debug, or it may not be mounted over'
fi

# ---------------------------------------------------------------- a whole program

# taken POLICY WORDS COMMAND...: what the victim says its blocks were taken for.
taken() {
    in_new_job "$1" "${@:3}"
    equals "$(grep '^taken:' "$work/out")" "taken:${2:+ $2}" "$1 takes ${2:-nothing} in ${*:3}"
}

mini "$victims/lines" "$work/mini-lines" && chmod +x "$work/mini-lines"
strip "$victims/lines" -o "$work/bare-lines"
taken 'export func=plain_init' '' "$work/bare-lines"
taken 'export func=plain_init' 'plain' "$work/mini-lines"

if command -v gcc >/dev/null; then
    cat >"$work/plugin.c" <<'SOURCE'
#include <stdlib.h>
static __attribute__((noinline)) void *plugin_room(size_t bytes)
{
    void *volatile block = malloc(bytes);
    return block;
}
void *plugin_init(size_t bytes)
{
    void *volatile block = plugin_room(bytes);
    return block;
}
SOURCE
    gcc -O1 -shared -fPIC -o "$work/plugin-full.so" "$work/plugin.c"
    mini "$work/plugin-full.so" "$work/plugin-mini.so"
    strip "$work/plugin-full.so" -o "$work/plugin-bare.so"
    taken 'export func=plugin_room' '' "$work/bare-lines" "$work/plugin-bare.so"
    taken 'export func=plugin_room' 'plugin' "$work/bare-lines" "$work/plugin-mini.so"
else
    skip 'a plug-in with MiniDebugInfo' 'gcc is not installed'
fi

tap_end
