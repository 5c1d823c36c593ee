#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The module shmcore of Python: its facts (python-facts.py) with and without NumPy, what others see of it, blocks of
# programs under the shim, and how it is installed and found.
#
#     tests/python-binding.sh BUILD_DIR SOURCE_ROOT
. "$(dirname "$0")/tap.sh"
tap_begin python-binding "${1-}"
source=$(cd "${2:?usage: python-binding.sh BUILD_DIR SOURCE_ROOT}" && pwd) || exit 1
python=/usr/bin/python3
module=$source/bindings/python
facts=$source/tests/python-facts.py
export SHMCORE_LIBRARY=$build/core/libshmcore.so PYTHONPATH=$module PYTHONDONTWRITEBYTECODE=1
FACTS_DIRECTORY=$(mktemp -d /dev/shm/python-binding-XXXXXX)
export FACTS_DIRECTORY
trap 'rm -rf "$FACTS_DIRECTORY"; tap_clean_up' EXIT

if $python -c 'import numpy' 2>/dev/null; then numpy=yes; else numpy=; fi

run() { # run COMMAND…: without the shim
    last="$*"
    "$@" >"$work/out" 2>"$work/err" </dev/null
    status=$?
}

test_facts() {
    local case
    local -a of_both=(mapping arrays lifetime cycle end errors read_only second_process fork threads
        close_while_used shim merge tools)
    for case in "${of_both[@]}" numpy; do
        new_job
        if [ -z "$numpy" ]; then
            skip "$case, with NumPy" 'python3 has no numpy'
            continue
        fi
        run $python "$facts" "$case"
        exits 0 "$case, with NumPy"
        silent "$case, with NumPy"
        equals "$(segment_files "$SHM_JOB")" '' "$case: no segment is left"
    done
    for case in "${of_both[@]}" bare; do
        new_job
        run $python "$facts" --without-numpy "$case"
        exits 0 "$case, without NumPy"
        silent "$case, without NumPy"
    done
    # each case that is written is run
    equals "$(sed -n 's/^def case_\([a-z_]*\)().*/\1/p' "$facts" | sort | xargs)" \
        "$(printf '%s\n' "${of_both[@]}" numpy bare | sort | xargs)" 'all cases were run'
}

# held_by_python CODE: it says `step` and waits, again and again.
held_by_python() {
    start holder '' $python -c "
import shmcore, sys
def step():
    print('step', flush=True)
    sys.stdin.readline()
$1"
    await holder step
}

refs() { # refs NAME: as shmpreload ls tells them; nothing when there is no such block
    blocks SHARED::node && awk -F '\t' -v name="$1" '$1 == name { print $5 }' "$work/blocks"
}

test_lifetime_from_outside() {
    new_job
    held_by_python "
segment = shmcore.open()
first = segment.allocate('field', shape=1000)
step()
second = segment.array('field', 'f8')
segment.close()
del segment
step()
del first
step()
second[999] = 4
del second
step()"
    equals "$(refs field)" 1 'an array is one reference'
    go holder && await holder step
    equals "$(refs field)" 2 'arrays outlive the segment object'
    go holder && await holder step
    equals "$(refs field)" 1 'del gives the reference back'
    go holder && await holder step
    equals "$(segment_files "$SHM_JOB")" '' 'the segment is closed with the last array'
    finish holder
    equals "$status" 0 'and the program ends well'

    new_job
    held_by_python "
segment = shmcore.open()
array = segment.allocate('field', shape=1000)
step()"
    run $python -c "
import os, shmcore, signal
pid = os.fork()
if pid == 0:
    segment = shmcore.open()
    field = segment.array('field', 'f8')
    os.kill(os.getpid(), signal.SIGKILL)
print(os.waitpid(pid, 0)[1])"
    equals "$(cat "$work/out")" 9 'a process is killed that holds a reference'
    run $python -c "
import shmcore
print(shmcore.open()['field'].describe().refs)"
    equals "$(cat "$work/out")" 2 'the reference of a process that was killed is given back by the next one'
    finish holder
}

