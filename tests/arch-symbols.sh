#!/bin/bash
# SPDX-License-Identifier: MIT
#
# What the libraries give to others, take from others, and do not come between.
#
#     tests/arch-symbols.sh SOURCE_ROOT BUILD_DIR
#
# Exports are those of the version maps; the core takes neither malloc nor stdio nor the environment;
# the preload needs libc alone, cannot be written over after it is loaded and has no executable stack;
# and every symbol of a program that the preload does not export is bound to the same library with it
# and without it, also while the module that reads compressed symbol tables is loaded. TAP; exit status 1 when
# anything failed.
set -u
export LC_ALL=C

if [ $# != 2 ] || [ ! -f "$1/core/shmcore.map" ] || [ ! -d "$2" ]; then
    printf 'usage: arch-symbols.sh SOURCE_ROOT BUILD_DIR\n' >&2
    exit 2
fi
source=$(cd "$1" && pwd) || exit 1
build=$(cd "$2" && pwd) || exit 1
core=$build/core/libshmcore.so
archive=$build/core/libshmcore-core.a
preload=$build/preload/libshmpreload.so
symbols=$build/preload/shmpreload-symbols.so
lines=$build/preload/shmpreload-lines.so # only where there is elfutils
[ -f "$lines" ] || lines=
mpi=$build/mpi/libshmcore-mpi.so # only where there is MPI
[ -f "$mpi" ] || mpi=
number=0
failures=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for file in "$core" "$archive" "$preload" "$symbols"; do
    [ -f "$file" ] || { printf 'Bail out! %s has not been built\n' "$file"; exit 1; }
done
for tool in nm readelf; do
    command -v "$tool" >/dev/null || { printf '1..0 # SKIP %s (binutils) is not installed\n' "$tool"; exit 0; }
done

# verdict WHAT: good when $work/wrong is empty; what is in it is shown when not.
verdict() {
    number=$((number + 1))
    if [ ! -s "$work/wrong" ]; then
        printf 'ok %d - %s\n' "$number" "$1"
        return
    fi
    failures=$((failures + 1))
    printf 'not ok %d - %s\n' "$number" "$1"
    head -n 20 "$work/wrong" | sed 's/^/#   /'
}

skip() {
    number=$((number + 1))
    printf 'ok %d - %s # SKIP %s\n' "$number" "$1" "$2"
}

# ---------------------------------------------------------------- exports

# The names that a version map makes global, sorted.
of_map() {
    sed -n '/global:/,/local:/p' "$1" | sed 's/#.*//; s/global://; s/local://' | tr -d ' \t' | tr ';' '\n' |
        grep -v '^$' | sort
}

# The names that a library defines for others, without versions.
of_library() {
    nm -D --defined-only "$1" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' | sort -u
}

test_exports() { # test_exports LIBRARY MAP
    of_map "$source/$2" >"$work/map"
    of_library "$1" >"$work/library"
    diff "$work/map" "$work/library" >"$work/wrong"
    [ -s "$work/map" ] || printf 'no names were found in the map\n' >>"$work/wrong"
    verdict "$(basename "$1") exports what $2 says, and nothing else"
}

# ---------------------------------------------------------------- imports

# Functions that allocate (some do so inside), stdio, and readers of the environment.
forbidden='malloc|calloc|realloc|reallocarray|free|cfree|memalign|aligned_alloc|posix_memalign|valloc|pvalloc'
forbidden+='|strn?dup|wcsdup|v?asprintf|getline|getdelim|opendir|fdopendir|scandir|realpath|get_current_dir_name'
forbidden+='|qsort(_r)?|glob|wordexp|regcomp|dlopen|dlsym|getpwuid|getpwnam|getgrgid|pthread_create'
forbidden+='|v?[fs]?n?w?printf|v?dprintf|puts|fputs|fputc|putc|putchar|fwrite|fread|fopen|fdopen|freopen|fclose'
forbidden+='|fflush|fgets|fgetc|getc|getchar|v?[fs]?scanf|perror|stdin|stdout|stderr|_IO_.*|__isoc[0-9]+_.*'
forbidden+='|getenv|secure_getenv|setenv|unsetenv|putenv|clearenv|environ|__environ'

undefined_of() {
    nm "$@" 2>/dev/null | awk '$1 == "U" || $1 == "w" { sub(/@.*/, "", $2); print $2 }' | sort -u
}

# The checked forms of -D_FORTIFY_SOURCE (__snprintf_chk) count as what they check; 64 is a larger off_t.
check_imports() { # check_imports NM-ARGUMENT...
    undefined_of "$@" >"$work/undefined"
    sed -E 's/^__(.*)_chk$/\1/; s/64$//' "$work/undefined" | grep -Ex "$forbidden" >"$work/wrong"
    grep -qx 'mmap64\|mmap' "$work/undefined" || printf 'it seems to take nothing at all from libc\n' >>"$work/wrong"
}

test_imports() {
    check_imports -u "$archive"
    verdict "the core takes neither malloc nor stdio nor the environment (static)"
    check_imports -D -u "$core"
    verdict "the core takes neither malloc nor stdio nor the environment (shared)"
}

# ---------------------------------------------------------------- how they are linked

needed_of() {
    readelf -dW "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'
}

test_needed() {
    local file
    for file in "$preload" "$core"; do
        needed_of "$file" >"$work/needed"
        grep -vx 'libc\.so\.6\|ld-linux-x86-64\.so\.2' "$work/needed" >"$work/wrong"
        grep -qx 'libc\.so\.6' "$work/needed" || printf 'it does not need libc\n' >>"$work/wrong"
        verdict "$(basename "$file") needs libc alone"
    done
}

test_hardening() {
    local file
    for file in "$preload" "$core" "$symbols" ${lines:+"$lines"} ${mpi:+"$mpi"}; do
        readelf -lW "$file" >"$work/segments"
        readelf -dW "$file" >"$work/dynamic"
        {
            grep -q 'GNU_STACK.* RW  ' "$work/segments" || grep GNU_STACK "$work/segments" || echo "no GNU_STACK"
            grep 'LOAD.* [R ]WE ' "$work/segments"
            grep TEXTREL "$work/dynamic"
        } >"$work/wrong"
        verdict "$(basename "$file"): neither the stack nor any writable page is executable"
        {
            grep -q GNU_RELRO "$work/segments" || echo "no RELRO"
            grep -q 'FLAGS.*NOW' "$work/dynamic" || echo "no BIND_NOW"
        } >"$work/wrong"
        verdict "$(basename "$file"): RELRO and BIND_NOW"
    done
}

# Reaching a thread-local word through __tls_get_addr may call malloc.
test_thread_words() {
    local file
    for file in "$preload" "$core"; do
        undefined_of -D -u "$file" | grep -x __tls_get_addr >"$work/wrong"
        readelf -dW "$file" | grep -q 'FLAGS.*STATIC_TLS' || echo "no STATIC_TLS flag" >>"$work/wrong"
        verdict "$(basename "$file") reaches thread-local words without a call"
    done
}

# ---------------------------------------------------------------- bindings of a program

# bindings NAME PRELOAD COMMAND...: lines "FILE SYMBOL LIBRARY" of that one process, in $work/NAME.
bindings() {
    local name=$1 library=$2
    shift 2
    rm -f "$work"/debug.*
    timeout 60 env SHM_JOB="arch-symbols-$$-$name" SHM_POLICY='export size>=0' LD_BIND_NOW=1 LD_DEBUG=bindings \
        LD_DEBUG_OUTPUT="$work/debug" ${library:+"LD_PRELOAD=$library"} "$@" \
        </dev/null >"$work/out.$name" 2>"$work/err.$name"
    printf '%s\n' "$?" >"$work/status.$name"
    sed -nE "s/^.*binding file (.*) \[[0-9]+\] to (.*) \[[0-9]+\]: [a-z]+ symbol \`([^']*)'.*/\1 \3 \2/p" \
        "$work"/debug.* | sort -u >"$work/$name"
}

# Lines of $work/NAME about the files that the program has without the preload too, except for what the
# preload exports.
of_program() {
    of_library "$preload" >"$work/exports"
    cut -d' ' -f1 "$work/without" >"$work/files"
    awk 'FILENAME == ARGV[1] { exported[$1] = 1; next }
         FILENAME == ARGV[2] { files[$1] = 1; next }
         ($1 in files) && !($2 in exported)' "$work/exports" "$work/files" "$work/$1"
}

test_bindings() { # test_bindings WHAT COMMAND...
    local what=$1
    shift
    bindings without '' "$@"
    bindings with "$preload" "$@"
    {
        diff "$work/status.without" "$work/status.with"
        diff "$work/out.without" "$work/out.with"
        [ "$(cat "$work/status.with")" = 0 ] || head -n 5 "$work/err.with"
    } >"$work/wrong" 2>&1
    verdict "$what: runs, and prints the same"
    {
        grep -q " malloc .*/libshmpreload\.so$" "$work/with" || echo "malloc is not bound to the preload"
        grep -q "^$symbols " "$work/with" || echo "the module for compressed symbols has not been loaded"
        grep -q '/liblzma' "$work/with" || echo "liblzma has not been loaded"
        ! grep -q " malloc .*/libshmpreload\.so$" "$work/without" || echo "it is there without being asked for"
    } >"$work/wrong"
    verdict "$what: the preload and its module are in the process"
    of_program without >"$work/bound.without"
    of_program with >"$work/bound.with"
    diff "$work/bound.without" "$work/bound.with" | grep '^[<>]' >"$work/wrong"
    [ -s "$work/bound.without" ] || echo "no bindings were seen" >>"$work/wrong"
    verdict "$what: every other symbol is bound to the same library as without the preload"
}

cpp_program() {
    cat <<'SOURCE'
#include <dlfcn.h>
#include <execinfo.h>
#include <unwind.h>
#include <cstdio>
#include <map>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

static _Unwind_Reason_Code count(struct _Unwind_Context *, void *frames)
{
    ++*static_cast<int *>(frames);
    return _URC_NO_REASON;
}

static int thrower(int value)
{
    std::vector<std::string> words(100, std::string(200, 'x'));
    if (value > 0)
        throw std::runtime_error("caught " + std::to_string(value));
    return static_cast<int>(words.size());
}

int main()
{
    void *frames[16];
    int walked = 0;
    std::map<int, std::string> seen;
    std::thread other([&] {
        try {
            thrower(2);
        } catch (const std::exception &error) {
            seen[2] = error.what();
        }
    });
    other.join();
    try {
        thrower(1);
    } catch (const std::exception &error) {
        seen[1] = error.what();
    }
    _Unwind_Backtrace(count, &walked);
    void *handle = dlopen("libm.so.6", RTLD_NOW | RTLD_LOCAL);
    std::printf("%s %s %d %d %d\n", seen[1].c_str(), seen[2].c_str(), backtrace(frames, 16) > 1, walked > 1,
                handle != nullptr);
    return 0;
}
SOURCE
}

# The symbols that this is about must have been seen, and where they belong.
test_unwinder() {
    local name
    {
        grep -q "^$work/program backtrace .*/libc\.so\.6$" "$work/with" || echo "backtrace is not libc's"
        for name in _Unwind_Backtrace _Unwind_RaiseException; do
            grep -q " $name .*/libgcc_s\.so\.1$" "$work/with" || echo "$name is not libgcc's"
        done
    } >"$work/wrong"
    verdict "C++ program: backtrace is libc's, _Unwind_* are libgcc's, with the preload"
}

test_cpp() {
    if ! command -v g++ >/dev/null; then
        skip "C++ program: bindings" "g++ is not installed"
        return
    fi
    cpp_program >"$work/program.cc"
    if ! g++ -O1 -pthread -o "$work/program" "$work/program.cc" >"$work/wrong" 2>&1; then
        verdict "C++ program: compiles"
        return
    fi
    test_bindings "C++ program" "$work/program"
    test_unwinder
}

test_python() {
    if [ ! -x /usr/bin/python3 ]; then
        skip "python3: bindings" "/usr/bin/python3 is not installed"
        return
    fi
    test_bindings "python3" /usr/bin/python3 -c '
import ctypes, json, lzma, ssl, sqlite3, threading
words = {str(i): [i] * 50 for i in range(2000)}
thread = threading.Thread(target=lambda: words.update(x=1))
thread.start(); thread.join()
print(len(json.dumps(words)), len(lzma.compress(b"x" * 100000)))'
}

# ---------------------------------------------------------------- all

test_exports "$core" core/shmcore.map
test_exports "$preload" preload/shmpreload.map
test_exports "$symbols" preload/symbols.map
[ -z "$lines" ] || test_exports "$lines" preload/lines.map
[ -z "$mpi" ] || test_exports "$mpi" mpi/shmcore_mpi.map
test_imports
test_needed
test_hardening
test_thread_words
test_cpp
test_python
printf '1..%d\n' "$number"
[ "$failures" = 0 ]
