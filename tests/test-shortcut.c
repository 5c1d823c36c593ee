/* SPDX-License-Identifier: MIT
 *
 * preload/shortcut: requests like one that was decided before, for slots and for extents. What a request is
 * like is seen by its name: it must be the one that the rules give it.
 */
#include "test-preload.h"

#include "export.h"
#include "handle.h"
#include "private.h"

static const char policy_text[] = "segment SHARED::main size=64M dir=%s\n"
                                  "segment SHARED::small size=2M dir=%s\n"
                                  "pass size=48K..56K\n"
                                  "pass size=208..256\n"
                                  "export func=alpha size=100K..200K name=middle/{seq}\n"
                                  "export func=alpha size>=500K segment=SHARED::small name=large/{seq}\n"
                                  "export func=beta size=150..160 name=between/{seq}\n"
                                  "export func=alpha call=calloc name=zero/{seq}\n"
                                  "export func=alpha name=rest/{seq}\n"
                                  "merge func=beta size>=2M\n"
                                  "export func=beta name=plain";

static char text[1024];

static void *at_once(size_t bytes)
{
    return router_take_further_on(site_in(alpha), NULL, POLICY_CALL_MALLOC, bytes);
}

/* As malloc() does it: *short_way says how it went. NULL: it passes. */
static void *make(size_t bytes, bool *short_way)
{
    void *pointer = at_once(bytes);
    const struct request request = request_at(site_in(alpha), POLICY_CALL_MALLOC, bytes);
    *short_way = pointer != NULL;
    if (pointer == NULL && !router_allocate(&request, &pointer))
        return NULL;
    assert_true(router_usable_size(pointer) >= bytes);
    memset(pointer, 0x77, bytes);
    return pointer;
}

/* Makes and drops one: "NAME/… BYTES" without the number, and by which way. */
static void is_made(size_t bytes, const char *name, bool by_short_way)
{
    bool short_way;
    void *pointer = make(bytes, &short_way);
    if (name == NULL) {
        assert_null(pointer);
        return;
    }
    assert_non_null(pointer);
    assert_int_equal(short_way, by_short_way);
    const shmcore_block block = block_at(pointer);
    assert_int_equal(block.bytes, bytes);
    assert_memory_equal(block.name, name, strlen(name));
    drop(pointer, site_in(alpha));
}

/* One after the other, with nothing left out. */
static void numbers_follow(size_t bytes)
{
    unsigned long first = 0, number;
    void *pointer[5];
    for (unsigned i = 0; i < COUNT_OF(pointer); i++) {
        bool short_way;
        pointer[i] = make(bytes, &short_way);
        const shmcore_block block = block_at(pointer[i]);
        assert_int_equal(sscanf(strchr(block.name, '/'), "/%lu", &number), 1);
        assert_int_equal(i == 0 ? (first = number) : first + i, number);
        assert_true(short_way || i == 0);
    }
    for (unsigned i = 0; i < COUNT_OF(pointer); i++)
        drop(pointer[i], site_in(alpha));
}

static void test_sizes(void **state)
{
    (void)state;
    is_made(100, "rest/", false);
    is_made(100, "rest/", true);
    is_made(128, "rest/", true); /* of the same class */
    is_made(129, "rest/", true); /* of one of which there is no slab yet */
    is_made(0, "rest/", true);
    is_made(207, "rest/", true);
    is_made(208, NULL, false); /* of that class, and passes */
    is_made(256, NULL, false);
    is_made(207, "rest/", true);
    is_made(257, "rest/", false); /* others lie in between, and this is another kind then */
    is_made(SLOT_BYTES_END - 1, "rest/", true);
    is_made(SLOT_BYTES_END, "rest/", true); /* an extent */
    is_made(48 * KIBI - 1, "rest/", true);
    is_made(300, "rest/", true);
    numbers_follow(100);
    numbers_follow(300);
    bool short_way;
    void *largest = make(SLOT_BYTES_END - 1, &short_way);
    is_made(SLOT_BYTES_END - 1, "rest/", true); /* and there is a slot for one more */
    assert_null(router_take(site_in(alpha), POLICY_CALL_MALLOC, SLOT_BYTES_END)); /* which would fit */
    drop(largest, site_in(alpha));
}

