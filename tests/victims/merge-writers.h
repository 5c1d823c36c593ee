/* SPDX-License-Identifier: MIT
 *
 * Victim `merge-writers SECONDS [STEP [RANKS]]`: several processes, equal at first, each with a block that
 * threads of every kind write into while it is merged again and again. What the four files of this program
 * share.
 *
 * The launcher (merge-writers.c) starts the ranks and wakes their threads; a rank (merge-writers-rank.c) has
 * one thread for each row of the table of kinds (merge-writers-kinds.c). Time is cut into steps that all
 * ranks know. At the start of a step the threads wake from whatever they sleep in and write at once into
 * one part of the block, first values that differ from rank to rank, then some that are equal in all; then
 * that part is left alone for some steps, goes quiet, and can be merged until it is written again. A thread
 * that is late does its steps late: nothing depends on the time.
 *
 * Each place that is written belongs to one thread, which knows what it wrote there last. Any other value,
 * then or at the end, is an update that was lost. Everything that is counted lies in memory of the
 * launcher's that no allocator knows.
 */
#ifndef SHM_VICTIM_MERGE_WRITERS_H
#define SHM_VICTIM_MERGE_WRITERS_H

#include "victim.h"

#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/select.h>
#include <sys/types.h>
#include <time.h>

enum {
    PAGE = 4096,
    PART_BYTES = 2 << 20, /* what is merged at once; the parts are aligned to it */
    PART_PAGES = PART_BYTES / PAGE,
    PARTS = 6,
    WORDS = 24,         /* of a thread, in each part, on as many pages */
    WORD_PAGES = 416,   /* the first pages of a part: words of threads; the rest is filler */
    ZERO_PAGES = 32,    /* then pages of zeros */
    MESSAGE_PAGES = 64, /* then what the kernel writes, three pages for each thread */
    MESSAGE_BYTES = 9000,
    MESSAGES = 4, /* in a step */
    WRITERS_MOST = 62,
    RANKS_MOST = 8,
    WHOLE = 192 << 10, /* what is written into a pipe at once: more than it holds */
    SHARED_WORDS = 16, /* in each part */
};

static const uint64_t MILLISECOND = 1000000, SECOND = 1000000000;

enum fault {
    FAULT_LOST,   /* a place does not hold what was written there last */
    FAULT_TORN,   /* other bytes came than were sent */
    FAULT_SHORT,  /* fewer came, or were taken, than without a signal */
    FAULT_EFAULT, /* the block was not there for a moment */
    FAULT_EINTR,  /* without a signal of the program's own */
    FAULT_HIDDEN, /* no EINTR though there was one */
    FAULT_EARLY,  /* a sleep that ended before its time */
    FAULT_OTHER,
    FAULTS
};

/* How the launcher wakes a thread. */
enum feed {
    FEED_NOTHING, /* it wakes by itself */
    FEED_BYTE,    /* one byte into a pipe */
    FEED_PIPE,    /* messages into a pipe */
    FEED_PACKET,  /* messages into a socket that keeps them apart */
    FEED_STREAM,  /* one message into a socket, in pieces */
    FEED_SEMAPHORE,
    FEED_CONDITION,
    FEED_SIGNAL,  /* RING, which has a handler */
    FEED_BLOCKED, /* KNOCK, which is blocked */
    FEED_DRAIN    /* takes what the thread writes into a pipe, in pieces */
};

struct writer;

struct kind {
    const char *name;
    enum feed feed;
    unsigned stride;                               /* takes part in each so-manieth step */
    void (*wait)(struct writer *, uint64_t until); /* NULL: asleep until the step begins */
    void (*work)(struct writer *, unsigned step);  /* NULL: writes its words */
    bool sleeps;                                   /* has wakes to show */
    bool messages;                                 /* has a place for messages */
    bool straddles;                                /* its words lie across two pages */
    bool zeros;                                    /* its words end as zeros */
    bool (*possible)(struct writer *);             /* NULL: always */
    void (*over)(struct writer *);                 /* at the end, when all are quiet */
};

extern const struct kind kinds[];
extern const unsigned kind_count;

struct tally {
    _Atomic uint64_t operations, wakes, faults[FAULTS];
    atomic_bool impossible;
};

struct rank {
    _Atomic pid_t process;
    unsigned char *base; /* the first part */
    _Atomic pid_t thread[WRITERS_MOST];
    sem_t bell[WRITERS_MOST];
    pthread_mutex_t mutex;
    pthread_cond_t condition;
    unsigned announced; /* steps begun */
    sem_t go;
    struct tally tally[WRITERS_MOST];
    _Atomic uint64_t bursts, bursts_in_merged, merged_pages; /* what was seen of merging before bursts */
};

struct control {
    unsigned ranks, steps;
    uint64_t start, step; /* CLOCK_MONOTONIC, in nanoseconds */
    sem_t arrived;
    int semaphores; /* System V's, or -1 */
    struct rank rank[RANKS_MOST];
};

struct writer {
    const struct kind *kind;
    unsigned number, rank;
    struct tally *tally;
    pthread_t thread;
    uint64_t random;
    int fed;       /* what the launcher feeds */
    int silent[2]; /* sockets through which nothing ever comes */
    int stuffed;   /* a socket that is full */
    int epoll;     /* of `fed`, or of `silent` */
    timer_t timer;
    bool has_timer;
    volatile sig_atomic_t alarms, rings;
    int alarms_most;
    unsigned step;
    sigjmp_buf out;
    uint64_t expected[PARTS][WORDS]; /* what the words hold */
    uint64_t message[PARTS];         /* the seed of the message that came last; 0: filler */
};

