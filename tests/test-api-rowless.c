/* SPDX-License-Identifier: MIT
 *
 * The process table and those who fork. A child for which it has no room has no part in the segment, is told
 * so, and neither crashes nor damages anything, whatever it tries. A line of daemons does not fill it.
 */
#include "test-api.h"

/* A segment of the least size has a table this long. */
enum { ROWS = 64 };

static char *held;

static void expect_refusals(shmcore_segment *segment)
{
    errno = 0;
    REQUIRE(shmcore_allocate(segment, "another", 100) == NULL && errno == EUSERS);
    errno = 0;
    REQUIRE(shmcore_allocate(segment, "held", 100) == NULL && errno == EUSERS);
    errno = 0;
    REQUIRE(shmcore_deallocate(segment, held) == -1 && errno == EUSERS);
    REQUIRE(shmcore_find(segment, "held", NULL) == held && strcmp(held, "parent") == 0);
}

/* In a child of the test; returns in none of its processes. */
static void live_without_row(shmcore_segment *segment, bool closes)
{
    int status = -1;
    expect_refusals(segment);
    const pid_t grandchild = fork();
    if (grandchild == 0) {
        expect_refusals(segment);
        exit(0);
    }
    REQUIRE(waitpid(grandchild, &status, 0) == grandchild && status == 0);
    REQUIRE(!closes || shmcore_close(segment) == 0);
    exit(0); /* with all that is done at a normal end */
}

static void a_child_without_a_row(void **state)
{
    (void)state;
    int ends[2], status;
    char nothing;
    shmcore_segment *segment = open_here(NODE, MIB);
    held = allocate(segment, "held", 100);
    strcpy(held, "parent");
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pid_t child[ROWS - 1];
    for (int i = 0; i < ROWS - 1; i++) { /* the parent has one itself */
        child[i] = fork();
        if (child[i] == 0) {
            close(ends[1]);
            _exit(read(ends[0], &nothing, 1) == 0 ? 0 : 1);
        }
    }
    for (int closes = 0; closes < 2; closes++) {
        const pid_t without = fork();
        if (without == 0)
            live_without_row(segment, closes == 1);
        assert_int_equal(waitpid(without, &status, 0), without);
        assert_int_equal(status, 0);
    }
    close(ends[1]);
    for (int i = 0; i < ROWS - 1; i++) {
        assert_int_equal(waitpid(child[i], &status, 0), child[i]);
        assert_int_equal(status, 0);
    }
    close(ends[0]);
    assert_string_equal(held, "parent");
    assert_int_equal(block_at(held).refs, ROWS);
    assert_int_equal(shmcore_deallocate(segment, held), 0);
    assert_int_equal(shmcore_close(segment), 0);
}

/* Each forks the next and ends. A dead row hands its children on to its own parent, or so long a line would
 * fill the table. */
static void a_line_of_daemons(void **state)
{
    (void)state;
    int ends[2], status = -1;
    char answer = 0;
    shmcore_segment *segment = open_here(NODE, MIB);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    fflush(NULL);
    const pid_t first = fork();
    if (first == 0) {
        for (int generation = 0; generation < 3 * ROWS; generation++) {
            const pid_t next = fork();
            if (next != 0)
                _exit(next > 0 ? 0 : 1);
        }
        answer = shmcore_allocate(segment, "last", 100) != NULL ? 'y' : 'n';
        _exit(write(ends[1], &answer, 1) == 1 ? 0 : 1);
    }
    close(ends[1]);
    assert_int_equal(waitpid(first, &status, 0), first);
    assert_int_equal(status, 0);
    assert_int_equal(read(ends[0], &answer, 1), 1);
    assert_int_equal(answer, 'y');
    assert_int_equal(read(ends[0], &answer, 1), 0); /* the last one has ended */
    close(ends[0]);
    shmcore_close(segment);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        API_TEST(a_child_without_a_row),
        API_TEST(a_line_of_daemons),
    };
    if (make_test_directory("rowless") != 0)
        return 1;
    const int failed = cmocka_run_group_tests(tests, NULL, remove_test_directory);
    return failed;
}