test_command() {
    new_job
    held_by_python "
segment = shmcore.open(size=64 << 20)
arrays = segment.allocate('field', shape=1000), segment.allocate('another name', 5)
step()"
    run $python -m shmcore ls SHARED::node
    exits 0 'ls SEGMENT'
    has out '^NAME +BYTES +KIND +OWNER +REFS$' 'ls SEGMENT has headings'
    has out "^field +8000 +named +${held_pid[holder]} +1$" 'and a line for each block'
    equals "$(sed -n '2s/  .*//p' "$work/out")" 'another name' 'sorted by name'
    run env -u SHM_JOB $python -m shmcore ls --job "$SHM_JOB" SHARED::node
    has out '^field ' 'ls --job'
    run $python -m shmcore ls
    has out "^SHARED::node +$SHM_JOB +67108864 +[0-9]+ +1$" 'ls lists segments'
    run $python -m shmcore ls SHARED::none
    exits 1 'ls of none'
    one_line_of_shmcore 'SHARED::none'
    run $python -m shmcore
    exits 2 'no command'
    finish holder
}

one_line_of_shmcore() { # one_line_of_shmcore REGEX
    [ "$(wc -l <"$work/err")" = 1 ] && grep -Eq "^shmcore: .*$1" "$work/err"
    verdict $? "ls of none: one line on standard error" "$work/err"
}

# ---------------------------------------------------------------- programs under the shim

test_exported() {
    local table=$build/examples/table name
    new_job
    start table 'export func=build_table name=table/{pid}' "$table" 100000
    local line
    IFS= read -r line <&"${held_out[table]}"
    name=table/${held_pid[table]}
    run $python -c "
import shmcore, sys
with shmcore.open(read_only=True) as segment:
    block = segment[sys.argv[1]]
    values = block.array('u4')
    print(len(values), values[35], values[99991], sum(values.tolist()), block.held, block.describe().kind.name)
segment = shmcore.open()
block = segment[sys.argv[1]]
print(block.held, block.array('u4')[35], block.view().readonly, sys.argv[1] in segment, block.describe().owner)
try:
    segment.allocate(sys.argv[1], 400000)
except shmcore.Error as error:
    print(error)" "$name"
    has out "^100000 5 99991 ${line##* } False EXPORT$" 'an exported block has the values that the program says'
    has out "^False 5 True True ${held_pid[table]}$" 'it can be read, but neither held nor written'
    silent 'exported'
    finish table
    run $python -c "
import shmcore
shmcore.open(read_only=True)"
    has err 'NotFound: .*SHARED::node' 'the segment goes with the program'

    if [ -z "$numpy" ]; then
        skip 'an array of NumPy, exported' 'python3 has no numpy'
        return
    fi
    new_job
    hold array 'export module=_multiarray_umath* call=calloc size>=400K name=field' $python "$source/tests/victims/exported.py"
    run $python -c "
import numpy, shmcore
segment = shmcore.open(read_only=True)
name = next(iter(segment))
field = segment.array(name, 'f4', (300, 400))
print(name, field.dtype, field.shape, field.flags.writeable)
print((field == numpy.arange(120000).reshape(300, 400)).all(), field[299, 399])"
    has out "^field@p${held_pid[array]} float32 \(300, 400\) False$" 'an array of NumPy, exported: type and shape'
    has out '^True 119999.0$' 'an array of NumPy, exported: all values'
    finish array
}

# The picture is of the program's field: it changes with it, and ends with it.
test_plot() {
    local name line frame
    new_job
    start wave 'export func=make_pond name=pond' "$build/examples/wave" 50 0
    IFS= read -r line <&"${held_out[wave]}"
    name=pond@p${held_pid[wave]}
    # without the end of the pipe whose closing ends the wave
    start plot '' bash -c "exec ${held_in[wave]}>&-; exec \"\$@\"" bash env COLUMNS=40 LINES=13 \
        $python "$source/examples/plot.py" 'pond*' --shape 60,120 --text --every 0.01
    await plot "$name"
    await plot "$name" # the whole of the first frame has been said
    frame=$(head -n -1 "$work/plot.out" | tail -n 11)
    equals "$(sed '$d' <<<"$frame" | awk '{ print length($0) }' | sort | uniq -c | xargs)" '10 40' \
        'plot.py draws as much as the terminal holds'
    has_line "$frame" '[#%@]' 'with high water'
    has_line "$frame" '^-[0-9.]+ to [0-9.]+$' 'and says how high'
    finish wave
    finish plot
    equals "$status" 0 'plot.py ends with the program'
    equals "$(tail -n 1 "$work/plot.out")" "$name is gone" 'and says so'
    run $python "$source/examples/plot.py" 'pond*'
    exits 1 'plot.py without a program'
    has err '^plot.py: .*SHARED::node' 'it says what is missing'
}

has_line() { # has_line TEXT REGEX WHAT
    printf '%s\n' "$1" >"$work/text"
    has text "$2" "$3"
}

