/* SPDX-License-Identifier: MIT
 *
 * core/os: files and memory as the contract has it. What is read from /proc: test-os-process.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "child.h"
#include "os.h"

static char directory[] = "/tmp/test-os-XXXXXX";
static char path[128];

static int enter(void **state)
{
    (void)state;
    if (mkdtemp(directory) == NULL)
        return -1;
    snprintf(path, sizeof path, "%s/file", directory);
    return 0;
}

static int leave(void **state)
{
    (void)state;
    return rmdir(directory);
}

static int clear(void **state)
{
    (void)state;
    unlink(path);
    errno = 0;
    return 0;
}

/* ---------------------------------------------------------------- descriptors */

static int open_without_standard_ones(struct child *self, void *argument)
{
    (void)self, (void)argument;
    struct stat status;
    for (int closed = 1; closed < 8; closed++) { /* every choice of the three */
        for (int d = 0; d < 3; d++)
            if ((closed >> d & 1) != 0)
                close(d);
        const int descriptor = os_open_file(path, OS_CREATE);
        if (descriptor < 3 || (fcntl(descriptor, F_GETFD) & FD_CLOEXEC) == 0)
            return 1;
        for (int d = 0; d < 3; d++)
            if ((closed >> d & 1) != 0 && fstat(d, &status) == 0)
                return 2; /* something was left there */
        os_close(descriptor);
        for (int d = 0; d < 3; d++)
            if ((closed >> d & 1) != 0 && open("/dev/null", O_RDWR) < 0)
                return 3;
    }
    return 0;
}

static void never_a_standard_descriptor(void **state)
{
    (void)state;
    struct child child = child_start(open_without_standard_ones, NULL);
    assert_int_equal(child_end(&child), 0);
}

static int open_without_any(struct child *self, void *argument)
{
    (void)self, (void)argument;
    const struct rlimit few = {.rlim_cur = 3, .rlim_max = 3};
    struct stat status;
    close(STDOUT_FILENO);
    if (setrlimit(RLIMIT_NOFILE, &few) != 0)
        return 1;
    errno = 4711;
    const int got = os_open_file(path, OS_CREATE); /* only descriptor 1 is left, and that is not taken */
    if ((got != -EMFILE && got != -EINVAL) || errno != 4711)
        return 2;
    return fstat(STDOUT_FILENO, &status) == 0 ? 3 : 0;
}

static void no_descriptor_left(void **state)
{
    (void)state;
    struct child child = child_start(open_without_any, NULL);
    assert_int_equal(child_end(&child), 0);
}

static void opened(void **state)
{
    (void)state;
    struct os_file file, named;
    assert_int_equal(os_open_file(path, OS_READ), -ENOENT);
    assert_int_equal(os_open_file(path, OS_WRITE), -ENOENT);
    assert_int_equal(os_stat_path(path, &file), -ENOENT);
    const mode_t kept = umask(0);
    int descriptor = os_open_file(path, OS_CREATE);
    umask(kept);
    assert_true(descriptor > STDERR_FILENO);
    assert_int_equal(os_stat_file(descriptor, &file), 0);
    assert_true(file.regular);
    assert_int_equal(file.mode, 0600);
    assert_int_equal(file.uid, geteuid());
    assert_int_equal(file.links, 1);
    assert_int_equal(file.bytes, 0);
    assert_int_equal(os_write_at(descriptor, "abc", 3, 5), 0);
    os_close(descriptor);
    descriptor = os_open_file(path, OS_CREATE); /* what is there stays */
    char text[16];
    assert_int_equal(os_read_at(descriptor, text, sizeof text, 4), 4);
    assert_memory_equal(text, "\0abc", 4);
    assert_int_equal(os_resize(descriptor, 6), 0);
    assert_int_equal(os_read_at(descriptor, text, sizeof text, 6), 0);
    os_close(descriptor);
    descriptor = os_open_file(path, OS_READ);
    assert_int_equal(os_write_at(descriptor, "x", 1, 0), -EBADF);
    assert_int_equal(os_stat_path(path, &named), 0);
    assert_int_equal(named.inode, file.inode);
    assert_int_equal(named.device, file.device);
    os_close(descriptor);
    assert_int_equal(os_unlink(path), 0);
    assert_int_equal(os_unlink(path), -ENOENT);
    assert_int_equal(errno, 0); /* none of these has touched it */
}

