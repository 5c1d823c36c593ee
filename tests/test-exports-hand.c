/* SPDX-License-Identifier: MIT
 *
 * core/export: the extents that were freed last, which are at hand for who asks for as much. The segment is
 * of 256 MiB, so each of them may have 4 MiB.
 */
#include "export_own.h"
#include "test-exports.h"

enum { OTHERS = 8 };

static bool at_hand(const void *block)
{
    const uint32_t quantum = (uint32_t)(view_offset(&segment->file.view, block) >> QUANTUM_SHIFT);
    for (unsigned i = 0; i < EXPORT_HAND; i++)
        if (segment->exports.hand[i].count != 0 && segment->exports.hand[i].first == quantum)
            return true;
    return false;
}

/* So that the next one lies elsewhere if it is not at hand: the heap takes what was freed last, too. */
static void take_the_place_of_the_free(struct export_source *source, void **other)
{
    for (unsigned i = 0; i < OTHERS; i++)
        other[i] = make(source, 1000 + i, (MIB - QUANTUM_BYTES) / OTHERS / QUANTUM_BYTES * QUANTUM_BYTES);
}

static int begin_anew(void **state)
{
    (void)state;
    memset(segment->exports.hand, 0, sizeof segment->exports.hand); /* lost: they are this test's */
    segment->exports.hand_quanta = 0;
    segment->exports.hand_next = 0;
    return 0;
}

static void the_same_again(void **state)
{
    struct export_source source = source_of("same");
    void *other[OTHERS];
    (void)state;
    unsigned char *block = make(&source, 0, MIB);
    assert_int_equal(release(make(&source, 1, 8 * MIB)), EXPORT_DONE); /* room, and too large for the hand */
    assert_int_equal(release(block), EXPORT_DONE);
    assert_true(at_hand(block));
    take_the_place_of_the_free(&source, other);
    assert_ptr_equal(make(&source, 2, MIB - 5), block); /* as many quanta */
    assert_false(at_hand(block));
    const struct listing listing = list("same/2");
    assert_true(listing.found);
    assert_ptr_equal(listing.address, block);
    assert_int_equal(listing.bytes, MIB - 5);
    assert_ptr_not_equal(make(&source, 3, MIB), block);
    unsigned char *zero = export_allocate(segment, &source, 4, 40000, 0, 0);
    memset(zero, 7, 40000);
    assert_int_equal(release(zero), EXPORT_DONE);
    assert_ptr_equal(export_allocate(segment, &source, 5, 40000, 0, EXPORT_ZERO), zero);
    assert_true(is_filled(zero, 40000, 0));
}

/* It is no block any more, for nobody. */
static void nothing_to_see(void **state)
{
    struct export_source source = source_of("unseen");
    shmcore_block found;
    (void)state;
    void *block = make(&source, 0, MIB);
    const unsigned blocks = list(NULL).blocks;
    assert_int_equal(release(block), EXPORT_DONE);
    assert_true(at_hand(block));
    assert_int_equal(list(NULL).blocks, blocks - 1);
    assert_false(list("unseen/0").found);
    assert_int_equal(shmcore_block_of(block, &found), -1);
    assert_int_equal(export_usable(segment, block), 0);
    assert_int_equal(export_left(segment, block), 0);
    assert_int_equal(export_free(segment, block), EXPORT_NOT_LIVE);
    assert_int_equal(export_free(segment, (char *)block + QUANTUM_BYTES), EXPORT_NOT_LIVE);
    assert_true(at_hand(block));
    assert_false(segment->exports.damaged);
    assert_ptr_equal(make(&source, 1, MIB), block);
    assert_int_equal(release(block), EXPORT_DONE);
}

