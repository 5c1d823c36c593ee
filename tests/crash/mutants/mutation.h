/* SPDX-License-Identifier: MIT
 *
 * The undo log with faults that can be turned on while the program runs. Included before anything else when
 * the core is compiled for the test of mutants: it takes the place of core/undo.h, whose own functions it
 * calls as long as no fault is on.
 *
 * Each place in the core that writes to the log is a site, so that one alone can be made to forget it.
 */
#ifndef SHM_TEST_MUTATION_H
#define SHM_TEST_MUTATION_H

#include "../../../core/undo.h"

enum mutation_kind {
    MUTATION_NONE,
    /* at one site */
    MUTATION_UNNOTED, /* the word is stored and not noted, nor later in the same transaction */
    MUTATION_COMMITS, /* what was done so far is committed before the word is stored */
    /* at all sites */
    MUTATION_STORE_FIRST,   /* the word is stored, then noted */
    MUTATION_COUNT_FIRST,   /* the count goes up before the entry is written */
    MUTATION_UNCOUNTED,     /* the count does not go up */
    MUTATION_WRONG_WORD,    /* the word after it is noted */
    MUTATION_TEN_AT_A_TIME, /* what was done is committed when ten words have been noted */
    MUTATION_NO_COMMIT,     /* the log is not emptied at the end */
    /* in the recovery */
    MUTATION_OLDEST_FIRST, /* the oldest entry is restored first */
    MUTATION_ONE_SHORT,    /* the oldest entry is not restored */
    MUTATION_FORGET_FIRST, /* the log is emptied before the words are restored */
    MUTATION_FORGET_NOT,   /* it is not emptied */
};

struct mutation_site {
    const char *file, *function, *field;
    uint64_t line;
};

struct mutation {
    enum mutation_kind kind;
    const struct mutation_site *site;
    const struct undo *forgetful; /* UNNOTED: the log, while a word is not to be noted in it, and which */
    uint64_t forgotten;
    unsigned char *met; /* [site] enum mutation_meeting; NULL: not wanted */
};
/* Has a site been passed, and was there ever something to note? Often the word is in the log already. */
enum mutation_meeting { MUTATION_NOT_MET, MUTATION_MET_IDLE, MUTATION_MET };
extern struct mutation mutation;
extern const struct mutation_site __start_mutation_sites[], __stop_mutation_sites[];

#define MUTATION_SITE(text)                                                                                  \
    __extension__({                                                                                          \
        static const struct mutation_site site_                                                              \
            __attribute__((section("mutation_sites"), used, aligned(8))) = {__FILE__, __func__, (text),      \
                                                                            __LINE__};                       \
        &site_;                                                                                              \
    })

static inline bool mutation_note_badly(struct transaction *transaction, const void *field)
{
    struct undo *log = transaction->log;
    const uint64_t count = log->count;
    const uint64_t offset = (uint64_t)((const unsigned char *)field - transaction->base) & ~(uint64_t)7;
    const uint64_t old = *(const volatile uint64_t *)(const void *)(transaction->base + offset);
    if (count >= UNDO_ENTRIES)
        return (undo_note)(transaction, field);
    switch (mutation.kind) {
    case MUTATION_COUNT_FIRST:
        *(volatile uint64_t *)&log->count = count + 1;
        undo_keep_order();
        *(volatile uint64_t *)&log->entry[count].offset = offset;
        *(volatile uint64_t *)&log->entry[count].old = old;
        undo_keep_order();
        return true;
    case MUTATION_UNCOUNTED:
        log->entry[count] = (struct undo_entry){offset, old};
        return true;
    case MUTATION_WRONG_WORD:
        return (undo_note)(transaction, (const uint64_t *)((uintptr_t)field & ~(uintptr_t)7) + 1);
    case MUTATION_TEN_AT_A_TIME:
        if (count == 10)
            *(volatile uint64_t *)&log->count = 0;
        return (undo_note)(transaction, field);
    default:
        return (undo_note)(transaction, field);
    }
}

static inline bool mutation_is_noted(const struct undo *log, uint64_t offset)
{
    for (uint64_t i = 0; i < log->count; i++)
        if (log->entry[i].offset == offset)
            return true;
    return false;
}

