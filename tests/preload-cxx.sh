#!/bin/bash
# SPDX-License-Identifier: MIT
#
# new and delete in every form, the standard library on top of them, and a plug-in that brings its own.
#
#     tests/preload-cxx.sh BUILD_DIR
. "$(dirname "$0")/tap.sh"
tap_begin cxx "${1-}"
if [ ! -e "$victims/cxx-new" ]; then
    echo '1..0 # SKIP there was no C++ compiler'
    exit 0
fi

alike() { # alike WHAT POLICY COMMAND…
    same "$@"
    exits 0 "$1"
    lacks out '^NO' "$1: all facts hold"
}

test_family() {
    local verb=$1 name
    export VICTIM_ROUTED=1
    for name in new containers own; do
        alike "$verb, $name" "$verb size>=0" "$victims/cxx-$name"
    done
    alike "$verb, a plug-in" "$verb size<1G" "$victims/plugin-host" "$victims/victim-plugin.so"
    alike "$verb, absurd sizes" "$verb size<1G" "$victims/cxx-absurd"
    alike "$verb of new alone, a plug-in" "$verb call=new size<1G" "$victims/plugin-host" "$victims/victim-plugin.so"
    # with a rule that matches the absurd sizes too, the segment says no first: one line
    bare "$victims/cxx-absurd"
    in_new_job "$verb size>=0" "$victims/cxx-absurd"
    unchanged "$verb, absurd sizes that match"
    exits 0 "$verb, absurd sizes that match"
    one_line "$verb, absurd sizes that match" 'no room|no memory'
    unset VICTIM_ROUTED
}

# takes POLICY WORDS: what the shim takes.
takes() {
    in_new_job "$1" "$victims/cxx-sites"
    equals "$(grep '^taken:' "$work/out")" "taken:${2:+ $2}" "$1"
    exits 0 "$1"
    silent "$1"
}

# The call site of new is the user's code; the malloc inside libstdc++'s new is nobody's.
test_sites() {
    takes 'export module=exe call=new' 'grow one nothrow'
    takes 'export module=exe call=malloc' 'plain'
    takes 'export call=malloc size<=3000' 'plain'
    takes 'export module=exe' 'grow one nothrow plain'
    takes 'export func=make_one' 'one'
    takes 'export func=mesh::Table*::grow' 'grow'
    takes 'export func=mesh::Table<double>::grow call=new size>=4000' 'grow'
    takes 'pass call=new; export size=1000..4000' 'plain'
    # nothing of the user's matches: then libstdc++'s inner calls do not either
    in_new_job 'export module=libstdc++* size=1000..4000' "$victims/cxx-sites"
    equals "$(grep '^taken:' "$work/out")" 'taken:' "a rule for libstdc++ does not take what the program makes"
}

# often POLICY WORDS: what the shim takes of a hundred times six sizes of each form.
often() {
    in_new_job "$1" "$victims/cxx-often"
    equals "$(grep '^taken:' "$work/out")" "taken:${2:+ $2}" "often: $1"
    exits 0 "often: $1"
}

# Where nothing matches, new goes straight on to libstdc++'s after the first time: what that one asks for is nobody's
# still. It makes one byte of none, and whole units of its alignment.
test_often() {
    often 'export module=libstdc++*'
    often 'export module=libstdc++* size=1..8K'
    often 'export module=libstdc++* size>=1K'
    often 'export module=libstdc++* call=malloc,aligned'
    often 'export module=libstdc++* size>=2K'
    often 'export func=by_either size>=2K; export module=libstdc++*' 'either=1'
    often 'export func=no_such_function'
    often 'export func=make_one' 'one=600'
    often 'export stack=make_one<-main' 'one=600'
    often 'export stack=make_array<-no_such_function'
    often 'export stack=*<-no_such_function; export stack=make_array<-main' 'array=600'
    often 'wrapper func=make_*; export func=main size>=5000; export module=libstdc++*' \
        'one=100 array=100 nothrow=100 nothrow-array=100 aligned=100 aligned-array=100 aligned-nothrow=100 aligned-nothrow-array=100'
    often 'export func=make_array; export module=libstdc++*' 'array=600'
    often 'export func=make_aligned_nothrow size>=1K; export module=libstdc++*' 'aligned-nothrow=200'
    often 'export func=make_* size>=1K' 'one=200 array=200 nothrow=200 nothrow-array=200 aligned=200 aligned-array=200 aligned-nothrow=200 aligned-nothrow-array=200'
}

test_names() {
    new_job
    hold sites 'export module=exe call=new' "$victims/cxx-sites"
    blocks SHARED::node
    equals "$(names | sed -E 's/0x[0-9a-f]+/X/')" \
        $'cxx-sites:make_nothrow+X#0\ncxx-sites:make_one+X#0\ncxx-sites:mesh::Table<double>::grow+X#0' \
        "one block for each new, under the name of the function that has it"
    finish sites
    exits 0 "names"
}

# new never fails by rule: there is nobody who would throw.
test_full() {
    in_new_job 'segment SHARED::s size=1M; export call=new full=fail' "$victims/cxx-containers"
    bare "$victims/cxx-containers"
    unchanged "full=fail for new"
}

test_family export
test_family share
test_sites
test_often
test_names
test_full
tap_end