/* Two threads free the same at the same moment, and both have found it alive. */
static void freed_by_two(void **state)
{
    struct export_source source = source_of("two");
    (void)state;
    void *block = make(&source, 0, MIB), *other = make(&source, 1, MIB);
    const uint32_t quantum = (uint32_t)(view_offset(&segment->file.view, block) >> QUANTUM_SHIFT);
    assert_int_equal(release(block), EXPORT_DONE);
    own_free_extent(segment, quantum);
    assert_int_equal(segment->exports.hand_quanta, MIB >> QUANTUM_SHIFT);
    assert_false(segment->exports.damaged);
    assert_ptr_equal(make(&source, 2, MIB), block);
    assert_ptr_not_equal(make(&source, 3, MIB), block);
    assert_int_equal(release(other), EXPORT_DONE);
    assert_string_equal(block_at(block).name, "two/2");
}

/* One frees it while the other wants it longer. */
static void freed_meanwhile(void **state)
{
    struct export_source source = source_of("meanwhile");
    (void)state;
    unsigned char *one = make(&source, 0, MIB), *other = make(&source, 1, MIB);
    unsigned char *lower = one < other ? one : other;
    assert_ptr_equal(one < other ? other : one, lower + MIB); /* there would be room behind it */
    const uint32_t quantum = (uint32_t)(view_offset(&segment->file.view, lower) >> QUANTUM_SHIFT);
    assert_int_equal(release(one), EXPORT_DONE);
    assert_int_equal(release(other), EXPORT_DONE);
    assert_false(own_lengthen_extent(segment, quantum, 2 * (MIB >> QUANTUM_SHIFT)));
    assert_int_equal(segment->exports.hand_quanta, 2 * MIB >> QUANTUM_SHIFT);
    assert_false(segment->exports.damaged);
}

/* One more than there are places for: the oldest goes to the heap. Those that are too large go at once. */
static void few_and_small(void **state)
{
    struct export_source source = source_of("few");
    void *block[EXPORT_HAND + 1];
    (void)state;
    for (unsigned i = 0; i <= EXPORT_HAND; i++)
        block[i] = make(&source, i, (i + 3) * QUANTUM_BYTES);
    for (unsigned i = 0; i <= EXPORT_HAND; i++)
        assert_int_equal(release(block[i]), EXPORT_DONE);
    assert_false(at_hand(block[0]));
    for (unsigned i = 1; i <= EXPORT_HAND; i++)
        assert_true(at_hand(block[i]));
    uint32_t quanta = 0;
    for (unsigned i = 1; i <= EXPORT_HAND; i++)
        quanta += i + 3;
    assert_int_equal(segment->exports.hand_quanta, quanta);
    assert_ptr_equal(make(&source, 10, 5 * QUANTUM_BYTES), block[2]);
    assert_int_equal(segment->exports.hand_quanta, quanta - 5);
    void *large = make(&source, 11, 4 * MIB + 1), *just = make(&source, 12, 4 * MIB);
    assert_int_equal(release(large), EXPORT_DONE);
    assert_int_equal(release(just), EXPORT_DONE);
    assert_false(at_hand(large));
    assert_true(at_hand(just));
}

/* Neither is large enough, and together they are, with nothing else free. */
static void merged_when_wanted(void **state)
{
    struct export_source source = source_of("merged");
    (void)state;
    uint64_t sequence = 0;
    unsigned count = 0;
    static void *block[400];
    void *pointer;
    while (count < COUNT_OF(block) &&
           (pointer = export_allocate(segment, &source, sequence++, 2 * MIB, 0, 0)) != NULL)
        block[count++] = pointer;
    static void *rest[4000];
    unsigned rests = 0;
    while (rests < COUNT_OF(rest) &&
           (pointer = export_allocate(segment, &source, sequence++, QUANTUM_BYTES * 3, 0, 0)) != NULL)
        rest[rests++] = pointer;
    assert_in_range(count, 3, COUNT_OF(block) - 1);
    unsigned at = 0;
    while (at + 1 < count && (char *)block[at] + 2 * MIB != block[at + 1])
        at++;
    assert_true(at + 1 < count);
    assert_int_equal(release(block[at]), EXPORT_DONE);
    assert_int_equal(release(block[at + 1]), EXPORT_DONE);
    assert_true(at_hand(block[at]) && at_hand(block[at + 1]));
    pointer = make(&source, sequence++, 4 * MIB);
    assert_ptr_equal(pointer, block[at]);
    assert_int_equal(segment->exports.hand_quanta, 0);
    assert_int_equal(release(pointer), EXPORT_DONE);
    while (rests > 0)
        release(rest[--rests]);
    for (unsigned i = 0; i < count; i++)
        if (i != at && i != at + 1)
            assert_int_equal(release(block[i]), EXPORT_DONE);
}

