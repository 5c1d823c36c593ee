/* SPDX-License-Identifier: MIT
 *
 * An arena: private memory of one call site and thread (or of one name), laid out so that every process which
 * makes the same calls in the same order gets the same addresses.
 *
 * It stands on spans of the merge space, which it asks for one after the other, and divides them into
 * *pieces* of whole pages: first fit by address. Blocks of up to ARENA_SLOT_MOST bytes are slots of slabs,
 * lowest free slot first; larger ones are pieces, from a chunk on aligned to chunks, from a sheet on with
 * sheets of their own, so that a block that is freed gives its canonical copies back whole.
 *
 * What decides is the order of the owner's calls alone. So what another thread frees is *spent*: its memory
 * goes back, its addresses are not used again. When memory goes back is not part of that: some free pages
 * stay as they are for a while, and are cleared if they are used again; see dirty.h.
 *
 * Nothing is written beside or into a block: no header, no list; what was shared stays so after a free.
 * Pieces and slabs are kept in memory of this process's own.
 *
 * Not thread-safe: the caller holds arena.lock. No system call here but through the ground.
 */
#ifndef SHM_ARENA_H
#define SHM_ARENA_H

#include "arena_pieces.h"

/* NULL: no memory or no addresses (errno is not set; *error is -errno). */
void *arena_allocate(struct arena *arena, size_t bytes, size_t alignment, bool zero, int *error);

/* Of the live block that begins at the pointer; 0 when none does. At least 1 otherwise. */
size_t arena_usable(const struct arena *arena, const void *pointer);
/* Bytes from the pointer to the end of the live block that it lies in; 0: in none. */
size_t arena_left(const struct arena *arena, const void *pointer);

/* Leaves the live block where it is, with room for `bytes` and not much more than that. A block becomes
 * longer when it is its owner who wants it, into free pages behind it, as far as it would lie there if it
 * were made so long. False: it has to move, or none begins there. */
bool arena_resize(struct arena *arena, const void *pointer, size_t bytes, bool by_owner);

/* False: no live block begins there. */
bool arena_free(struct arena *arena, void *pointer, bool by_owner);

/* Live bytes, as far as they are known without looking at every slot. */
uint64_t arena_live_bytes(const struct arena *arena);

#endif
