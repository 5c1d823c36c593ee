/* SPDX-License-Identifier: MIT */
#include "recorder.h"

#include <errno.h>
#include <pthread.h>

#include "os.h"
#include "record_file.h"
#include "record_marks.h"
#include "record_rows.h"
#include "record_stack.h"
#include "router.h"
#include "stack.h"
#include "thread.h"

#define ALIVE_WORD UINT32_C(0x7265636f)

/* Of the time that the program has run, so much may go into fingerprints; the rest is left out. */
#define MARKS_SHARE     8u
#define MARKS_END_SHARE 4u
#define MILLISECOND     1e6 /* ns */
#define MARKS_GRACE     (50 * MILLISECOND)
#define MARKS_END_GRACE (500 * MILLISECOND)
#define RATE_MEASURED   UINT64_C(20000) /* ns that the clocks are compared for, at least */

enum state { STATE_NOT_YET, STATE_READY, STATE_FAILED };

static struct {
    size_t least_bytes;
    const char *program;
    uint32_t *alive; /* a page that is zero after a fork of any kind */
    uint32_t always_alive;
    _Atomic uint32_t state;      /* enum state */
    pthread_mutex_t lock;        /* to get ready */
    uint64_t began, began_clock; /* in beats, and in ns, at bring-up */
    uint64_t since;              /* in beats: what is older was the parent's */
    double beat;                 /* ns */
    _Atomic uint64_t spent;      /* ns of processor time, on fingerprints */
    uint64_t unloaded;           /* modules, when that was last looked at */
} recorder = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---------------------------------------------------------------- inside and out */

static bool is_adopted(void)
{
    return *(volatile uint32_t *)recorder.alive == ALIVE_WORD;
}

static bool is_ready(void)
{
    return LIKELY(atomic_load_explicit(&recorder.state, memory_order_acquire) == STATE_READY) &&
           LIKELY(is_adopted());
}

static double nanoseconds(uint64_t beats)
{
    return (double)beats * recorder.beat;
}

static uint64_t since(uint64_t beat)
{
    const uint64_t now = os_beat();
    return now > beat ? now - beat : 0; /* processors need not agree */
}

static void measure_beat(void)
{
    uint64_t passed;
    while ((passed = os_clock() - recorder.began_clock) < RATE_MEASURED)
        ;
    recorder.beat = (double)passed / (double)most(since(recorder.began), 1);
}

static COLD bool make_ready(void)
{
    const int kept_errno = errno;
    if (!is_adopted() || atomic_load(&recorder.state) == STATE_FAILED)
        return false;
    router_enter();
    pthread_mutex_lock(&recorder.lock);
    if (atomic_load(&recorder.state) == STATE_NOT_YET) {
        measure_beat();
        const bool made = record_file_make(recorder.least_bytes, recorder.program) && record_rows_begin();
        atomic_store(&recorder.state, made ? STATE_READY : STATE_FAILED);
    }
    pthread_mutex_unlock(&recorder.lock);
    router_leave();
    errno = kept_errno;
    return atomic_load(&recorder.state) == STATE_READY;
}

/* ---------------------------------------------------------------- fingerprints */

static void leave_out(uint64_t bytes)
{
    __atomic_fetch_add(&record_file.header->unread_bytes, bytes, __ATOMIC_RELAXED);
}

/* Has too much time gone into fingerprints already? */
static bool is_too_slow(unsigned share, double grace)
{
    const uint64_t spent = atomic_load_explicit(&recorder.spent, memory_order_relaxed);
    return (double)spent > nanoseconds(since(recorder.began)) / share + grace;
}

static void look_at(const void *pointer, const struct record_block *block, unsigned share, double grace)
{
    void *buffer = is_too_slow(share, grace) ? NULL : record_stack_buffer();
    if (buffer == NULL) {
        leave_out(block->bytes);
        return;
    }
    const uint64_t start = os_thread_time(); /* waiting for a processor is not to count */
    record_marks_take(block->row, pointer, (size_t)block->bytes, buffer);
    atomic_fetch_add_explicit(&recorder.spent, os_thread_time() - start, memory_order_relaxed);
}

static void look_at_end(void *pointer, const struct record_block *block)
{
    if (block->birth >= recorder.since)
        look_at(pointer, block, MARKS_END_SHARE, MARKS_END_GRACE);
}

/* ---------------------------------------------------------------- blocks */

