/* SPDX-License-Identifier: MIT
 *
 * tools/stacks, places, matching and wording: from records in memory to the words of rules. The files that
 * records speak of do not exist here: names are given by hand, one for each offset.
 */
#include "wording.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PROCESSES 3
#define ROWS_MOST 16
#define MARKS     16u
#define MEGABYTE  (UINT64_C(1) << 20)

/* Frames are offsets in the program; 0x1000 and above lie in the library. */
static const struct {
    uint64_t offset;
    const char *function;
} names[] = {{0x10, "make_table"},  {0x11, "make_table"}, {0x20, "make_noise"}, {0x30, "grid_alloc"},
             {0x40, "obtain"},      {0x50, "build"},      {0x51, "build"},      {0x60, "scratch"},
             {0x70, "main"},        {0x80, "xmalloc"},    {0x90, "odd<-name"},  {0xa0, "main loop"},
             {0x1010, "lib_table"}, {0x1020, "lib_noise"}};

enum content { SAME, OWN, SMALL, BRIEF, UNREAD };

struct row {
    enum content content;
    uint64_t frames[6]; /* to the first 0 */
};

static struct {
    struct record records[PROCESSES];
    uint64_t marks[PROCESSES][ROWS_MOST][MARKS];
    struct stacks stacks;
    struct places places;
    struct wording wording;
    const char *prefix;
    void *memory;
    bool nameless; /* as if it were stripped */
} now;

static void add_row(size_t process, size_t index, const struct row *row)
{
    struct record *record = &now.records[process];
    struct record_site *site = &record->sites[index];
    struct record_marks *marks = &record->marks[index];
    const bool small = row->content == SMALL;
    for (; row->frames[site->frame_count] != 0; site->frame_count++) {
        const uint64_t offset = row->frames[site->frame_count];
        /* the modules come in another order in each process */
        site->frame[site->frame_count] = (struct record_frame){
            .offset = offset, .module = 1 + (uint32_t)((offset >= 0x1000) ^ (process % 2))};
    }
    site->calls = 1;
    site->peak_bytes = small ? 1000 : MEGABYTE;
    site->least_size = site->most_size = site->peak_bytes;
    site->sizes[small ? 9 : 20] = 1;
    site->lifetimes[5] = row->content == BRIEF;
    marks->mark = now.marks[process][index];
    marks->count = small || row->content == UNREAD ? 0 : MARKS;
    site->read_bytes = marks->count * RECORD_PIECE_BYTES;
    for (size_t i = 0; i < marks->count; i++)
        marks->mark[i] = 1 + i + 100 * index + (row->content == OWN ? 10000 * (process + 1) : 0);
}

static void make_records(const struct row *rows, size_t count)
{
    for (size_t i = 0; i < PROCESSES; i++) {
        struct record *record = &now.records[i];
        record->modules = calloc(2, sizeof *record->modules);
        record->sites = calloc(count, sizeof *record->sites);
        record->marks = calloc(count, sizeof *record->marks);
        strcpy(record->header.program, "/bin/solver");
        strcpy(record->modules[i % 2].path, "/bin/solver");
        strcpy(record->modules[1 - i % 2].path, "/lib/libgrid.so.1.2");
        record->modules[0].address = 0x1000 * i; /* wherever */
        record->module_count = 2;
        record->site_count = count;
        for (size_t k = 0; k < count; k++)
            add_row(i, k, &rows[k]);
    }
}

static void give_names(void)
{
    for (size_t i = 0; i < now.stacks.spot_count && !now.nameless; i++) {
        struct spot *spot = now.stacks.spots[i];
        for (size_t k = 0; k < sizeof names / sizeof names[0]; k++) {
            if (names[k].offset != spot->offset)
                continue;
            spot->function = strdup(names[k].function);
        }
    }
}

static const struct policy *parse(const char *text)
{
    struct policy_error error;
    const struct policy *policy = policy_parse(text, strlen(text), now.memory, POLICY_MEMORY, &error);
    if (policy == NULL)
        fail_msg("%s: %s", text, error.message);
    return policy;
}

static void find(const struct row *rows, size_t count)
{
    make_records(rows, count);
    stacks_join(&now.stacks, now.records, PROCESSES);
    give_names();
    places_find(&now.places, &now.stacks, parse(now.prefix), MEGABYTE);
    wording_find(&now.wording, &now.places, now.prefix);
}

