/* SPDX-License-Identifier: MIT
 *
 * preload/log: one line for each cause, to where the user wants it, and never into the program's own files.
 */
#include "test-preload.h"

static char text[8192];
static struct settings settings = {.log = SETTINGS_LOG_WARN};

static void to_file(enum settings_log level)
{
    snprintf(log_path, sizeof log_path, "/tmp/test-preload-%d.log", (int)getpid());
    settings.log = level;
    settings.log_file = "/tmp/test-preload-%p.log";
    log_begin(&settings);
}

static void test_once(void **state)
{
    (void)state;
    to_file(SETTINGS_LOG_WARN);
    for (unsigned i = 0; i < 3; i++)
        log_say(SETTINGS_LOG_WARN, "full", "the segment is %s, %u times", "full", 3u);
    assert_int_equal(logged(text, sizeof text), 1);
    assert_string_equal(text, "shmpreload: warning: the segment is full, 3 times\n");
    for (unsigned i = 0; i < 3; i++)
        log_say(SETTINGS_LOG_ERROR, NULL, "line %u", i);
    assert_int_equal(logged(text, sizeof text), 3);
    assert_string_equal(text,
                        "shmpreload: error: line 0\nshmpreload: error: line 1\nshmpreload: error: line 2\n");
}

static void test_levels(void **state)
{
    (void)state;
    to_file(SETTINGS_LOG_ERROR);
    assert_true(log_wants(SETTINGS_LOG_ERROR));
    assert_false(log_wants(SETTINGS_LOG_WARN));
    errno = EDOM;
    log_say(SETTINGS_LOG_WARN, "unwanted", "no");
    log_say(SETTINGS_LOG_ERROR, "wanted", "yes");
    assert_int_equal(errno, EDOM);
    assert_int_equal(logged(text, sizeof text), 1);
    to_file(SETTINGS_LOG_DEBUG);
    log_say(SETTINGS_LOG_WARN, "unwanted", "what was not wanted has not been said");
    assert_int_equal(logged(text, sizeof text), 1);
}

/* More causes than are remembered: all are said once, none twice. */
static void test_many(void **state)
{
    (void)state;
    char cause[32];
    to_file(SETTINGS_LOG_WARN);
    for (unsigned round = 0; round < 2; round++)
        for (unsigned i = 0; i < 20; i++) {
            snprintf(cause, sizeof cause, "cause %u", i);
            log_say(SETTINGS_LOG_WARN, cause, "%s", cause);
        }
    assert_int_equal(logged(text, sizeof text), 20);
}

static void test_long(void **state)
{
    (void)state;
    char much[4000];
    memset(much, 'm', sizeof much);
    much[sizeof much - 1] = '\0';
    to_file(SETTINGS_LOG_WARN);
    log_say(SETTINGS_LOG_WARN, NULL, "%s", much);
    assert_int_equal(logged(text, sizeof text), 1);
    assert_in_range(strlen(text), 500, 1024);
}

/* Descriptor 2 leads elsewhere now: the line goes nowhere. */
static void test_standard_error(void **state)
{
    (void)state;
    char first[] = "/tmp/test-log-XXXXXX", second[] = "/tmp/test-log-XXXXXX";
    const int kept = dup(STDERR_FILENO), one = mkstemp(first), other = mkstemp(second);
    assert_true(kept >= 0 && one >= 0 && other >= 0);
    settings.log_file = NULL;
    settings.log = SETTINGS_LOG_WARN;
    dup2(one, STDERR_FILENO);
    log_begin(&settings);
    log_say(SETTINGS_LOG_WARN, NULL, "here");
    dup2(other, STDERR_FILENO);
    log_say(SETTINGS_LOG_WARN, NULL, "not there");
    close(STDERR_FILENO);
    log_say(SETTINGS_LOG_WARN, NULL, "nor anywhere");
    dup2(kept, STDERR_FILENO);
    assert_int_equal(lseek(one, 0, SEEK_END), (off_t)strlen("shmpreload: warning: here\n"));
    assert_int_equal(lseek(other, 0, SEEK_END), 0);
    unlink(first);
    unlink(second);
    close(kept), close(one), close(other);
}

int main(int count, char **arguments)
{
    (void)count;
    be_a_job(arguments);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_once), cmocka_unit_test(test_levels),         cmocka_unit_test(test_many),
        cmocka_unit_test(test_long), cmocka_unit_test(test_standard_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
