/* SPDX-License-Identifier: MIT
 *
 * core/process: rows, and who counts as dead: with real processes that live, are killed, call exec, lose
 * their first thread, or cannot be looked at.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.h"
#include "os.h"
#include "plain.h"
#include "process.h"

static struct plain plain;

static int make(void **state)
{
    (void)state;
    return plain_make(&plain, 8 * MEBI) ? 0 : -1;
}

static int unmake(void **state)
{
    (void)state;
    plain_unmake(&plain);
    return 0;
}

static uint32_t take(const struct process_identity *identity, enum row_state state)
{
    struct transaction transaction = PLAIN_TRANSACTION(&plain);
    return process_take_row(&plain.view, &transaction, identity, state);
}

static void set_state(uint32_t row, enum row_state state)
{
    struct transaction transaction = PLAIN_TRANSACTION(&plain);
    process_set_state(&plain.view, &transaction, row, state);
}

static bool is_dead(uint32_t row)
{
    return process_is_dead(&plain.view, row, plain.device, plain.inode);
}

static struct process_identity identity_of(pid_t pid)
{
    bool ended;
    struct process_identity identity = {.pid = pid, .nonce = os_random()};
    assert_int_equal(os_process_start(pid, &identity.start_time, &ended), 0);
    return identity;
}

static uint32_t row_of(const struct child *child)
{
    const struct process_identity identity = identity_of(child->pid);
    const uint32_t row = take(&identity, ROW_ALIVE);
    assert_true(row < plain.view.row_count);
    return row;
}

static int sit_still(struct child *self, void *argument)
{
    (void)argument;
    child_say(self, 'h');
    child_hear(self);
    return 0;
}

static struct child start_sitting(void)
{
    struct child child = child_start(sit_still, NULL);
    assert_int_equal(child_hear(&child), 'h');
    return child;
}

/* ---------------------------------------------------------------- rows */

static void identities(void **state)
{
    (void)state;
    const struct process_identity first = process_identify(), second = process_identify();
    assert_int_equal(first.pid, getpid());
    assert_int_equal(first.pid, second.pid);
    assert_int_equal(first.start_time, second.start_time);
    assert_true(first.start_time > 0);
    assert_true(first.nonce != second.nonce);
}

static void rows_are_taken_and_reused(void **state)
{
    (void)state;
    const struct process_identity self = process_identify();
    const uint32_t rows = plain.view.row_count;
    for (uint32_t row = 0; row < rows; row++) {
        assert_int_equal(process_count(&plain.view), row);
        assert_int_equal(take(&self, ROW_ALIVE), row);
        assert_int_equal(process_rows_used(&plain.view), row + 1);
    }
    assert_int_equal(take(&self, ROW_ALIVE), ROW_NONE);
    set_state(5, ROW_FREE);
    set_state(rows - 1, ROW_REAPING);
    assert_int_equal(process_count(&plain.view), rows - 2);
    assert_int_equal(take(&self, ROW_FORKING), 5);
    assert_int_equal(process_state(&plain.view, 5), ROW_FORKING);
    assert_int_equal(take(&self, ROW_ALIVE), ROW_NONE);
    plain.view.pool->rows_used = UINT32_MAX; /* what lies in the file is bounded */
    assert_int_equal(process_rows_used(&plain.view), rows);
}

static void row_says_who(void **state)
{
    (void)state;
    char command[16];
    const struct process_identity self = process_identify();
    const uint64_t start = os_clock();
    const struct process_row *row = &plain.view.rows[take(&self, ROW_ALIVE)];
    os_command(command);
    assert_int_equal(row->pid, self.pid);
    assert_int_equal(row->start_time, self.start_time);
    assert_int_equal(row->nonce, self.nonce);
    assert_int_equal(row->parent, 0);
    assert_memory_equal(row->command, command, sizeof command);
    assert_true(row->since >= start && row->since <= os_clock());
}

static void abandoned_steps(void **state)
{
    (void)state;
    const struct guarded guarded = plain_pool(&plain);
    const struct process_identity self = process_identify();
    assert_int_equal(take(&self, ROW_ALIVE), 0);
    struct transaction transaction = transaction_begin(&guarded);
    process_set_state(&plain.view, &transaction, 0, ROW_EXITING);
    assert_int_equal(process_take_row(&plain.view, &transaction, &self, ROW_ALIVE), 1);
    transaction_abandon(&guarded, &transaction);
    assert_int_equal(process_state(&plain.view, 0), ROW_ALIVE);
    assert_int_equal(process_state(&plain.view, 1), ROW_FREE);
    assert_int_equal(process_rows_used(&plain.view), 1);
    assert_int_equal(plain.view.rows[1].pid, 0);
}