/* The launcher gives a rank what it feeds under these numbers. */
enum { CONTROL_DESCRIPTOR = 300, FIRST_DESCRIPTOR = 301 };

#define RING  (SIGRTMIN + 5)
#define KNOCK (SIGRTMIN + 6)

extern struct control *control;

static inline uint64_t now_of(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return (uint64_t)time.tv_sec * SECOND + (uint64_t)time.tv_nsec;
}

static inline uint64_t now(void)
{
    return now_of(CLOCK_MONOTONIC);
}

static inline struct timespec timespec_of(uint64_t time)
{
    return (struct timespec){(time_t)(time / SECOND), (long)(time % SECOND)};
}

/* Some time even when it is late. */
static inline uint64_t time_left(uint64_t until)
{
    const uint64_t from = now();
    return until > from + MILLISECOND ? until - from : MILLISECOND;
}

static inline uint64_t mix(uint64_t value)
{
    value = (value ^ value >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    value = (value ^ value >> 27) * UINT64_C(0x94d049bb133111eb);
    return value ^ value >> 31;
}

/* Another part with each step, in an order that changes, so that a part rests for one step or many. */
static inline unsigned part_of(unsigned step)
{
    const uint64_t order = mix(step / PARTS + 1);
    const unsigned turn = step % PARTS;
    return (unsigned)(((order & 1) != 0 ? turn : PARTS - 1 - turn) + order / 2 % PARTS) % PARTS;
}

static inline uint64_t start_of(unsigned step)
{
    return control->start + step * control->step + mix(step) % (control->step / 2);
}

static inline uint64_t end_of_burst(unsigned step)
{
    return start_of(step) + (2 + mix(step + 7) % 6) * MILLISECOND;
}

static inline bool takes_part(unsigned writer, unsigned step)
{
    return step % kinds[writer].stride == 0;
}

/* The message that comes as the nth of a step: the last one is the same in all ranks. */
static inline uint64_t message_seed(unsigned rank, unsigned writer, unsigned step, unsigned nth)
{
    const uint64_t place = (uint64_t)step << 32 | writer << 16 | nth << 8;
    return mix(place | (nth + 1 < MESSAGES ? rank + 1 : 0)) | 1;
}

static inline void make_message(unsigned char message[MESSAGE_BYTES], uint64_t seed)
{
    for (size_t i = 0; i < MESSAGE_BYTES; i += sizeof seed) {
        const uint64_t value = mix(seed + i);
        memcpy(message + i, &value, sizeof value);
    }
}

/* What lies where nobody writes. */
static inline uint64_t filler(unsigned rank, unsigned part, size_t offset)
{
    const size_t page = offset / PAGE;
    if (page >= WORD_PAGES && page < WORD_PAGES + ZERO_PAGES)
        return 0;
    const unsigned own = page % 56 == 55 ? rank + 1 : 0; /* a few pages differ between the ranks */
    return mix((uint64_t)part << 40 | (uint64_t)own << 32 | offset);
}

/* ---- merge-writers-rank.c */
int rank_main(unsigned number);
unsigned char *message_place(unsigned rank, unsigned part, unsigned writer);
void write_words(struct writer *, unsigned step);
void write_some_words(struct writer *, unsigned step, unsigned from, unsigned to);
void put(struct writer *, unsigned part, unsigned word, uint64_t value);
uint64_t last_value(const struct writer *, unsigned step, unsigned word);
bool words_are_whole(struct writer *);
_Atomic uint64_t *shared_word(unsigned rank, unsigned part, unsigned number);
uint64_t next_random(struct writer *);
void sleep_until(uint64_t time);

void report(struct writer *, enum fault, const char *what);
void failed(struct writer *, const char *what); /* as errno says */
void count_wake(struct writer *);
void count_operations(struct writer *, uint64_t);

/* ---- merge-writers-work.c, merge-writers-receive.c: what threads do */
void work_plain(struct writer *, unsigned step);
void work_blocked(struct writer *, unsigned step);
void work_atomic(struct writer *, unsigned step);
void work_load(struct writer *, unsigned step);
void work_allocate(struct writer *, unsigned step);
void work_fork(struct writer *, unsigned step);
void work_threads(struct writer *, unsigned step);
void work_read(struct writer *, unsigned step);
void work_readv(struct writer *, unsigned step);
void work_recv(struct writer *, unsigned step);
void work_recv_timeout(struct writer *, unsigned step);
void work_read_timeout(struct writer *, unsigned step);
void work_recvmsg(struct writer *, unsigned step);
void work_recv_whole(struct writer *, unsigned step);
void work_process_vm(struct writer *, unsigned step);
bool possible_process_vm(struct writer *);
void over_process_vm(struct writer *);
void work_whole_write(struct writer *, unsigned step);

/* ---- merge-writers-sleep.c, merge-writers-wake.c: what they sleep in until their time comes or something
 * happens */
typedef void wait_for_step(struct writer *, uint64_t until);
extern wait_for_step nap_epoll, nap_poll, nap_ppoll, nap_select, nap_pselect, nap_nanosleep, nap_clock,
    nap_clock_absolute, nap_usleep, nap_recv, nap_read, nap_send, nap_accept, nap_semaphore, nap_condition,
    nap_sigtimedwait, nap_semtimedop;
extern wait_for_step woken_epoll, woken_epoll_pwait, woken_poll, woken_ppoll, woken_select, woken_semaphore,
    woken_condition, woken_sigwaitinfo, woken_sigsuspend, alarmed_recv, alarmed_epoll, alarmed_pause,
    alarmed_nanosleep, alarmed_restarting;
bool possible_semtimedop(struct writer *);
fd_set set_of(int descriptor);

#endif
