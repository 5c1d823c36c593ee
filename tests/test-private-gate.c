/* SPDX-License-Identifier: MIT
 *
 * core/private: who writes into another process's merged memory from outside waits while that memory is being
 * replaced, for longer than a busy machine may keep the other from running, and not for one that has died.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "child.h"
#include "island.h"
#include "os.h"
#include "private.h"
#include "private_own.h"
#include "shmcore.h"

#define REPLACING UINT64_C(700000000) /* as long as that the other does not run, in ns */

static const char *why_not;

static int land(void **state)
{
    (void)state;
    if (island_make(64 * MEBI, &why_not))
        why_not = NULL;
    return 0;
}

static shmcore_segment *open_with_memory(void)
{
    shmcore_traits traits = shmcore_default_traits();
    traits.job = "unit";
    traits.size = MEBI;
    shmcore_segment *segment = shmcore_open("SHARED::test", &traits);
    return segment != NULL && shmcore_private(segment, "table", 100000) != NULL ? segment : NULL;
}

static struct merge_row *own_row(const shmcore_segment *segment)
{
    const struct private_space *space = private_space_for(segment);
    return &space->index.file->rows[segment->row];
}

/* As another copy of the library in the same process has it, which came later. NULL: there is none left. */
static struct merge_row *second_row(const shmcore_segment *segment)
{
    const struct view *view = &segment->file.view;
    struct transaction transaction = {.base = view->base};
    const uint32_t row = process_take_row(view, &transaction, &segment->self, ROW_ALIVE);
    return row != ROW_NONE ? &private_space_for(segment)->index.file->rows[row] : NULL;
}

/* What both know, who replaces and who writes. */
struct replacement {
    _Atomic bool by_second; /* not by the copy of the library that has the process's first row */
    _Atomic int done;
};

/* In the middle of a replacement: says so, then goes on after a while. */
static int replaces(struct child *self, void *argument)
{
    struct replacement *replacement = argument;
    shmcore_segment *segment = open_with_memory();
    struct merge_row *row = NULL;
    if (segment != NULL)
        row = replacement->by_second ? second_row(segment) : own_row(segment);
    if (row == NULL)
        return 1;
    atomic_store(&row->closed, 1);
    child_say(self, 'c');
    child_hear(self);
    os_pause(REPLACING);
    atomic_store(&replacement->done, 1);
    atomic_store(&row->closed, 0);
    os_wake(&row->closed);
    child_hear(self);
    return 0;
}

/* A child in the middle of a replacement, and the segment here, where there is memory to be merged, too. */
struct scene {
    struct replacement *replacement;
    struct child child;
    shmcore_segment *segment;
};

static struct scene begin(bool by_second)
{
    if (why_not != NULL) {
        print_message("skipped: %s\n", why_not);
        skip();
    }
    struct replacement *word =
        mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(word, MAP_FAILED);
    word->by_second = by_second;
    struct scene scene = {.replacement = word, .child = child_start(replaces, word)};
    assert_int_equal(child_hear(&scene.child), 'c');
    scene.segment = open_with_memory();
    assert_non_null(scene.segment);
    return scene;
}

static void expect_to_wait(bool for_second)
{
    struct scene scene = begin(for_second);
    const struct merge_row *row = own_row(scene.segment);
    child_say(&scene.child, 'g');
    const uint32_t gates = private_write_begin(scene.child.pid);
    assert_int_not_equal(gates, 0);
    assert_int_equal(atomic_load(&scene.replacement->done), 1);
    assert_int_equal(atomic_load(&row->writing), 1); /* so nothing is replaced now */
    private_write_end(gates);
    assert_int_equal(atomic_load(&row->writing), 0);
    child_say(&scene.child, 'e');
    assert_int_equal(child_end(&scene.child), 0);
    shmcore_close(scene.segment);
}

static void waits_until_it_is_replaced(void **state)
{
    (void)state;
    expect_to_wait(false);
}

static void waits_for_every_copy_of_the_library(void **state)
{
    (void)state;
    expect_to_wait(true);
}

static void does_not_wait_for_the_dead(void **state)
{
    (void)state;
    struct scene scene = begin(false);
    child_kill(&scene.child);
    private_write_end(private_write_begin(scene.child.pid));
    assert_int_equal(atomic_load(&own_row(scene.segment)->writing), 0);
    shmcore_close(scene.segment);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(waits_until_it_is_replaced),
        cmocka_unit_test(waits_for_every_copy_of_the_library),
        cmocka_unit_test(does_not_wait_for_the_dead),
    };
    return cmocka_run_group_tests(tests, land, NULL);
}
