/* SPDX-License-Identifier: MIT
 *
 * core/os: what is read from /proc, of processes with odd names, of maps longer than a buffer, of
 * environments with values longer than a buffer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "child.h"
#include "os.h"

static int sit_still(struct child *self, void *argument)
{
    if (argument != NULL)
        prctl(PR_SET_NAME, argument);
    child_say(self, 'h');
    child_hear(self);
    return 0;
}

/* ---------------------------------------------------------------- start time */

static void own_start(void **state)
{
    (void)state;
    uint64_t start = 0, again = 0;
    bool ended = true;
    assert_int_equal(os_process_start(os_process(), &start, &ended), 0);
    assert_false(ended);
    assert_true(start > 0);
    assert_true(start <= os_clock() / UINT64_C(10000000) + 1); /* in ticks of 1/100 s, since boot */
    assert_int_equal(os_process_start(os_process(), &again, &ended), 0);
    assert_int_equal(start, again);
}

/* The name stands in the middle of the line, and may look like the rest of it. */
static void odd_names(void **state)
{
    (void)state;
    static char names[][16] = {"plain", "a b", ") Z 1 2 3", "((", "))", "x) R 1 1 1", "new\nline", ""};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        uint64_t start = 0, own = 0;
        bool ended = true;
        struct child child = child_start(sit_still, names[i]);
        assert_int_equal(child_hear(&child), 'h');
        assert_int_equal(os_process_start(child.pid, &start, &ended), 0);
        assert_false(ended);
        assert_int_equal(os_process_start(os_process(), &own, &ended), 0);
        assert_true(start >= own);
        assert_true(start <= os_clock() / UINT64_C(10000000) + 1);
        child_kill(&child);
    }
}

static void ended_processes(void **state)
{
    (void)state;
    uint64_t start = 0, living_start = 0;
    bool ended = true;
    struct child child = child_start(sit_still, NULL);
    assert_int_equal(child_hear(&child), 'h');
    assert_int_equal(os_process_start(child.pid, &living_start, &ended), 0);
    assert_false(ended);
    child_say(&child, 'e');
    child_await(&child);
    assert_int_equal(os_process_start(child.pid, &start, &ended), 0);
    assert_true(ended);
    assert_int_equal(start, living_start);
    errno = 0;
    assert_true(os_process_exists(child.pid)); /* a zombie has its number still */
    assert_int_equal(child_end(&child), 0);
    assert_false(os_process_exists(child.pid));
    assert_true(os_process_exists(os_process()));
    assert_int_equal(os_process_start(child.pid, &start, &ended), -ESRCH);
    assert_int_equal(os_process_start(0x7ffffff0, &start, &ended), -ESRCH);
    assert_int_equal(errno, 0);
}

static void own_name(void **state)
{
    (void)state;
    char before[16], now[16];
    prctl(PR_GET_NAME, before);
    prctl(PR_SET_NAME, "fifteen letters");
    memset(now, '#', sizeof now);
    os_command(now);
    prctl(PR_SET_NAME, before);
    assert_memory_equal(now, "fifteen letters", 16);
}

/* ---------------------------------------------------------------- maps */

static struct os_file file;
static unsigned char *mapping;

static int map_a_file(void **state)
{
    (void)state;
    const int descriptor = memfd_create("a name with spaces\nand a new line", MFD_CLOEXEC);
    if (os_resize(descriptor, PAGE_BYTES) != 0 || os_stat_file(descriptor, &file) != 0)
        return -1;
    mapping = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    os_close(descriptor);
    return mapping == MAP_FAILED ? -1 : 0;
}

static int unmap_the_file(void **state)
{
    (void)state;
    munmap(mapping, PAGE_BYTES);
    return 0;
}

