/* SPDX-License-Identifier: MIT
 *
 * core/park: two threads that want a moment at once get one after the other. The shim's own thread makes a
 * pass over one segment while a thread of the program's makes one over another.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "os.h"
#include "park.h"

#define GIVEN_AWAY UINT64_C(200000000) /* for the other one to come in between */

static unsigned char nowhere[2 * PAGE_BYTES]; /* no stack lies there */

static struct {
    _Atomic uint64_t count; /* of a thread that does nothing else */
    _Atomic bool over;
    _Atomic bool parked; /* by the program's thread */
    _Atomic bool paused; /* the shim's own, in the middle of beginning */
    _Atomic bool ended;  /* the shim's own is done */
    _Atomic bool came_between;
} scene;

static _Thread_local unsigned lists_left; /* of threads, until this one pauses */

static void pause_for_the_other(void)
{
    scene.paused = true;
    for (const uint64_t until = os_clock() + GIVEN_AWAY; !scene.parked && os_clock() < until;)
        sched_yield();
    scene.came_between = scene.parked;
}

/* The library's too: in the program it comes first. */
__attribute__((visibility("default"))) int close(int descriptor)
{
    struct stat status;
    const bool is_list = lists_left > 0 && fstat(descriptor, &status) == 0 && S_ISDIR(status.st_mode);
    const int result = (int)syscall(SYS_close, descriptor);
    if (is_list && --lists_left == 0)
        pause_for_the_other();
    return result;
}

static void *count_on(void *unused)
{
    while (!scene.over) {
        scene.count++;
        sched_yield();
    }
    return unused;
}

/* Counts the threads, looks whether one cannot be parked, and pauses: it has seen nobody who can not. */
static void *park_as_ones_own(void *unused)
{
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    park_except_this();
    lists_left = 2;
    if (park_begin(nowhere, sizeof nowhere) == PARKED)
        park_end();
    scene.ended = true;
    return unused;
}

static void await_progress(void)
{
    const uint64_t before = scene.count;
    while (scene.count == before)
        sched_yield();
}

static enum park_answer park_in_time(void)
{
    for (;;) {
        const enum park_answer answer = park_begin(nowhere, sizeof nowhere);
        if (answer != PARK_LATE && answer != PARK_BLOCKED)
            return answer;
        sched_yield();
    }
}

static void a_moment_lasts_until_its_own_end(void **state)
{
    (void)state;
    pthread_t counter, own;
    assert_int_equal(pthread_create(&counter, NULL, count_on, NULL), 0);
    await_progress();
    assert_int_equal(pthread_create(&own, NULL, park_as_ones_own, NULL), 0);
    while (!scene.paused)
        sched_yield();
    const enum park_answer answer = park_in_time();
    const uint64_t before = scene.count;
    scene.parked = true;
    while (!scene.ended)
        sched_yield();
    for (const uint64_t until = os_clock() + 20000000; scene.count == before && os_clock() < until;)
        sched_yield();
    const uint64_t after = scene.count;
    park_end();
    await_progress();
    scene.over = true;
    pthread_join(own, NULL);
    pthread_join(counter, NULL);
    assert_int_equal(answer, PARKED);
    assert_false(scene.came_between);
    assert_true(before == after);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_moment_lasts_until_its_own_end),
    };
    if (!os_can_resume()) {
        print_message("threads cannot be parked on this kind of machine\n");
        return 77;
    }
    return cmocka_run_group_tests_name("park-moments", tests, NULL, NULL);
}