static void not_followed_not_waited_for(void **state)
{
    (void)state;
    struct os_file file;
    assert_int_equal(symlink("/dev/null", path), 0);
    assert_int_equal(os_open_file(path, OS_READ), -ELOOP);
    assert_int_equal(os_open_file(path, OS_CREATE), -ELOOP);
    assert_int_equal(os_stat_path(path, &file), 0);
    assert_false(file.regular);
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    const int descriptor = os_open_file(path, OS_READ); /* nobody writes: an open could wait for ever */
    assert_true(descriptor >= 0);
    assert_int_equal(os_stat_file(descriptor, &file), 0);
    assert_false(file.regular);
    os_close(descriptor);
    assert_int_equal(os_open_file(directory, OS_WRITE), -EISDIR);
}

static int write_beyond_the_limit(struct child *self, void *argument)
{
    (void)self, (void)argument;
    const struct rlimit small = {.rlim_cur = 4096, .rlim_max = 4096};
    if (setrlimit(RLIMIT_FSIZE, &small) != 0)
        return 1;
    const int descriptor = os_open_file(path, OS_CREATE);
    if (os_resize(descriptor, 4096) != 0 || os_resize(descriptor, 4097) != -EFBIG)
        return 2;
    if (os_write_at(descriptor, "ab", 2, 4094) != 0 || os_write_at(descriptor, "ab", 2, 4095) != -EFBIG)
        return 3;
    return 0;
}

/* A SIGXFSZ would end the program. */
static void file_size_limit(void **state)
{
    (void)state;
    struct child child = child_start(write_beyond_the_limit, NULL);
    assert_int_equal(child_end(&child), 0);
}

static int hold(struct child *self, void *argument)
{
    (void)argument;
    const int descriptor = os_open_file(path, OS_WRITE);
    child_say(self, os_lock_file(descriptor, 0) == 0 ? 'h' : '?');
    child_hear(self);
    os_unlock_file(descriptor);
    child_say(self, 'u');
    child_hear(self);
    return 0;
}

static void locked_by_another(void **state)
{
    (void)state;
    const int descriptor = os_open_file(path, OS_CREATE);
    struct child child = child_start(hold, NULL);
    assert_int_equal(child_hear(&child), 'h');
    assert_int_equal(os_lock_file(descriptor, 0), -EBUSY);
    const uint64_t start = os_clock();
    assert_int_equal(os_lock_file(descriptor, 20000000), -EBUSY);
    assert_true(os_clock() - start >= 20000000);
    child_say(&child, 'u');
    assert_int_equal(child_hear(&child), 'u');
    assert_int_equal(os_lock_file(descriptor, 0), 0); /* the other still has the file open */
    assert_int_equal(os_lock_file(descriptor, 0), 0);
    os_unlock_file(descriptor);
    child_kill(&child);
    child = child_start(hold, NULL);
    assert_int_equal(child_hear(&child), 'h');
    child_kill(&child); /* a death unlocks */
    assert_int_equal(os_lock_file(descriptor, 0), 0);
    os_close(descriptor);
    assert_int_equal(os_lock_file(descriptor, 0), -EBADF);
    assert_int_equal(errno, 0);
}

/* ---------------------------------------------------------------- reading and listing */

static void texts(void **state)
{
    (void)state;
    char text[64];
    const int descriptor = os_open_file(path, OS_CREATE);
    assert_int_equal(os_read_text(path, text, sizeof text), 0);
    assert_string_equal(text, "");
    assert_int_equal(os_write_at(descriptor, "0123456789", 10, 0), 0);
    os_close(descriptor);
    for (size_t bytes = 1; bytes <= 16; bytes++) {
        memset(text, '#', sizeof text);
        const size_t wanted = least(bytes - 1, 10);
        assert_int_equal(os_read_text(path, text, bytes), wanted);
        assert_memory_equal(text, "0123456789", wanted);
        assert_int_equal(text[wanted], '\0');
        assert_int_equal(text[bytes], '#');
    }
    unlink(path);
    assert_int_equal(os_read_text(path, text, sizeof text), -ENOENT);
    assert_int_equal(os_read_text(directory, text, sizeof text), -EISDIR);
}

struct visits {
    unsigned files, dots, stop_after;
    uint64_t sum;
};

static int visit(const char *name, void *argument)
{
    struct visits *visits = argument;
    unsigned number;
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        visits->dots++;
    else if (sscanf(name, "an-entry-whose-name-is-not-short-%u", &number) == 1)
        visits->sum += number;
    return ++visits->files == visits->stop_after ? 42 : 0;
}

