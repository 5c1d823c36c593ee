/* SPDX-License-Identifier: MIT
 *
 * Words that every room uses: attributes, alignment, checked arithmetic. Nothing of the domain.
 */
#ifndef SHM_BASE_H
#define SHM_BASE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LIKELY(condition)        __builtin_expect(!!(condition), 1)
#define UNLIKELY(condition)      __builtin_expect(!!(condition), 0)
#define NEVER_INLINE             __attribute__((noinline))
#define COLD                     __attribute__((cold, noinline))
#define KEEP_APART()             __asm__ volatile("") /* two ends that do the same are not made one */
#define INTERNAL                 __attribute__((visibility("hidden"))) /* a variable, found without a table */
#define NEEDED_LATER             __attribute__((section(".bss.large"))) /* zero, and not needed at the start */
#define PRINTF_LIKE(text, first) __attribute__((__format__(__printf__, text, first)))

/* On a function that looks, without a lock, at what others may be changing, or have made their own memory by
 * now: it copies or checks before it believes, so ThreadSanitizer need not tell. Nothing else may have it. */
#define GLANCES __attribute__((no_sanitize("thread")))

/* memcpy() for such functions. */
GLANCES static inline void glance(void *out, const void *from, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        ((unsigned char *)out)[i] = ((const volatile unsigned char *)from)[i];
}

/* Between two looks at a word that another processor is about to change. */
#if defined(__x86_64__)
#define LOOK_AGAIN_SOON() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define LOOK_AGAIN_SOON() __asm__ volatile("isb")
#else
#define LOOK_AGAIN_SOON() atomic_signal_fence(memory_order_seq_cst)
#endif

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

#define KIBI ((uint64_t)1 << 10)
#define MEBI ((uint64_t)1 << 20)
#define GIBI ((uint64_t)1 << 30)

#define PAGE_BYTES ((uint64_t)4096)

/* A range of addresses that neither the kernel nor the C library gives out by itself: found free on x86-64
 * under ASLR, without it, with unlimited stacks, under ASan and valgrind. ThreadSanitizer keeps it closed,
 * and has shadows for another one only. */
#if defined(__SANITIZE_THREAD__)
#define VACANT_FROM UINT64_C(0x7e8000000000)
#define VACANT_END  UINT64_C(0x7ef000000000)
#else
#define VACANT_FROM UINT64_C(0x210000000000)
#define VACANT_END  UINT64_C(0x290000000000)
#endif

static inline uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t most(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* `alignment` is a power of two. The caller has made sure that it does not overflow. */
static inline uint64_t align_up(uint64_t value, uint64_t alignment)
{
    return (value + alignment - 1) & ~(alignment - 1);
}

static inline uint64_t align_down(uint64_t value, uint64_t alignment)
{
    return value & ~(alignment - 1);
}

static inline bool is_power_of_two(uint64_t value)
{
    return value != 0 && (value & (value - 1)) == 0;
}

static inline uint64_t divide_up(uint64_t value, uint64_t unit)
{
    return value / unit + (value % unit != 0);
}

/* True when a × b does not fit; *product is then meaningless. */
static inline bool multiply_overflows(size_t a, size_t b, size_t *product)
{
    return __builtin_mul_overflow(a, b, product);
}

/* floor(log2(value)), value > 0. */
static inline unsigned log2_floor(uint64_t value)
{
    return 63u - (unsigned)__builtin_clzll(value);
}

/* The finaliser of SplitMix64: high and low bits are both usable. Source: Steele, Lea, Flood, "Fast
 * splittable pseudorandom number generators", 2014. */
static inline uint64_t hash_mix(uint64_t value)
{
    value = (value ^ (value >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    value = (value ^ (value >> 27)) * UINT64_C(0x94d049bb133111eb);
    return value ^ (value >> 31);
}

static inline uint64_t hash_word(const unsigned char *byte, size_t bytes)
{
    uint64_t word = 0;
    __builtin_memcpy(&word, byte, bytes);
    return word;
}

/* Mixed in eight bytes at a time, the last eight or four once more as they end: the length, mixed in first,
 * tells apart what looks the same then. For names of a few dozen bytes; not against an adversary. */
static inline uint64_t hash_bytes(const void *data, size_t length)
{
    const unsigned char *byte = data;
    uint64_t hash = (length + 1) * UINT64_C(0x9e3779b97f4a7c15), last = 0;
    for (size_t at = 0; at + 8 < length; at += 8)
        hash = hash_mix(hash ^ hash_word(byte + at, 8));
    if (length >= 8)
        last = hash_word(byte + length - 8, 8);
    else if (length >= 4)
        last = hash_word(byte, 4) | hash_word(byte + length - 4, 4) << 32;
    else if (length > 0)
        last = byte[0] | (uint64_t)byte[length / 2] << 8 | (uint64_t)byte[length - 1] << 16;
    return hash_mix(hash ^ last);
}

#endif