static void test_extents(void **state)
{
    (void)state;
    is_made(48 * KIBI, NULL, false);
    is_made(56 * KIBI, NULL, false);
    is_made(56 * KIBI + 1, "rest/", false);
    is_made(100 * KIBI - 1, "rest/", true);
    is_made(100 * KIBI, "middle/", false);
    is_made(200 * KIBI, "middle/", true);
    is_made(100, "rest/", false);
    is_made(200 * KIBI + 1, "rest/", false);
    is_made(500 * KIBI - 1, "rest/", true);
    is_made(500 * KIBI, "large/", false);
    is_made(MIB, "large/", true);
    numbers_follow(150 * KIBI);
    numbers_follow(SLOT_BYTES_END + 1);
}

/* What nobody can have is not a slot of the smallest class, whatever the shortcut is for. */
static void test_too_much(void **state)
{
    bool short_way;
    (void)state;
    void *held = make(16, &short_way);
    assert_null(at_once(SIZE_MAX));
    assert_null(router_take(site_in(alpha), POLICY_CALL_MALLOC, SIZE_MAX));
    is_made(57 * KIBI, "rest/", false); /* for extents */
    assert_null(at_once(SIZE_MAX));
    for (size_t bytes = SIZE_MAX - 20; bytes != 20; bytes++)
        assert_null(router_take(site_in(alpha), POLICY_CALL_MALLOC, bytes));
    lines_logged();
    drop(held, site_in(alpha));
}

/* One slab after the other, and over the edge where the sequences of one are over. */
static void test_many(void **state)
{
    (void)state;
    enum { MANY = 3000, BYTES = 8 * KIBI - 7 };
    static void *held[MANY];
    bool short_way;
    for (unsigned i = 0; i < MANY; i++) {
        held[i] = make(BYTES, &short_way);
        assert_true(short_way || i == 0);
    }
    for (unsigned i = 0; i < MANY; i++) {
        assert_true(is_filled_with(held[i], 0x77, BYTES));
        drop(held[i], site_in(alpha));
    }
}

/* Where memory is new it is zero: to write zeros there costs pages. */
static void test_zero_extents(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        const struct request request = {
            .call = POLICY_CALL_CALLOC, .bytes = 40 * KIBI, .zero = true, .caller = site_in(alpha)};
        void *pointer = NULL;
        assert_null(router_take_further_on(site_in(alpha), NULL, POLICY_CALL_CALLOC, 40 * KIBI));
        assert_true(router_allocate(&request, &pointer));
        assert_memory_equal(block_at(pointer).name, "zero/", 5);
        assert_true(is_filled_with(pointer, 0, 40 * KIBI));
        memset(pointer, 1, 40 * KIBI);
        drop(pointer, site_in(alpha));
    }
}

/* Merged memory of every size is had that way, but for what has to be zero: that is not touched. */
static void test_merged(void **state)
{
    enum { BYTES = 2 * MIB };
    const struct request request = request_at(site_in(beta), POLICY_CALL_MALLOC, BYTES);
    struct request zero = request_at(site_in(beta), POLICY_CALL_CALLOC, BYTES);
    void *first = NULL, *zeroed[2] = {NULL};
    (void)state;
    zero.zero = true;
    assert_null(router_take_further_on(site_in(beta), NULL, POLICY_CALL_MALLOC, BYTES));
    assert_true(router_allocate(&request, &first));
    void *second = router_take_further_on(site_in(beta), NULL, POLICY_CALL_MALLOC, BYTES + 1);
    assert_non_null(second);
    assert_int_equal(private_usable(first), BYTES);
    assert_true(private_usable(second) > BYTES);
    for (unsigned i = 0; i < COUNT_OF(zeroed); i++) {
        assert_null(router_take_further_on(site_in(beta), NULL, POLICY_CALL_CALLOC, BYTES));
        assert_true(router_allocate(&zero, &zeroed[i]));
        assert_int_equal(private_usable(zeroed[i]), BYTES);
    }
    assert_null(router_take_further_on(site_in(beta), NULL, POLICY_CALL_MALLOC, 100)); /* another rule */
    drop(first, site_in(beta));
    drop(second, site_in(beta));
    for (unsigned i = 0; i < COUNT_OF(zeroed); i++)
        drop(zeroed[i], site_in(beta));
}

