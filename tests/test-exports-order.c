/* SPDX-License-Identifier: MIT
 *
 * core/export: which slot is taken next. What a program works with stays together, and most of what it asks
 * for is at hand.
 */
#include "test-exports.h"

enum { BYTES = 64, SLOTS_MOST = 4000 };

static void *block[SLOTS_MOST];

static struct slab_book *book_of(unsigned i)
{
    return book_at_once(block[i]);
}

static void give_back(unsigned i)
{
    assert_int_equal(release(block[i]), EXPORT_DONE);
    block[i] = NULL;
}

static void give_all_back(struct export_source *source)
{
    for (unsigned i = 0; i < SLOTS_MOST; i++)
        if (block[i] != NULL)
            give_back(i);
    export_retire(segment, source);
}

/* Blocks from `from` on until the slab of the first of them is full. How many there are. */
static unsigned fill_slab(struct export_source *source, unsigned from)
{
    block[from] = make(source, from, BYTES);
    const unsigned slots = book_of(from)->slots;
    for (unsigned i = 1; i < slots; i++) {
        block[from + i] = make(source, from + i, BYTES);
        assert_ptr_equal(book_of(from + i), book_of(from));
    }
    return slots;
}

/* Frees give back slots behind and before the one that was taken last, and it has not to be looked for. */
static void most_are_at_hand(void **state)
{
    enum { ROUNDS = 20000 };
    struct export_source source = source_of("at-hand");
    uint64_t sequence = SLOTS_MOST;
    unsigned further_on = 0, dice = 1;
    (void)state;
    const unsigned slots = fill_slab(&source, 0), live = slots - slots / 16;
    for (unsigned i = live; i < slots; i++)
        give_back(i);
    for (unsigned round = 0; round < ROUNDS; round++) {
        const unsigned i = random_number(&dice) % live;
        give_back(i);
        block[i] = export_take(&source, &sequence, BYTES);
        further_on += block[i] == NULL;
        if (block[i] == NULL)
            block[i] = export_take_further_on(&source, &sequence, BYTES);
        assert_non_null(block[i]);
    }
    assert_in_range(further_on, 1, ROUNDS / 16);
    give_all_back(&source);
}

/* Slots that were given back here and there come before those that have no memory yet; but not one in a
 * thousand, for which all would have to be gone through. */
static void what_has_memory_comes_first(void **state)
{
    struct export_source source = source_of("memory-first");
    unsigned made = 0;
    (void)state;
    block[made] = make(&source, made, BYTES), made++;
    const struct slab_book *book = book_of(0);
    while (book->ready < 200 || made < book->ready)
        block[made] = make(&source, made, BYTES), made++;
    const unsigned ready = book->ready;
    assert_int_equal(made, ready);
    for (unsigned i = 0; i < ready; i += 8)
        give_back(i);
    for (unsigned i = 0; i < ready; i += 8)
        block[i] = make(&source, made++, BYTES);
    assert_int_equal(book->ready, ready);
    give_back(1);
    block[1] = make(&source, made++, BYTES);
    assert_true(book->ready > ready);
    give_all_back(&source);
}

/* Where nothing is alive in a word any more, the next block comes from there. */
static void an_empty_word_is_taken_from(void **state)
{
    struct export_source source = source_of("empty-word");
    (void)state;
    for (unsigned i = 0; i < 200; i++)
        block[i] = make(&source, i, BYTES);
    const unsigned char *first = block[0];
    for (unsigned i = 0; i < 64; i++)
        give_back(i);
    block[0] = make(&source, 200, BYTES);
    assert_ptr_equal(block[0], first);
    give_all_back(&source);
}

/* A slab with one vacant slot is full in a moment: it is left alone until it has more. */
static void hardly_any_room_is_none(void **state)
{
    struct export_source source = source_of("hardly-any");
    (void)state;
    const unsigned slots = fill_slab(&source, 0), both = slots + fill_slab(&source, slots);
    struct slab_book *first = book_of(0);
    assert_true(book_of(slots) != first);
    give_back(7);
    block[both] = make(&source, both, BYTES);
    assert_true(book_of(both) != first && book_of(both) != book_of(slots));
    for (unsigned i = 0; i < slots; i += 8)
        give_back(i);
    for (unsigned i = 1; i <= slots; i++)
        block[both + i] = make(&source, both + i, BYTES);
    assert_ptr_equal(book_of(both + slots - 1), book_of(both));
    assert_ptr_equal(book_of(both + slots), first);
    give_all_back(&source);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(most_are_at_hand),
        cmocka_unit_test(what_has_memory_comes_first),
        cmocka_unit_test(an_empty_word_is_taken_from),
        cmocka_unit_test(hardly_any_room_is_none),
    };
    return cmocka_run_group_tests(tests, open_segment, close_segment);
}
