/* SPDX-License-Identifier: MIT
 *
 * core/text: what counts as printable UTF-8, compared over every code point and every two bytes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "text.h"

static size_t encode(uint32_t code, size_t length, char out[4])
{
    static const unsigned char lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    if (length == 1) {
        out[0] = (char)code;
        return 1;
    }
    for (size_t i = length; i-- > 1; code >>= 6)
        out[i] = (char)(0x80 | (code & 0x3f));
    out[0] = (char)(lead[length] | code);
    return length;
}

static size_t shortest(uint32_t code)
{
    if (code < 0x80)
        return 1;
    if (code < 0x800)
        return 2;
    return code < 0x10000 ? 3 : 4;
}

static bool is_control(uint32_t code)
{
    return code < 0x20 || (code >= 0x7f && code <= 0x9f) || code == 0x2028 || code == 0x2029;
}

static void every_code_point(void **state)
{
    (void)state;
    char text[4];
    for (uint32_t code = 0; code <= 0x1fffff; code++) {
        const bool surrogate = code >= 0xd800 && code <= 0xdfff;
        const bool wanted = !is_control(code) && !surrogate && code <= 0x10ffff;
        const size_t length = encode(code, shortest(code), text);
        if (text_is_printable(text, length) != wanted)
            fail_msg("U+%04X", code);
        for (size_t cut = 1; cut < length; cut++)
            assert_false(text_is_printable(text, cut));
        for (size_t longer = length + 1; longer <= 4; longer++) /* the same, written too long */
            assert_false(text_is_printable(text, encode(code, longer, text)));
    }
}

/* Two bytes are printable when both are ASCII that is, or they are one character of two bytes. */
static void every_two_bytes(void **state)
{
    (void)state;
    for (unsigned first = 0; first < 256; first++)
        for (unsigned second = 0; second < 256; second++) {
            const char text[2] = {(char)first, (char)second};
            const bool ascii = first >= 0x20 && first < 0x7f && second >= 0x20 && second < 0x7f;
            const uint32_t code = (first & 0x1f) << 6 | (second & 0x3f);
            const bool one = first >= 0xc2 && first <= 0xdf && second >= 0x80 && second <= 0xbf;
            assert_int_equal(text_is_printable(text, 2), ascii || (one && !is_control(code)));
        }
}

static void mixed(void **state)
{
    (void)state;
    static const char good[] = "Gr\xc3\xb6\xc3\x9f"
                               "e \xe2\x82\xac \xf0\x9f\x98\x80 / a\xcc\x88";
    assert_true(text_is_printable("", 0));
    assert_true(text_is_printable(good, sizeof good - 1));
    assert_false(text_is_printable(good, sizeof good)); /* with its NUL */
    char text[sizeof good];
    for (size_t i = 0; i + 1 < sizeof good; i++) { /* one bad byte anywhere spoils it */
        memcpy(text, good, sizeof text);
        text[i] = (char)0xff;
        assert_false(text_is_printable(text, sizeof good - 1));
        text[i] = '\n';
        assert_false(text_is_printable(text, sizeof good - 1));
    }
}

/* What lies behind the text is not looked at. */
static void cut_off(void **state)
{
    (void)state;
    const size_t length = 3;
    char *text = malloc(length);
    memcpy(text, "ab\xc3", length);
    assert_false(text_is_printable(text, length));
    assert_true(text_is_printable(text, 2));
    memcpy(text, "\xf0\x9f\x98", length);
    assert_false(text_is_printable(text, length));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_point),
        cmocka_unit_test(every_two_bytes),
        cmocka_unit_test(mixed),
        cmocka_unit_test(cut_off),
    };
    return cmocka_run_group_tests_name("text", tests, NULL, NULL);
}
