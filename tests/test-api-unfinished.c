/* SPDX-License-Identifier: MIT
 *
 * A process forks while another thread of it is filling a block, and is killed before that is done. The child
 * knows nothing of the block, so nobody can finish it: its name must be free again although the child lives.
 */
#include "test-api.h"

#include <pthread.h>

#define BLOCK (768 * MIB) /* long enough for a fork meanwhile; if it is not, the block is a good one */

static void *fill_a_block(void *segment)
{
    shmcore_allocate(segment, "large", BLOCK);
    return NULL;
}

/* Tells the pid of a child of its own, which lives until it is killed. */
static void forks_in_between(const struct peer *test)
{
    pthread_t thread;
    shmcore_statistics statistics = {0};
    const shmcore_traits traits = traits_here(GIB);
    shmcore_segment *segment = shmcore_open(NODE, &traits);
    REQUIRE(segment != NULL && pthread_create(&thread, NULL, fill_a_block, segment) == 0);
    while (statistics.blocks == 0)
        REQUIRE(shmcore_stat(segment, &statistics) == 0);
    const pid_t child = fork();
    if (child == 0) {
        alarm(100);
        tell(test, (uint64_t)getpid()); /* it has its row */
        pause();
    }
    pause();
}

static void a_block_of_nobody_is_freed(void **state)
{
    (void)state;
    const struct peer peer = start_peer(forks_in_between);
    const pid_t orphan = (pid_t)hear(&peer);
    kill_peer(&peer);
    shmcore_segment *segment = open_here(NODE, GIB);
    void *block = allocate(segment, "large", BLOCK);
    assert_true(is_filled_with(block, 0, BLOCK));
    assert_int_equal(shmcore_deallocate(segment, block), 0);
    kill(orphan, SIGKILL);
    assert_int_equal(waitpid(orphan, NULL, 0), orphan);
    assert_int_equal(shmcore_close(segment), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        API_TEST(a_block_of_nobody_is_freed),
    };
    if (make_test_directory("unfinished") != 0 || prctl(PR_SET_CHILD_SUBREAPER, 1) != 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, remove_test_directory);
}
