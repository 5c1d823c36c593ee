/* SPDX-License-Identifier: MIT */
#include "worth.h"

#include "tool.h"

#include <stdlib.h>

struct piece {
    uint64_t mark;
    uint32_t host, process;
};

static int compare(const void *left, const void *right)
{
    const struct piece *a = left, *b = right;
    if (a->host != b->host)
        return a->host < b->host ? -1 : 1;
    if (a->mark != b->mark)
        return a->mark < b->mark ? -1 : 1;
    return (a->process > b->process) - (a->process < b->process);
}

uint64_t worth_add(uint64_t left, uint64_t right)
{
    return left > UINT64_MAX - right ? UINT64_MAX : left + right;
}

static struct piece *collect(const struct worth_part *parts, size_t count, size_t pieces)
{
    struct piece *all = required(calloc(pieces + 1, sizeof *all)), *next = all;
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < parts[i].marks->count; k++)
            *next++ =
                (struct piece){parts[i].marks->mark[k], (uint32_t)parts[i].host, (uint32_t)parts[i].process};
    qsort(all, pieces, sizeof *all, compare);
    return all;
}

/* The bag of one mark on one host, from `at` on: how often the two processes have it that have it most. */
static size_t count_equal(const struct piece *at, const struct piece *end, size_t *first, size_t *second)
{
    const struct piece *piece = at;
    *first = *second = 0;
    while (piece < end && piece->mark == at->mark && piece->host == at->host) {
        size_t here = 0;
        for (uint32_t process = piece->process;
             piece < end && piece->mark == at->mark && piece->host == at->host && piece->process == process;
             piece++)
            here++;
        *second = here > *first ? *first : here > *second ? here : *second;
        *first = here > *first ? here : *first;
    }
    return (size_t)(piece - at);
}

/* Of a bag the n-th copy in one process goes with the n-th in the others. Returns how many would go. */
static uint64_t compare_pieces(const struct piece *pieces, struct worth *worth)
{
    uint64_t saved = 0;
    for (size_t at = 0, count; at < worth->pieces; at += count) {
        size_t first, second;
        count = count_equal(pieces + at, pieces + worth->pieces, &first, &second);
        saved += count - first;
        worth->identical += count - (first - second);
    }
    return saved;
}

/* A last piece is shorter than others; a site that allocates again and again was read more than once. */
static uint64_t in_bytes(uint64_t saved, const struct worth *worth, uint64_t short_bytes, uint64_t read_bytes)
{
    const double all = ((double)worth->pieces + (double)worth->zeros) * (double)RECORD_PIECE_BYTES;
    double bytes = (double)saved * (double)RECORD_PIECE_BYTES;
    if (saved == 0)
        return 0;
    if ((double)short_bytes < all)
        bytes *= 1 - (double)short_bytes / all;
    if (read_bytes > worth->peak_bytes)
        bytes *= (double)worth->peak_bytes / (double)read_bytes;
    return bytes < (double)worth->peak_bytes ? (uint64_t)bytes : worth->peak_bytes;
}

static size_t processes_of(const struct worth_part *parts, size_t count, size_t host)
{
    size_t found = 0;
    for (size_t i = 0, last = SIZE_MAX; i < count; i++) {
        if (parts[i].host != host || parts[i].process == last || parts[i].marks->count == 0)
            continue;
        last = parts[i].process;
        found++;
    }
    return found;
}

struct worth worth_of(const struct worth_part *parts, size_t count)
{
    struct worth worth = {0};
    uint64_t short_bytes = 0, read_bytes = 0;
    for (size_t i = 0; i < count; i++) {
        const struct worth_part *part = &parts[i];
        worth.processes += i == 0 || part[-1].process != part->process;
        worth.peak_bytes = worth_add(worth.peak_bytes, part->peak_bytes);
        worth.pieces += part->marks->count;
        worth.zeros = worth_add(worth.zeros, part->marks->zeros);
        short_bytes = worth_add(short_bytes, part->marks->short_bytes);
        read_bytes = worth_add(read_bytes, part->read_bytes);
        if (i == 0 || part[-1].host != part->host) {
            const size_t here = processes_of(parts, count, part->host);
            worth.processes_most = here > worth.processes_most ? here : worth.processes_most;
        }
    }
    struct piece *pieces = collect(parts, count, worth.pieces);
    worth.saved_bytes = in_bytes(compare_pieces(pieces, &worth), &worth, short_bytes, read_bytes);
    free(pieces);
    return worth;
}

double worth_share(const struct worth *worth)
{
    return worth->pieces == 0 || worth->processes_most < 2
               ? -1
               : 100.0 * (double)worth->identical / (double)worth->pieces;
}
