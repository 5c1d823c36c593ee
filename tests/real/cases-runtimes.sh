# shellcheck shell=bash
# SPDX-License-Identifier: MIT
#
# Runtimes that manage memory of their own beside malloc's, and programs that compute: media, awk. To be sourced after
# real.sh.
#
# The cases are called by their names, which ShellCheck does not see.
# shellcheck disable=SC2034,SC2317

needs+=([node]=node [java]="java keytool" [gawk]=gawk [ffmpeg]=ffmpeg [imagemagick]=convert [go]=fzf)
title+=([node]='node: worker threads, zlib, crypto' [java]='java -version, keytool' [gawk]='gawk: arrays, regular expressions, coprocess'
    [ffmpeg]='ffmpeg: MPEG-4, FLAC, and back with two threads' [imagemagick]='ImageMagick: plasma, blur, resize, PNG, JPEG'
    [go]='fzf, a Go program: with an allocator of its own')
# A library that ffmpeg brings with it locks a page for secrets.
says+=([ffmpeg]='memory of this process is locked')
expected+=([node]='^done$' [java]='^Owner:' [ffmpeg]='^0, ')
input_writers+=(write_runtimes)

write_runtimes() { # write_runtimes DIRECTORY
    cat >"$1/work.js" <<'SOURCE'
const { Worker, isMainThread, parentPort, workerData } = require('worker_threads');
const crypto = require('crypto'), zlib = require('zlib'), child = require('child_process');
function work(seed) {
    const words = new Map(), buffers = [];
    let x = seed;
    for (let i = 0; i < 30000; i++) {
        x = (x * 75 + 74) % 65537;
        words.set('word' + x, { i, text: 'w'.repeat(x % 40) });
        if (i % 50 === 0) buffers.push(Buffer.alloc(x, x % 251));
    }
    const all = Buffer.concat(buffers), packed = zlib.deflateSync(all);
    if (!zlib.inflateSync(packed).equals(all)) throw new Error('not the same');
    return crypto.createHash('sha256').update(JSON.stringify([...words])).update(all).digest('hex');
}
if (!isMainThread) {
    parentPort.postMessage(work(workerData));
} else {
    const answers = [1, 2, 3].map((n) => new Promise((resolve, reject) => {
        const worker = new Worker(__filename, { workerData: n });
        worker.on('message', resolve);
        worker.on('error', reject);
    }));
    Promise.all(answers).then((all) => {
        console.log(all.join('\n'));
        console.log(child.execFileSync('sh', ['-c', 'seq 1000 | sort -n | tail -n 1']).toString().trim());
        console.log('done');
        console.error('an error');
        process.exitCode = 5;
    });
}
SOURCE
}

case_node() {
    node "$DATA/work.js"
}

case_java() {
    java -version 2>&1
    java --list-modules | cksum
    keytool -printcert -file "$(find /etc/ssl/certs /usr/share/ca-certificates -type f -name '*.crt' | sort | head -n 1)"
    java -Xmx64m NoSuchClass
}

case_gawk() {
    gawk '{ n[$1 % 977][$3] += $2; if (match($3, /word([0-9])([0-9]+)/, part)) w[part[1]] = w[part[1]] substr(part[2], 1, 1) }
        END { for (k in n) for (j in n[k]) total += n[k][j] * length(j); print total
              PROCINFO["sorted_in"] = "@ind_num_asc"; for (k in w) print k, length(w[k]), substr(w[k], 1, 20)
              for (i = 0; i < 500; i++) print "line " i * 7919 % 500 |& "sort"
              close("sort", "to"); while (("sort" |& getline line) > 0) last = line; print last }' "$DATA/lines"
    gawk 'BEGIN { print nothing( }'
}

case_ffmpeg() {
    local quiet=(ffmpeg -hide_banner -nostdin -v error)
    # Not H.264 or AAC: those differ from run to run without the shim, too.
    "${quiet[@]}" -f lavfi -i testsrc2=s=480x270:r=25:d=3 -f lavfi -i sine=d=3 -c:v mpeg4 -threads:v 1 -q:v 3 -c:a flac \
        -fflags +bitexact -flags:v +bitexact -flags:a +bitexact film.mkv && cksum film.mkv
    "${quiet[@]}" -threads 2 -i film.mkv -vf scale=320:-2:flags=bitexact,hflip -f framemd5 -
    "${quiet[@]}" -i nothing.mkv out.mkv
}

case_imagemagick() {
    convert -seed 7 -size 500x400 plasma:red-blue -blur 0x3 -resize 120% -colorspace Lab ppm:picture && cksum picture
    convert ppm:picture -strip -define png:exclude-chunks=date,time -quality 90 picture.png
    convert picture.png -rotate 17 -modulate 90,120 ppm:- | cksum
    convert picture.png -resize 50% -quality 80 picture.jpg && identify -format '%wx%h %m %k\n' picture.jpg picture.png
    convert nothing.png out.jpg
}

case_go() {
    seq 30000 | fzf --filter 777 | sort -n | cksum
    fzf --version
}
