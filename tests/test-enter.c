/* SPDX-License-Identifier: MIT
 *
 * Deaths and stops together: one process dies with the lock of a shard while another keeps that of the pool,
 * which a repair needs. That is an EBUSY for as long as it lasts, and no damage.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "child.h"
#include "directory.h"
#include "lock.h"
#include "pool.h"
#include "segment.h"
#include "shmcore.h"

#define NAME "SHARED::enter"

static char place[128];

static shmcore_traits traits_here(void)
{
    shmcore_traits traits = shmcore_default_traits();
    traits.size = MEBI * 16;
    traits.dir = place;
    traits.job = "test";
    return traits;
}

static shmcore_segment *open_here(void)
{
    const shmcore_traits traits = traits_here();
    return shmcore_open(NAME, &traits);
}

/* The tables of the open segment, at the address where it lies in every process. */
static struct view tables(void)
{
    struct segment file;
    struct view view = {0};
    const struct segment_request request = {
        .name = NAME, .directory = place, .job = "test", .read_only = true, .uid = geteuid()};
    assert_int_equal(segment_open(&file, &request, NULL, NULL), 0);
    view_make(&view, (unsigned char *)(uintptr_t)file.view.header->base, file.view.capacity);
    segment_unmap(&file);
    return view;
}

static struct guarded pool_of(const struct view *view)
{
    return (struct guarded){.lock = &view->pool->lock,
                            .undo = &view->pool->undo,
                            .sequence = &view->pool->sequence,
                            .poisoned = &view->pool->poisoned,
                            .base = view->base,
                            .capacity = view->capacity};
}

static struct guarded shard_of(const struct view *view, const char *name)
{
    const struct name_key key = directory_key(name, strlen(name), 0);
    struct shard *shard = &view->shards[directory_shard(view, &key)];
    return (struct guarded){.lock = &shard->lock,
                            .undo = &shard->undo,
                            .sequence = &shard->sequence,
                            .poisoned = &shard->poisoned,
                            .base = view->base,
                            .capacity = view->capacity};
}

static int holds_the_pool(struct child *self, void *argument)
{
    const struct guarded pool = pool_of(argument);
    child_say(self, lock_acquire(&pool, LOCK_PATIENCE) == LOCK_OK ? 'h' : '-');
    child_hear(self);
    return 0;
}

/* With a region on its way from the pool, or without. */
static int dies_with_a_shard(struct child *self, void *argument)
{
    const struct view *view = argument;
    const struct guarded guarded = shard_of(view, "block");
    struct shard *shard = (struct shard *)(void *)guarded.lock;
    struct transaction direct = {.base = view->base};
    if (lock_acquire(&guarded, LOCK_PATIENCE) != LOCK_OK)
        _exit(1);
    if (child_hear(self) == 'l') {
        const struct region_run run = pool_find(view, 1, 1, false);
        pool_take(view, &direct, run, OWNER_SHARD + (uint32_t)(shard - view->shards));
        shard->loose = (struct loose_run){run.first, run.count};
    }
    _exit(0);
}

static void die_with_a_shard(struct view *view, char how)
{
    struct child dead = child_start(dies_with_a_shard, view);
    child_say(&dead, how);
    assert_int_equal(child_end(&dead), 0);
}

static int attaches(struct child *self, void *argument)
{
    (void)self;
    (void)argument;
    errno = 0;
    return open_here() == NULL ? errno : 0;
}

static void a_repair_waits_for_the_pool(void **state)
{
    (void)state;
    shmcore_segment *segment = open_here();
    assert_non_null(segment);
    struct view view = tables();
    assert_non_null(shmcore_allocate(segment, "block", 100));
    struct child holder = child_start(holds_the_pool, &view); /* a fork takes room for references */
    assert_int_equal(child_hear(&holder), 'h');
    const uint32_t before = view.pool->free_regions;
    die_with_a_shard(&view, '-');
    assert_non_null(shmcore_allocate(segment, "block", 100)); /* nothing is loose: the pool is not needed */
    die_with_a_shard(&view, 'l');
    for (int tries = 0; tries < 2; tries++) {
        errno = 0;
        assert_true(shmcore_allocate(segment, "block", 100) != NULL || errno == EBUSY);
    }
    child_kill(&holder);
    assert_non_null(shmcore_allocate(segment, "block", 100));
    assert_int_equal(view.pool->free_regions, before); /* what was loose is the pool's again */
    assert_int_equal(shmcore_close(segment), 0);
}

static void a_busy_pool_is_no_full_table(void **state)
{
    (void)state;
    struct child late = child_start(attaches, NULL);
    assert_int_equal(child_end(&late), 0); /* and its file is for us to take over */
    shmcore_segment *segment = open_here();
    assert_non_null(segment);
    struct view view = tables();
    struct child holder = child_start(holds_the_pool, &view);
    assert_int_equal(child_hear(&holder), 'h');
    const char *const program[] = {"/proc/self/exe", "attach", place, NULL};
    const pid_t pid = fork();
    if (pid == 0) {
        execv(program[0], (char *const *)(uintptr_t)program);
        _exit(126);
    }
    struct child other = {.pid = pid, .link = -1};
    assert_int_equal(child_end(&other), EBUSY);
    child_kill(&holder);
    assert_int_equal(shmcore_close(segment), 0);
}

static int make_place(void **state)
{
    (void)state;
    snprintf(place, sizeof place, "/dev/shm/shmcore-enter-%d", (int)getpid());
    return mkdir(place, 0700);
}

static int remove_place(void **state)
{
    (void)state;
    return rmdir(place);
}

int main(int count, char **arguments)
{
    if (count == 3 && strcmp(arguments[1], "attach") == 0) {
        snprintf(place, sizeof place, "%s", arguments[2]);
        return attaches(NULL, NULL);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_repair_waits_for_the_pool),
        cmocka_unit_test(a_busy_pool_is_no_full_table),
    };
    return cmocka_run_group_tests(tests, make_place, remove_place);
}