static void own_maps(void **state)
{
    (void)state;
    assert_int_equal(os_process_maps(os_process(), file.device, file.inode), 1);
    assert_int_equal(os_process_maps(os_process(), file.device, file.inode + 1), 0);
    assert_int_equal(os_process_maps(os_process(), file.device + 1, file.inode), 0);
    assert_int_equal(os_process_maps(os_process(), file.device, file.inode / 10), 0);
    assert_true(os_mapped_writable_at((uintptr_t)mapping, file.device, file.inode));
    mprotect(mapping, PAGE_BYTES, PROT_READ); /* a viewer's */
    assert_int_equal(os_process_maps(os_process(), file.device, file.inode), 1);
    assert_false(os_mapped_writable_at((uintptr_t)mapping, file.device, file.inode));
    munmap(mapping, PAGE_BYTES);
    assert_int_equal(os_process_maps(os_process(), file.device, file.inode), 0);
    assert_false(os_mapped_writable_at((uintptr_t)mapping, file.device, file.inode));
}

static int unmap_and_sit(struct child *self, void *argument)
{
    munmap(mapping, PAGE_BYTES);
    return sit_still(self, argument);
}

static void maps_of_others(void **state)
{
    (void)state;
    struct child with = child_start(sit_still, NULL), without = child_start(unmap_and_sit, NULL);
    assert_int_equal(child_hear(&with), 'h');
    assert_int_equal(child_hear(&without), 'h');
    assert_int_equal(os_process_maps(with.pid, file.device, file.inode), 1);
    assert_int_equal(os_process_maps(without.pid, file.device, file.inode), 0);
    child_kill(&with);
    child_kill(&without);
    assert_true(os_process_maps(with.pid, file.device, file.inode) <= 0);
}

#define PIECES 3000u

/* Many short lines before, so that the wanted one lies at every place in a buffer, and across two. */
static void maps_of_many_lines(void **state)
{
    (void)state;
    const size_t bytes = PIECES * PAGE_BYTES;
    unsigned char *many = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(many, MAP_FAILED);
    for (unsigned split = 0; split < PIECES; split += 2) {
        assert_int_equal(mprotect(many + split * PAGE_BYTES, PAGE_BYTES, PROT_READ), 0);
        if (split % 50 != 0)
            continue;
        assert_int_equal(os_process_maps(os_process(), file.device, file.inode), 1);
        assert_int_equal(os_process_maps(os_process(), file.device, file.inode + 1), 0);
        assert_true(os_mapped_writable_at((uintptr_t)mapping, file.device, file.inode));
    }
    munmap(many, bytes);
}

/* ---------------------------------------------------------------- environment */

#define LONG_VALUE 20000u

static char long_value[LONG_VALUE + 8] = "LONG=", longer_value[LONG_VALUE + 9] = "LONGER=";

static int look_up(struct child *self, void *argument)
{
    char *const environment[] = {"FIRST=1",      "AB=short",   long_value,    "ABC=prefix",
                                 "EMPTY=",       "IN=X=Y=Z",   "TWICE=first", "noise without sign",
                                 "TWICE=second", longer_value, "LAST=end",    NULL};
    char *const arguments[] = {"test-os-process", "--look-up", argument, NULL};
    if (dup2(self->link, STDOUT_FILENO) < 0)
        return 1;
    execve("/proc/self/exe", arguments, environment);
    return 1;
}

/* One of several that are asked for. */
static int64_t look_in(int (*read)(struct os_variable *, size_t), const char *name, char *out, size_t bytes)
{
    char other[4];
    struct os_variable wanted[] = {{.name = "none of these", .out = other, .bytes = sizeof other},
                                   {.name = name, .out = out, .bytes = bytes},
                                   {.name = "IN", .out = other, .bytes = sizeof other}};
    const int error = read(wanted, COUNT_OF(wanted));
    return error != 0 ? error : wanted[1].length;
}

static int64_t first_environment(const char *name, char *out, size_t bytes)
{
    return look_in(os_first_environment, name, out, bytes);
}

static int environment_as_it_is(struct os_variable *wanted, size_t count)
{
    os_look_up((const char *const *)environ, wanted, count);
    return 0;
}

/* In the program started again. By now the environment has been changed; what counts is how it began, as it
 * did when it had not been. */
