/* SPDX-License-Identifier: MIT
 *
 * bench/names.c for Boost.Interprocess: managed_shared_memory with construct<char>(name)[64] and
 * destroy<char>(name), its way to have blocks by name. Same words, same figures; there is no `attach`, since
 * finding is attaching there.
 */
#include <boost/interprocess/managed_shared_memory.hpp>

#include <algorithm>
#include <cstring>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#include "measure.h"

namespace
{
using boost::interprocess::managed_shared_memory;

constexpr std::size_t block_bytes = 64, repeats = 5, short_repeats = 20, processes_most = 2;

std::string segment_name()
{
    const char *job = std::getenv("SHM_JOB");
    return std::string("boost.") + (job == nullptr ? "bench" : job);
}

/* Removes the file at both ends. */
struct shared_file {
    shared_file()
    {
        boost::interprocess::shared_memory_object::remove(segment_name().c_str());
    }
    ~shared_file()
    {
        boost::interprocess::shared_memory_object::remove(segment_name().c_str());
    }
};

managed_shared_memory open_segment(std::size_t live)
{
    return managed_shared_memory(boost::interprocess::open_or_create, segment_name().c_str(),
                                 (std::size_t(1) << 20) + live * 512);
}

std::vector<std::string> make_names(std::size_t live, char letter)
{
    std::vector<std::string> names;
    for (std::size_t i = 0; i < live; i++)
        names.push_back(letter + std::to_string(i));
    return names;
}

void construct(managed_shared_memory &segment, const std::string &name)
{
    segment.construct<char>(name.c_str())[block_bytes](char(0));
}

/* As in bench/names.c: some of the names, in random order, at hand. */
class Hand
{
  public:
    Hand(const std::vector<std::string> &all, std::uint64_t &random)
    {
        const std::size_t count = std::min(all.size(), hand_most);
        for (std::size_t i = 0; i < count; i++)
            names.push_back(all[random_below(&random, all.size())]);
    }
    template <typename Work> double time(Work work, std::size_t &done) const
    {
        const std::size_t times = hand_most / names.size();
        const double start = busy();
        for (std::size_t i = 0; i < times; i++)
            for (const std::string &name : names)
                work(name);
        done += times * names.size();
        return busy() - start;
    }

  private:
    static constexpr std::size_t hand_most = 512;
    std::vector<std::string> names;
};

template <typename Work>
double time_each(const std::vector<std::string> &names, std::size_t rounds, std::uint64_t &seed, Work work)
{
    double taken = 0;
    std::size_t done = 0;
    while (done < rounds)
        taken += Hand(names, seed).time(work, done);
    return taken / double(done);
}

double time_pairs(managed_shared_memory &segment, const std::vector<std::string> &names, std::size_t rounds,
                  std::uint64_t &seed)
{
    return time_each(names, rounds, seed, [&segment](const std::string &name) {
        segment.destroy<char>(name.c_str());
        construct(segment, name);
    });
}

double time_finds(managed_shared_memory &segment, const std::vector<std::string> &names, std::size_t rounds,
                  std::uint64_t &seed)
{
    return time_each(names, rounds, seed, [&segment](const std::string &name) {
        if (segment.find<char>(name.c_str()).first == nullptr)
            std::exit(1);
    });
}

void measure_live(std::size_t live, std::size_t rounds)
{
    const shared_file file;
    managed_shared_memory segment = open_segment(live);
    const std::vector<std::string> names = make_names(live, 'n');
    double pair = 1e18, find = 1e18;
    std::uint64_t seed = 1;
    for (const std::string &name : names)
        construct(segment, name);
    for (std::size_t repeat = 0; repeat < repeats; repeat++) {
        pair = least_of(pair, time_pairs(segment, names, rounds / repeats, seed));
        find = least_of(find, time_finds(segment, names, rounds / repeats, seed));
    }
    print_figure("pair", pair);
    print_figure("find", find);
}

void measure_memory(std::size_t live)
{
    const shared_file file;
    managed_shared_memory segment = open_segment(live);
    const std::size_t free_before = segment.get_free_memory();
    for (const std::string &name : make_names(live, 'n'))
        construct(segment, name);
    print_figure("bytes", double(free_before - segment.get_free_memory()) / double(live));
}

struct meeting {
    unsigned ready;
    double started[processes_most], ended[processes_most];
};

void pairs_in_one(std::size_t index, std::size_t processes, std::size_t live, std::size_t rounds)
{
    managed_shared_memory segment = open_segment(processes_most * live);
    meeting &all = *segment.find_or_construct<meeting>("meeting")();
    const std::vector<std::string> names = make_names(live, char('a' + int(index)));
    std::uint64_t seed = 1;
    for (const std::string &name : names)
        construct(segment, name);
    __atomic_add_fetch(&all.ready, 1U, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&all.ready, __ATOMIC_SEQ_CST) < processes)
        usleep(100);
    all.started[index] = now();
    time_pairs(segment, names, rounds, seed);
    all.ended[index] = now();
}

double time_processes(std::size_t processes, std::size_t live, std::size_t rounds)
{
    const shared_file file;
    pid_t child[processes_most];
    double first = 1e300, last = 0;
    for (std::size_t i = 0; i < processes; i++) {
        child[i] = fork();
        if (child[i] == 0) {
            pairs_in_one(i, processes, live, rounds);
            _exit(0);
        }
    }
    for (std::size_t i = 0; i < processes; i++) {
        int status;
        if (waitpid(child[i], &status, 0) != child[i] || status != 0)
            std::exit(1);
    }
    managed_shared_memory segment = open_segment(processes_most * live);
    const meeting &all = *segment.find<meeting>("meeting").first;
    for (std::size_t i = 0; i < processes; i++) {
        first = least_of(first, all.started[i]);
        last = all.ended[i] > last ? all.ended[i] : last;
    }
    return (last - first) / double(processes * rounds);
}

void measure_together(std::size_t live, std::size_t rounds)
{
    double one = 1e18, both = 1e18;
    for (std::size_t repeat = 0; repeat < short_repeats; repeat++) {
        one = least_of(one, time_processes(1, live, rounds / short_repeats));
        both = least_of(both, time_processes(processes_most, live, rounds / short_repeats));
    }
    print_figure("one", one);
    print_figure("both", both);
    print_figure("scaling", one / both);
}
} // namespace

int main(int count, char **words)
{
    const std::string what = count > 1 ? words[1] : "";
    const std::size_t live = number_in(count, words, 2, 1000), rounds = number_in(count, words, 3, 1000000);
    if (live == 0 || rounds < short_repeats)
        return 2;
    if (what == "live")
        measure_live(live, rounds);
    else if (what == "memory")
        measure_memory(live);
    else if (what == "together")
        measure_together(live, rounds);
    else
        return 2;
    return 0;
}