/* The table of quanta can be scribbled over meanwhile: what is at hand is known elsewhere. */
static void scribbled(void **state)
{
    struct export_source source = source_of("scribbled");
    (void)state;
    unsigned char *block = make(&source, 0, MIB);
    struct quantum *entry =
        &segment->file.view.quanta[view_offset(&segment->file.view, block) >> QUANTUM_SHIFT];
    assert_int_equal(release(block), EXPORT_DONE);
    entry->count = 1;
    entry->owner = 12345;
    assert_ptr_equal(make(&source, 1, MIB), block);
    assert_int_equal(export_usable(segment, block), MIB);
    assert_int_equal(release(block), EXPORT_DONE);
    void *others[EXPORT_HAND];
    for (unsigned i = 0; i < EXPORT_HAND; i++)
        others[i] = make(&source, 10 + i, 3 * QUANTUM_BYTES);
    for (unsigned i = 0; i < EXPORT_HAND; i++)
        assert_int_equal(release(others[i]), EXPORT_DONE);
    assert_false(at_hand(block)); /* the heap has taken it for its own */
    assert_false(segment->exports.damaged);
    assert_ptr_equal(make(&source, 2, MIB), block);
    entry->count = UINT32_MAX / 2; /* a live one: it is not given back, and nothing else is touched */
    assert_int_equal(release(block), EXPORT_NOT_LIVE);
    entry->count = (uint32_t)(MIB >> QUANTUM_SHIFT);
    assert_int_equal(release(block), EXPORT_DONE);
}

/* Only where it is aligned as is asked. */
static void aligned(void **state)
{
    struct export_source source = source_of("aligned");
    (void)state;
    void *first = make(&source, 0, 3 * QUANTUM_BYTES), *second = make(&source, 1, 3 * QUANTUM_BYTES);
    void *odd = (uintptr_t)first % (4 * QUANTUM_BYTES) != 0 ? first : second;
    assert_int_not_equal((uintptr_t)odd % (4 * QUANTUM_BYTES), 0);
    assert_int_equal(release(odd), EXPORT_DONE);
    void *pointer = export_allocate(segment, &source, 2, 3 * QUANTUM_BYTES, 4 * QUANTUM_BYTES, 0);
    assert_int_equal((uintptr_t)pointer % (4 * QUANTUM_BYTES), 0);
    assert_true(at_hand(odd));
}

/* What was only promised is new memory the next time. */
static void promised(void **state)
{
    struct export_source source = source_of("promised");
    (void)state;
    unsigned char *block = export_allocate(segment, &source, 0, MIB, 0, EXPORT_TOUCH);
    memset(block, 3, MIB);
    assert_int_equal(release(block), EXPORT_DONE);
    assert_true(at_hand(block));
    assert_ptr_equal(export_allocate(segment, &source, 1, MIB, 0, EXPORT_ZERO), block);
    assert_true(is_filled(block, MIB, 0));
    assert_int_equal(release(block), EXPORT_DONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(the_same_again, begin_anew),
        cmocka_unit_test_setup(nothing_to_see, begin_anew),
        cmocka_unit_test_setup(freed_by_two, begin_anew),
        cmocka_unit_test_setup(freed_meanwhile, begin_anew),
        cmocka_unit_test_setup(few_and_small, begin_anew),
        cmocka_unit_test_setup(merged_when_wanted, begin_anew),
        cmocka_unit_test_setup(scribbled, begin_anew),
        cmocka_unit_test_setup(aligned, begin_anew),
        cmocka_unit_test_setup(promised, begin_anew),
    };
    return cmocka_run_group_tests_name("exports-hand", tests, open_segment, close_segment);
}
