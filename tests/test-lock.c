/* SPDX-License-Identifier: MIT
 *
 * core/lock: what a second process is told when the holder lives, dies, is stopped, or has left a wreck.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "child.h"
#include "os.h"
#include "plain.h"

static struct plain plain;

/* Words that transactions change: of the pool's bitmap, which nobody else uses here. */
static uint64_t *words(void)
{
    return plain.view.region_free;
}

static struct guarded guarded(void)
{
    return plain_shard(&plain, 0);
}

static int make(void **state)
{
    (void)state;
    return plain_make(&plain, MEBI) ? 0 : -1;
}

static int unmake(void **state)
{
    (void)state;
    plain_unmake(&plain);
    return 0;
}

/* Begins a transaction and is killed, or stopped, in the middle of it. */
static int holder(struct child *self, void *argument)
{
    (void)argument;
    const struct guarded held = guarded();
    if (lock_acquire(&held, LOCK_PATIENCE) != LOCK_OK)
        return 1;
    struct transaction transaction = transaction_begin(&held);
    UNDO_SET(&transaction, &words()[0], 111);
    UNDO_SET(&transaction, &words()[1], 222);
    UNDO_SET(&transaction, &words()[0], 333);
    child_say(self, 'h');
    child_hear(self);
    const bool committed = transaction_end(&held, &transaction);
    lock_release(&held);
    return committed ? 0 : 2;
}

static struct child start_holder(void)
{
    struct child child = child_start(holder, NULL);
    assert_int_equal(child_hear(&child), 'h');
    return child;
}

static void kill_a_holder(void)
{
    struct child child = start_holder();
    child_kill(&child);
}

static void taken_and_given(void **state)
{
    (void)state;
    const struct guarded mine = guarded();
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(lock_acquire(&mine, LOCK_PATIENCE), LOCK_OK);
        lock_release(&mine);
    }
    struct child child = start_holder();
    child_say(&child, 'g');
    assert_int_equal(child_end(&child), 0);
    assert_int_equal(lock_acquire(&mine, LOCK_PATIENCE), LOCK_OK);
    assert_int_equal(words()[0], 333);
    lock_release(&mine);
}

static void not_twice_in_one_thread(void **state)
{
    (void)state;
    const struct guarded mine = guarded();
    assert_int_equal(lock_acquire(&mine, LOCK_PATIENCE), LOCK_OK);
    assert_int_equal(lock_acquire(&mine, LOCK_PATIENCE), LOCK_BUSY);
    lock_release(&mine);
    assert_int_equal(lock_acquire(&mine, LOCK_PATIENCE), LOCK_OK);
    lock_release(&mine);
}

static void check_recovered(void)
{
    const struct guarded mine = guarded();
    assert_int_equal(lock_acquire(&mine, LOCK_PATIENCE), LOCK_RECOVERED);
    assert_int_equal(words()[0], 10);
    assert_int_equal(words()[1], 20);
    assert_int_equal(mine.undo->count, 0);
    assert_int_equal(atomic_load(mine.sequence) % 2, 0);
}

static void killed_in_a_transaction(void **state)
{
    (void)state;
    const struct guarded mine = guarded();
    words()[0] = 10;
    words()[1] = 20;
    kill_a_holder();
    assert_int_equal(words()[0], 333); /* so there is something to take back */
    assert_int_equal(atomic_load(mine.sequence) % 2, 1);
    check_recovered();
    assert_true(lock_settle(&mine, true));
    lock_release(&mine);
    assert_int_equal(lock_acquire(&mine, LOCK_PATIENCE), LOCK_OK);
    lock_release(&mine);
}

static int recoverer(struct child *self, void *argument)
{
    (void)argument;
    const struct guarded mine = guarded();
    const enum lock_result result = lock_acquire(&mine, LOCK_PATIENCE);
    child_say(self, result == LOCK_RECOVERED ? 'r' : '?');
    child_hear(self); /* has not settled: the repair is not finished */
    return 0;
}

