# shellcheck shell=bash
# SPDX-License-Identifier: MIT
#
# Programs that a person starts by hand, shells and pipes among them. To be sourced after real.sh and inputs.sh.
#
# The cases are called by their names, which ShellCheck does not see.
# shellcheck disable=SC2034,SC2317

# What each needs beyond coreutils:
needs+=(
    [threads]=$python [fork]=$python [numpy]="$python python3:numpy" [sqlite3]=sqlite3 [perl]=perl
    [perl_fork]=perl [gcc]=gcc [gxx]=g++ [git]=git [git_log]="git source:repository" [xz]=xz
    [make]="make gcc" [awk]=awk [tar]="tar gzip" [find]="find xargs sed grep")
title+=(
    [ls]='ls' [threads]='python3: threads, subprocess' [fork]='python3: fork, multiprocessing' [numpy]='python3 with NumPy'
    [sqlite3]='sqlite3' [perl]='perl' [perl_fork]='perl: fork' [gcc]='gcc: to assembly, errors' [gxx]='g++: containers, threads'
    [git]='git: commit, merge, gc, fsck, clone' [git_log]='git: log -p' [bash]='bash' [sort]='sort: two threads'
    [xz]='xz: two threads' [make]='make -j2, gcc' [awk]='awk (mawk)' [tar]='tar, gzip' [find]='find, xargs, grep, sed')

# A forked child shares such blocks with its parent, as the word says. These rely on copies of large ones.
not_under+=([fork]=share [numpy]=share [perl_fork]=share)
input_writers+=(write_inputs)
program_cases=(ls threads fork numpy sqlite3 perl perl_fork gcc gxx git git_log bash sort xz make awk tar find)

case_ls() {
    ls -lR "$DATA/tree"
    ls -lR /usr/include/linux
    ls /nowhere
}

case_threads() {
    /usr/bin/python3 "$DATA/threads.py"
}

case_fork() {
    /usr/bin/python3 "$DATA/fork.py"
}

case_numpy() {
    /usr/bin/python3 "$DATA/fields.py"
}

case_sqlite3() {
    sqlite3 base.db <"$DATA/base.sql"
    sqlite3 base.db 'select count(*), sum(length(word)) from words; pragma integrity_check;'
    sqlite3 base.db .dump | cksum
    sqlite3 base.db 'select nothing from nowhere;'
}

case_perl() {
    perl "$DATA/words.pl" "$DATA/lines"
    perl -e 'die "on purpose\n"'
}

case_perl_fork() {
    perl -e '@long = map { "word$_" } 1 .. 40000; $child = fork;
        if (!$child) { @long = reverse sort @long; print "child $long[0]\n"; exit 3 }
        waitpid $child, 0; print "parent $long[0] $#long ", $? >> 8, "\n"; exit 1'
}

case_gcc() {
    gcc -std=gnu11 -D_GNU_SOURCE -O2 -g -S -I"$TREE" -I"$TREE/core" -o - "$TREE/core/heap.c"
    gcc -std=gnu11 -fsyntax-only "$DATA/wrong.c"
}

case_gxx() {
    g++ -O0 -pthread -o containers "$DATA/containers.cc" && ./containers
}

case_git() {
    local i
    git init -q -b trunk repository && cd repository || return
    for i in {1..3}; do
        seq "$i" $((i * 300)) >numbers
        head -n $((i * 4000)) "$DATA/lines" >"copy-$i"
        git add . && git commit -q -m "number $i"
    done
    git branch side HEAD~2 && git checkout -q side && echo side >side && git add side && git commit -q -m side
    git merge -q -m merge trunk && git diff --stat HEAD~1 && git gc -q && git fsck --full
    git log --stat --format='%H %an %ad %s' && git grep -c 77 && git blame -s numbers | cksum
    git rev-list --objects --all | cksum && git clone -q --no-local . ../clone && git -C ../clone status
    git show nothing
}

case_git_log() {
    git -C "$TREE" -c safe.directory="$TREE" log -p --stat -n 20
    git -C "$TREE" -c safe.directory="$TREE" shortlog -s HEAD
}

case_bash() {
    local words=() i total=0
    for ((i = 0; i < 3000; i++)); do
        words[i]="word$i"
        total=$((total + ${#words[i]}))
    done
    echo "$total ${words[*]:100:5}"
    for i in {1..10}; do
        total=$( (echo "$i $total" | { read -r a b && echo $((a + b)); }) )
    done
    echo "$total"
    while read -r i; do echo "${i//7/seven}"; done < <(seq 200) | tail -n 3
    for i in 1 2 3 4; do (exit "$i") & wait $! || echo "status $?"; done
    seq 100000 | head -n 1
    echo "${PIPESTATUS[@]}"
    words=("$(cat "$DATA/lines")")
    echo "${#words[0]}"
    printf '%s\n' "${words[0]}" | cksum
    cat <<<"${words[0]}" | wc
    no_such_command
}

case_sort() {
    sort --parallel=2 -S 2M -k2,2n -k1,1 "$DATA/lines" | cksum
    sort --parallel=2 -u "$DATA/lines" | tail -n 3
}

case_xz() {
    xz -T2 --block-size=256KiB -k -c "$DATA/lines" >lines.xz && cksum lines.xz
    xz -T2 -d -c lines.xz | cmp - "$DATA/lines" && xz --list lines.xz
    head -c 5000 lines.xz | xz -d -c | cksum
}

case_make() {
    cp "$DATA/Makefile" . && make -s -j2 && ./sum && make -j2 && make impossible
}

case_awk() {
    awk '{ n[$1 % 977] += $2; w[$3]++ } END { for (k in n) print k, n[k]; for (k in w) print k, w[k] }' \
        "$DATA/lines" | sort | cksum
    awk 'BEGIN { while (i++ < 20000) s = s "x"; print length(s); exit 3 }'
}

case_tar() {
    tar -C "$DATA" --sort=name -czf tree.tar.gz tree && cksum <(gzip -dc tree.tar.gz)
    mkdir out && tar -C out -xzf tree.tar.gz && diff -r "$DATA/tree" out/tree && tar -tzvf tree.tar.gz
}

case_find() {
    find "$DATA/tree" -type f -print0 | sort -z | xargs -0 -n 20 -P 1 grep -c 7 | sed 's/^.*tree//' | cksum
    grep -rE '(1|2)+5' "$DATA/tree" | wc -l
}