static void former_self(void **state)
{
    (void)state;
    const struct process_identity before = process_identify(), after = process_identify();
    const uint32_t row = take(&before, ROW_ALIVE);
    assert_true(process_is_former_self(&plain.view, row, &after));
    assert_false(process_is_former_self(&plain.view, row, &before));
    struct process_identity other = after;
    other.start_time++;
    assert_false(process_is_former_self(&plain.view, row, &other));
    other = after;
    other.pid++;
    assert_false(process_is_former_self(&plain.view, row, &other));
    set_state(row, ROW_EXITING);
    assert_true(process_is_former_self(&plain.view, row, &after));
    set_state(row, ROW_FORKING);
    assert_false(process_is_former_self(&plain.view, row, &after));
    set_state(row, ROW_FREE);
    assert_false(process_is_former_self(&plain.view, row, &after));
}

/* ---------------------------------------------------------------- who is dead */

static void living(void **state)
{
    (void)state;
    struct child child = start_sitting();
    const uint32_t row = row_of(&child);
    assert_false(is_dead(row));
    set_state(row, ROW_EXITING);
    assert_false(is_dead(row));
    const struct process_identity self = process_identify();
    assert_false(is_dead(take(&self, ROW_ALIVE)));
    child_kill(&child);
}

static void killed(void **state)
{
    (void)state;
    struct child child = start_sitting();
    const uint32_t row = row_of(&child);
    kill(child.pid, SIGKILL);
    child_await(&child);
    assert_true(is_dead(row)); /* a zombie: nobody has waited for it */
    set_state(row, ROW_EXITING);
    assert_true(is_dead(row));
    child_end(&child);
    assert_true(is_dead(row)); /* no such process */
}

static void stopped(void **state)
{
    (void)state;
    struct child child = start_sitting();
    const uint32_t row = row_of(&child);
    child_stop(&child);
    assert_false(is_dead(row));
    child_kill(&child);
}

static void another_of_the_same_number(void **state)
{
    (void)state;
    struct child child = start_sitting();
    struct process_identity identity = identity_of(child.pid);
    identity.start_time--;
    assert_true(is_dead(take(&identity, ROW_ALIVE)));
    identity.start_time = 0; /* unknown */
    assert_false(is_dead(take(&identity, ROW_ALIVE)));
    child_kill(&child);
}

static int call_exec(struct child *self, void *argument)
{
    (void)argument;
    int input[2]; /* whose end nobody writes to: the program waits until it is killed */
    child_say(self, 'h');
    child_hear(self);
    if (pipe(input) != 0 || dup2(input[0], STDIN_FILENO) < 0)
        return 1;
    execl("/bin/cat", "cat", (char *)NULL);
    return 1;
}

static void gone_by_exec(void **state)
{
    (void)state;
    struct child child = child_start(call_exec, NULL);
    assert_int_equal(child_hear(&child), 'h');
    const uint32_t row = row_of(&child);
    assert_false(is_dead(row));
    child_say(&child, 'g');
    assert_int_equal(child_hear(&child), '\0'); /* exec closes the link, after the old memory is gone */
    assert_int_equal(kill(child.pid, 0), 0);
    assert_true(is_dead(row));
    child_kill(&child);
}

static int unmap_it(struct child *self, void *argument)
{
    (void)argument;
    plain_unmake(&plain);
    return sit_still(self, NULL);
}

static void maps_it_no_more(void **state)
{
    (void)state;
    struct child child = child_start(unmap_it, NULL);
    assert_int_equal(child_hear(&child), 'h');
    assert_true(is_dead(row_of(&child)));
    child_kill(&child);
}

static void *outlive_the_first(void *argument)
{
    sit_still(argument, NULL);
    _exit(0);
}

static int lose_first_thread(struct child *self, void *argument)
{
    (void)argument;
    pthread_t thread;
    static struct child kept; /* the first thread's stack is not to be relied on */
    kept = *self;
    if (pthread_create(&thread, NULL, outlive_the_first, &kept) != 0)
        return 1;
    pthread_exit(NULL);
}

