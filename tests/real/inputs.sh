# shellcheck shell=bash
# SPDX-License-Identifier: MIT
#
# What the programs of cases-programs.sh work on: a tree of files, lines of text, and small programs. To be
# sourced; write_inputs DIRECTORY writes them, the same ones each time.

write_inputs() {
    local input=$1 i
    for i in {1..60}; do
        mkdir -p "$input/tree/directory-$((i % 7))/deeper-$((i % 3))"
        seq "$i" $((i * 7)) >"$input/tree/directory-$((i % 7))/deeper-$((i % 3))/file-$i"
    done
    ln -s nowhere "$input/tree/link"
    find "$input/tree" -exec touch -h -d '2024-02-29 12:00:00 UTC' {} +
    awk 'BEGIN { for (i = 1; i <= 30000; i++) { x = (x * 75 + 74) % 65537; print x, i, "word" x % 5000 } }' \
        >"$input/lines"
    printf 'int f(void) { return undeclared; }\n' >"$input/wrong.c"
    write_python
    write_others
}

write_python() {
    cat >"$input/threads.py" <<'SOURCE'
import hashlib, json, subprocess, sys, threading, zlib

results = [None] * 4

def work(i):
    rows = {str(k): list(range(k % 50)) for k in range(1500 + i)}
    text = json.dumps(rows)
    big = bytearray(i + 1 << 18)
    for at in range(0, len(big), 977):
        big[at] = at % 251
    results[i] = hashlib.sha256(text.encode() + zlib.compress(bytes(big))).hexdigest()

threads = [threading.Thread(target=work, args=(i,)) for i in range(len(results))]
for thread in threads:
    thread.start()
children = [subprocess.run([sys.executable, "-c", f"print(sum(range({n})) ** {n})"], capture_output=True, text=True)
            for n in range(1, 4)]
for thread in threads:
    thread.join()
print(*results, sep="\n")
print(hashlib.sha256("".join(c.stdout + c.stderr for c in children).encode()).hexdigest())
print(subprocess.run("seq 1000 | sort -n | tail -n 1; exit 7", shell=True, capture_output=True))
print("an error", file=sys.stderr)
sys.exit(5)
SOURCE
    cat >"$input/fork.py" <<'SOURCE'
import hashlib, multiprocessing, os, threading

table = {i: [i] * 20 for i in range(8000)}
block = bytearray(3 << 20)

def digest():
    return hashlib.sha256(repr(table[77]).encode() + bytes(block)).hexdigest()

# Neither side sees the other's writes: the parent writes before the child reads, and the other way round.
def fork_once(number):
    block[:100] = bytes([number]) * 100
    go, went = os.pipe()
    answer, say = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(go, 1)
        seen = digest()
        block[50:5000] = b"c" * 4950
        table[77] = "the child's"
        grown = [bytes(1000 + i) for i in range(1000)]
        os.write(say, f"{seen} {digest()} {len(grown)}".encode())
        os._exit(number)
    before = digest()
    block[0:4000] = b"p" * 4000
    table[77] = "the parent's"
    os.write(went, b"x")
    said = os.read(answer, 1000).decode().split()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(number, before == said[0], said, digest(), status)
    for descriptor in (go, went, answer, say):
        os.close(descriptor)

def square(n):
    return sum(x * x for x in table[n]) + len(block)

def busy(stop):
    while not stop.is_set():
        junk = [bytes(i) for i in range(200)]
        del junk

stop = threading.Event()
thread = threading.Thread(target=busy, args=(stop,))
thread.start()
for number in range(3):
    fork_once(number)
stop.set()
thread.join()
with multiprocessing.get_context("fork").Pool(3) as pool:
    print(sum(pool.map(square, range(2000))))
    print(hashlib.sha256(b"".join(pool.imap(bytes, range(0, 300000, 30000)))).hexdigest())
print(digest())
SOURCE
    cat >"$input/fields.py" <<'SOURCE'
import multiprocessing, pickle, threading
import numpy as np

# Integers and roundings only: the last bit of a sum depends on how an array is aligned.
field = (np.arange(1_000_000, dtype=np.int64) * 2654435761) % 1000003
other = np.empty_like(field)
def fill(part):
    other[part::4] = np.sort(field[part::4])[::-1]
threads = [threading.Thread(target=fill, args=(p,)) for p in range(4)]
for t in threads: t.start()
for t in threads: t.join()
print(int(other.sum()), int((other * np.roll(field, 5)).sum()), field[::-100000], np.unique(field % 5000).size)
matrix = (field[:90000].reshape(300, 300) % 97).astype(float) + np.eye(300) * 300
print(round(float(np.linalg.slogdet(matrix)[1]), 6), round(float(np.abs(np.fft.rfft(matrix[0])).max()), 6))
copy = pickle.loads(pickle.dumps(field))
copy.resize(1_400_000); copy[1_000_000:] = 1
print(int(copy.sum()), np.pad(matrix, 3).shape)
def part(i):
    field[i] = -1
    return int(field[i::7].sum())
with multiprocessing.get_context("fork").Pool(2) as pool:
    print(pool.map(part, range(7), chunksize=7), int(field.min()))
SOURCE
}

