# shellcheck shell=bash
# SPDX-License-Identifier: MIT
#
# Programs that live on fork: servers with a process for each client, pools of workers, shells, make, git. To be
# sourced after real.sh.
#
# PostgreSQL refuses to run as root and runs as nobody then. Files and sockets lie in the test's directory.
#
# The cases are called by their names, which ShellCheck does not see.
# shellcheck disable=SC2034,SC2317

postgres=$(compgen -G '/usr/lib/postgresql/*/bin/postgres' | sort -V | tail -n 1)
needs+=([pools]=$python [server]=$python [fork_make]="make gcc" [fork_git]=git [nginx]="nginx root $python"
    [postgresql]="${postgres:-postgres} setpriv")
title+=([pools]='python3: pools of workers, queues, managers' [server]='python3: a process for each client'
    [fork_bash]='bash: subshells, pipes, coproc, traps' [fork_make]='make: recursive, -j4' [fork_git]='git: hooks, filters, rebase, bisect'
    [nginx]='nginx: reload, proxy, gives up its rights' [postgresql]='PostgreSQL: pgbench, parallel queries')
ordinary+=([postgresql]=1)
# Its workers are nobody, and may not open the files of root's segment.
says+=([nginx]='the process has become another user')
expected+=([pools]='^150 ' [server]='^\[0, 0, 0, .*, 0\]$' [fork_bash]='^bye from' [fork_make]='^36$' [fork_git]='^2995 numbers$'
    [nginx]='^/numbers HTTP/1.1 200 OK 108894 ' [postgresql]='^t\|t$')
input_writers+=(write_fork_inputs)
fork_cases=(pools server fork_bash fork_make fork_git nginx postgresql)

# ---------------------------------------------------------------- Python

