/* SPDX-License-Identifier: MIT */
#include "storm-board.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

const char *const storm_operation_name[STORM_OPERATIONS] = {
    [STORM_NOTHING] = "nothing",  [STORM_START] = "start",       [STORM_OPEN] = "open",
    [STORM_CLOSE] = "close",      [STORM_ALLOCATE] = "allocate", [STORM_ATTACH] = "attach",
    [STORM_FREE] = "free",        [STORM_FIND] = "find",         [STORM_DESCRIBE] = "describe",
    [STORM_VISIT] = "visit",      [STORM_STATISTICS] = "stat",   [STORM_RESIZE] = "resize",
    [STORM_HAMMER] = "hammering", [STORM_MERGE] = "merge",       [STORM_FORK] = "fork",
    [STORM_EXEC] = "exec",        [STORM_EXIT] = "exit"};

#define SAMPLE_EVERY UINT64_C(2000000)

static __thread struct {
    struct storm_board *board;
    unsigned place, thread;
    uint64_t begun, queued, sampled; /* `queued` as it was at `sampled` */
    enum storm_operation operation;
    unsigned steps;
    int schedule; /* descriptor of the thread's schedstat */
    bool opened;
} self;

uint64_t storm_clock(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---------------------------------------------------------------- the board */

struct storm_board *storm_join_board(int descriptor)
{
    void *memory = mmap(NULL, sizeof(struct storm_board), PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    return memory != MAP_FAILED ? memory : NULL;
}

struct storm_board *storm_make_board(int *descriptor)
{
    *descriptor = memfd_create("storm", 0); /* inherited through exec */
    if (*descriptor < 0 || ftruncate(*descriptor, sizeof(struct storm_board)) != 0)
        return NULL;
    return storm_join_board(*descriptor);
}

void storm_complain(struct storm_board *board, const char *format, ...)
{
    char line[1024];
    va_list arguments;
    int length = snprintf(line, sizeof line, "storm: process %d (place %u, thread %u): ", (int)getpid(),
                          self.place, self.thread);
    va_start(arguments, format);
    length += vsnprintf(line + length, sizeof line - 1 - (size_t)length, format, arguments);
    va_end(arguments);
    length = length < (int)sizeof line - 1 ? length : (int)sizeof line - 2;
    line[length++] = '\n';
    if (atomic_fetch_add(&board->failures, 1) < 50) {
        const ssize_t written = write(STDERR_FILENO, line, (size_t)length);
        (void)written;
    }
}

bool storm_is_over(const struct storm_board *board)
{
    const bool look = ++self.steps % 256 == 0; /* the cleaner ends us anyway */
    return self.place < atomic_load(&board->ending) || (look && kill(board->supervisor, 0) != 0);
}

/* ---------------------------------------------------------------- a process's own place */

void storm_take_line(struct storm_board *board, unsigned place, unsigned thread)
{
    self.board = board;
    self.place = place;
    self.thread = thread;
    if (self.opened) /* before a fork: it is the parent's */
        close(self.schedule);
    self.opened = false;
    struct storm_line *line = &board->place[place].line[thread];
    atomic_store(&line->operation, STORM_NOTHING);
    atomic_store(&line->thread, (int32_t)syscall(SYS_gettid));
}

static void clear_lines(struct storm_place *place)
{
    for (unsigned thread = 0; thread < STORM_THREADS; thread++)
        atomic_store(&place->line[thread].operation, STORM_NOTHING);
}

bool storm_take_place(struct storm_board *board)
{
    const int32_t pid = getpid();
    for (unsigned i = STORM_WORKERS; i < STORM_PLACES; i++) {
        int32_t nobody = 0;
        if (!atomic_compare_exchange_strong(&board->place[i].pid, &nobody, pid))
            continue;
        clear_lines(&board->place[i]);
        atomic_store(&board->place[i].continued, storm_clock());
        atomic_store(&board->place[i].generation, atomic_fetch_add(&board->generation, 1) + 1);
        storm_take_line(board, i, 0);
        return true;
    }
    return false;
}

unsigned storm_place(void)
{
    return self.place;
}

unsigned storm_line(void)
{
    return self.place * STORM_THREADS + self.thread;
}

/* How long this thread has waited for a processor since it was started: the second figure of its schedstat. A
 * busy machine must not be taken for a lock that nobody gives back. Reading it takes longer than most
 * operations, so it is read now and then. */
static uint64_t time_in_queue(void)
{
    char text[96];
    if (!self.opened) {
        self.opened = true;
        self.schedule = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
    }
    const ssize_t got = pread(self.schedule, text, sizeof text - 1, 0);
    if (got <= 0)
        return 0;
    text[got] = '\0';
    const char *second = strchr(text, ' ');
    return second != NULL ? strtoull(second, NULL, 10) : 0;
}

void storm_begin(enum storm_operation operation)
{
    struct storm_line *line = &self.board->place[self.place].line[self.thread];
    self.operation = operation;
    self.begun = storm_clock();
    if (self.begun - self.sampled > SAMPLE_EVERY || !self.opened) {
        self.queued = time_in_queue();
        self.sampled = self.begun;
    }
    atomic_store_explicit(&line->begun, self.begun, memory_order_relaxed);
    atomic_store_explicit(&line->operation, operation, memory_order_release);
}

static void raise_to(_Atomic uint64_t *worst, uint64_t value)
{
    uint64_t before = atomic_load_explicit(worst, memory_order_relaxed);
    while (before < value && !atomic_compare_exchange_weak(worst, &before, value))
        continue;
}

static enum storm_weather weather_since(const struct storm_board *board, uint64_t begun)
{
    if (atomic_load(&board->stopped_now) > 0 || atomic_load(&board->last_stop) >= begun ||
        atomic_load(&board->last_continue) >= begun)
        return STORM_STOP;
    return atomic_load(&board->last_kill) >= begun ? STORM_KILL : STORM_CALM;
}

void storm_count(unsigned operations)
{
    _Atomic uint64_t *count = &self.board->place[self.place].line[self.thread].count;
    const uint64_t before = atomic_load_explicit(count, memory_order_relaxed);
    atomic_store_explicit(count, before + operations, memory_order_relaxed); /* nobody else writes it */
}

bool storm_end(void)
{
    const int kept_errno = errno;
    struct storm_board *board = self.board;
    struct storm_place *place = &board->place[self.place];
    const uint64_t took = storm_clock() - self.begun;
    const enum storm_weather weather = weather_since(board, self.begun);
    atomic_store_explicit(&place->line[self.thread].operation, STORM_NOTHING, memory_order_release);
    storm_count(1);
    if (atomic_load(&place->continued) < self.begun) { /* else it was this process that was stopped */
        raise_to(&board->worst[weather][self.operation], took);
        if (took > atomic_load_explicit(&board->worst_waiting[weather], memory_order_relaxed)) {
            const uint64_t queued = time_in_queue() - self.queued;
            raise_to(&board->worst_waiting[weather], took - (queued < took ? queued : took));
        }
    }
    errno = kept_errno;
    return weather == STORM_STOP;
}

/* ---------------------------------------------------------------- the dead */

static void clear_place_of(struct storm_board *board, int32_t pid)
{
    for (unsigned i = 0; i < STORM_PLACES; i++) {
        struct storm_place *place = &board->place[i];
        if (atomic_load(&place->pid) != pid)
            continue;
        clear_lines(place);
        if (atomic_exchange(&place->stopped, false)) {
            atomic_store(&board->last_continue, storm_clock());
            atomic_fetch_sub(&board->stopped_now, 1);
        }
        atomic_store(&place->pid, 0);
    }
}

static void judge(struct storm_board *board, const siginfo_t *information)
{
    if (information->si_code == CLD_EXITED && information->si_status == 0)
        return;
    if (information->si_code == CLD_KILLED && information->si_status == SIGKILL)
        return;
    storm_complain(board, "process %d %s %d", (int)information->si_pid,
                   information->si_code == CLD_EXITED ? "ended with status" : "was ended by signal",
                   information->si_status);
}

int storm_bury(struct storm_board *board, bool block)
{
    int buried = 0;
    for (;;) {
        siginfo_t information = {.si_pid = 0};
        if (waitid(P_ALL, 0, &information, WEXITED | WNOWAIT | (block ? 0 : WNOHANG)) != 0) {
            if (errno == EINTR)
                continue;
            return buried > 0 ? buried : -1;
        }
        if (information.si_pid == 0)
            return buried;
        clear_place_of(board, information.si_pid);
        if (waitid(P_PID, (id_t)information.si_pid, &information, WEXITED) == 0) {
            judge(board, &information);
            buried++;
        }
    }
}

/* ---------------------------------------------------------------- patterns of one */

struct header {
    uint64_t seed, bytes;
    _Atomic uint64_t finished; /* stored last */
    uint64_t proof;
};

static_assert(sizeof(struct header) == STORM_HEADER_BYTES, "the header of a block");

static uint64_t word_at(uint64_t seed, size_t index)
{
    return (seed + index) * UINT64_C(0x9e3779b97f4a7c15);
}

static size_t begin_of_pattern(size_t bytes)
{
    return bytes >= 2 * STORM_HEADER_BYTES ? STORM_HEADER_BYTES : 0;
}

static void fill_bytes(unsigned char *block, size_t bytes, uint64_t seed)
{
    for (size_t at = begin_of_pattern(bytes); at < bytes; at += sizeof(uint64_t)) {
        const uint64_t word = word_at(seed, at);
        memcpy(block + at, &word, bytes - at < sizeof word ? bytes - at : sizeof word);
    }
}

static bool are_filled(const unsigned char *block, size_t bytes, uint64_t seed)
{
    for (size_t at = begin_of_pattern(bytes); at < bytes; at += sizeof(uint64_t)) {
        const uint64_t word = word_at(seed, at);
        if (memcmp(block + at, &word, bytes - at < sizeof word ? bytes - at : sizeof word) != 0)
            return false;
    }
    return true;
}

static uint64_t proof_of(uint64_t seed, size_t bytes)
{
    return storm_mix(seed ^ storm_mix(bytes));
}

void storm_fill(void *block, size_t bytes, uint64_t seed)
{
    struct header *header = block;
    fill_bytes(block, bytes, seed);
    if (begin_of_pattern(bytes) == 0)
        return;
    header->seed = seed;
    header->bytes = bytes;
    header->proof = proof_of(seed, bytes);
    atomic_store_explicit(&header->finished, ~header->proof, memory_order_release);
}

static bool header_is(const struct header *header, size_t bytes, uint64_t seed)
{
    return header->seed == seed && header->bytes == bytes && header->proof == proof_of(seed, bytes) &&
           atomic_load(&header->finished) == ~header->proof;
}

bool storm_is_filled(const void *block, size_t bytes, uint64_t seed)
{
    return (begin_of_pattern(bytes) == 0 || header_is(block, bytes, seed)) && are_filled(block, bytes, seed);
}

int storm_is_sound(const void *block, size_t bytes)
{
    const struct header *header = block;
    if (begin_of_pattern(bytes) == 0 || atomic_load_explicit(&header->finished, memory_order_acquire) == 0)
        return 0;
    return storm_is_filled(block, bytes, header->seed) ? 1 : -1;
}

bool storm_is_zero(const void *block, size_t bytes)
{
    const unsigned char *at = block;
    return bytes == 0 || (at[0] == 0 && memcmp(at, at + 1, bytes - 1) == 0);
}

/* ---------------------------------------------------------------- patterns of many */

static uint64_t proven(uint64_t seed, unsigned line, uint32_t count)
{
    return storm_mix(seed ^ (uint64_t)line << 40 ^ count) << 32 | count;
}

static bool is_proven(uint64_t word, uint64_t seed, unsigned line)
{
    return word == 0 || word == proven(seed, line, (uint32_t)word);
}

/* `whole`: no byte may be missing; else they are written where they are. */
static const char *look_at_tail(_Atomic uint64_t *words, size_t count, uint64_t seed, bool whole)
{
    for (size_t i = STORM_LINES; i < count; i++) {
        const uint64_t found = atomic_load_explicit(&words[i], memory_order_relaxed);
        if (found == word_at(seed, i))
            continue;
        if (whole || found != 0)
            return "bytes that all write alike are others";
        atomic_store_explicit(&words[i], word_at(seed, i), memory_order_relaxed);
    }
    return NULL;
}

static const char *look_at_lines(_Atomic uint64_t *words, uint64_t seed)
{
    for (unsigned line = 0; line < STORM_LINES; line++)
        if (!is_proven(atomic_load_explicit(&words[line], memory_order_relaxed), seed, line))
            return "a word does not prove itself";
    return NULL;
}

const char *storm_common_begin(void *block, size_t bytes, uint64_t seed, uint32_t *own)
{
    _Atomic uint64_t *words = block;
    const char *wrong = look_at_lines(words, seed);
    *own = (uint32_t)atomic_load(&words[storm_line()]);
    return wrong != NULL ? wrong : look_at_tail(words, bytes / sizeof *words, seed, false);
}

const char *storm_common_look(void *block, size_t bytes, uint64_t seed, uint32_t *own)
{
    _Atomic uint64_t *words = block;
    const unsigned line = storm_line();
    if ((uint32_t)atomic_load(&words[line]) != *own)
        return "the word that only this thread writes has changed";
    const char *wrong = look_at_lines(words, seed);
    if (wrong == NULL)
        wrong = look_at_tail(words, bytes / sizeof *words, seed, true);
    atomic_store(&words[line], proven(seed, line, ++*own));
    return wrong;
}