/* Without {seq} the first has its name plainly, and the second a number: each by its own label. */
static void test_plain_names(void **state)
{
    (void)state;
    void *pointer[3] = {NULL};
    for (unsigned i = 0; i < COUNT_OF(pointer); i++) {
        const struct request request = request_at(site_in(beta), POLICY_CALL_MALLOC, 40 * KIBI);
        pointer[i] = router_take_further_on(site_in(beta), NULL, POLICY_CALL_MALLOC, 40 * KIBI);
        assert_int_equal(pointer[i] != NULL, i == 2);
        if (pointer[i] == NULL)
            assert_true(router_allocate(&request, &pointer[i]));
    }
    char names[3][SHMCORE_NAME_MAX + 1];
    for (unsigned i = 0; i < COUNT_OF(pointer); i++) {
        snprintf(names[i], sizeof names[i], "%s", block_at(pointer[i]).name);
        *strchr(names[i], '@') = '+';
        drop(pointer[i], site_in(beta));
    }
    assert_memory_equal(names[0], "plain+", 6);
    assert_string_equal(strchr(names[1], '#'), "#1");
    assert_string_equal(strchr(names[2], '#'), "#2");
}

/* The long way is asked then, says why, and from then on until there is room again. */
static void test_full(void **state)
{
    (void)state;
    void *held[8];
    unsigned count = 0;
    bool short_way = false;
    is_made(500 * KIBI, "large/", false);
    while (count < COUNT_OF(held) && (held[count] = at_once(500 * KIBI)) != NULL)
        count++;
    assert_in_range(count, 1, COUNT_OF(held) - 1);
    lines_logged();
    errno = EDOM;
    assert_null(make(500 * KIBI, &short_way));
    assert_int_equal(errno, EDOM);
    assert_int_equal(lines_logged(), 1);
    drop(held[--count], site_in(alpha));
    assert_null(at_once(500 * KIBI)); /* given up */
    is_made(500 * KIBI, "large/", false);
    is_made(500 * KIBI, "large/", true);
    while (count > 0)
        drop(held[--count], site_in(alpha));
}

/* ---------------------------------------------------------------- stacks */

enum { HOP = 3 /* words */ };

/* What a stack looks like to a function that is called from FIRST, in one that is called from `second`. */
#define FIRST ((const void *)0x401234)
static uintptr_t *stack_with(uintptr_t *words, uintptr_t second)
{
    words[OS_FRAME_WORDS - 1] = (uintptr_t)FIRST;
    words[OS_FRAME_WORDS + HOP] = second;
    return words;
}

static void *on_stack(const uintptr_t *frame, size_t bytes)
{
    return router_take_further_on(FIRST, frame, POLICY_CALL_MALLOC, bytes);
}

static uint16_t rule_named(const struct policy *policy, const char *name)
{
    uint16_t i = 0;
    while (i < policy->rule_count &&
           (policy->rules[i].name == NULL || strcmp(policy->rules[i].name, name) != 0))
        i++;
    assert_true(i < policy->rule_count);
    return i;
}

/* As if stacks led from FIRST to the site in `alpha`. */
static void keep(const struct policy *policy, const struct site *direct, const uintptr_t *frame)
{
    struct site *site = site_look_up(site_in(alpha));
    struct request request = request_at(FIRST, POLICY_CALL_MALLOC, 100);
    uint32_t place = 0;
    request.frame = frame;
    while (site->rules[place] != rule_named(policy, "rest/{seq}"))
        place++;
    shortcut_keep(policy, direct, site, place, &request);
}

/* Where the first two frames decide they stand for the caller; and what the caller alone decides on is left
 * to that. */