static int answer_look_up(const char *name)
{
    static char out[30001], before[30001];
    const int64_t length_before = look_in(environment_as_it_is, name, before, sizeof before);
    setenv("FIRST", "changed", 1);
    setenv("ADDED", "later", 1);
    unsetenv("LAST");
    const int64_t length = first_environment(name, out, sizeof out);
    if (length != length_before ||
        (length >= 0 && ((size_t)length != strlen(out) || strcmp(out, before) != 0)))
        return 1;
    return printf("%s", length >= 0 ? out : length == -ENOENT ? "(none)" : "(error)") < 0;
}

static void assert_found(const char *name, const char *wanted)
{
    static char found[30001];
    size_t length = 0;
    char *argument = strdup(name);
    struct child child = child_start(look_up, argument);
    while (length < sizeof found - 1 && (found[length] = child_hear(&child)) != '\0')
        length++;
    found[length] = '\0';
    free(argument);
    assert_int_equal(child_end(&child), 0);
    assert_string_equal(found, wanted);
}

static void environment(void **state)
{
    (void)state;
    memset(long_value + 5, 'v', LONG_VALUE);
    memset(longer_value + 7, 'w', LONG_VALUE + 1);
    memcpy(long_value + 5000, "LAST=trap", 9); /* inside a value it means nothing */
    static const struct {
        const char *name, *value;
    } cases[] = {{"FIRST", "1"},       {"AB", "short"},     {"ABC", "prefix"}, {"A", "(none)"},
                 {"ABCD", "(none)"},   {"EMPTY", ""},       {"IN", "X=Y=Z"},   {"TWICE", "first"},
                 {"LAST", "end"},      {"ADDED", "(none)"}, {"X", "(none)"},   {"noise", "(none)"},
                 {"MISSING", "(none)"}};
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        assert_found(cases[i].name, cases[i].value);
    assert_found("LONG", long_value + 5);
    assert_found("LONGER", longer_value + 7);
}

static void environment_now(void **state)
{
    char out[16];
    (void)state;
    setenv("ADDED", "now", 1);
    assert_int_equal(look_in(environment_as_it_is, "ADDED", out, sizeof out), 3);
    assert_string_equal(out, "now");
    assert_int_equal(look_in(environment_as_it_is, "ADDED", out, 3), 2);
    assert_string_equal(out, "no");
    unsetenv("ADDED");
    assert_int_equal(look_in(environment_as_it_is, "ADDED", out, sizeof out), -ENOENT);
    char **kept = environ;
    environ = NULL;
    assert_int_equal(look_in(environment_as_it_is, "PATH", out, sizeof out), -ENOENT);
    environ = kept;
}

/* Cut where it does not fit, with a NUL, and not one byte beyond. */
static void environment_cut(void **state)
{
    (void)state;
    char out[64], whole[4096];
    const char *name = "PATH";
    const int64_t length = first_environment(name, whole, sizeof whole);
    if (length < 8) {
        print_message("skipped: there is no PATH to look up\n");
        skip();
    }
    for (size_t bytes = 1; bytes <= 8; bytes++) {
        memset(out, '#', sizeof out);
        assert_int_equal(first_environment(name, out, bytes), bytes - 1);
        assert_memory_equal(out, whole, bytes - 1);
        assert_int_equal(out[bytes - 1], '\0');
        assert_int_equal(out[bytes], '#');
    }
}

int main(int count, char **arguments)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(own_start),
        cmocka_unit_test(odd_names),
        cmocka_unit_test(ended_processes),
        cmocka_unit_test(own_name),
        cmocka_unit_test_setup(own_maps, map_a_file),
        cmocka_unit_test_setup_teardown(maps_of_others, map_a_file, unmap_the_file),
        cmocka_unit_test_setup_teardown(maps_of_many_lines, map_a_file, unmap_the_file),
        cmocka_unit_test(environment),
        cmocka_unit_test(environment_now),
        cmocka_unit_test(environment_cut),
    };
    if (count == 3 && strcmp(arguments[1], "--look-up") == 0)
        return answer_look_up(arguments[2]);
    return cmocka_run_group_tests_name("os-process", tests, NULL, NULL);
}
