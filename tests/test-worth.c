/* SPDX-License-Identifier: MIT
 *
 * tools/worth: what one copy would save.
 */
#include "worth.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PIECE RECORD_PIECE_BYTES

static struct worth_part part(size_t process, size_t host, const struct record_marks *marks)
{
    const uint64_t bytes = (marks->count + marks->zeros) * PIECE - marks->short_bytes;
    return (struct worth_part){process, host, marks, bytes, bytes};
}

static struct record_marks marks_of(uint64_t *marks, size_t count)
{
    return (struct record_marks){.mark = marks, .count = count};
}

static void same_everywhere(void **state)
{
    (void)state;
    uint64_t same[] = {1, 2, 3, 4};
    const struct record_marks marks = marks_of(same, 4);
    struct worth_part parts[4];
    for (size_t i = 0; i < 4; i++)
        parts[i] = part(i, 0, &marks);
    const struct worth worth = worth_of(parts, 4);
    assert_int_equal(worth.processes, 4);
    assert_int_equal(worth.peak_bytes, 16 * PIECE);
    assert_int_equal(worth.saved_bytes, 12 * PIECE);
    assert_true(worth_share(&worth) == 100.0);
}

static void partly(void **state)
{
    (void)state;
    uint64_t first[] = {1, 2, 10, 11}, second[] = {1, 2, 20, 21}, third[] = {1, 30, 31, 32};
    const struct record_marks a = marks_of(first, 4), b = marks_of(second, 4), c = marks_of(third, 4);
    const struct worth_part parts[] = {part(0, 0, &a), part(1, 0, &b), part(2, 0, &c)};
    const struct worth worth = worth_of(parts, 3);
    assert_int_equal(worth.identical, 5); /* 1 three times, 2 twice */
    assert_int_equal(worth.saved_bytes, 3 * PIECE);
}

/* What one process has twice is no gain; against another's two it is. */
static void bags(void **state)
{
    (void)state;
    uint64_t twice[] = {7, 7}, thrice[] = {7, 7, 7}, once[] = {7};
    const struct record_marks two = marks_of(twice, 2), three = marks_of(thrice, 3), one = marks_of(once, 1);
    const struct worth_part alone[] = {part(0, 0, &three)};
    struct worth worth = worth_of(alone, 1);
    assert_int_equal(worth.saved_bytes, 0);
    assert_true(worth_share(&worth) < 0);
    const struct worth_part parts[] = {part(0, 0, &three), part(1, 0, &one), part(2, 0, &two)};
    worth = worth_of(parts, 3);
    assert_int_equal(worth.saved_bytes, 3 * PIECE); /* three are kept */
    assert_int_equal(worth.identical, 5);           /* the third of the first has no partner */
}

static void one_process_in_parts(void **state)
{
    (void)state;
    uint64_t first[] = {1}, second[] = {1};
    const struct record_marks a = marks_of(first, 1), b = marks_of(second, 1);
    const struct worth_part parts[] = {part(3, 0, &a), part(3, 0, &b)};
    const struct worth worth = worth_of(parts, 2);
    assert_int_equal(worth.processes, 1);
    assert_int_equal(worth.saved_bytes, 0);
}

static void hosts(void **state)
{
    (void)state;
    uint64_t same[] = {1, 2};
    const struct record_marks marks = marks_of(same, 2);
    const struct worth_part apart[] = {part(0, 0, &marks), part(1, 1, &marks)};
    struct worth worth = worth_of(apart, 2);
    assert_int_equal(worth.saved_bytes, 0);
    assert_true(worth_share(&worth) < 0);
    const struct worth_part pairs[] = {part(0, 0, &marks), part(1, 1, &marks), part(2, 0, &marks),
                                       part(3, 1, &marks)};
    worth = worth_of(pairs, 4);
    assert_int_equal(worth.saved_bytes, 4 * PIECE); /* two on each */
}

static void zeros(void **state)
{
    (void)state;
    uint64_t same[] = {1};
    struct record_marks marks = marks_of(same, 1);
    marks.zeros = 9;
    const struct worth_part parts[] = {part(0, 0, &marks), part(1, 0, &marks)};
    const struct worth worth = worth_of(parts, 2);
    assert_int_equal(worth.zeros, 18);
    assert_int_equal(worth.saved_bytes, PIECE);
    assert_true(worth_share(&worth) == 100.0);
}

static void shorter_and_again(void **state)
{
    (void)state;
    uint64_t same[] = {1, 2};
    struct record_marks marks = marks_of(same, 2);
    marks.short_bytes = PIECE;
    struct worth_part parts[] = {part(0, 0, &marks), part(1, 0, &marks)};
    assert_int_equal(worth_of(parts, 2).saved_bytes, PIECE); /* both pieces together have that */
    marks.short_bytes = 0;
    for (size_t i = 0; i < 2; i++) { /* one block at a time, ten in a row: only one is there */
        parts[i].read_bytes = 20 * PIECE;
        parts[i].peak_bytes = 2 * PIECE;
    }
    assert_int_equal(worth_of(parts, 2).saved_bytes, PIECE * 2 / 10);
}

static void hostile_numbers(void **state)
{
    (void)state;
    uint64_t same[] = {1, 1};
    struct record_marks marks = marks_of(same, 2);
    marks.zeros = UINT64_MAX;
    marks.short_bytes = UINT64_MAX;
    const struct worth_part parts[] = {{0, 0, &marks, UINT64_MAX, UINT64_MAX}, {1, 0, &marks, 5, 0}};
    const struct worth worth = worth_of(parts, 2);
    assert_int_equal(worth.peak_bytes, UINT64_MAX);
    assert_true(worth.saved_bytes <= worth.peak_bytes);
    assert_int_equal(worth_of(NULL, 0).processes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_everywhere),      cmocka_unit_test(partly),          cmocka_unit_test(bags),
        cmocka_unit_test(one_process_in_parts), cmocka_unit_test(hosts),           cmocka_unit_test(zeros),
        cmocka_unit_test(shorter_and_again),    cmocka_unit_test(hostile_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
