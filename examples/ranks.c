/* SPDX-License-Identifier: MIT
 *
 * The phases of a rank. All ranks go through each of them together, so that what is measured is one moment
 * for all.
 */
#include "ranks.h"

#include "memory.h"
#include "replica.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* What is measured and summed, then what rank 0 has to say to all. */
enum { PSS, RSS, PEAK_RSS, MAPPINGS, DIFFERENT, ENOUGH, TOTALS };

enum { LITTLE = 256 }; /* KiB */

enum phase { START, BUILT, MERGED, WRITTEN_TO, PHASES };

static const char *const phase_name[PHASES] = {"start", "built", "merged", "written"};

struct run {
    const struct ranks_options *options;
    unsigned rank;
    struct replica *replica;
    uint64_t total[PHASES][TOTALS];
    uint64_t checksum[PHASES];
    uint64_t different; /* KiB of pages that are not those of other ranks */
    uint64_t peak;      /* KiB, of all ranks together */
};

/* ---------------------------------------------------------------- options */

static const char usage[] =
    "usage: %s [-n RANKS] [-m MIB] [-d PERCENT] [-w PERCENT] [-q SECONDS] [-u MIB] [-p]\n"
    "  -n  ranks (4)\n"
    "  -m  MiB of the table that each of them builds (64)\n"
    "  -d  of a hundred pages of it, so many differ from the others' from the start (0)\n"
    "  -w  of a hundred pages, so many are written to in the end (1)\n"
    "  -q  wait until memory has not become less for so many seconds (0)\n"
    "  -u  but not when all ranks together take no more than so many MiB and what they made different\n"
    "  -p  when the table is built, print `ready` and wait for a line to read\n";

static bool read_number(const char *text, double least, double most, double *out)
{
    char *end;
    *out = strtod(text, &end);
    return end != text && *end == '\0' && *out >= least && *out <= most;
}

static bool read_option(int letter, const char *text, struct ranks_options *out)
{
    double number = 0;
    switch (letter) {
    case 'n':
        if (!read_number(text, 1, RANKS_MOST, &number))
            return false;
        out->ranks = (unsigned long)number;
        return true;
    case 'm':
        if (!read_number(text, 1, 1 << 20, &number))
            return false;
        out->mebibytes = (size_t)number;
        return true;
    case 'u':
        if (!read_number(text, 0, 1 << 30, &number))
            return false;
        out->enough = (uint64_t)number;
        return true;
    case 'd':
        return read_number(text, 0, 100, &out->differ);
    case 'w':
        return read_number(text, 0, 100, &out->write);
    case 'q':
        return read_number(text, 0, 1e6, &out->patience);
    case 'p':
        return out->pause = true;
    case 'r':
        out->member = text;
        return true;
    default:
        return false;
    }
}

bool ranks_options(int count, char **words, struct ranks_options *out)
{
    *out = (struct ranks_options){.ranks = 4, .mebibytes = 64, .write = 1};
    int letter;
    bool good = true;
    while (good && (letter = getopt(count, words, "n:m:d:w:q:u:pr:")) != -1)
        good = read_option(letter, optarg, out);
    if (!good || optind != count)
        fprintf(stderr, usage, words[0]);
    return good && optind == count;
}

/* ---------------------------------------------------------------- memory */

/* Of all ranks together. A page counts from when it was read in its place, so all are. `enough`: what rank 0
 * says to itself and the others. */