static int begin(void **state)
{
    (void)state;
    memset(&now, 0, sizeof now);
    now.prefix = "";
    now.memory = malloc(POLICY_MEMORY);
    return 0;
}

static int end(void **state)
{
    (void)state;
    wording_release(&now.wording);
    places_release(&now.places);
    stacks_release(&now.stacks);
    for (size_t i = 0; i < PROCESSES; i++) {
        free(now.records[i].modules);
        free(now.records[i].sites);
        free(now.records[i].marks);
    }
    free(now.memory);
    return 0;
}

/* The rules, in any order, and no others. */
static void rules_are(const char *const *rules)
{
    size_t count = 0;
    for (; rules[count] != NULL; count++) {
        bool found = false;
        for (size_t i = 0; i < now.wording.rule_count; i++)
            found |= strcmp(now.wording.rules[i].text, rules[count]) == 0;
        if (!found)
            fail_msg("no '%s' but %zu others, '%s'", rules[count], now.wording.rule_count,
                     now.wording.rule_count > 0 ? now.wording.rules[0].text : "");
    }
    assert_int_equal(now.wording.rule_count, count);
}

#define FIND(...)                                                                                            \
    do {                                                                                                     \
        static const struct row rows[] = {__VA_ARGS__};                                                      \
        find(rows, sizeof rows / sizeof rows[0]);                                                            \
    } while (0)
#define RULES(...) rules_are((const char *const[]){__VA_ARGS__, NULL})

static void joined(void **state)
{
    (void)state;
    FIND({SAME, {0x10, 0x70}}, {OWN, {0x20, 0x70}}, {SAME, {0x1010, 0x70}});
    assert_int_equal(now.stacks.count, 3);
    assert_int_equal(now.stacks.program_count, 1);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(now.stacks.items[i].row_count, PROCESSES);
    assert_int_equal(now.places.count, 3);
    assert_int_equal(now.places.items[0].worth.saved_bytes, 2 * MEGABYTE);
    assert_int_equal(now.places.items[2].worth.saved_bytes, 0);
    RULES("merge func=make_table size>=1M", "merge func=lib_table module=libgrid.so* size>=1M");
}

static void callers_tell(void **state)
{
    (void)state;
    FIND({SAME, {0x40, 0x50, 0x70}}, {OWN, {0x40, 0x60, 0x70}});
    RULES("merge stack=obtain<-build size>=1M");
}

static void callers_further_out_tell(void **state)
{
    (void)state;
    FIND({SAME, {0x40, 0x30, 0x50, 0x70}}, {OWN, {0x40, 0x30, 0x60, 0x70}}, {OWN, {0x40, 0x60, 0x70}});
    RULES("merge stack=obtain<-grid_alloc<-build size>=1M");
}

static void calls_tell(void **state)
{
    (void)state;
    FIND({SAME, {0x10, 0x70}}, {OWN, {0x11, 0x70}}, {SAME, {0x40, 0x50, 0x70}}, {OWN, {0x40, 0x51, 0x70}});
    RULES("merge site=solver!0x10 size>=1M", "merge stack=obtain<-solver!0x50 size>=1M");
}

static void without_names(void **state)
{
    (void)state;
    now.nameless = true;
    FIND({SAME, {0x10, 0x70}}, {OWN, {0x20, 0x70}}, {SAME, {0x40, 0x50, 0x70}}, {OWN, {0x40, 0x60, 0x70}},
         {SAME, {0x1010, 0x70}});
    RULES("merge site=solver!0x10 size>=1M", "merge stack=solver!0x40<-solver!0x50 size>=1M",
          "merge site=libgrid.so.1.2!0x1010 size>=1M");
}

static void one_rule_for_several(void **state)
{
    (void)state;
    FIND({SAME, {0x10, 0x70}}, {SAME, {0x11, 0x70}}, {SAME, {0x10, 0x50, 0x70}});
    assert_int_equal(now.places.count, 2); /* the stacks of one call are one place */
    RULES("merge func=make_table size>=1M");
    assert_int_equal(now.wording.rules[0].places, 2);
    assert_int_equal(now.wording.rules[0].saved_bytes, 6 * MEGABYTE);
}

