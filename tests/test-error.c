/* SPDX-License-Identifier: MIT
 *
 * core/error: the formatter against snprintf, what is cut, and that each thread has a sentence of its own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>

#include "error.h"

/* The same format through both: the same text, the same length. */
#define ASSERT_SAME(...)                                                                                     \
    do {                                                                                                     \
        char wanted[256], is[256];                                                                           \
        const int length = snprintf(wanted, sizeof wanted, __VA_ARGS__);                                     \
        assert_int_equal(error_format(is, sizeof is, __VA_ARGS__), length);                                  \
        assert_string_equal(is, wanted);                                                                     \
    } while (0)

static void conversions(void **state)
{
    (void)state;
    static const long numbers[] = {0, 1, -1, 9, 10, 4095, INT_MAX, INT_MIN, LONG_MAX, LONG_MIN};
    for (size_t i = 0; i < COUNT_OF(numbers); i++) {
        const long number = numbers[i];
        ASSERT_SAME("%d|%i|%u|%x", (int)number, (int)number, (unsigned)number, (unsigned)number);
        ASSERT_SAME("%ld|%lu|%lx", number, (unsigned long)number, (unsigned long)number);
        ASSERT_SAME("%lld|%llu|%llx", (long long)number, (unsigned long long)number,
                    (unsigned long long)number);
        ASSERT_SAME("%zd|%zu|%zx", (ssize_t)number, (size_t)number, (size_t)number);
    }
    ASSERT_SAME("plain");
    ASSERT_SAME("%s", "");
    ASSERT_SAME("a%sb%cc%%d", "text", 'x');
    ASSERT_SAME("%p", (void *)&numbers);
    ASSERT_SAME("%d%s%lu%c%d%s%lu%c", 1, "2", 3ul, '4', 5, "6", 7ul, '8'); /* more than the registers hold */
}

static void nothing_to_show(void **state)
{
    (void)state;
    char out[32];
    const char *volatile none = NULL;
    const char *volatile unfinished = "half %";
    assert_int_equal(error_format(out, sizeof out, "<%s>", none), 8);
    assert_string_equal(out, "<(null)>");
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#pragma GCC diagnostic ignored "-Wformat-security"
    assert_int_equal(error_format(out, sizeof out, unfinished), 5);
#pragma GCC diagnostic pop
    assert_string_equal(out, "half ");
}

/* At any length of the buffer: what fits, a NUL, and not one byte more. */
static void cut(void **state)
{
    (void)state;
    static const char whole[] = "block 'field' of 1234567 bytes";
    for (size_t bytes = 0; bytes <= sizeof whole + 2; bytes++) {
        char out[64];
        memset(out, '#', sizeof out);
        const size_t length = error_format(out, bytes, "block '%s' of %d bytes", "field", 1234567);
        const size_t wanted = bytes == 0 ? 0 : least(bytes - 1, sizeof whole - 1);
        assert_int_equal(length, wanted);
        assert_memory_equal(out, whole, wanted);
        if (bytes > 0)
            assert_int_equal(out[wanted], '\0');
        for (size_t i = bytes == 0 ? 0 : wanted + 1; i < sizeof out; i++)
            assert_int_equal(out[i], '#');
    }
}

static void kept(void **state)
{
    (void)state;
    assert_string_equal(error_last(), "");
    errno = 0;
    assert_int_equal(error_set(ENOMEM, "no room for %zu bytes", (size_t)12), -1);
    assert_int_equal(errno, ENOMEM);
    assert_string_equal(error_last(), "no room for 12 bytes");
    char longest[2 * ERROR_BYTES];
    memset(longest, 'e', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    assert_int_equal(error_set(EIO, "%s", longest), -1);
    assert_int_equal(strlen(error_last()), ERROR_BYTES - 1);
    error_set(EINVAL, "before: %s", "itself"); /* shorter again */
    assert_string_equal(error_last(), "before: itself");
}

static void *fail_elsewhere(void *argument)
{
    const bool empty = error_last()[0] == '\0';
    error_set(EBADF, "elsewhere");
    *(bool *)argument = empty && strcmp(error_last(), "elsewhere") == 0 && errno == EBADF;
    return NULL;
}

static void each_thread_its_own(void **state)
{
    (void)state;
    pthread_t thread;
    bool right = false;
    error_set(EINVAL, "here");
    assert_int_equal(pthread_create(&thread, NULL, fail_elsewhere, &right), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(right);
    assert_string_equal(error_last(), "here");
}

static void sizes(void **state)
{
    (void)state;
    static const struct {
        uint64_t bytes;
        const char *words;
    } cases[] = {
        {0, "0 bytes"},
        {1023, "1023 bytes"},
        {1024, "1 KiB"},
        {1536, "1.5 KiB"},
        {1025, "1 KiB"},
        {1023 * 1024, "1023 KiB"},
        {UINT64_C(13107200), "12.5 MiB"},
        {UINT64_C(1) << 30, "1 GiB"},
        {UINT64_C(5) << 40, "5 TiB"},
        {UINT64_C(1) << 50, "1 PiB"},
        {UINT64_C(1) << 60, "1 EiB"},
        {UINT64_MAX, "15.9 EiB"},
    };
    char out[ERROR_SIZE_BYTES];
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        assert_ptr_equal(error_size(out, cases[i].bytes), out);
        assert_string_equal(out, cases[i].words);
    }
}

static void words(void **state)
{
    (void)state;
    assert_string_equal(error_words(EACCES), "permission denied");
    assert_string_equal(error_words(ENOSPC), "no space left on the file system");
    for (int code = -5; code < 200; code++)
        assert_true(strlen(error_words(code)) > 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kept), /* first: nothing has been said yet */
        cmocka_unit_test(conversions), cmocka_unit_test(nothing_to_show),
        cmocka_unit_test(cut),         cmocka_unit_test(each_thread_its_own),
        cmocka_unit_test(sizes),       cmocka_unit_test(words),
    };
    return cmocka_run_group_tests_name("error", tests, NULL, NULL);
}
