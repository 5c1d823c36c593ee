#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Debug information wherever it lies and however it was written: DWARF 4 and 5 of gcc and clang, compressed, taken
# out of the program, with what dwz makes of it; and what belongs to another build.
#
#     tests/lines-files.sh BUILD_DIR
if [ -z "${SHM_TEST_NAMESPACE:-}" ] && [ -d /usr/lib/debug ] &&
    unshare -m mount -t tmpfs tmpfs /usr/lib/debug 2>/dev/null; then
    SHM_TEST_NAMESPACE=yes exec unshare -m bash "$0" "$@"
fi
source=$(cd "$(dirname "$0")" && pwd)
. "$source/tap.sh"
tap_begin files "${1-}"
policy='export src=cells.h:202; export src=plain.c:502'
flags=(-D_GNU_SOURCE -O2 -fno-builtin -pthread)
[ -z "${SHM_TEST_NAMESPACE:-}" ] || mount -t tmpfs tmpfs /usr/lib/debug

have() { # have WHAT TOOL…
    local what=$1 tool
    shift
    for tool in "$@"; do
        if ! command -v "$tool" >/dev/null; then
            skip "$what" "$tool is not installed"
            return 1
        fi
    done
}

# make_program FILE COMPILER FLAG…
make_program() {
    local file=$1 compiler=$2
    shift 2
    "$compiler" "${flags[@]}" "$@" -o "$file" "$source/victims/lines.c" 2>"$work/err" && return
    verdict 1 "$compiler $* compiles the program"
}

# finds WHAT PROGRAM: its lines are known.
finds() {
    in_new_job "$policy" "$2"
    equals "$(grep '^taken:' "$work/out")" 'taken: table plain' "$1"
    silent "$1"
}

# finds_not WHAT PROGRAM REGEX: they are not, and one line says so.
finds_not() {
    in_new_job "$policy" "$2"
    equals "$(grep '^taken:' "$work/out")" 'taken:' "$1: nothing is taken"
    sed -i '/never matched/d' "$work/err"
    one_line "$1" "$3"
    exits 0 "$1"
}

build_id_of() {
    readelf -n "$1" | sed -n 's/.*Build ID: //p'
}

# take_out PROGRAM DEBUG: as distributions do it.
take_out() {
    objcopy --only-keep-debug "$1" "$2"
    strip "$1"
}

test_compilers() {
    local compiler flag
    for compiler in gcc clang; do
        have "$compiler" "$compiler" || continue
        for flag in -gdwarf-4 -gdwarf-5 '-gdwarf-5 -gz' '-gdwarf-4 -no-pie -fno-pie' '-g -gno-aranges'; do
            [ "$compiler $flag" != 'clang -g -gno-aranges' ] || continue # it never writes them
            # shellcheck disable=SC2086 # flags are words
            case $flag in
            *gno-aranges)
                make_program "$work/program" gcc -g && objcopy -R .debug_aranges "$work/program"
                ;;
            *) make_program "$work/program" "$compiler" $flag ;;
            esac || continue
            finds "$compiler $flag" "$work/program"
        done
    done
}

test_compressed() {
    have compressed objcopy || return
    make_program "$work/program" gcc -g || return
    for kind in zlib zlib-gnu; do
        objcopy --compress-debug-sections=$kind "$work/program" "$work/compressed"
        finds "compressed: $kind" "$work/compressed"
    done
}

# Beside the program, and in .debug/.
test_linked() {
    local here
    have 'by .gnu_debuglink' objcopy strip || return
    for here in . .debug; do
        for id in --build-id --build-id=none; do
            rm -rf "$work/linked"
            mkdir -p "$work/linked/.debug"
            make_program "$work/linked/program" gcc -g "-Wl,$id" || return
            take_out "$work/linked/program" "$work/linked/$here/program.debug"
            objcopy --add-gnu-debuglink="$work/linked/$here/program.debug" "$work/linked/program"
            finds "by .gnu_debuglink in $here, $id" "$work/linked/program"
        done
    done
    printf 'x' >>"$work/linked/.debug/program.debug"
    finds_not 'the checksum is another' "$work/linked/program" 'has no debug information: install'
    make_program "$work/linked/program" gcc -g -Wl,--build-id || return
    make_program "$work/linked/other" gcc -g -O1 -Wl,--build-id || return
    rm "$work/linked/.debug/program.debug"
    take_out "$work/linked/other" "$work/linked/program.debug"
    strip "$work/linked/program"
    objcopy --add-gnu-debuglink="$work/linked/program.debug" "$work/linked/program"
    finds_not 'the build-id is another' "$work/linked/program" 'has no debug information: install'
}