static void measure(struct run *run, uint64_t total[TOTALS], bool enough)
{
    struct memory own = {0};
    if (run->replica != NULL)
        replica_touch(run->replica);
    company_meet();
    if (!memory_measure(&own))
        perror("/proc/self/smaps_rollup");
    total[PSS] = own.pss;
    total[RSS] = own.rss;
    total[PEAK_RSS] = own.peak_rss;
    total[MAPPINGS] = own.mappings;
    total[DIFFERENT] = run->different;
    total[ENOUGH] = run->rank == 0 && enough;
    company_add(total, TOTALS);
    run->peak = total[PSS] > run->peak ? total[PSS] : run->peak;
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void read_and_measure(struct run *run, enum phase phase)
{
    run->checksum[phase] = replica_checksum(run->replica);
    measure(run, run->total[phase], false);
}

/* Measures again and again until there is no use in waiting any longer, which rank 0 decides. What other
 * programs that use the same libraries do changes the sum by a little all the time. */
static void settle(struct run *run)
{
    const struct timespec pause = {.tv_nsec = 50 * 1000 * 1000};
    uint64_t total[TOTALS];
    uint64_t least = UINT64_MAX;
    double least_at = now();
    bool enough = run->options->patience <= 0;
    for (measure(run, total, enough); total[ENOUGH] == 0; measure(run, total, enough)) {
        if (total[PSS] + LITTLE < least) {
            least = total[PSS];
            least_at = now();
        }
        enough = total[PSS] <= run->options->enough * 1024 + total[DIFFERENT] ||
                 now() - least_at > run->options->patience;
        nanosleep(&pause, NULL);
    }
}

/* ---------------------------------------------------------------- print */

static double mebibytes(uint64_t kibibytes)
{
    return (double)kibibytes / 1024;
}

static void print_memory(const struct run *run)
{
    const uint64_t *last = run->total[WRITTEN_TO], watched = company_peak();
    printf("%lu ranks, %.1f MiB a copy; all ranks together:\n", run->options->ranks,
           mebibytes(replica_bytes(run->replica) / 1024));
    printf("%-8s %10s %10s %10s %10s\n", "MiB", "Pss", "Rss", "different", "mappings");
    for (int phase = 0; phase < PHASES; phase++) {
        const uint64_t *total = run->total[phase];
        printf("%-8s %10.1f %10.1f %10.1f %10" PRIu64 "\n", phase_name[phase], mebibytes(total[PSS]),
               mebibytes(total[RSS]), mebibytes(total[DIFFERENT]), total[MAPPINGS]);
    }
    printf("%-8s %10.1f %10.1f\n", "peak", mebibytes(watched > run->peak ? watched : run->peak),
           mebibytes(last[PEAK_RSS]));
}

/* Everybody puts its own into an empty table, and the sum of all tables is the whole one. */
static void print_checksums(const struct run *run)
{
    static uint64_t table[RANKS_MOST][PHASES];
    memcpy(table[run->rank], run->checksum, sizeof table[0]);
    company_add(&table[0][0], (size_t)run->options->ranks * PHASES);
    for (unsigned long rank = 0; run->rank == 0 && rank < run->options->ranks; rank++) {
        printf("checksums of rank %lu:", rank);
        for (int phase = BUILT; phase < PHASES; phase++)
            printf(" %s %016" PRIx64, phase_name[phase], table[rank][phase]);
        printf("\n");
    }
}

/* ---------------------------------------------------------------- run */

static void write_to(struct run *run, unsigned round, double percent)
{
    run->different += 4 * replica_write(run->replica, 2 * (uint64_t)run->rank + round, percent);
}

static void pause_here(const struct run *run)
{
    char letter = '\0';
    if (run->rank == 0) {
        printf("ready\n");
        fflush(stdout);
        while (letter != '\n' && read(STDIN_FILENO, &letter, 1) == 1)
            ;
    }
    company_meet();
}

int ranks_run(const struct ranks_options *options, unsigned rank)
{
    struct run run = {.options = options, .rank = rank};
    measure(&run, run.total[START], false);
    run.replica = replica_build(options->mebibytes << 20);
    if (run.replica == NULL) {
        perror("replica_build");
        return EXIT_FAILURE;
    }
    write_to(&run, 0, options->differ);
    read_and_measure(&run, BUILT);
    if (options->pause)
        pause_here(&run);
    settle(&run);
    read_and_measure(&run, MERGED);
    write_to(&run, 1, options->write);
    settle(&run);
    read_and_measure(&run, WRITTEN_TO);
    if (rank == 0)
        print_memory(&run);
    print_checksums(&run);
    replica_free(run.replica);
    return EXIT_SUCCESS;
}
