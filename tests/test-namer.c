/* SPDX-License-Identifier: MIT
 *
 * preload/namer: from a template and what is known of a site and a thread to a label.
 */
#include "namer.h"

#include "layout.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct namer_facts plain = {
    .module = "libsolver.so", .function = "solve", .offset = 0x1f4, .thread = "", .pid = 4711};

static char label[LABEL_TEXT + 1];
static bool counts;

static const char *label_for(const char *template, const struct namer_facts *facts)
{
    memset(label, 'x', sizeof label);
    counts = false;
    const size_t length = namer_label(template, facts, label, sizeof label, &counts);
    assert_int_equal(length, strlen(label));
    return label;
}

static void test_placeholders(void **state)
{
    (void)state;
    assert_string_equal(label_for("{module}:{func}+{offset}#{seq}", &plain), "libsolver.so:solve+0x1f4#\x01");
    assert_true(counts);
    assert_string_equal(label_for("{size}/{pid}/{rank}/{thread}", &plain), "\x02/4711/p4711/0");
    assert_false(counts);
    assert_string_equal(label_for("text alone", &plain), "text alone");
    assert_string_equal(label_for("{open", &plain), "{open");
}

static void test_unknown_function(void **state)
{
    (void)state;
    struct namer_facts facts = plain;
    facts.function = NULL;
    assert_string_equal(label_for("{func}+{offset}", &facts), "?+0x1f4");
}

/* What a template does not say but uniqueness needs. */
static void test_appended(void **state)
{
    (void)state;
    struct namer_facts facts = plain;
    facts.thread = "2.1";
    assert_string_equal(label_for("a", &facts), "a.t2.1");
    assert_string_equal(label_for("a/{thread}", &facts), "a/2.1");
    facts.exported = true;
    assert_string_equal(label_for("a", &facts), "a.t2.1@p4711");
    facts.rank = "7";
    assert_string_equal(label_for("a", &facts), "a.t2.1@7");
    assert_string_equal(label_for("a{rank}", &facts), "a7.t2.1");
    assert_string_equal(label_for("a{pid}", &facts), "a4711.t2.1");
}

/* A name from outside must not bring holes with it. */
static void test_control_bytes(void **state)
{
    (void)state;
    struct namer_facts facts = plain;
    facts.function = "od\x01"
                     "d\x02\n\x7f";
    assert_string_equal(label_for("{func}", &facts), "od?d???");
}

static void test_too_long(void **state)
{
    (void)state;
    char small[8];
    assert_int_equal(namer_label("1234567", &plain, small, sizeof small, &counts), 7);
    assert_string_equal(small, "1234567");
    assert_int_equal(namer_label("12345678", &plain, small, sizeof small, &counts), 0);
    assert_int_equal(namer_label("1{module}", &plain, small, sizeof small, &counts), 0);
}

static void test_automatic(void **state)
{
    (void)state;
    assert_true(namer_is_automatic("x{module}"));
    assert_false(namer_is_automatic("{func}{seq}"));
}

/* Names of C++ templates have no end; a name of a block has. */
static void test_long_functions(void **state)
{
    (void)state;
    char first[400], second[400], name[400];
    struct namer_facts facts = plain;
    memset(first, 'a', sizeof first);
    memcpy(first + 102, "\xc3\xa9", 2); /* would be cut in the middle */
    first[sizeof first - 1] = '\0';
    memcpy(second, first, sizeof second);
    second[300] = 'b';
    facts.function = first;
    strcpy(name, label_for("{func}", &facts));
    assert_int_equal(strncmp(name, first, 102), 0);
    assert_int_equal(name[102], '~');
    assert_true(strlen(name) <= 120);
    facts.function = second;
    assert_string_not_equal(label_for("{func}", &facts), name);
    first[120] = '\0';
    facts.function = first;
    assert_string_equal(label_for("{func}", &facts), first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_long_functions),   cmocka_unit_test(test_placeholders),
        cmocka_unit_test(test_unknown_function), cmocka_unit_test(test_appended),
        cmocka_unit_test(test_control_bytes),    cmocka_unit_test(test_too_long),
        cmocka_unit_test(test_automatic),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
