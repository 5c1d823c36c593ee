/* SPDX-License-Identifier: MIT
 *
 * The lock that guards a shard or the pool, together with its undo log and reader's sequence.
 *
 * A robust, process-shared, error-checking, timed mutex. Dead holders are noticed by the kernel;
 * stopped ones by the clock. No pthread type leaves lock.c.
 *
 * Invariant: while nobody holds the lock the log is empty and the sequence even. A process that
 * takes the lock after a death first rolls the log back (lock_acquire does), then repairs what a
 * single rollback cannot (the caller), then says lock_settle(): only then is the lock whole again,
 * so a death in between is one more recovery. A log that is not empty though no holder died is
 * damage, and poisons the lock: the next transaction would add to it, and might take back what is not its
 * own.
 */
#ifndef SHM_LOCK_H
#define SHM_LOCK_H

#include "undo.h"

enum lock_result {
    LOCK_OK,
    LOCK_RECOVERED, /* held; the last holder died; the log is rolled back; lock_settle() is due */
    LOCK_BUSY,      /* not held: this thread holds it already, or it is damaged */
    LOCK_OVERDUE,   /* not held: waited for as long as the caller's patience; its holder does not run */
    LOCK_POISONED,  /* not held: damage was found once, nobody will ever hold it again */
};

/* What a lock guards, as its users pass it around. */
struct guarded {
    struct lock *lock;
    struct undo *undo;
    _Atomic uint32_t *sequence;
    _Atomic uint32_t *poisoned;
    unsigned char *base;
    uint64_t capacity;
    /* Could the log be one of ours: does it hold only words that a transaction of this lock changes? Asked
     * before a dead holder's log is believed. NULL: any word of the segment will do. */
    bool (*log_is_plausible)(const struct guarded *guarded);
};

/* How long lock_acquire() should wait at the most, in nanoseconds: longer than any holder that runs takes. */
#define LOCK_PATIENCE UINT64_C(1000000000)

/* Makes a lock in zeroed memory. 0 or -errno. */
int lock_make(struct lock *lock);

enum lock_result lock_acquire(const struct guarded *guarded, uint64_t patience);

/* Nobody holds it, nor did its last holder die with it: what it guards is whole at this moment. */
bool lock_is_free(const struct lock *lock);

/* Who holds the lock and how many transactions there have been: as long as it says the same and not 0, its
 * holder has got nowhere. */
uint64_t lock_progress(const struct guarded *guarded);

/* After LOCK_RECOVERED: `sound` says whether the invariants hold. False poisons and releases. */
bool lock_settle(const struct guarded *guarded, bool sound);

void lock_release(const struct guarded *guarded);

/* Begins a transaction under the lock; readers without the lock will retry until the end. */
static inline struct transaction transaction_begin(const struct guarded *guarded)
{
    const uint32_t sequence = atomic_load_explicit(guarded->sequence, memory_order_relaxed);
    atomic_store_explicit(guarded->sequence, sequence | 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    return (struct transaction){.base = guarded->base, .log = guarded->undo};
}

/* Ends it: true when it has happened, false when it was taken back because the log was full, or because
 * damage was found: then nobody gets in any more. */
static inline bool transaction_end(const struct guarded *guarded, struct transaction *transaction)
{
    const bool committed = undo_commit(transaction);
    if (UNLIKELY(!committed)) {
        undo_roll_back(guarded->undo, guarded->base, guarded->capacity);
        if (transaction->damaged)
            atomic_store_explicit(guarded->poisoned, 1, memory_order_relaxed);
    }
    const uint32_t sequence = atomic_load_explicit(guarded->sequence, memory_order_relaxed);
    atomic_store_explicit(guarded->sequence, (sequence | 1) + 1, memory_order_release);
    return committed;
}

/* Takes it back. */
static inline void transaction_abandon(const struct guarded *guarded, struct transaction *transaction)
{
    transaction->overflowed = true;
    transaction_end(guarded, transaction);
}

#endif