write_fork_inputs() { # write_fork_inputs DIRECTORY
    local input=$1
    cat >"$input/pools.py" <<'SOURCE'
import hashlib, multiprocessing, threading
from multiprocessing import shared_memory

context = multiprocessing.get_context("fork")
table = {i: [i] * 20 for i in range(8000)}
block = bytearray(2 << 20)

def square(n):
    table[n] = "a worker's"
    block[n] = 1
    return sum(x * x for x in range(n)) + len(block)

def produce(queue, number):
    for i in range(50):
        queue.put((number, i, bytes([i]) * (i * 700)))
    queue.put(None)

def scale(name, part):
    memory = shared_memory.SharedMemory(name=name)
    for at in range(part, len(memory.buf), 4):
        memory.buf[at] = memory.buf[at] * 3 % 251
    memory.close()

# At the end, when there are no children that would write it as well.
said = []
def say(*words):
    said.append(" ".join(map(str, words)))

def digest(things):
    return hashlib.sha256(repr(things).encode()).hexdigest()

def busy(stop):
    while not stop.is_set():
        junk = [bytes(i) for i in range(300)]
        del junk

stop = threading.Event()
thread = threading.Thread(target=busy, args=(stop,))
thread.start() # the children are forked while it allocates and frees

with context.Pool(4, maxtasksperchild=5) as pool:
    say(digest(pool.map(square, range(140), chunksize=7)))
    say(digest(sorted(pool.imap_unordered(square, range(30), chunksize=3))))
say(sum(block), table[7][:3])

queue = context.Queue()
producers = [context.Process(target=produce, args=(queue, n)) for n in range(3)]
for producer in producers:
    producer.start()
got, over = [], 0
while over < len(producers):
    item = queue.get()
    over += item is None
    if item is not None:
        got.append(item)
for producer in producers:
    producer.join()
say(len(got), digest(sorted(got)), [p.exitcode for p in producers])

memory = shared_memory.SharedMemory(create=True, size=100000)
memory.buf[:] = bytes(i % 256 for i in range(len(memory.buf)))[:len(memory.buf)]
parts = [context.Process(target=scale, args=(memory.name, n)) for n in range(4)]
for part in parts:
    part.start()
for part in parts:
    part.join()
say(hashlib.sha256(bytes(memory.buf)).hexdigest(), [p.exitcode for p in parts])
memory.close()
memory.unlink()

with context.Manager() as manager:
    common = manager.dict()
    def note(key):
        common[key] = [key] * key
    notes = [context.Process(target=note, args=(n,)) for n in range(8)]
    for each in notes:
        each.start()
    for each in notes:
        each.join()
    say(sorted(common.items()))
stop.set()
thread.join()
print(*said, sep="\n")
SOURCE
    cat >"$input/server.py" <<'SOURCE'
import os, signal, socket, socketserver

# One process for each client; the clients are children as well.
state = [bytes([i]) * 5000 for i in range(200)]

class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            number = int(line)
            state[number % 200] = b"the client's"
            self.wfile.write(b"%d %d\n" % (number * number, len(state[(number + 1) % 200])))

class Server(socketserver.ForkingMixIn, socketserver.UnixStreamServer):
    request_queue_size = 64

def client(first):
    connection = socket.socket(socket.AF_UNIX)
    connection.connect("socket")
    stream = connection.makefile("rwb")
    total = 0
    for number in range(first, first + 20):
        stream.write(b"%d\n" % number)
        stream.flush()
        total += sum(map(int, stream.readline().split()))
    return total == sum(n * n + 5000 for n in range(first, first + 20))

server = Server("socket", Handler)
parent = os.getpid()
serving = os.fork()
if serving == 0:
    server.serve_forever()
server.server_close()
children = []
for i in range(30):
    child = os.fork()
    if child == 0:
        os._exit(0 if client(i * 5) else 1)
    children.append(child)
print([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
os.kill(serving, signal.SIGKILL)
print(os.waitstatus_to_exitcode(os.waitpid(serving, 0)[1]), len(set(state)))
SOURCE
    cat >"$input/get.py" <<'SOURCE'
import socket, sys

def get(path):
    connection = socket.socket(socket.AF_UNIX)
    connection.connect("socket")
    connection.sendall(b"GET %s HTTP/1.0\r\nHost: here\r\n\r\n" % path.encode())
    parts = iter(lambda: connection.recv(65536), b"")
    return b"".join(parts)

for path in sys.argv[1:]:
    head, body = get(path).split(b"\r\n\r\n", 1)
    print(path, head.split(b"\r\n")[0].decode(), len(body), sum(body) % 65521)
SOURCE
}

case_pools() {
    /usr/bin/python3 "$DATA/pools.py"
}

case_server() {
    /usr/bin/python3 "$DATA/server.py"
}

# ---------------------------------------------------------------- shells, make, git

case_fork_bash() {
    local table=() children=() i text
    declare -A by_name=()
    for ((i = 0; i < 2000; i++)); do
        table[i]="value$i"
        by_name[name$((i % 97))]+=" $i"
    done
    nest() { # nest DEPTH: each level in a subshell of the one before
        [ "$1" -gt 0 ] || { echo "${#table[@]} ${by_name[name5]: -4}"; return; }
        table[$1]="level $1"
        (nest $(($1 - 1)); echo "$1 ${table[$1]} ${table[$(($1 - 1))]}")
    }
    nest 12
    for i in {1..20}; do
        text=$(echo "$i" | { read -r n; echo $((n * n)); } | tr 0-4 5-9 | (cat; echo "${table[$i]}"))
        echo "${text//$'\n'/ }"
    done | cksum
    for i in {1..8}; do
        (for ((n = 0; n < 200; n++)); do own[n]="$i-$n"; done; echo "${own[*]}" | cksum >"part$i"; exit "$i") &
        children+=($!)
    done
    for i in "${children[@]}"; do wait "$i" || echo "status $?"; done
    cat part? | sort | cksum
    seq 3000 | while read -r n; do echo "$((n % 13)) $n"; done | sort -k1,1n -s | cut -d ' ' -f 2 |
        awk '{ s = s * 31 + $1; s %= 1000003 } END { print s }'
    diff <(seq 1 2 500) <(seq 1 3 500) | grep -c '^[<>]'
    coproc up { tr "[:lower:]" "[:upper:]"; }
    echo "to the other side" >&"${up[1]}"
    eval "exec ${up[1]}>&-"
    cat <&"${up[0]}"
    trap 'echo "bye from $BASHPID" | sed "s/[0-9]//g"' EXIT
    (trap 'echo inner' EXIT; exit 3)
    echo "$? ${table[7]}"
    bash -c 'kill -TERM $$'
    echo "$?"
    sh -c 'for i in 1 2 3 4 5; do (sh -c "echo $i; exit $i") || echo "status $?"; done'
}

case_fork_make() {
    local i
    mkdir -p sub/a sub/b
    for i in {1..6}; do
        printf 'int f%d(int n) { return n %% 7 + %d; }\n' "$i" "$i" >"sub/a/f$i.c"
        printf 'int f%d(int);\n' "$i"
    done >all.h
    { printf '#include <stdio.h>\n#include "../../all.h"\nint main(void)\n{\n    int s = 0;\n'
        for i in {1..6}; do printf '    s += f%d(s);\n' "$i"; done
        printf '    printf("%%d\\n", s);\n    return 0;\n}\n'; } >sub/b/main.c
    cat >Makefile <<'RULES'
words := $(shell seq 1 6)
date := $(shell echo made | tr a-z A-Z)
all: parts main
	@echo $(date) $(words) | cksum
	@./sub/b/main
parts:
	@+$(MAKE) -s -C sub/a -f ../../part.mk
main: parts
	@+$(MAKE) -s -C sub/b -f ../../main.mk
.PHONY: all parts main
RULES
    cat >part.mk <<'RULES'
sources := $(sort $(wildcard *.c))
liball.a: $(sources:.c=.o)
	@ar rcD $@ $(sort $^)
%.o: %.c
	@gcc -O1 -c -o $@ $<
RULES
    printf 'main: main.c ../a/liball.a\n\t@gcc -o $@ main.c ../a/liball.a\n' >main.mk
    make -j4 && make -j4 && ar t sub/a/liball.a | sort | cksum
    sub/b/main
    make -j4 nothing
}

# Its daemons, hooks, filters and pagers are all children.
case_fork_git() {
    local i
    git init -q -b trunk one && cd one || return
    printf '#!/bin/sh\ngit diff --cached --stat | tail -n 1\n' >.git/hooks/pre-commit
    chmod +x .git/hooks/pre-commit
    git config filter.rot.clean 'tr a-z n-za-m' && git config filter.rot.smudge 'tr a-z n-za-m'
    echo '*.rot filter=rot' >.gitattributes
    for i in {1..6}; do
        echo "some words $i" >"words$i.rot"
        seq "$i" 3000 >numbers
        git add . && git commit -q -m "number $i"
    done
    git submodule --quiet add "$PWD/../one" nested 2>&1 | cksum
    git repack -q -a -d --threads=2 && git rev-list --objects --all | cksum
    cd .. && git clone -q --upload-pack='git upload-pack' "file://$PWD/one" two && git -C two log --oneline | cksum
    cat two/words3.rot && git -C two -c core.pager='cat -n' -c pager.log=cat log --oneline -2
    git -C two rebase -q --exec 'wc -l numbers' HEAD~3 && git -C two bisect start HEAD HEAD~4 | cksum
    git -C two bisect run sh -c 'test "$(head -n 1 numbers)" -lt 5' | grep -c 'first bad'
}

# ---------------------------------------------------------------- servers

# Began as root, serves as nobody, is told to read its configuration again and to end.
case_nginx() {
    local i
    mkdir site logs && chmod 755 . site && seq 20000 >site/numbers && echo hello >site/index.html
    cat >nginx.conf <<CONFIGURATION
user nobody $(id -gn nobody);
worker_processes 2;
pid $PWD/pid;
error_log $PWD/logs/error warn;
events { worker_connections 64; }
http {
    access_log $PWD/logs/access;
    client_body_temp_path $PWD/t1; proxy_temp_path $PWD/t2; fastcgi_temp_path $PWD/t3;
    uwsgi_temp_path $PWD/t4; scgi_temp_path $PWD/t5;
    gzip on;
    server {
        listen unix:$PWD/socket;
        root $PWD/site;
        location /moved { return 301 /; }
        location /again { proxy_pass http://unix:$PWD/socket:/numbers; }
    }
}
CONFIGURATION
    nginx -c "$PWD/nginx.conf" -e "$PWD/logs/error" -t 2>&1 | sed 's/^.*nginx: //'
    nginx -c "$PWD/nginx.conf" -e "$PWD/logs/error" || return
    for i in 1 2 3; do
        /usr/bin/python3 "$DATA/get.py" / /numbers /moved /again /nothing
        kill -HUP "$(cat pid)"
    done
    /usr/bin/python3 "$DATA/get.py" /numbers
    local master
    master=$(cat pid)
    kill -QUIT "$master"
    tail --pid="$master" -f /dev/null # until it is gone
    grep -c . logs/access
    grep -vE '\[error\].*No such file' logs/error
    ls socket pid
}

case_postgresql() {
    local bin server=(-c fsync=off -c listen_addresses= -c log_min_messages=warning -c unix_socket_directories="$PWD")
    bin=$(dirname "$(compgen -G '/usr/lib/postgresql/*/bin/postgres' | sort -V | tail -n 1)")
    export PGDATA=$PWD/data PGHOST=$PWD PGUSER=me PGDATABASE=postgres PATH=$bin:$PATH
    initdb -A trust -U me -N -E UTF8 --locale=C --no-instructions >initdb.out 2>&1
    echo "initdb $?"
    grep -c . initdb.out
    pg_ctl -w -s -l log -o "${server[*]}" start
    echo "start $?"
    pgbench -q -i -s 1 >bench.out 2>&1
    echo "pgbench -i $?"
    pgbench -T 1 -c 4 -j 2 >>bench.out 2>&1
    echo "pgbench $?"
    pgbench -n -C -t 20 -c 4 -j 2 >>bench.out 2>&1 # a process for each transaction
    echo "pgbench -C $?"
    grep -cE 'number of failed transactions: 0 ' bench.out
    psql -qAt -c 'select a.s = t.s and t.s = b.s and b.s = h.s, h.n > 80 from
        (select sum(abalance) s from pgbench_accounts) a, (select sum(tbalance) s from pgbench_tellers) t,
        (select sum(bbalance) s from pgbench_branches) b, (select sum(delta) s, count(*) n from pgbench_history) h' \
        -c 'set max_parallel_workers_per_gather = 2' -c 'set parallel_setup_cost = 0' -c 'set parallel_tuple_cost = 0' \
        -c 'set min_parallel_table_scan_size = 0' -c 'select count(*), sum(aid), max(length(filler)) from pgbench_accounts' \
        -c "select md5(string_agg(repeat(n::text, 50), ',' order by n % 17, n)) from generate_series(1, 20000) n" \
        -c 'vacuum analyze' -c 'select nothing from nowhere' 2>&1
    pg_ctl -w -s -m fast stop
    echo "stop $?"
    grep -E 'PANIC|FATAL|terminated|crash' log
    ls data/postmaster.pid
}
