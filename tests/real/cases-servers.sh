# shellcheck shell=bash
# SPDX-License-Identifier: MIT
#
# Servers under the load of their own benchmarks. To be sourced after real.sh. How fast they are is left out of what is
# compared; that nothing failed, and what they keep at the end, is not.
#
# The cases are called by their names, which ShellCheck does not see.
# shellcheck disable=SC2034,SC2317

needs+=([redis]="redis-server redis-benchmark redis-cli" [nginx_ab]="nginx ab root $python")
title+=([redis]='redis-server with redis-benchmark, BGSAVE' [nginx_ab]='nginx with ab: two workers, gzip, keep-alive')
# Its workers are nobody, and may not open the files of root's segment.
says+=([nginx_ab]='the process has become another user')
expected+=([redis]='^OK$' [nginx_ab]='^Complete requests: +4000$')

case_redis() {
    local call=(redis-cli -s "$PWD/socket") i=0 master
    redis-server --port 0 --unixsocket "$PWD/socket" --save '' --dir "$PWD" --daemonize yes --pidfile "$PWD/pid" \
        --logfile "$PWD/log" --hash-max-listpack-entries 8 >/dev/null
    until "${call[@]}" ping >ping 2>&1 && grep -q PONG ping; do [ $((i++)) -lt 20000 ] || break; done
    redis-benchmark -s "$PWD/socket" -q -n 20000 -c 20 -P 4 -d 100 -r 5000 \
        -t set,get,incr,lpush,rpop,sadd,hset,spop,zadd,lrange_100,mset | tr '\r' '\n' | grep -oE '^[A-Z_]+.*per second' |
        sed -E 's/[0-9.]+ requests/requests/; s/ \(.*\)//'
    for i in 1 2 3; do
        "${call[@]}" eval "for i = 1, 20000 do redis.call('set', 'key' .. i, string.rep('v', i % 300) .. i)
            redis.call('hset', 'hash' .. i % 50, 'field' .. i, i * $i) redis.call('zadd', 'z', i * 7 % 997, i) end" 0
        "${call[@]}" bgsave
        "${call[@]}" flushdb async
        until "${call[@]}" info persistence | grep -q 'rdb_bgsave_in_progress:0'; do :; done
        "${call[@]}" info persistence | grep -E 'rdb_last_bgsave_status'
        "${call[@]}" config set activedefrag no
    done
    master=$(cat pid)
    "${call[@]}" shutdown nosave
    tail --pid="$master" -f /dev/null 2>/dev/null # until it is gone
    redis-server --port 0 --unixsocket "$PWD/socket" --dir "$PWD" --daemonize yes --pidfile "$PWD/pid" --logfile "$PWD/log2" --save '' >/dev/null
    until "${call[@]}" get key7 2>/dev/null | grep -q v; do [ $((i++)) -lt 20000 ] || break; done
    "${call[@]}" dbsize
    "${call[@]}" get key19999 | cksum
    "${call[@]}" zrange z 0 -1 withscores | cksum
    "${call[@]}" hgetall hash7 | sort | cksum
    "${call[@]}" memory usage key7 | grep -c .
    master=$(cat pid)
    "${call[@]}" shutdown nosave
    tail --pid="$master" -f /dev/null 2>/dev/null
    grep -hiE 'crash|bug report|assert|fail' log log2 | grep -v overcommit
    echo OK
}

case_nginx_ab() {
    local port
    port=$(/usr/bin/python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    mkdir site logs && chmod 755 . site && seq 3000 >site/numbers && seq 20000 >site/many.txt
    cat >nginx.conf <<CONFIGURATION
user nobody $(id -gn nobody);
worker_processes 2;
pid $PWD/pid;
error_log $PWD/logs/error warn;
events { worker_connections 256; }
http {
    access_log off;
    client_body_temp_path $PWD/t1; proxy_temp_path $PWD/t2; fastcgi_temp_path $PWD/t3;
    uwsgi_temp_path $PWD/t4; scgi_temp_path $PWD/t5;
    gzip on; gzip_types text/plain;
    types { text/plain txt; }
    server { listen 127.0.0.1:$port; root $PWD/site; }
}
CONFIGURATION
    nginx -c "$PWD/nginx.conf" -e "$PWD/logs/error" || return
    ab -q -n 4000 -c 20 -k "http://127.0.0.1:$port/numbers" | grep -E '^(Complete|Failed|Non-2xx|Keep-Alive|Document Length)'
    ab -q -n 300 -c 10 -H 'Accept-Encoding: gzip' "http://127.0.0.1:$port/many.txt" | grep -E '^(Complete|Failed|Non-2xx|Document Length|HTML)'
    local master
    master=$(cat pid)
    kill -QUIT "$master"
    tail --pid="$master" -f /dev/null # until it is gone
    cat logs/error
}
