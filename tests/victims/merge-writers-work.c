/* SPDX-License-Identifier: MIT
 *
 * What the threads of the victim merge-writers do in a step, as far as they write themselves: stores of
 * several kinds, loads, and what a program does beside that (allocating, forking, making threads).
 */
#include "merge-writers.h"

#include <spawn.h>
#include <sys/wait.h>

extern char **environ;

/* ---------------------------------------------------------------- stores and loads */

/* Stores as many as it can until the burst is over, but at least some. */
static void burst(struct writer *writer, unsigned step)
{
    const unsigned part = part_of(step);
    do {
        for (unsigned i = 0; i < 64; i++)
            put(writer, part, (unsigned)(next_random(writer) % WORDS), next_random(writer));
        count_operations(writer, 64);
    } while (now() < end_of_burst(step));
}

void work_plain(struct writer *writer, unsigned step)
{
    burst(writer, step);
    write_words(writer, step);
}

/* No signal reaches it while it writes, but only in one step of eight, so that there are times at which all
 * threads can be stopped by one. */
void work_blocked(struct writer *writer, unsigned step)
{
    sigset_t all, before;
    if (step % 8 == 0) {
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        work_plain(writer, step);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    } else
        write_words(writer, step);
}

/* Several threads add to the same words and take away again what they added: in the end the words are
 * what they were. */
void work_atomic(struct writer *writer, unsigned step)
{
    const unsigned part = part_of(step);
    uint64_t added[SHARED_WORDS] = {0};
    do {
        for (unsigned i = 0; i < SHARED_WORDS; i++) {
            const uint64_t some = next_random(writer);
            atomic_fetch_add(shared_word(writer->rank, part, i), some);
            added[i] += some;
        }
        count_operations(writer, SHARED_WORDS);
    } while (now() < end_of_burst(step));
    for (unsigned i = 0; i < SHARED_WORDS; i++)
        atomic_fetch_sub(shared_word(writer->rank, part, i), added[i]);
    write_words(writer, step);
}

/* Reads what nobody writes, in all parts. */
void work_load(struct writer *writer, unsigned step)
{
    do {
        const unsigned part = (unsigned)(next_random(writer) % PARTS);
        const size_t page = next_random(writer) % (WORD_PAGES + ZERO_PAGES);
        const size_t offset = page * PAGE + 4008 + next_random(writer) % 10 * 8;
        uint64_t found;
        memcpy(&found, control->rank[writer->rank].base + (size_t)part * PART_BYTES + offset, sizeof found);
        if (found != filler(writer->rank, part, offset)) {
            char text[120];
            snprintf(text, sizeof text, "offset %zu of part %u, where nobody writes, holds %#llx", offset,
                     part, (unsigned long long)found);
            report(writer, FAULT_TORN, text);
        }
        count_operations(writer, 1);
    } while (now() < end_of_burst(step));
    write_words(writer, step);
}

/* ---------------------------------------------------------------- beside that */

static const size_t HALF = 512 << 10;

/* The same in all ranks, so that these blocks are merged as well. */
static void use_large(struct writer *writer, unsigned step)
{
    static unsigned char *kept;
    static size_t kept_bytes;
    const size_t bytes = HALF * (2 + step / 5 % 4);
    bool good = kept == NULL || is_filled(kept, kept_bytes, step);
    if (step / 5 % 2 == 0) {
        kept = realloc(kept, bytes);
        good = good && kept != NULL && is_filled(kept, bytes < kept_bytes ? bytes : kept_bytes, step);
    } else {
        free(kept);
        kept = calloc(1, bytes);
        good = good && kept != NULL && is_all(kept, bytes, 0);
    }
    if (!good)
        report(writer, FAULT_LOST, "a large block does not hold what it should");
    kept_bytes = kept == NULL ? 0 : bytes;
    if (kept != NULL)
        fill(kept, kept_bytes, step + writer->kind->stride);
}

void work_allocate(struct writer *writer, unsigned step)
{
    unsigned char *small[16];
    use_large(writer, step);
    for (unsigned i = 0; i < 16; i++) {
        small[i] = malloc(100 + 300 * i);
        if (small[i] != NULL)
            fill(small[i], 100 + 300 * i, i);
    }
    write_words(writer, step);
    for (unsigned i = 0; i < 16; i++) {
        if (small[i] == NULL || !is_filled(small[i], 100 + 300 * i, i))
            report(writer, FAULT_LOST, "a small block does not hold what it should");
        free(small[i]);
    }
}

/* A child has all as it was, and what it writes is its own. */
static int in_child(struct writer *writer, unsigned step)
{
    bool good = words_are_whole(writer);
    for (unsigned part = 0; part < PARTS; part++) {
        for (unsigned word = 0; word < WORDS; word++)
            put(writer, part, word, ~last_value(writer, step, word));
        const unsigned char *zeros = control->rank[writer->rank].base + (size_t)part * PART_BYTES +
                                     (WORD_PAGES + ZERO_PAGES - 1) * PAGE;
        good = good && is_all(zeros, PAGE, 0);
    }
    unsigned char *block = malloc(2 * HALF);
    if (block == NULL)
        return 3;
    fill(block, 2 * HALF, step);
    good = good && words_are_whole(writer) && is_filled(block, 2 * HALF, step);
    free(block);
    return good ? 0 : 1;
}

static pid_t start_program(void)
{
    char name[] = "true", *const arguments[] = {name, NULL};
    pid_t child;
    return posix_spawnp(&child, name, NULL, NULL, arguments, environ) == 0 ? child : -1;
}

void work_fork(struct writer *writer, unsigned step)
{
    int status = 0;
    const pid_t child = step % 2 == 0 ? fork() : start_program();
    if (child == 0)
        _exit(in_child(writer, step));
    write_words(writer, step);
    pid_t ended;
    while ((ended = waitpid(child, &status, 0)) < 0 && errno == EINTR)
        report(writer, FAULT_EINTR, "waitpid");
    if (child < 0)
        failed(writer, "a child");
    else if (ended != child || status != 0)
        report(writer, FAULT_LOST, step % 2 == 0 ? "the child did not find all as it was" : "true failed");
}

struct share {
    struct writer *writer;
    unsigned step, from, to;
};

static void *write_share(void *argument)
{
    const struct share *share = argument;
    write_some_words(share->writer, share->step, share->from, share->to);
    return NULL;
}

/* Threads that write and end. */
void work_threads(struct writer *writer, unsigned step)
{
    enum { SHARES = 3 };
    struct share share[SHARES];
    pthread_t thread[SHARES];
    bool made[SHARES];
    for (unsigned i = 0; i < SHARES; i++) {
        share[i] = (struct share){writer, step, i * WORDS / SHARES, (i + 1) * WORDS / SHARES};
        made[i] = pthread_create(&thread[i], NULL, write_share, &share[i]) == 0;
        if (!made[i])
            report(writer, FAULT_OTHER, "pthread_create");
    }
    for (unsigned i = 0; i < SHARES; i++)
        if (made[i])
            pthread_join(thread[i], NULL);
    count_operations(writer, 2 * WORDS);
}
