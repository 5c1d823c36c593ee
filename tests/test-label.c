/* SPDX-License-Identifier: MIT
 *
 * core/label: names made of a label with holes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "label.h"

static void assert_name(const char *text, uint64_t sequence, uint64_t size, const char *wanted)
{
    char out[256];
    assert_int_equal(label_render(text, strlen(text), sequence, size, out, sizeof out), strlen(wanted));
    assert_string_equal(out, wanted);
}

static void holes(void **state)
{
    (void)state;
    assert_name("", 1, 2, "");
    assert_name("no holes", 1, 2, "no holes");
    assert_name("exe:main+1a#\x01", 0, 64, "exe:main+1a#0");
    assert_name("exe:main+1a#\x01.t3", 17, 64, "exe:main+1a#17.t3");
    assert_name("\x02", 1, 4096, "4096");
    assert_name("\x01/\x02/\x01", 12, 345, "12/345/12");
    assert_name("\x01\x01", 10, 0, "1010");
    assert_name("\x01 \x02", UINT64_MAX, UINT64_MAX, "18446744073709551615 18446744073709551615");
    assert_name("Gr\xc3\xb6\xc3\x9f"
                "e/\x01",
                3, 0,
                "Gr\xc3\xb6\xc3\x9f"
                "e/3");
}

/* Only `length` bytes are read: labels have no NUL. */
static void not_terminated(void **state)
{
    (void)state;
    char out[16];
    assert_int_equal(label_render("field#\x01garbage", 7, 5, 0, out, sizeof out), 7);
    assert_string_equal(out, "field#5");
}

/* A name that does not fit is cut, and its whole length is the answer. */
static void cut(void **state)
{
    (void)state;
    static const char whole[] = "field/123/4567";
    for (size_t bytes = 0; bytes <= sizeof whole + 2; bytes++) {
        char out[32];
        memset(out, '#', sizeof out);
        assert_int_equal(label_render("field/\x01/\x02", 9, 123, 4567, out, bytes), sizeof whole - 1);
        const size_t kept = bytes == 0 ? 0 : least(bytes - 1, sizeof whole - 1);
        assert_memory_equal(out, whole, kept);
        if (bytes > 0)
            assert_int_equal(out[kept], '\0');
        for (size_t i = bytes == 0 ? 0 : kept + 1; i < sizeof out; i++)
            assert_int_equal(out[i], '#');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(holes),
        cmocka_unit_test(not_terminated),
        cmocka_unit_test(cut),
    };
    return cmocka_run_group_tests_name("label", tests, NULL, NULL);
}
