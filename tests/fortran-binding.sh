#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The module shmcore of Fortran: its facts (test-fortran-binding), what other processes see of it and it of them, the
# example, and what is installed.
#
#     tests/fortran-binding.sh BUILD_DIR SOURCE_ROOT COMPILER…
. "$(dirname "$0")/tap.sh"
tap_begin fortran-binding "${1-}"
source=$(cd "${2:?usage: fortran-binding.sh BUILD_DIR SOURCE_ROOT COMPILER…}" && pwd) || exit 1
compiler=("${@:3}")
program=$build/tests/test-fortran-binding
export SHMCORE_LIBRARY=$build/core/libshmcore.so PYTHONPATH=$source/bindings/python PYTHONDONTWRITEBYTECODE=1

run() { # run COMMAND…: without the shim
    last="$*"
    "$@" >"$work/out" 2>"$work/err" </dev/null
    status=$?
}

test_facts() {
    local verdict fact
    run "$program" facts
    exits 0 'facts'
    silent 'facts'
    while read -r verdict fact; do
        equals "$verdict" yes "$fact"
    done <"$work/out"
    equals "$(grep -c . "$work/out")" "$(grep -c 'call check(' "$source/tests/test-fortran-binding.f90")" \
        'every fact was looked at'
    run "$program" fatal
    equals "$((status != 0))" 1 'without stat= a failure ends the program'
    has err "^shmcore: .*'node'" 'with its sentence'
    lacks out 'goes on' 'at once'
}

test_others() {
    local line
    new_job
    hold fortran '' "$program" hold
    blocks SHARED::node
    equals "$(cut -f 1-5 "$work/blocks")" \
        "$(printf 'grid\t96\tnamed\t%s\t1' "${held_pid[fortran]}")" 'the block is seen'
    run /usr/bin/python3 -c "
import shmcore
grid = shmcore.open()['grid'].view().cast('d')
print(grid[0], grid[1], grid[3], grid[11])
grid[11] = -1.5"
    equals "$(cat "$work/out")" '11.0 21.0 12.0 34.0' 'Python reads what Fortran has written'
    finish fortran
    has fortran.out '^written -1\.5$' 'Fortran reads what Python has written'

    new_job
    start table 'export func=build_table name=table/{pid}' "$build/examples/table" 100000
    IFS= read -r line <&"${held_out[table]}"
    run "$program" sum "table/${held_pid[table]}"
    equals "$(cat "$work/out")" "100000 ${line##* }" 'Fortran reads what a program under the shim exports'
    finish table
}

test_example() {
    new_job
    start field '' "$build/examples/field" 12 10 50
    local line
    IFS= read -r line <&"${held_out[field]}"
    run /usr/bin/python3 -c "
import shmcore
plate = shmcore.open(read_only=True)['plate'].view().cast('d', (10, 12))
values = plate.tolist()
print('mean %.3f' % (sum(map(sum, values)) / 120), values[0][3], values[1][5] > values[2][5] > values[3][5] > 0)"
    equals "$(cat "$work/out")" "$line 100.0 True" 'the example shows what it computes'
    finish field
    equals "$status" 0 'the example ends well'
}

# A program of its own, against what is installed.
test_installed() {
    local root=$work/root pc library modules
    run env DESTDIR="$root" meson install -C "$build" --no-rebuild --quiet
    exits 0 'meson install'
    pc=$(find "$root" -name shmcore-fortran.pc)
    modules=$(find "$root" -name shmcore.mod)
    equals "$(basename "${modules%/*}")" modules 'the module is installed'
    library=$(dirname "$(find "$root" -name libshmcore_fortran.so)")
    # shellcheck disable=SC2046 # flags are words
    run "${compiler[@]}" -J "$work" -o "$work/field" "$source/examples/field.f90" \
        $(PKG_CONFIG_PATH=${pc%/*} PKG_CONFIG_SYSROOT_DIR=$root pkg-config --cflags --libs shmcore-fortran)
    exits 0 'an example builds against what is installed'
    new_job
    run env LD_LIBRARY_PATH="$library" "$work/field" 5 5 5
    has out '^mean ' 'and runs'
}

test_facts
test_others
test_example
test_installed
tap_end