# Names of share rules carry the build-id of the module: attaching goes by the name alone.
test_shared() {
    local line
    new_job
    start table 'share func=build_table' "$build/examples/table" 100000
    IFS= read -r line <&"${held_out[table]}"
    run $python -c "
import shmcore
segment = shmcore.open()
name = next(iter(segment))
block = segment[name]
print(name, block.held, block.describe().refs, block.describe().kind.name, len(segment))
values = block.array('u4')
print(sum(values.tolist()))"
    has out '^table:build_table\+0x[0-9a-f]+#0 True 2 SHARE 1$' 'a block of a share rule can be held'
    has out "^${line##* }$" 'and has the values'
    finish table
}

test_under_the_shim() {
    in_new_job 'export size=100K..110K name=own/{seq}' $python -c "
import shmcore
own = bytearray(b'x' * 105000)
segment = shmcore.open()
named = segment.allocate('named', shape=10, dtype='i4')
found = [block for block in segment.blocks() if block.name.startswith('own/')]
print(sorted({block.kind.name for block in segment.blocks()}), len(found) > 0)
print(any(bytes(segment[block.name].view()[:105000]) == own for block in found), named[9])"
    exits 0 'under the shim itself'
    silent 'under the shim itself'
    has out "^\['EXPORT', 'NAMED'\] True$" 'it sees both kinds'
    has out '^True 0$' 'and its own array'
}

# ---------------------------------------------------------------- finding the library, installing

test_finding() {
    local prefix=$work/prefix
    local site=$prefix/lib/python3/dist-packages
    local show='import _shmcore; print(_shmcore.library._name)'
    mkdir -p "$site" "$work/loader" "$work/bare"
    cp "$module"/*.py "$site"
    cp "$module"/*.py "$work/bare"
    cp "$SHMCORE_LIBRARY" "$prefix/lib/libshmcore.so.0"
    cp "$SHMCORE_LIBRARY" "$work/loader/libshmcore.so.0"
    run env -u SHMCORE_LIBRARY PYTHONPATH="$site" $python -c "$show"
    equals "$(cat "$work/out")" "$prefix/lib/libshmcore.so.0" 'the library of the prefix that the module is in'
    run env -u SHMCORE_LIBRARY PYTHONPATH="$work/bare" LD_LIBRARY_PATH="$work/loader" $python -c "$show
print([line.split()[-1] for line in open('/proc/self/maps') if 'libshmcore' in line][0])"
    if [ -e /usr/lib/libshmcore.so.0 ] || [ -e "/usr/lib/$(gcc -print-multiarch)/libshmcore.so.0" ]; then
        skip 'the library that the loader finds' 'one is installed in /usr'
    else
        has out "^$work/loader/libshmcore.so.0$" 'the library that the loader finds'
    fi
    run env SHMCORE_LIBRARY="$work/none.so" PYTHONPATH="$site" $python -c "$show"
    has err "ImportError: .*$work/none.so.*SHMCORE_LIBRARY" 'SHMCORE_LIBRARY is the only place when it is set'
    run env SHMCORE_LIBRARY="$(ldconfig -p | sed -n 's/.*=> \(.*\/libm\.so\.6\)/\1/p' | head -1)" $python -c "$show"
    has err 'ImportError: .*shmcore_' 'another library is refused'
}

test_pip() {
    local version
    version=$("$tool" --version | grep -Eo '[0-9.]+$')
    if ! $python -m pip --version >/dev/null 2>&1 || ! $python -c 'import setuptools' 2>/dev/null; then
        skip 'pip install' 'python3 has no pip or no setuptools'
        return
    fi
    cp -r "$module" "$work/to-install" # pip builds in the directory itself
    run $python -m pip install --no-build-isolation --no-deps --no-index --disable-pip-version-check \
        --root-user-action=ignore --target "$work/site" "$work/to-install"
    exits 0 'pip install from the directory'
    run env -C / PYTHONPATH="$work/site" $python -c "
import importlib.metadata, shmcore
print(shmcore.__file__, shmcore.__version__, importlib.metadata.version('shmcore'))
with shmcore.open(size=1 << 22) as segment:
    print(segment.allocate('x', 10))"
    has out "^$work/site/shmcore.py $version $version$" 'what is installed has the version of the library'
    has out '^<shmcore.Block' 'and works'
}

test_facts
test_lifetime_from_outside
test_command
test_exported
test_shared
test_plot
test_under_the_shim
test_finding
test_pip
tap_end
