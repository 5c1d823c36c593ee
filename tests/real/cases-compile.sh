# shellcheck shell=bash
# SPDX-License-Identifier: MIT
#
# Compilers at work on real source, and what they made. To be sourced after real.sh.
#
# The cases are called by their names, which ShellCheck does not see.
# shellcheck disable=SC2034,SC2317

needs+=([library]="make gcc ar" [gfortran]=gfortran [rustc]=rustc [gxx_large]=g++)
title+=([library]='gcc -O2 -g, make -j2, ar: the core of this project' [gfortran]='gfortran, and its program: allocatable, automatic arrays'
    [rustc]='rustc -O, and its program: threads, maps' [gxx_large]='g++ -O2 -std=c++17: regex, streams, threads')
expected+=([gfortran]='^ *total +[0-9]' [rustc]='^total [0-9]' [gxx_large]='^words [0-9]')
says+=([rustc]='no addresses are left') # more call sites times threads than there is room for under merge
input_writers+=(write_sources)

write_sources() { # write_sources DIRECTORY
    local input=$1
    cat >"$input/core.mk" <<'SOURCE'
sources := $(sort $(wildcard $(TREE)/core/[a-l]*.c))
objects := $(notdir $(sources:.c=.o))
libcore.a: $(objects)
	@ar rcD $@ $^
%.o: $(TREE)/core/%.c
	@gcc -std=gnu11 -D_GNU_SOURCE -O2 -g -I$(TREE) -I$(TREE)/core -c -o $@ $<
SOURCE
    cat >"$input/grid.f90" <<'SOURCE'
module grid
   implicit none
   type cell
      integer :: n = 0
      real(8), allocatable :: values(:)
      character(:), allocatable :: name
   end type
   type(cell), allocatable :: cells(:)
contains
   subroutine build(count)
      integer, intent(in) :: count
      integer :: i, k
      allocate (cells(count))
      do i = 1, count
         cells(i)%n = i
         allocate (cells(i)%values(mod(i * 37, 500) + 1))
         cells(i)%values = [(real(mod(i * k, 101), 8), k=1, size(cells(i)%values))]
         cells(i)%name = repeat('cell', mod(i, 5) + 1)
      end do
   end subroutine
   real(8) function smoothed(n)
      integer, intent(in) :: n
      real(8) :: work(n), other(n, 3)
      integer :: i
      work = [(real(mod(i * i, 17), 8), i=1, n)]
      other = spread(work, 2, 3)
      smoothed = sum(matmul(transpose(other), other)) + sum(cshift(work, 1) * work)
   end function
end module
program main
   use grid
   implicit none
   type(cell), allocatable :: copy(:)
   real(8), allocatable :: growing(:)
   integer :: i, status
   character(80) :: line
   call build(3000)
   copy = cells
   growing = [real(8) ::]
   do i = 1, 600
      growing = [growing, smoothed(i)]
   end do
   do i = 1, size(copy), 2
      if (allocated(copy(i)%values)) deallocate (copy(i)%values)
   end do
   open (10, file='out.txt')
   do i = 1, 2000
      write (10, '(i8,f20.4)') i, growing(mod(i, 600) + 1)
   end do
   rewind (10)
   read (10, '(a)') line
   print *, trim(line)
   print '(a,f24.4)', 'total ', sum(growing) + sum([(sum(cells(i)%values), i=1, size(cells))])
   allocate (copy(10), stat=status)
   print *, 'again', status /= 0, len(cells(9)%name)
   stop 4
end program
SOURCE
    cat >"$input/words.rs" <<'SOURCE'
use std::collections::{BTreeMap, HashMap};
use std::sync::mpsc;
use std::thread;
fn work(seed: u64) -> u64 {
    let mut words: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut boxes: HashMap<u64, Box<[u8]>> = HashMap::new();
    let mut x = seed;
    for i in 0..20000u64 {
        x = x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        words.entry(format!("word{}", x >> 54)).or_default().push(i);
        boxes.insert(x % 700, vec![(x & 255) as u8; (x % 3000) as usize].into_boxed_slice());
    }
    words.values().map(|v| v.iter().sum::<u64>() % 1009).sum::<u64>() + boxes.values().map(|b| b.len() as u64).sum::<u64>()
}
fn main() {
    let (sender, receiver) = mpsc::channel();
    let threads: Vec<_> = (1..5).map(|seed| { let s = sender.clone(); thread::spawn(move || s.send(work(seed)).unwrap()) }).collect();
    for each in threads { each.join().unwrap(); }
    drop(sender);
    println!("total {}", receiver.iter().sum::<u64>());
    assert!(std::panic::catch_unwind(|| { let v: Vec<u8> = Vec::new(); v[std::env::args().count()] }).is_err());
    std::process::exit(6);
}
SOURCE
    cat >"$input/streams.cc" <<'SOURCE'
#include <algorithm>
#include <fstream>
#include <future>
#include <iostream>
#include <list>
#include <memory_resource>
#include <regex>
#include <set>
#include <sstream>
#include <unordered_set>
static size_t count(const std::string &text, int turn)
{
    std::regex word("([a-z]+)([0-9]*" + std::to_string(turn) + ")\\b");
    std::set<std::string> seen;
    for (std::sregex_iterator at(text.begin(), text.end(), word), end; at != end; ++at)
        seen.insert((*at)[2].str());
    return seen.size();
}
int main(int argc, char **argv)
{
    std::ifstream file(argv[argc - 1]);
    std::stringstream text;
    for (std::string line; std::getline(file, line) && text.tellp() < 300000;)
        text << line << '\n';
    std::list<std::future<size_t>> counts;
    for (int turn = 0; turn < 4; ++turn)
        counts.push_back(std::async(std::launch::async, count, text.str(), turn));
    size_t words = 0;
    for (auto &each : counts)
        words += each.get();
    std::pmr::monotonic_buffer_resource memory;
    std::pmr::unordered_set<std::pmr::string> pool(&memory);
    for (int i = 0; i < 50000; ++i)
        pool.insert(std::pmr::string("a long enough name for the heap " + std::to_string(i % 7919), &memory));
    std::cout << "words " << words << ' ' << pool.size() << '\n';
    try {
        std::regex bad("(");
    } catch (const std::regex_error &) {
        std::cerr << "a bad pattern\n";
    }
}
SOURCE
}

case_library() {
    make -s -j2 -f "$DATA/core.mk" && cksum -- *.o libcore.a
}

case_gfortran() {
    gfortran -O2 -Wall -o grid "$DATA/grid.f90" && ./grid && cksum out.txt
    echo "$?"
    echo 'print *, undeclared%nothing; end' >wrong.f90
    gfortran -c wrong.f90
}

case_rustc() {
    rustc -O -o words "$DATA/words.rs" && ./words
    echo "$?"
    echo 'fn main() { let x: u8 = "no"; }' >wrong.rs
    rustc wrong.rs
}

case_gxx_large() {
    g++ -O2 -std=c++17 -pthread -o streams "$DATA/streams.cc" && ./streams "$DATA/lines"
}