static void killed_in_a_recovery(void **state)
{
    (void)state;
    const struct guarded mine = guarded();
    words()[0] = 10;
    words()[1] = 20;
    kill_a_holder();
    for (int i = 0; i < 3; i++) {
        struct child child = child_start(recoverer, NULL);
        assert_int_equal(child_hear(&child), 'r');
        child_kill(&child);
    }
    check_recovered();
    assert_true(lock_settle(&mine, true));
    lock_release(&mine);
    assert_int_equal(lock_acquire(&mine, LOCK_PATIENCE), LOCK_OK);
    lock_release(&mine);
}

static int waiter(struct child *self, void *argument)
{
    (void)argument;
    const struct guarded mine = guarded();
    child_say(self, 'w');
    if (lock_acquire(&mine, LOCK_PATIENCE) != LOCK_RECOVERED)
        return 1;
    lock_settle(&mine, words()[0] == 10 && words()[1] == 20);
    lock_release(&mine);
    return 0;
}

/* The death of a holder wakes the one who waits for him. */
static void killed_while_another_waits(void **state)
{
    (void)state;
    words()[0] = 10;
    words()[1] = 20;
    struct child first = start_holder();
    struct child second = child_start(waiter, NULL);
    assert_int_equal(child_hear(&second), 'w');
    child_kill(&first);
    assert_int_equal(child_end(&second), 0);
    const struct guarded mine = guarded();
    assert_int_equal(lock_acquire(&mine, LOCK_PATIENCE), LOCK_OK);
    lock_release(&mine);
}

static void stopped_holder(void **state)
{
    (void)state;
    const struct guarded mine = guarded();
    struct child child = start_holder();
    child_stop(&child);
    const uint64_t start = os_clock();
    assert_int_equal(lock_acquire(&mine, LOCK_PATIENCE), LOCK_OVERDUE);
    assert_true(os_clock() - start >= LOCK_PATIENCE);
    kill(child.pid, SIGCONT);
    child_say(&child, 'g');
    assert_int_equal(child_end(&child), 0);
    assert_int_equal(lock_acquire(&mine, LOCK_PATIENCE), LOCK_OK);
    assert_int_equal(words()[0], 333);
    assert_int_equal(words()[1], 222);
    lock_release(&mine);
}

static void nobody_enters_a_poisoned_one(const struct guarded *mine)
{
    assert_int_equal(atomic_load(mine->poisoned), 1);
    assert_int_equal(lock_acquire(mine, LOCK_PATIENCE), LOCK_POISONED);
    atomic_store(mine->poisoned, 0); /* nor when a stray write takes the flag away: the mutex knows too */
    assert_int_equal(lock_acquire(mine, LOCK_PATIENCE), LOCK_POISONED);
    const enum lock_result again = lock_acquire(mine, 0); /* glibc's trylock may now say "locked" */
    assert_true(again == LOCK_POISONED || again == LOCK_OVERDUE || again == LOCK_BUSY);
}

static void poisoned(void **state)
{
    (void)state;
    const struct guarded mine = guarded();
    kill_a_holder();
    assert_int_equal(lock_acquire(&mine, LOCK_PATIENCE), LOCK_RECOVERED);
    assert_false(lock_settle(&mine, false));
    nobody_enters_a_poisoned_one(&mine);
}

static void damaged_log(void **state)
{
    (void)state;
    const struct guarded mine = guarded();
    words()[0] = 10;
    kill_a_holder();
    mine.undo->entry[1].offset = MEBI;
    assert_int_equal(lock_acquire(&mine, LOCK_PATIENCE), LOCK_POISONED);
    assert_int_equal(words()[0], 333); /* not one word was taken back */
    nobody_enters_a_poisoned_one(&mine);
}

