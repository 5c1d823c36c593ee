/* SPDX-License-Identifier: MIT
 *
 * The undo log: every store of a transaction goes through here, but for those into what is free again when
 * the transaction is taken back, and then means nothing.
 *
 * Before a word is changed its old value is written to the log, then the count goes up, then the
 * word is stored; commit is count = 0. Recovery stores the old values back, newest first; it can
 * itself be interrupted and repeated. Only the death of the process has to be survived, not of the
 * machine: what a process stored before it died is in memory, so keeping the compiler from moving
 * the three steps is enough (atomic_signal_fence), and no fence or flush is paid for.
 *
 * A transaction without a log (`log` NULL) stores directly: for structures that one process owns
 * and that nobody repairs.
 *
 * A log that is full refuses further stores and says so at commit; the caller then rolls back. So a
 * transaction is either whole or has not happened, also when somebody miscounted. The same when a room finds
 * what it reads to make no sense (a stray write, a hostile file): undo_damaged(), and the end of the
 * transaction takes everything back and poisons what the log belongs to.
 */
#ifndef SHM_UNDO_H
#define SHM_UNDO_H

#include "layout.h"

struct transaction {
    unsigned char *base; /* of the segment */
    struct undo *log;    /* NULL: store directly */
    bool overflowed;
    bool damaged;
};

static inline void undo_damaged(struct transaction *transaction)
{
    transaction->damaged = true;
}

static inline void undo_keep_order(void)
{
    atomic_signal_fence(memory_order_seq_cst);
}

/* Notes the aligned word that `field` lies in. False: the log is full, do not store. */
static inline bool undo_note(struct transaction *transaction, const void *field)
{
    struct undo *log = transaction->log;
    if (log == NULL)
        return true;
    const uint64_t count = log->count;
    if (UNLIKELY(count >= UNDO_ENTRIES)) {
        transaction->overflowed = true;
        return false;
    }
    const uint64_t offset = (uint64_t)((const unsigned char *)field - transaction->base) & ~(uint64_t)7;
    log->entry[count].offset = offset;
    log->entry[count].old = *(const volatile uint64_t *)(const void *)(transaction->base + offset);
    undo_keep_order();
    *(volatile uint64_t *)&log->count = count + 1;
    undo_keep_order();
    return true;
}

/* Stores `value` in a 16-, 32- or 64-bit field. */
#define UNDO_SET(transaction, field, value)                                                                  \
    do {                                                                                                     \
        if (LIKELY(undo_note((transaction), (const void *)(field)))) {                                       \
            *(volatile __typeof__(*(field)) *)(field) = (value);                                             \
            undo_keep_order();                                                                               \
        }                                                                                                    \
    } while (0)

/* The same for an _Atomic field that others read without the lock. */
#define UNDO_PUBLISH(transaction, field, value)                                                              \
    do {                                                                                                     \
        if (LIKELY(undo_note((transaction), (const void *)(field)))) {                                       \
            atomic_store_explicit((field), (value), memory_order_release);                                   \
            undo_keep_order();                                                                               \
        }                                                                                                    \
    } while (0)

/* True: it has happened. False: it did not fit the log; call undo_roll_back(). */
static inline bool undo_commit(struct transaction *transaction)
{
    if (UNLIKELY(transaction->overflowed || transaction->damaged))
        return false;
    undo_keep_order();
    if (transaction->log != NULL)
        *(volatile uint64_t *)&transaction->log->count = 0;
    undo_keep_order();
    return true;
}

/* Takes back what the log holds. False: the log is damaged (an offset outside `capacity`); nothing
 * was taken back then. */
static inline bool undo_roll_back(struct undo *log, unsigned char *base, uint64_t capacity)
{
    const uint64_t count = log->count;
    if (count > UNDO_ENTRIES)
        return false;
    for (uint64_t i = 0; i < count; i++)
        if (log->entry[i].offset % 8 != 0 || log->entry[i].offset >= capacity)
            return false;
    for (uint64_t i = count; i-- > 0;)
        *(volatile uint64_t *)(void *)(base + log->entry[i].offset) = log->entry[i].old;
    undo_keep_order();
    *(volatile uint64_t *)&log->count = 0;
    undo_keep_order();
    return true;
}

#endif