in_debug_directory() { # in_debug_directory WHAT
    [ -z "${SHM_TEST_NAMESPACE:-}" ] || return 0
    skip "$1" 'needs to mount something at /usr/lib/debug for itself'
    return 1
}

test_by_build_id() {
    local id directory
    have 'by build-id' objcopy strip readelf && in_debug_directory 'by build-id' || return
    make_program "$work/program" gcc -g -Wl,--build-id || return
    id=$(build_id_of "$work/program")
    directory=/usr/lib/debug/.build-id/${id:0:2}
    mkdir -p "$directory"
    take_out "$work/program" "$directory/${id:2}.debug"
    finds 'by build-id' "$work/program"
    mkdir "$work/elsewhere"
    mv "$directory/${id:2}.debug" "$work/elsewhere"
    ln -s "$work/elsewhere/${id:2}.debug" "$directory/${id:2}.debug"
    finds 'by build-id, a symbolic link' "$work/program"
    make_program "$work/other" gcc -g -O1 -Wl,--build-id || return
    objcopy --only-keep-debug "$work/other" "$work/elsewhere/${id:2}.debug"
    finds_not 'under its build-id lies another build' "$work/program" 'has no debug information: install'
    mkdir -p "/usr/lib/debug/$work"
    rm -r /usr/lib/debug/.build-id
    make_program "$work/program" gcc -g -Wl,--build-id=none || return
    take_out "$work/program" "/usr/lib/debug/$work/program.debug"
    objcopy --add-gnu-debuglink="/usr/lib/debug/$work/program.debug" "$work/program"
    finds 'by .gnu_debuglink under /usr/lib/debug' "$work/program"
}

# What two programs have in common, in a third file.
test_dwz() {
    have 'with dwz' dwz || return
    make_program "$work/program" gcc -g -Wl,--build-id || return
    make_program "$work/other" gcc -g -O1 -Wl,--build-id || return
    cp "$work/program" "$work/alone"
    dwz "$work/alone"
    finds 'with dwz' "$work/alone"
    dwz -m "$work/common" "$work/program" "$work/other"
    finds 'with dwz, in a common file' "$work/program"
    make_program "$work/program" gcc -g -Wl,--build-id || return
    make_program "$work/other" gcc -g -O1 -Wl,--build-id || return
    (cd "$work" && dwz -r -m ./common program other)
    finds 'with dwz, in a common file beside it' "$work/program"
    mv "$work/common" "$work/moved"
    finds_not 'with dwz, and the common file is missing' "$work/program" 'common, which dwz has made, is missing'
    cp "$work/other" "$work/common"
    finds_not 'with dwz, and another file in its place' "$work/program" 'common, which dwz has made, is missing'
}

# Whatever lies in a file, the program runs.
test_damaged() {
    local seed bytes
    make_program "$work/program" gcc -g || return
    bytes=$(stat -c %s "$work/program")
    objcopy --only-keep-debug "$work/program" "$work/program.debug"
    cp "$work/program" "$work/damaged"
    strip "$work/damaged"
    objcopy --add-gnu-debuglink="$work/program.debug" "$work/damaged"
    head -c $((bytes / 3)) "$work/program.debug" >"$work/cut"
    mv "$work/cut" "$work/program.debug"
    finds_not 'a debug file that is cut' "$work/damaged" 'has no debug information|cannot read'
    rm "$work/program.debug"
    for seed in 1 2 3 4 5 6 7 8; do
        python3 - "$work/program" "$work/scribbled" $seed <<'PYTHON'
import random, subprocess, sys
chosen = random.Random(int(sys.argv[3]))
data = bytearray(open(sys.argv[1], "rb").read())
for line in subprocess.run(["readelf", "-SW", sys.argv[1]], capture_output=True, text=True).stdout.splitlines():
    words = line.replace("[ ", "[").split()
    if len(words) > 6 and words[1].startswith(".debug_"):
        start, size = int(words[4], 16), int(words[5], 16)
        for _ in range(1 + size // 50):
            data[start + chosen.randrange(size)] = chosen.randrange(256)
open(sys.argv[2], "wb").write(data)
PYTHON
        chmod +x "$work/scribbled"
        in_new_job "$policy" "$work/scribbled"
        exits 0 "scribbled DWARF, seed $seed"
        has out '^taken:' "scribbled DWARF, seed $seed: the program has run"
    done
}

test_compilers
test_compressed
test_linked
test_by_build_id
test_dwz
test_damaged
tap_end