static char state_of(pid_t pid)
{
    char path[64], text[512] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    const int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    const ssize_t got = read(descriptor, text, sizeof text - 1);
    close(descriptor);
    assert_true(got > 0);
    return *(strrchr(text, ')') + 2);
}

static void first_thread_gone(void **state)
{
    (void)state;
    struct child child = child_start(lose_first_thread, NULL);
    assert_int_equal(child_hear(&child), 'h');
    while (state_of(child.pid) != 'Z') /* the kernel tells nobody */
        sched_yield();
    const uint32_t row = row_of(&child);
    assert_false(is_dead(row));
    child_say(&child, 'g');
    child_await(&child);
    assert_true(is_dead(row));
    assert_int_equal(child_end(&child), 0);
}

static int look_as_nobody(struct child *self, void *argument)
{
    const uint32_t *row = argument;
    (void)self;
    if (setresgid(65534, 65534, 65534) != 0 || setresuid(65534, 65534, 65534) != 0)
        return 2;
    if (os_process_maps(plain.view.rows[*row].pid, plain.device, plain.inode) != -EACCES)
        return 3;
    return is_dead(*row) ? 1 : 0;
}

static void cannot_be_looked_at(void **state)
{
    (void)state;
    if (geteuid() != 0)
        SKIP("only root can become another user");
    const struct process_identity self = process_identify();
    uint32_t row = take(&self, ROW_ALIVE);
    struct child child = child_start(look_as_nobody, &row);
    assert_int_equal(child_end(&child), 0);
}

static void promised_children(void **state)
{
    (void)state;
    const struct process_identity nobody = {.nonce = 5};
    const uint32_t row = take(&nobody, ROW_FORKING);
    struct process_row *entry = &plain.view.rows[row];
    assert_false(is_dead(row));
    entry->since = os_clock() + FORKING_PATIENCE; /* a clock that went back */
    assert_false(is_dead(row));
    entry->since = os_clock() - FORKING_PATIENCE - 1;
    assert_true(is_dead(row));
}

static void reapers(void **state)
{
    (void)state;
    struct child child = start_sitting();
    const struct process_identity dead = {.pid = child.pid}, reaper = identity_of(child.pid);
    const uint32_t row = take(&dead, ROW_REAPING);
    plain.view.rows[row].reaper = reaper.pid;
    plain.view.rows[row].reaper_start = reaper.start_time;
    assert_false(is_dead(row)); /* somebody is at it */
    plain.view.rows[row].reaper_start--;
    assert_true(is_dead(row));
    plain.view.rows[row].reaper_start++;
    kill(child.pid, SIGKILL);
    child_await(&child);
    assert_true(is_dead(row)); /* a zombie reaps nobody */
    child_end(&child);
    assert_true(is_dead(row));
    plain.view.rows[row].reaper = getpid(); /* what this process has left undone it may go on with */
    plain.view.rows[row].reaper_start = identity_of(getpid()).start_time;
    assert_true(is_dead(row));
}

static void pinned_by_children(void **state)
{
    (void)state;
    const struct process_identity self = process_identify();
    const uint32_t parent = take(&self, ROW_PINNED), child = take(&self, ROW_ALIVE);
    assert_true(is_dead(parent));
    plain.view.rows[child].parent = parent + 1;
    assert_true(process_has_children(&plain.view, parent));
    assert_false(process_has_children(&plain.view, child));
    assert_false(is_dead(parent));
    set_state(child, ROW_PINNED);
    assert_false(is_dead(parent));
    set_state(child, ROW_FREE);
    assert_true(is_dead(parent));
}

static void free_rows(void **state)
{
    (void)state;
    assert_false(is_dead(0));
    const struct process_identity self = process_identify();
    const uint32_t row = take(&self, ROW_ALIVE);
    set_state(row, ROW_FREE);
    assert_false(is_dead(row));
    set_state(row, (enum row_state)77);
    assert_false(is_dead(row));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, unmake)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(identities),
        TEST(rows_are_taken_and_reused),
        TEST(row_says_who),
        TEST(abandoned_steps),
        TEST(former_self),
        TEST(living),
        TEST(killed),
        TEST(stopped),
        TEST(another_of_the_same_number),
        TEST(gone_by_exec),
        TEST(maps_it_no_more),
        TEST(first_thread_gone),
        TEST(cannot_be_looked_at),
        TEST(promised_children),
        TEST(reapers),
        TEST(pinned_by_children),
        TEST(free_rows),
    };
    return cmocka_run_group_tests_name("process", tests, NULL, NULL);
}