static void name_entry(char out[256], unsigned number)
{
    snprintf(out, 256, "%s/an-entry-whose-name-is-not-short-%u", directory, number);
}

static void listed(void **state)
{
    (void)state;
    char name[256];
    for (unsigned i = 0; i < 500; i++) { /* more than one buffer holds */
        name_entry(name, i);
        os_close(os_open_file(name, OS_CREATE));
    }
    struct visits all = {.stop_after = 0}, some = {.stop_after = 7};
    assert_int_equal(os_list(directory, visit, &all), 0);
    assert_int_equal(all.files, 502);
    assert_int_equal(all.dots, 2);
    assert_int_equal(all.sum, 499 * 500 / 2);
    assert_int_equal(os_list(directory, visit, &some), 42);
    assert_int_equal(some.files, 7);
    for (unsigned i = 0; i < 500; i++) {
        name_entry(name, i);
        unlink(name);
    }
    assert_int_equal(os_list(path, visit, &some), -ENOENT);
    os_close(os_open_file(path, OS_CREATE));
    assert_int_equal(os_list(path, visit, &some), -ENOTDIR);
}

static void file_systems(void **state)
{
    (void)state;
    struct os_space files;
    assert_int_equal(os_file_system("/proc", &files), 0);
    assert_int_equal(files.kind, OS_OTHER_FILES);
    assert_int_equal(os_file_system("/dev/shm", &files), 0);
    assert_int_equal(files.kind, OS_MEMORY_FILES);
    assert_true(files.free <= files.total || files.total == 0);
    assert_int_equal(os_file_system("/nowhere", &files), -ENOENT);
    assert_true(os_memory_left("/dev/shm") > 0);
    assert_true(os_file_system("/dev/shm", &files) != 0 || os_memory_left("/dev/shm") <= files.free + GIBI);
}

/* ---------------------------------------------------------------- memory */

static void mapped_at(void **state)
{
    (void)state;
    struct os_file file;
    void *anywhere;
    const uint64_t address = UINT64_C(0x280000000000);
    const int descriptor = memfd_create("os", MFD_CLOEXEC);
    assert_int_equal(os_resize(descriptor, 4 * PAGE_BYTES), 0);
    assert_int_equal(os_stat_file(descriptor, &file), 0);
    assert_int_equal(os_map_file_at(address, 4 * PAGE_BYTES, descriptor, true), 0);
    assert_true(os_mapped_writable_at(address, file.device, file.inode));
    assert_false(os_mapped_writable_at(address + PAGE_BYTES, file.device, file.inode));
    assert_false(os_mapped_writable_at(address, file.device, file.inode + 1));
    assert_int_equal(os_map_file_at(address, PAGE_BYTES, descriptor, true), -EEXIST);
    assert_int_equal(os_map_file_at(address - PAGE_BYTES, 2 * PAGE_BYTES, descriptor, true), -EEXIST);
    assert_int_equal(os_map_file(descriptor, 4 * PAGE_BYTES, false, &anywhere), 0);
    unsigned char *here = (unsigned char *)(uintptr_t)address;
    here[PAGE_BYTES] = 77; /* both see the same bytes */
    assert_int_equal(((unsigned char *)anywhere)[PAGE_BYTES], 77);
    assert_int_equal(os_populate(here, 4 * PAGE_BYTES), 0);
    assert_int_equal(os_punch(here + PAGE_BYTES, PAGE_BYTES), 0);
    assert_int_equal(((unsigned char *)anywhere)[PAGE_BYTES], 0);
    assert_int_equal(os_unmap(anywhere, 4 * PAGE_BYTES), 0);
    assert_int_equal(os_unmap(here, 4 * PAGE_BYTES), 0);
    assert_false(os_mapped_writable_at(address, file.device, file.inode));
    os_close(descriptor);
}