write_others() {
    cat >"$input/base.sql" <<'SOURCE'
create table words (id integer primary key, word text, number integer);
with recursive counter(n) as (select 1 union all select n + 1 from counter where n < 30000)
insert into words select n, hex(n * 7919 % 65537) || 'word', n * 31 % 1009 from counter;
create index by_number on words (number, word);
select number, count(*), max(word) from words group by number order by 2 desc, 1 limit 5;
select sum(r) from (select row_number() over (partition by number order by word desc) r from words);
begin; update words set word = word || word where number % 3 = 0; delete from words where id % 7 = 0; commit;
vacuum; analyze; select * from sqlite_stat1; select count(distinct substr(word, 1, 3)) from words;
SOURCE
    cat >"$input/words.pl" <<'SOURCE'
use strict;
my (%count, @long);
while (<>) { my @f = split; $count{$f[2]} += $f[0]; push @long, "$f[1]-$f[0]" if /7{2}/; }
print "$_ $count{$_}\n" for (sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count)[0 .. 20];
my $text = join ",", @long;
$text =~ s/(\d+)-(\d+)/<$2:$1>/g;
printf "%d %d\n", length $text, unpack "%32C*", $text;
warn "a warning\n";
SOURCE
    cat >"$input/containers.cc" <<'SOURCE'
#include <algorithm>
#include <iostream>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>
struct alignas(128) wide { double value[16]; };
static long work(int seed)
{
    std::map<std::string, std::vector<int>> words;
    std::unordered_map<int, std::unique_ptr<wide>> wides;
    for (int i = 0; i < 5000; ++i) {
        words["word" + std::to_string(i * seed % 997)].push_back(i);
        wides[i % 501].reset(new wide{{static_cast<double>(i)}});
    }
    long total = 0;
    for (auto &entry : words)
        total += static_cast<long>(entry.first.size() * entry.second.size()) + entry.second.back();
    for (auto &entry : wides)
        total += static_cast<long>(entry.second->value[0]) +
                 (reinterpret_cast<unsigned long>(entry.second.get()) % 128 != 0);
    return total;
}
int main()
{
    std::vector<long> result(4);
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i)
        threads.emplace_back([&result, i] { result[static_cast<size_t>(i)] = work(i + 3); });
    for (auto &thread : threads)
        thread.join();
    for (long each : result)
        std::cout << each << '\n';
    try {
        std::vector<int> none;
        none.at(1) = 0;
    } catch (const std::out_of_range &error) {
        std::cerr << error.what() << std::endl;
    }
    return 9;
}
SOURCE
    cat >"$input/Makefile" <<'SOURCE'
parts := $(foreach i,1 2 3,part$(i))
sum: $(parts:=.o) main.o
	@gcc -o $@ $^
%.o: %.c
	@gcc -O1 -c -o $@ $<
$(parts:=.c): part%.c:
	@echo 'int part$*(void);' 'int part$*(void) { return $* * $*; }' >$@
main.c:
	@{ printf '#include <stdio.h>\n'; for p in $(parts); do printf 'int %s(void);\n' $$p; done; \
	printf '%s\n' 'int main(void) { printf("%d\n", 0$(foreach p,$(parts),+$(p)())); return 0; }'; } >$@
SOURCE
}