static void end_block(const struct record_block *block)
{
    if (block->row != 0 && block->birth >= recorder.since)
        record_rows_freed(block->row, (size_t)block->bytes, (uint64_t)nanoseconds(since(block->birth)));
}

static void begin_block(const void *pointer, size_t bytes, enum policy_call call, uint32_t row)
{
    struct record_block before;
    const struct record_block block = {.bytes = bytes, .birth = os_beat(), .row = row};
    record_rows_allocated(row, bytes, call);
    if (UNLIKELY(!record_live_put(pointer, &block, &before)))
        __atomic_fetch_add(&record_file.header->dropped_blocks, 1, __ATOMIC_RELAXED);
    if (UNLIKELY(before.row != 0))
        end_block(&before);
}

void recorder_allocated(const void *pointer, size_t bytes, enum policy_call call, const void *caller,
                        const void *frame)
{
    if (bytes < recorder.least_bytes || UNLIKELY(pointer == NULL || thread_self.inside > 0))
        return;
    if (UNLIKELY(!is_ready()) && !make_ready())
        return;
    router_enter();
    const uint32_t row = record_stack_row(frame, caller);
    if (LIKELY(row != 0))
        begin_block(pointer, bytes, call, row);
    router_leave();
}

void recorder_freeing(const void *pointer)
{
    if (UNLIKELY(thread_self.inside > 0 || !is_ready()))
        return;
    const struct record_block block = record_live_find(pointer);
    if (block.row == 0)
        return;
    router_enter();
    if (block.bytes >= RECORD_PIECE_BYTES && block.birth >= recorder.since && !block.is_known)
        look_at(pointer, &block, MARKS_SHARE, MARKS_GRACE);
    const struct record_block taken = record_live_take(pointer);
    end_block(&taken);
    router_leave();
}

struct record_block recorder_moving(const void *pointer)
{
    if (UNLIKELY(thread_self.inside > 0 || !is_ready()))
        return (struct record_block){0};
    return record_live_take(pointer);
}

void recorder_moved(const struct record_block *block)
{
    if (block->row == 0)
        return;
    router_enter();
    end_block(block);
    router_leave();
}

void recorder_not_moved(const void *pointer, const struct record_block *block)
{
    struct record_block before;
    if (block->row != 0)
        record_live_put(pointer, block, &before);
}

/* ---------------------------------------------------------------- beginning, fork, end */

void recorder_begin(const struct settings *settings, const char *program)
{
    recorder.least_bytes = settings->record_least;
    recorder.program = program;
    recorder.alive = os_wiped_on_fork();
    if (recorder.alive == NULL)
        recorder.alive = &recorder.always_alive;
    *recorder.alive = ALIVE_WORD;
    recorder.began = os_beat();
    recorder.began_clock = os_clock();
    recorder.unloaded = os_modules_unloaded();
    record_file_plan(settings->record_file, settings->rank);
    record_live_begin(settings->record_least, RECORD_PIECE_BYTES);
}

void recorder_forget_unloaded(void)
{
    const uint64_t unloaded = os_modules_unloaded();
    router_enter();
    pthread_mutex_lock(&recorder.lock);
    if (unloaded != recorder.unloaded) {
        recorder.unloaded = unloaded;
        stack_forget();
        record_stack_forget();
    }
    pthread_mutex_unlock(&recorder.lock);
    router_leave();
}

static void lock_all(void)
{
    pthread_mutex_lock(&recorder.lock);
    record_rows_lock();
    record_marks_lock();
}

static void unlock_all(void)
{
    record_marks_unlock();
    record_rows_unlock();
    pthread_mutex_unlock(&recorder.lock);
}

void recorder_end(void)
{
    if (!is_ready())
        return;
    router_enter();
    atomic_store(&recorder.spent, 0);
    record_live_visit(look_at_end);
    lock_all();
    record_file.header->ended = os_date();
    record_file_trim();
    unlock_all();
    router_leave();
}

void recorder_fork_prepare(void)
{
    router_enter();
    lock_all();
}

void recorder_fork_parent(void)
{
    unlock_all();
    router_leave();
}

void recorder_fork_child(void)
{
    *recorder.alive = ALIVE_WORD;
    if (atomic_load(&recorder.state) == STATE_READY)
        atomic_store(&recorder.state, STATE_NOT_YET);
    atomic_store(&recorder.spent, 0);
    recorder.since = recorder.began = os_beat();
    recorder.began_clock = os_clock();
    record_stack_forget();
    unlock_all();
    router_leave();
}
