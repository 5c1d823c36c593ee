/* SPDX-License-Identifier: MIT */
#include "lock.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

static_assert(sizeof(pthread_mutex_t) <= sizeof(struct lock), "a mutex fits");

/* The mutex never moves: all processes see the same bytes. */
static pthread_mutex_t *mutex_of(struct lock *lock)
{
    return (pthread_mutex_t *)(void *)lock->opaque;
}

int lock_make(struct lock *lock)
{
    pthread_mutexattr_t attributes;
    int error = pthread_mutexattr_init(&attributes);
    if (error != 0)
        return -error;
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    error = pthread_mutex_init(mutex_of(lock), &attributes);
    pthread_mutexattr_destroy(&attributes);
    return -error;
}

/* Hardly anybody keeps a lock for longer than it takes to make or drop a block: going to sleep, and being
 * woken, takes many times as long as that. */
#define LOOKS_MOST 100u

/* The word of glibc's mutex that says which kind it is: at byte 16 on 64-bit machines since 2007. */
static int32_t kind_of(const struct lock *lock)
{
    int32_t kind;
    memcpy(&kind, lock->opaque + 16, sizeof kind);
    return kind;
}

/* Is the kind still the one that lock_make() made? A stray write may have changed it, and then glibc
 * must not be let near it. What it must be is found once, by making one. */
static bool kind_is_ours(const struct lock *lock)
{
    static _Atomic int32_t expected;
    int32_t kind = atomic_load_explicit(&expected, memory_order_relaxed);
    if (UNLIKELY(kind == 0)) {
        struct lock model = {{0}};
        if (lock_make(&model) != 0)
            return false;
        kind = kind_of(&model);
        atomic_store_explicit(&expected, kind, memory_order_relaxed);
    }
    return LIKELY(kind_of(lock) == kind);
}

static struct timespec end_of(uint64_t patience)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    const uint64_t nanoseconds = (uint64_t)now.tv_nsec + patience;
    now.tv_sec += (time_t)(nanoseconds / 1000000000u);
    now.tv_nsec = (long)(nanoseconds % 1000000000u);
    return now;
}

static COLD enum lock_result recover(const struct guarded *guarded)
{
    const bool plausible = guarded->log_is_plausible == NULL || guarded->log_is_plausible(guarded);
    if (!plausible || !undo_roll_back(guarded->undo, guarded->base, guarded->capacity)) {
        lock_settle(guarded, false);
        return LOCK_POISONED;
    }
    const uint32_t sequence = atomic_load_explicit(guarded->sequence, memory_order_relaxed);
    atomic_store_explicit(guarded->sequence, sequence + (sequence & 1), memory_order_release);
    return LOCK_RECOVERED;
}

enum lock_result lock_acquire(const struct guarded *guarded, uint64_t patience)
{
    if (UNLIKELY(atomic_load_explicit(guarded->poisoned, memory_order_relaxed) != 0))
        return LOCK_POISONED;
    if (UNLIKELY(!kind_is_ours(guarded->lock)))
        return LOCK_BUSY;
    pthread_mutex_t *mutex = mutex_of(guarded->lock);
    int error = pthread_mutex_trylock(mutex);
    for (unsigned looks = 0; UNLIKELY(error == EBUSY) && looks < LOOKS_MOST; looks++) {
        LOOK_AGAIN_SOON();
        if (lock_is_free(guarded->lock))
            error = pthread_mutex_trylock(mutex);
    }
    if (UNLIKELY(error == EBUSY)) {
        const struct timespec until = end_of(patience);
        error = pthread_mutex_clocklock(mutex, CLOCK_MONOTONIC, &until);
    }
    if (LIKELY(error == 0)) {
        if (LIKELY(guarded->undo->count == 0))
            return LOCK_OK;
        lock_settle(guarded, false); /* nobody died, and yet something is to be taken back: a stray write */
        return LOCK_POISONED;
    }
    if (error == EOWNERDEAD)
        return recover(guarded);
    if (error == ETIMEDOUT)
        return LOCK_OVERDUE;
    return error == ENOTRECOVERABLE ? LOCK_POISONED : LOCK_BUSY;
}

/* The word of glibc's mutex that names its holder's task, or says that it died: the first one, also for the
 * kernel's sake. */
static uint32_t holder_of(const struct lock *lock)
{
    return __atomic_load_n((const uint32_t *)(const void *)lock->opaque, __ATOMIC_ACQUIRE);
}

bool lock_is_free(const struct lock *lock)
{
    return holder_of(lock) == 0;
}

uint64_t lock_progress(const struct guarded *guarded)
{
    const uint32_t holder = holder_of(guarded->lock) & FUTEX_TID_MASK;
    const uint32_t sequence = atomic_load_explicit(guarded->sequence, memory_order_relaxed);
    return holder != 0 ? (uint64_t)holder << 32 | sequence : 0;
}

bool lock_settle(const struct guarded *guarded, bool sound)
{
    if (sound) {
        pthread_mutex_consistent(mutex_of(guarded->lock));
        return true;
    }
    atomic_store_explicit(guarded->poisoned, 1, memory_order_relaxed);
    pthread_mutex_unlock(mutex_of(guarded->lock)); /* without consistent(): nobody gets it again */
    return false;
}

void lock_release(const struct guarded *guarded)
{
    pthread_mutex_unlock(mutex_of(guarded->lock));
}