static void log_of_nobody(void **state)
{
    (void)state;
    const struct guarded mine = guarded();
    struct transaction transaction = {.base = mine.base, .log = mine.undo};
    UNDO_SET(&transaction, words(), 10);
    assert_int_equal(lock_acquire(&mine, LOCK_PATIENCE), LOCK_POISONED);
    nobody_enters_a_poisoned_one(&mine);
    assert_int_equal(words()[0], 10); /* and what it says was not believed */
}

static void scribbled_kind(void **state)
{
    (void)state;
    const struct guarded mine = guarded();
    static const int32_t kinds[] = {0, 1, 2, 0x7fffffff, -1, 0x20, 0x90};
    int32_t kept;
    memcpy(&kept, mine.lock->opaque + 16, sizeof kept);
    assert_int_not_equal(kept, 0);
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        memcpy(mine.lock->opaque + 16, &kinds[i], sizeof kinds[i]);
        assert_int_equal(lock_acquire(&mine, LOCK_PATIENCE), LOCK_BUSY);
    }
    memset(mine.lock->opaque, 0, sizeof mine.lock->opaque);
    assert_int_equal(lock_acquire(&mine, LOCK_PATIENCE), LOCK_BUSY);
    memset(mine.lock->opaque, 0xff, sizeof mine.lock->opaque);
    assert_int_equal(lock_acquire(&mine, LOCK_PATIENCE), LOCK_BUSY);
}

/* A lock word that names a holder who does not exist. */
static void scribbled_holder(void **state)
{
    (void)state;
    const struct guarded mine = guarded();
    const int32_t nobody = 0x3ffffff0; /* beyond every pid; glibc's word holds the holder's */
    memcpy(mine.lock->opaque, &nobody, sizeof nobody);
    assert_int_equal(lock_acquire(&mine, LOCK_PATIENCE), LOCK_OVERDUE);
}

#define ROUNDS    5000u
#define PROCESSES 4
#define THREADS   2

static void *count_up(void *argument)
{
    bool *failed = argument;
    const struct guarded mine = guarded();
    for (unsigned i = 0; i < ROUNDS; i++) {
        enum lock_result result = lock_acquire(&mine, LOCK_PATIENCE);
        if (result == LOCK_OVERDUE) { /* a crowded machine: not what is tested here */
            i--;
            continue;
        }
        struct transaction transaction = transaction_begin(&mine);
        UNDO_SET(&transaction, &words()[0], words()[0] + 1);
        UNDO_SET(&transaction, &words()[1], words()[1] + 2);
        *failed |= result != LOCK_OK || !transaction_end(&mine, &transaction);
        lock_release(&mine);
    }
    return NULL;
}

static int counter(struct child *self, void *argument)
{
    (void)argument;
    pthread_t thread[THREADS];
    bool failed[THREADS] = {false};
    child_hear(self);
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&thread[i], NULL, count_up, &failed[i]) != 0)
            return 1;
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    return failed[0] || failed[1];
}

static void many_at_once(void **state)
{
    (void)state;
    struct child child[PROCESSES];
    words()[0] = words()[1] = 0;
    for (int i = 0; i < PROCESSES; i++)
        child[i] = child_start(counter, NULL);
    for (int i = 0; i < PROCESSES; i++)
        child_say(&child[i], 'g');
    for (int i = 0; i < PROCESSES; i++)
        assert_int_equal(child_end(&child[i]), 0);
    assert_int_equal(words()[0], PROCESSES * THREADS * ROUNDS);
    assert_int_equal(words()[1], 2 * PROCESSES * THREADS * ROUNDS);
    assert_int_equal(atomic_load(guarded().sequence) % 2, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, unmake)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(taken_and_given),
        TEST(not_twice_in_one_thread),
        TEST(killed_in_a_transaction),
        TEST(killed_in_a_recovery),
        TEST(killed_while_another_waits),
        TEST(stopped_holder),
        TEST(poisoned),
        TEST(damaged_log),
        TEST(log_of_nobody),
        TEST(scribbled_kind),
        TEST(scribbled_holder),
        TEST(many_at_once),
    };
    return cmocka_run_group_tests_name("lock", tests, NULL, NULL);
}