static void small_ones_do_no_harm(void **state)
{
    (void)state;
    FIND({SAME, {0x10, 0x70}}, {SMALL, {0x11, 0x70}}, {SMALL, {0x10, 0x60, 0x70}});
    RULES("merge func=make_table size>=1M");
}

static void not_worth_it(void **state)
{
    (void)state;
    FIND({BRIEF, {0x10, 0x70}}, {UNREAD, {0x20, 0x70}}, {OWN, {0x50, 0x70}}, {SMALL, {0x60, 0x70}});
    assert_int_equal(now.wording.rule_count, 0);
}

static void known_wrappers(void **state)
{
    (void)state;
    FIND({SAME, {0x80, 0x50, 0x70}}, {OWN, {0x80, 0x60, 0x70}});
    RULES("merge func=build size>=1M");
    assert_null(wording_wrappers(&now.places));
}

static void wrappers_by_name(void **state)
{
    (void)state;
    FIND({SAME, {0x30, 0x50, 0x70}}, {OWN, {0x30, 0x60, 0x70}}, {OWN, {0x40, 0x70}});
    RULES("merge stack=grid_alloc<-build size>=1M");
    char *lines = wording_wrappers(&now.places);
    assert_string_equal(lines, "wrapper func=grid_alloc module=exe\n");
    free(lines);
}

static void named_wrappers(void **state)
{
    (void)state;
    now.prefix = "wrapper func=grid_alloc module=exe\n";
    FIND({SAME, {0x30, 0x50, 0x70}}, {OWN, {0x30, 0x60, 0x70}});
    RULES("merge func=build size>=1M");
}

static void hard_names(void **state)
{
    (void)state;
    FIND({SAME, {0x40, 0x90, 0x70}}, {SAME, {0x40, 0xa0, 0x70}}, {OWN, {0x40, 0x60, 0x70}});
    RULES("merge stack=obtain<-odd?-name size>=1M", "merge stack=\"obtain<-main loop\" size>=1M");
}

static void proof(void **state)
{
    (void)state;
    FIND({SAME, {0x40, 0x50, 0x70}}, {OWN, {0x40, 0x60, 0x70}});
    assert_true(wording_is_proven(&now.wording, "merge stack=obtain<-build size>=1M"));
    assert_true(wording_is_proven(&now.wording, "program solver; merge stack=obtain<-build size>=64K"));
    assert_false(wording_is_proven(&now.wording, "merge func=obtain size>=1M"));         /* too much */
    assert_false(wording_is_proven(&now.wording, "merge stack=obtain<-build size>=2M")); /* too little */
    assert_false(wording_is_proven(&now.wording, "program other; merge stack=obtain<-build"));
    assert_false(wording_is_proven(&now.wording, "merge nonsense"));
}

static void values(void **state)
{
    (void)state;
    static const char *const cases[][3] = {
        {"plain_name", "plain_name", "plain_name"},
        {"ns::Table<double>::grow", "ns::Table<double>::grow", "ns::Table<double>::grow"},
        {"operator new[]", "operator new?]", "\"operator new?]\""},
        {"a\"b", "a?b", "a?b"},
        {"(anonymous namespace)::f", "(anonymous namespace)::f", "\"(anonymous namespace)::f\""},
        {"f;#x", "f;#x", "\"f;#x\""},
        {"a<-b", "a?-b", "a?-b"},
        {"\xc3\xa4", "??", "??"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *glob = wording_glob(cases[i][0]), *value = wording_value(glob);
        char text[128] = "merge func=";
        assert_string_equal(glob, cases[i][1]);
        assert_string_equal(value, cases[i][2]);
        assert_true(policy_glob(parse(strcat(text, value))->rules[0].func, cases[i][0]));
        free(glob);
        free(value);
    }
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH(joined),
        WITH(callers_tell),
        WITH(callers_further_out_tell),
        WITH(calls_tell),
        WITH(without_names),
        WITH(one_rule_for_several),
        WITH(small_ones_do_no_harm),
        WITH(not_worth_it),
        WITH(known_wrappers),
        WITH(wrappers_by_name),
        WITH(named_wrappers),
        WITH(hard_names),
        WITH(proof),
        WITH(values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
