/* SPDX-License-Identifier: MIT
 *
 * core/export: labels, which last as long as anything is called by them, and then make room for others.
 */
#include "test-exports.h"

enum { MANY = 2000, FEW = 100 };

static uint32_t labels_there(void)
{
    return extents_there(QUANTUM_LABELS);
}

static struct label *label_of(const struct export_source *source)
{
    return view_label(&segment->file.view, source->label);
}

static void is_called(const void *block, const char *name)
{
    assert_string_equal(block_at(block).name, name);
}

/* Threads that come and go, each with a label of its own, more than once as many as an extent holds. */
static void who_comes_and_goes_leaves_nothing(void **state)
{
    char name[32];
    (void)state;
    const uint32_t before = labels_there();
    for (unsigned i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, "thread-%u", i);
        struct export_source source = source_of(name);
        void *small = make(&source, 0, 100), *large = make(&source, 1, 50000);
        snprintf(name, sizeof name, "thread-%u/1", i);
        is_called(large, name);
        assert_int_equal(release(small), EXPORT_DONE);
        assert_int_equal(release(large), EXPORT_DONE);
        export_retire(segment, &source);
        assert_int_equal(source.label, 0);
    }
    assert_int_equal(labels_there(), most(before, 1));
}

/* What a thread has made outlives it, and keeps its name. */
static void names_stay_with_their_blocks(void **state)
{
    static const size_t sizes[] = {100, 50000};
    char name[32];
    (void)state;
    for (unsigned kind = 0; kind < COUNT_OF(sizes); kind++) {
        struct export_source source = source_of("left"), others[FEW];
        void *first = make(&source, 0, sizes[kind]), *second = make(&source, 1, sizes[kind]);
        const uint32_t label = source.label;
        export_retire(segment, &source);
        for (unsigned i = 0; i < FEW; i++) {
            snprintf(name, sizeof name, "other-%u", i);
            others[i] = source_of(name);
            assert_int_not_equal(others[i].label, label);
        }
        is_called(first, "left/0");
        assert_int_equal(release(first), EXPORT_DONE);
        struct export_source more = source_of("more");
        assert_int_not_equal(more.label, label);
        is_called(second, "left/1");
        assert_int_equal(release(second), EXPORT_DONE);
        struct export_source next = source_of("next"); /* who comes then has its place */
        assert_int_equal(next.label, label);
        export_retire(segment, &next);
        export_retire(segment, &more);
        for (unsigned i = 0; i < FEW; i++)
            export_retire(segment, &others[i]);
    }
}

/* A name may be wrong then, and nothing else. */
static void scribbled_over(void **state)
{
    (void)state;
    struct export_source one = source_of("one"), two = source_of("two"), three = source_of("three");
    struct label *of_one = label_of(&one);
    void *block = make(&two, 0, 50000);
    export_retire(segment, &one);
    of_one->users |= 0x7fffffff; /* the next free one lies nowhere */
    struct export_source again = source_of("again"), after = source_of("after");
    is_called(block, "two/0");
    export_retire(segment, &again);
    of_one->users = UINT64_C(1) << 63 | two.label; /* or is not free */
    again = source_of("again");
    struct export_source later = source_of("later");
    is_called(block, "two/0");
    export_retire(segment, &later);
    void *of_after = make(&after, 0, 100);
    is_called(of_after, "after/0");
    label_of(&two)->users = 0;
    assert_int_equal(release(block), EXPORT_DONE);
    label_of(&three)->users = UINT64_MAX;
    export_retire(segment, &two);
    export_retire(segment, &three);
    assert_int_equal(release(of_after), EXPORT_DONE);
    struct quantum *entry = &segment->file.view.quanta[segment->exports.labels];
    const uint32_t kind = atomic_load(&entry->kind);
    atomic_store(&entry->kind, (uint32_t)QUANTUM_NONE);
    export_retire(segment, &again);
    atomic_store(&entry->kind, kind);
    export_retire(segment, &after);
    assert_false(segment->exports.damaged);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_comes_and_goes_leaves_nothing),
        cmocka_unit_test(names_stay_with_their_blocks),
        cmocka_unit_test(scribbled_over),
    };
    return cmocka_run_group_tests_name("exports-labels", tests, open_segment, close_segment);
}
