/* SPDX-License-Identifier: MIT
 *
 * core/file_lock: who waits for the lock of a file gets it, whatever becomes of the file meanwhile, and is
 * woken where there is a header to sleep on.
 */
#include "file_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "child.h"
#include "os.h"

#define PATIENCE UINT64_C(60000000000)

static char path[64];
static int descriptor;
static struct header *header;

/* With a descriptor of its own: locks belong to the opening. */
static int wait_for_it(struct child *self, void *argument)
{
    (void)argument;
    const int own = open(path, O_RDWR | O_CLOEXEC);
    if (own < 0 || file_lock(own, 0) != -EBUSY)
        return 1;
    child_say(self, 'b');
    if (file_lock(own, PATIENCE) != 0)
        return 2;
    child_say(self, 'l');
    child_hear(self);
    os_unlock_file(own);
    return 0;
}

/* Which system call it sleeps in; -1: it runs. */
static long call_of(pid_t process)
{
    char name[64], text[256];
    snprintf(name, sizeof name, "/proc/%d/syscall", (int)process);
    FILE *file = fopen(name, "r");
    long number = -1;
    if (file != NULL && fgets(text, sizeof text, file) != NULL && text[0] >= '0' && text[0] <= '9')
        number = atol(text);
    if (file != NULL)
        fclose(file);
    return number;
}

static void await_sleep(const struct child *child, long call)
{
    while (call_of(child->pid) != call)
        sched_yield();
}

static struct child waiter(void)
{
    struct child child = child_start(wait_for_it, NULL);
    assert_int_equal(child_hear(&child), 'b');
    return child;
}

static void has_it(struct child *child)
{
    assert_int_equal(child_hear(child), 'l');
    assert_int_equal(file_lock(descriptor, 0), -EBUSY);
    child_say(child, 'g');
    assert_int_equal(child_end(child), 0);
}

/* A sleeper looks up from time to time by himself, so he may be awake just then: but not each time. */
static void is_woken(void **state)
{
    (void)state;
    bool woken = false;
    for (unsigned i = 0; i < 100 && !woken; i++) {
        assert_int_equal(file_lock(descriptor, 0), 0);
        struct child child = waiter();
        await_sleep(&child, SYS_futex);
        woken = file_unlock(descriptor, header);
        has_it(&child);
    }
    assert_true(woken);
}

/* Also from those who wake nobody. */
static void all_get_it(void **state)
{
    (void)state;
    struct child child[3];
    const uint32_t before = header->unlocks;
    assert_int_equal(file_lock(descriptor, 0), 0);
    for (unsigned i = 0; i < 3; i++)
        child[i] = waiter();
    file_unlock(descriptor, header);
    for (unsigned i = 0; i < 3; i++)
        child_say(&child[i], 'g');
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(child_hear(&child[i]), 'l');
        assert_int_equal(child_end(&child[i]), 0);
    }
    assert_int_equal(header->unlocks, before + 1);
}

/* Who dies with the lock, or does not know the header, wakes nobody. */
static void nobody_wakes(void **state)
{
    (void)state;
    assert_int_equal(file_lock(descriptor, 0), 0);
    struct child child = waiter();
    await_sleep(&child, SYS_futex);
    assert_false(file_unlock(descriptor, NULL));
    has_it(&child);
}

static void not_born(void **state)
{
    (void)state;
    assert_int_equal(ftruncate(descriptor, 0), 0);
    assert_int_equal(file_lock(descriptor, 0), 0);
    struct child child = waiter();
    await_sleep(&child, SYS_clock_nanosleep);
    assert_false(file_unlock(descriptor, NULL));
    has_it(&child);
}

/* What would be SIGBUS for whoever looks at it through memory. */
static void cut_meanwhile(void **state)
{
    (void)state;
    assert_int_equal(file_lock(descriptor, 0), 0);
    struct child child = waiter();
    await_sleep(&child, SYS_futex);
    assert_int_equal(ftruncate(descriptor, 0), 0);
    await_sleep(&child, SYS_clock_nanosleep);
    assert_int_equal(ftruncate(descriptor, sizeof *header), 0);
    await_sleep(&child, SYS_futex);
    file_unlock(descriptor, header);
    has_it(&child);
}

static void patience_ends(void **state)
{
    (void)state;
    const int own = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(file_lock(descriptor, 0), 0);
    assert_int_equal(file_lock(own, 1), -EBUSY);
    assert_int_equal(file_lock(own, 20000000), -EBUSY);
    file_unlock(descriptor, header);
    assert_int_equal(file_lock(own, 0), 0);
    assert_int_equal(file_lock(-1, PATIENCE), -EBADF);
    close(own);
}

static int make(void **state)
{
    (void)state;
    strcpy(path, "/dev/shm/file-lock-XXXXXX");
    descriptor = mkostemp(path, O_CLOEXEC);
    if (descriptor < 0 || ftruncate(descriptor, sizeof *header) != 0)
        return -1;
    header = mmap(NULL, sizeof *header, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    return header == MAP_FAILED ? -1 : 0;
}

static int unmake(void **state)
{
    (void)state;
    munmap(header, sizeof *header);
    close(descriptor);
    return unlink(path);
}

static int tell_time(void **state)
{
    (void)state;
    alarm(100); /* one that hangs ends here */
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, unmake)

int main(void)
{
    if (access("/proc/self/syscall", R_OK) != 0) {
        print_message("skipped: the kernel does not say in which system call a process is\n");
        return 77;
    }
    const struct CMUnitTest tests[] = {
        TEST(is_woken), TEST(all_get_it),    TEST(nobody_wakes),
        TEST(not_born), TEST(cut_meanwhile), TEST(patience_ends),
    };
    return cmocka_run_group_tests(tests, tell_time, NULL);
}
