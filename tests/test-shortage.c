/* SPDX-License-Identifier: MIT
 *
 * core/shortage: what is said about memory and addresses that are not there. How much there is, and who
 * limits it, differs from machine to machine: the sentence must say what os_memory_room() says.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "child.h"
#include "error.h"
#include "os.h"
#include "shortage.h"

static bool speaks_of(const char *sentence, enum os_limit limit)
{
    static const char *const words[] = {
        [OS_LIMIT_FILES] = "/dev/shm has ",
        [OS_LIMIT_MEMORY] = "this machine has ",
        [OS_LIMIT_GROUP] = "the memory control group of this process has ",
    };
    return strstr(sentence, words[limit]) == sentence;
}

static void of_memory(void **state)
{
    (void)state;
    char sentence[SHORTAGE_BYTES], total[ERROR_SIZE_BYTES + 8], number[ERROR_SIZE_BYTES];
    const struct os_room room = os_memory_room("/dev/shm");
    assert_true(room.left > 0 && room.left < UINT64_MAX);
    assert_ptr_equal(shortage_of_memory(sentence, "/dev/shm"), sentence);
    assert_true(speaks_of(sentence, room.limit));
    error_format(total, sizeof total, " of %s", error_size(number, room.total));
    assert_non_null(strstr(sentence, total));
    assert_true(strlen(sentence) < SHORTAGE_BYTES - 1); /* nothing is cut off */
    assert_int_equal(strstr(sentence, "remount") != NULL, room.limit == OS_LIMIT_FILES);
    assert_int_equal(strstr(sentence, "kept free") != NULL, room.limit != OS_LIMIT_FILES);
}

static void of_addresses(void **state)
{
    (void)state;
    char sentence[SHORTAGE_BYTES];
    if (os_address_space_limit() == UINT64_MAX)
        assert_non_null(strstr(shortage_of_addresses(sentence), "size="));
    assert_null(strstr(shortage_of_addresses(sentence), "max_map_count"));
}

static int with_a_limit(struct child *self, void *argument)
{
    char sentence[SHORTAGE_BYTES];
    const struct rlimit limit = {64 * MEBI, 64 * MEBI};
    (void)self;
    (void)argument;
    if (setrlimit(RLIMIT_AS, &limit) != 0 || os_address_space_limit() != 64 * MEBI)
        return 1;
    shortage_of_addresses(sentence);
    return strstr(sentence, "64 MiB") != NULL && strstr(sentence, "ulimit -v") != NULL ? 0 : 2;
}

static int without_a_mapping(struct child *self, void *argument)
{
    char sentence[SHORTAGE_BYTES];
    (void)self;
    (void)argument;
    for (int i = 0; i < 1 << 20; i++) /* neighbours that differ are not joined */
        if (mmap(NULL, PAGE_BYTES, i % 2 != 0 ? PROT_READ : PROT_NONE, MAP_SHARED | MAP_ANONYMOUS, -1, 0) ==
            MAP_FAILED)
            break;
    shortage_of_addresses(sentence);
    return strstr(sentence, "max_map_count") != NULL ? 0 : 2;
}

static void in_a_child(int (*body)(struct child *, void *))
{
    struct child child = child_start(body, NULL);
    assert_int_equal(child_end(&child), 0);
}

static void limited_addresses(void **state)
{
    (void)state;
    in_a_child(with_a_limit);
}

static void limited_mappings(void **state)
{
    (void)state;
    if (os_address_space_limit() != UINT64_MAX) {
        print_message("skipped: there is a limit of the address space already\n");
        skip();
    }
    in_a_child(without_a_mapping);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(of_memory),
        cmocka_unit_test(of_addresses),
        cmocka_unit_test(limited_addresses),
        cmocka_unit_test(limited_mappings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