static void test_stacks(void **state)
{
    const struct policy *policy = parse(text);
    uintptr_t words[OS_FRAME_WORDS + HOP + 1] = {0};
    const uintptr_t *frame = stack_with(words, 0x405678);
    struct site *direct = calloc(1, sizeof *direct + sizeof direct->rules[0]);
    (void)state;
    direct->address = (uintptr_t)FIRST;
    direct->hop = HOP * sizeof(uintptr_t);
    direct->rules[direct->rule_count++] = rule_named(policy, "between/{seq}");
    passing_note_hop((uintptr_t)FIRST, direct->hop);
    stack_own = (struct stack_bounds){(uintptr_t)words, (uintptr_t)(words + COUNT_OF(words))};
    drop(make_at(site_in(alpha), 100), site_in(alpha));
    direct->depth = 3;
    keep(policy, direct, frame);
    assert_null(on_stack(frame, 100));
    direct->depth = 2;
    keep(policy, direct, frame);
    void *made[] = {on_stack(frame, 100), on_stack(frame, 149), on_stack(frame, 64)};
    for (unsigned i = 0; i < COUNT_OF(made); i++) {
        assert_non_null(made[i]);
        assert_memory_equal(block_at(made[i]).name, "rest/", 5);
        drop(made[i], site_in(alpha));
    }
    uintptr_t second;
    const uint64_t word = passing_word_of(FIRST, frame, &second);
    assert_non_null(made[0] = router_take_on_stack(word, POLICY_CALL_MALLOC, 100));
    drop(made[0], site_in(alpha));
    assert_null(router_take_on_stack(0, POLICY_CALL_MALLOC, 100));
    assert_null(router_take_on_stack(word + 1, POLICY_CALL_MALLOC, 100));
    assert_null(on_stack(frame, 208));
    assert_null(on_stack(frame, 155));
    assert_null(on_stack(NULL, 100));
    assert_null(on_stack(stack_with(words, 0x405679), 100));
    assert_non_null(made[0] = on_stack(stack_with(words, 0x405678), 100));
    drop(made[0], site_in(alpha));
    passing_suspend();
    assert_null(on_stack(frame, 100));
    passing_resume(77);
    assert_null(on_stack(frame, 100)); /* there may be other modules by now */
    stack_own = (struct stack_bounds){0, 0};
    free(direct);
}

/* ---------------------------------------------------------------- places */

static unsigned places_of(uintptr_t step)
{
    enum { CALLERS = 128 };
    bool taken[THREAD_SHORTCUTS] = {false};
    unsigned places = 0;
    for (uintptr_t i = 0; i < CALLERS; i++) {
        bool *place = &taken[shortcut_place((const void *)(0x401017 + i * step), POLICY_CALL_MALLOC)];
        places += !*place;
        *place = true;
    }
    return places;
}

/* Small functions lie at multiples of 16 or 32, and their callers do not share a few places. */
static void test_places(void **state)
{
    (void)state;
    for (uintptr_t step = 4; step <= 64; step *= 2)
        assert_in_range(places_of(step), 64, 128);
}

/* ---------------------------------------------------------------- */

/* In a forked child all that the thread has is the parent's. */
static void test_after_fork(void **state)
{
    (void)state;
    is_made(40 * KIBI, "rest/", false);
    is_made(40 * KIBI, "rest/", true);
    assert_non_null(thread_self.kept);
    thread_after_fork();
    assert_null(thread_self.kept); /* those books are not the child's */
    is_made(40 * KIBI, "rest/", false);
    is_made(40 * KIBI, "rest/", true);
}

int main(int count, char **arguments)
{
    (void)count;
    be_a_job(arguments);
    if (make_test_directory("shortcut") != 0)
        return 1;
    snprintf(text, sizeof text, policy_text, test_directory, test_directory);
    if (!begin_routing(text))
        return 77;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),        cmocka_unit_test(test_extents),
        cmocka_unit_test(test_many),         cmocka_unit_test(test_too_much),
        cmocka_unit_test(test_zero_extents), cmocka_unit_test(test_merged),
        cmocka_unit_test(test_plain_names),  cmocka_unit_test(test_full),
        cmocka_unit_test(test_stacks),       cmocka_unit_test(test_after_fork),
        cmocka_unit_test(test_places),
    };
    alarm(300);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
