/* SPDX-License-Identifier: MIT
 *
 * What the parts of the coexistence test share: memory of every kind that can be under a message, what is in
 * it, and exchanges between ranks.
 *
 * Each rank has two blocks of each kind, one to send from and one to receive into. Both hold their *ground*,
 * contents that are the same in all ranks: so those of the kinds that can be merged are one copy on the node
 * when nobody has written to them. A message is written over the ground of the receiving block, compared
 * there together with what lies around it, and wiped off again: a block is its ground between two exchanges,
 * in every rank. What is sent from a block that can be merged is a part of its ground, for writing to it
 * would make it this rank's own; other kinds are written to for each message.
 */
#ifndef TEST_MPI_COEXIST_H
#define TEST_MPI_COEXIST_H

#include "../ranks.h"

#include <stdint.h>

enum kind {
    KIND_OWN,     /* in the program itself */
    KIND_ROUTED,  /* malloc in take_routed(), for an `export` rule */
    KIND_NAMED,   /* this rank's part of a named block that all ranks have */
    KIND_MERGED,  /* calloc in take_merged(), for a `merge` rule */
    KIND_PRIVATE, /* shmcore_private() */
    KIND_MPI,     /* MPI_Alloc_mem() */
    KINDS
};

#define BLOCK_BYTES (4 * MIB)
#define EDGE_BYTES  ((size_t)5000) /* of the ground around a message that are compared with it */

extern const char *const kind_names[KINDS];
extern unsigned char *outgoing[KINDS], *incoming[KINDS];

/* ---------------------------------------------------------------- memory */

/* Collective. `shim`: the policy of this run routes the two kinds that are there for it, so they have to be.
 */
void memory_begin(bool shim);
void memory_end(void);

/* Collective: what is equal becomes one copy, now. False when that is not to be had. */
bool memory_merge(void);

/* From now on, or no longer, a thread in each rank has everything merged, over and over. Returns how often it
 * has. */
void memory_press(void);
unsigned long memory_release(void);

/* A block of the kind and its end, for kinds that are allocated: the first whole page to the last is zero or
 * unknown. NULL: there is none of that kind. */
unsigned char *memory_take(enum kind kind, size_t bytes);
void memory_give(enum kind kind, unsigned char *block);

/* ---------------------------------------------------------------- contents */

/* Endless text: which, and where in it. */
struct content {
    uint64_t seed;
    size_t from;
};

void content_write(unsigned char *to, struct content, size_t bytes);
bool content_is(const unsigned char *there, struct content, size_t bytes);

/* Whether it can be merged while it is its ground. */
bool kind_merges(enum kind kind);
struct content ground_of_outgoing(enum kind kind, size_t at);
struct content ground_of_incoming(enum kind kind, size_t at);

/* ---------------------------------------------------------------- exchanges */

/* `bytes` bytes from `from` of blocks of one kind `to` those of another, at these places. The same in all
 * ranks. */
struct exchange {
    enum kind from, to;
    size_t bytes, out_at, in_at;
    uint64_t number; /* of no other exchange */
    const char *way;
};

/* What rank `of` sends in this exchange, and writing it where it is to be sent from. */
struct content message_of(const struct exchange *, int of);
void message_write(const struct exchange *);

/* Is it so that after an exchange the incoming block has `message` in the place for it, and its ground around
 * it? Then wipes it off. Says on standard error what is wrong. */
bool message_came(const struct exchange *, struct content message);

/* The same for anything else that is expected there, `bytes` of it from `in_at`. */
bool came(const struct exchange *, const unsigned char *expected, size_t bytes);

/* Where expectations are put together. */
unsigned char *expectation(void);

/* Is all of the block its ground? */
bool is_ground(const struct exchange *);

int next_rank(void);
int last_rank(void);

/* Collective, each: true when all was right in this rank. */
bool traffic_once(const struct exchange *, unsigned way); /* ways repeat, TRAFFIC_WAYS of them */
enum { TRAFFIC_WAYS = 8 };

enum window { WINDOW_ON_BLOCK, WINDOW_OF_MPI, WINDOW_SHARED, WINDOWS };

/* Whether MPI_Get and large windows are to be tested: there are transports with which what goes in pieces is
 * not done when it should be. */
extern bool pieces_are_right;

/* Collective: has MPI such windows, over this transport? */
bool windows_are_there(enum window which);
bool windows_once(enum window which, enum kind of, unsigned round);

#endif
