/* SPDX-License-Identifier: MIT
 *
 * The slots of a slab of exported blocks, as its process writes them and everybody reads them.
 *
 * Two bits and an info for each. *Live* bits are written by the one thread that takes slots, with plain
 * stores. Who frees a slot and is not that thread sets its *gone* bit; live is taken back, and then gone,
 * when slots are wanted again, by the thread or with the heap's lock. So a block is alive whose slot is live
 * and not gone.
 *
 * Whether it is, the process itself knows by bits of its own (export_book.h), of which these are copies. A
 * word of gone bits is composed of those and stored: while one thread is about to, and slots of that word are
 * folded in and taken again before it does, a reader may miss a block there for that moment.
 *
 * An info is 32 bits: how many bytes of the slot were not asked for, and the sequence, counted from the
 * slab's base. A slab whose window of sequences is over takes no more blocks until it is empty, and then gets
 * another base.
 *
 * The head of the slab is not believed; whoever asks has the shape from the slab's class, and that compared
 * with what the quanta say.
 */
#ifndef SHM_EXPORT_SLOTS_H
#define SHM_EXPORT_SLOTS_H

#include "geometry.h"

GLANCES static inline _Atomic uint64_t *export_live_word(const struct export_slab *slab, uint32_t word)
{
    return (_Atomic uint64_t *)(uintptr_t)&slab->bits[word];
}

GLANCES static inline _Atomic uint64_t *export_gone_word(const struct export_slab *slab,
                                                         const struct export_shape *shape, uint32_t word)
{
    return (_Atomic uint64_t *)(uintptr_t)&slab->bits[shape->words + word];
}

GLANCES static inline _Atomic uint32_t *export_info(const struct export_slab *slab,
                                                    const struct export_shape *shape, uint32_t slot)
{
    return (_Atomic uint32_t *)(uintptr_t)&slab->bits[2 * (size_t)shape->words] + slot;
}

/* How long the head is without infos. */
static inline uint32_t export_bits_end(const struct export_shape *shape)
{
    return (uint32_t)offsetof(struct export_slab, bits) + 2 * shape->words * (uint32_t)sizeof(uint64_t);
}

/* The slots of a word that hold blocks. */
GLANCES static inline uint64_t export_alive(const struct export_slab *slab, const struct export_shape *shape,
                                            uint32_t word)
{
    const uint64_t live = atomic_load_explicit(export_live_word(slab, word), memory_order_acquire);
    return live & ~atomic_load_explicit(export_gone_word(slab, shape, word), memory_order_acquire);
}

GLANCES static inline bool export_slot_is_alive(const struct export_slab *slab,
                                                const struct export_shape *shape, uint32_t slot)
{
    return (export_alive(slab, shape, slot / 64) >> slot % 64 & 1) != 0;
}

/* How many sequences from the base on an info can hold. */
static inline uint64_t export_window(const struct export_shape *shape)
{
    return UINT64_C(1) << (32 - shape->slack_bits);
}

static inline uint32_t export_make_info(uint32_t slack_bits, uint64_t delta, uint64_t slack)
{
    return (uint32_t)(delta << slack_bits | slack);
}

static inline uint64_t export_info_delta(const struct export_shape *shape, uint32_t info)
{
    return info >> shape->slack_bits;
}

static inline uint32_t export_info_slack(const struct export_shape *shape, uint32_t info)
{
    return info & ((UINT32_C(1) << shape->slack_bits) - 1);
}

/* The slot that lies so many bytes behind the first one, by multiplication: exact as long as that and the
 * size of a slot have 20 bits each (Granlund and Montgomery, Division by Invariant Integers using
 * Multiplication, 1994). */
static inline uint32_t export_slot_of(uint64_t inverse, uint64_t inside)
{
    return (uint32_t)(inside * inverse >> EXPORT_INVERSE_SHIFT);
}

#endif