static inline bool mutation_note(struct transaction *transaction, const void *field,
                                 const struct mutation_site *site)
{
    struct undo *log = transaction->log;
    if (log == NULL)
        return true;
    const uint64_t offset = (uint64_t)((const unsigned char *)field - transaction->base) & ~(uint64_t)7;
    if (mutation.met != NULL) {
        unsigned char *met = &mutation.met[site - __start_mutation_sites];
        if (*met != MUTATION_MET)
            *met = mutation_is_noted(log, offset) ? MUTATION_MET_IDLE : MUTATION_MET;
    }
    if (mutation.kind == MUTATION_UNNOTED) {
        if (mutation.site == site && mutation.forgetful == NULL && !mutation_is_noted(log, offset)) {
            mutation.forgetful = log;
            mutation.forgotten = offset;
        }
        return (mutation.forgetful == log && mutation.forgotten == offset) || (undo_note)(transaction, field);
    }
    if (mutation.kind == MUTATION_COMMITS && mutation.site == site) {
        *(volatile uint64_t *)&log->count = 0;
        undo_keep_order();
        return true;
    }
    return mutation.kind < MUTATION_COUNT_FIRST ? (undo_note)(transaction, field)
                                                : mutation_note_badly(transaction, field);
}

static inline bool mutation_commit(struct transaction *transaction)
{
    if (mutation.forgetful == transaction->log)
        mutation.forgetful = NULL;
    if (mutation.kind == MUTATION_NO_COMMIT && !transaction->overflowed)
        return true;
    return (undo_commit)(transaction);
}

static inline bool mutation_roll_back(struct undo *log, unsigned char *base, uint64_t capacity)
{
    const uint64_t count = log->count;
    if (mutation.kind < MUTATION_OLDEST_FIRST || count == 0 || count > UNDO_ENTRIES)
        return (undo_roll_back)(log, base, capacity);
    if (mutation.kind == MUTATION_FORGET_FIRST)
        *(volatile uint64_t *)&log->count = 0;
    undo_keep_order();
    for (uint64_t i = 0; i < count; i++) {
        const uint64_t which = mutation.kind == MUTATION_OLDEST_FIRST ? i : count - 1 - i;
        if (which > 0 || mutation.kind != MUTATION_ONE_SHORT)
            *(volatile uint64_t *)(void *)(base + log->entry[which].offset) = log->entry[which].old;
    }
    undo_keep_order();
    if (mutation.kind != MUTATION_FORGET_NOT)
        *(volatile uint64_t *)&log->count = 0;
    undo_keep_order();
    return true;
}

#undef UNDO_SET
#undef UNDO_PUBLISH

#define undo_note(transaction, field)       mutation_note((transaction), (field), MUTATION_SITE(#field))
#define undo_commit(transaction)            mutation_commit(transaction)
#define undo_roll_back(log, base, capacity) mutation_roll_back((log), (base), (capacity))

#define UNDO_SET(transaction, field, value)                                                                  \
    do {                                                                                                     \
        const __typeof__(*(field)) stored_ = (value);                                                        \
        if (mutation.kind == MUTATION_STORE_FIRST)                                                           \
            *(volatile __typeof__(*(field)) *)(field) = stored_;                                             \
        undo_keep_order();                                                                                   \
        if (LIKELY(mutation_note((transaction), (const void *)(field), MUTATION_SITE(#field)))) {            \
            *(volatile __typeof__(*(field)) *)(field) = stored_;                                             \
            undo_keep_order();                                                                               \
        }                                                                                                    \
    } while (0)

#define UNDO_PUBLISH(transaction, field, value)                                                              \
    do {                                                                                                     \
        const __auto_type stored_ = (value);                                                                 \
        if (mutation.kind == MUTATION_STORE_FIRST)                                                           \
            atomic_store_explicit((field), stored_, memory_order_release);                                   \
        undo_keep_order();                                                                                   \
        if (LIKELY(mutation_note((transaction), (const void *)(field), MUTATION_SITE(#field)))) {            \
            atomic_store_explicit((field), stored_, memory_order_release);                                   \
            undo_keep_order();                                                                               \
        }                                                                                                    \
    } while (0)

#endif