static void populated(void **state)
{
    (void)state;
    void *memory;
    const int descriptor = memfd_create("os", MFD_CLOEXEC);
    struct os_file file;
    assert_int_equal(os_resize(descriptor, 8 * PAGE_BYTES), 0);
    assert_int_equal(os_map_file(descriptor, 8 * PAGE_BYTES, true, &memory), 0);
    const int answer = os_populate((unsigned char *)memory + PAGE_BYTES, 3 * PAGE_BYTES);
    if (answer == -EINVAL) /* before Linux 5.14 */
        assert_int_equal(os_reserve(descriptor, PAGE_BYTES, 3 * PAGE_BYTES), 0);
    else
        assert_int_equal(answer, 0);
    assert_int_equal(os_stat_file(descriptor, &file), 0);
    assert_int_equal(file.blocks, 3 * PAGE_BYTES);
    uint64_t start, stop;
    assert_int_equal(os_next_data(descriptor, 0, 8 * PAGE_BYTES, &start, &stop), 1);
    assert_int_equal(start, PAGE_BYTES);
    assert_int_equal(stop, 4 * PAGE_BYTES);
    assert_int_equal(os_next_data(descriptor, 4 * PAGE_BYTES, 8 * PAGE_BYTES, &start, &stop), 0);
    assert_int_equal(os_next_data(descriptor, 0, PAGE_BYTES, &start, &stop), 0);
    assert_int_equal(os_next_data(descriptor, 2 * PAGE_BYTES, 3 * PAGE_BYTES, &start, &stop), 1);
    assert_int_equal(start, 2 * PAGE_BYTES);
    assert_int_equal(stop, 3 * PAGE_BYTES);
    os_unmap(memory, 8 * PAGE_BYTES);
    os_close(descriptor);
}

static void moved_over(void **state)
{
    (void)state;
    void *from, *to;
    assert_int_equal(os_map_private(2 * PAGE_BYTES, &from), 0);
    assert_int_equal(os_map_private(2 * PAGE_BYTES, &to), 0);
    memset(from, 1, 2 * PAGE_BYTES);
    memset(to, 2, 2 * PAGE_BYTES);
    assert_int_equal(os_move_over(from, PAGE_BYTES, to), 0);
    assert_int_equal(((unsigned char *)to)[0], 1);
    assert_int_equal(((unsigned char *)to)[PAGE_BYTES], 2);
    os_unmap((unsigned char *)from + PAGE_BYTES, PAGE_BYTES);
    os_unmap(to, 2 * PAGE_BYTES);
    assert_int_equal(os_unmap((unsigned char *)to + 1, PAGE_BYTES), -EINVAL);
    assert_int_equal(errno, 0);
}

static int read_word(struct child *self, void *argument)
{
    (void)self;
    return *(volatile unsigned char *)argument;
}

static void wiped_on_fork(void **state)
{
    (void)state;
    unsigned char *page = os_wiped_on_fork();
    assert_non_null(page);
    *page = 42;
    struct child child = child_start(read_word, page);
    assert_int_equal(child_end(&child), 0);
    assert_int_equal(*page, 42);
    os_unmap(page, PAGE_BYTES);
}

/* ---------------------------------------------------------------- waiting */

static _Atomic uint32_t *word;

static int wait_for_word(struct child *self, void *argument)
{
    (void)argument;
    child_say(self, 'w');
    while (atomic_load(word) == 1)
        os_wait(word, 1, UINT64_C(60000000000));
    return 0;
}

static void woken(void **state)
{
    (void)state;
    word = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(word, MAP_FAILED);
    os_wait(word, 1, UINT64_C(60000000000)); /* it is not 1: comes back at once */
    atomic_store(word, 1);
    const uint64_t start = os_clock();
    os_wait(word, 1, 10000000);
    assert_true(os_clock() - start >= 10000000);
    struct child child = child_start(wait_for_word, NULL);
    assert_int_equal(child_hear(&child), 'w');
    atomic_store(word, 2);
    os_wake(word);
    assert_int_equal(child_end(&child), 0);
    assert_int_equal(errno, 0);
    munmap((void *)word, PAGE_BYTES);
}

static void clock_and_chance(void **state)
{
    (void)state;
    const uint64_t start = os_clock();
    os_pause(1000000);
    assert_true(os_clock() - start >= 1000000);
    assert_true(os_random() != os_random());
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, clear, clear)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(never_a_standard_descriptor),
        TEST(no_descriptor_left),
        TEST(opened),
        TEST(not_followed_not_waited_for),
        TEST(file_size_limit),
        TEST(locked_by_another),
        TEST(texts),
        TEST(listed),
        TEST(file_systems),
        TEST(mapped_at),
        TEST(populated),
        TEST(moved_over),
        TEST(wiped_on_fork),
        TEST(woken),
        TEST(clock_and_chance),
    };
    return cmocka_run_group_tests_name("os", tests, enter, leave);
}
