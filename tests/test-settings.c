/* SPDX-License-Identifier: MIT
 *
 * config/settings: what the environment says, and what becomes of a policy file that is none.
 */
#include "config/settings.h"

#include "config/policy.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define NO_POLICY "; the program runs without a policy"

static char memory[POLICY_TEXT_MAX];
static struct settings settings;
static char directory[] = "/tmp/test-settings-XXXXXX";

/* Reads the settings with these three variables; NULL: unset. File names are
 * relative to the test's own directory, which is the current one. */
static void read_with(const char *policy, const char *log, const char *log_file)
{
    const char *const names[] = {"SHM_POLICY", "SHM_LOG", "SHM_LOG_FILE"};
    const char *const values[] = {policy, log, log_file};
    for (int i = 0; i < 3; i++)
        assert_int_equal(values[i] ? setenv(names[i], values[i], 1) : unsetenv(names[i]), 0);
    memset(&settings, 0xa5, sizeof settings);
    memset(memory, 0xa5, sizeof memory);
    errno = EDOM;
    settings_read(&settings, memory, sizeof memory);
    assert_int_equal(errno, EDOM);
}

static void write_file(const char *name, const char *content, size_t length)
{
    FILE *file = fopen(name, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(content, 1, length, file), length);
    assert_int_equal(fclose(file), 0);
}

static void write_noise(const char *name, size_t length)
{
    char *noise = malloc(length);
    assert_non_null(noise);
    memset(noise, 'x', length);
    write_file(name, noise, length);
    free(noise);
}

static void expect_no_policy(const char *value, const char *problem)
{
    read_with(value, NULL, NULL);
    assert_string_equal(settings.problem, problem);
    assert_null(settings.policy);
    assert_int_equal(settings.policy_length, 0);
}

static void nothing_set(void **state)
{
    (void)state;
    read_with(NULL, NULL, NULL);
    assert_null(settings.policy);
    assert_null(settings.policy_file);
    assert_null(settings.log_file);
    assert_int_equal(settings.log, SETTINGS_LOG_WARN);
    assert_int_equal(settings.hold, SETTINGS_HOLD_BEST);
    assert_string_equal(settings.problem, "");
}

static void expect_record(const char *size, size_t least, const char *problem)
{
    setenv("SHM_RECORD", "/tmp/%p.rec", 1);
    assert_int_equal(size ? setenv("SHM_RECORD_SIZE", size, 1) : unsetenv("SHM_RECORD_SIZE"), 0);
    read_with("pass", NULL, NULL);
    assert_string_equal(settings.record_file, "/tmp/%p.rec");
    assert_int_equal(settings.record_least, least);
    assert_string_equal(settings.problem, problem);
    assert_string_equal(settings.policy, "pass");
}

static void records(void **state)
{
    (void)state;
    expect_record(NULL, 65536, "");
    expect_record("0", 0, "");
    expect_record("4k", 4096, "");
    expect_record(
        "much", 65536,
        "SHM_RECORD_SIZE: expected a number of bytes such as 4096 or 64K, found 'much'; 64K is used");
    unsetenv("SHM_RECORD");
    unsetenv("SHM_RECORD_SIZE");
    read_with("pass", NULL, NULL);
    assert_null(settings.record_file);
}

/* Each launcher's word; the rank of another world, as of the shell that called mpirun, comes after. */
static void ranks(void **state)
{
    (void)state;
    static const char *const names[] = {"PMIX_RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK",
                                        "MV2_COMM_WORLD_RANK", "SLURM_PROCID"};
    enum { NAMES = sizeof names / sizeof names[0] };
    char value[] = "a";
    for (int i = 0; i < NAMES; i++)
        unsetenv(names[i]);
    read_with(NULL, NULL, NULL);
    assert_null(settings.rank);
    for (int i = NAMES - 1; i >= 0;
         i--, value[0]++) { /* from the last to the first, each besides the others */
        setenv(names[i], value, 1);
        read_with(NULL, NULL, NULL);
        assert_string_equal(settings.rank, value);
    }
    for (int i = 0; i < NAMES; i++) { /* and alone */
        for (int k = 0; k < NAMES; k++)
            unsetenv(names[k]);
        setenv(names[i], "17", 1);
        read_with(NULL, NULL, NULL);
        assert_string_equal(settings.rank, "17");
        setenv(names[i], "", 1);
        read_with(NULL, NULL, NULL);
        assert_null(settings.rank);
        unsetenv(names[i]);
    }
}

static void set_to_nothing_is_unset(void **state)
{
    (void)state;
    const char *const values[] = {"", " ", "\t \r\n"};
    for (int i = 0; i < 3; i++) {
        read_with(values[i], "", "");
        assert_null(settings.policy);
        assert_null(settings.policy_file);
        assert_null(settings.log_file);
        assert_int_equal(settings.log, SETTINGS_LOG_WARN);
        assert_string_equal(settings.problem, "");
    }
}

static void text_in_the_variable(void **state)
{
    (void)state;
    read_with(" export size>=1M", NULL, "/tmp/log.%p");
    assert_int_equal(settings.policy_length, 16);
    assert_memory_equal(settings.policy, " export size>=1M", 16);
    assert_null(settings.policy_file);
    assert_string_equal(settings.log_file, "/tmp/log.%p");
    assert_string_equal(settings.problem, "");
}

static void log_levels(void **state)
{
    (void)state;
    const char *const words[] = {"error", "warn", "info", "debug"};
    for (int i = 0; i < 4; i++) {
        read_with(NULL, words[i], NULL);
        assert_int_equal(settings.log, i);
        assert_string_equal(settings.problem, "");
    }
}

static void an_unknown_log_level_keeps_the_policy(void **state)
{
    (void)state;
    read_with("pass", "wran", NULL);
    assert_string_equal(settings.problem, "SHM_LOG: expected error, warn, info or debug, found 'wran'; "
                                          "did you mean 'warn'?; warn is used");
    assert_int_equal(settings.log, SETTINGS_LOG_WARN);
    assert_string_equal(settings.policy, "pass");

    read_with(NULL, "loud\x1b", NULL);
    assert_string_equal(settings.problem, "SHM_LOG: expected error, warn, info or debug, found "
                                          "'loud\\x1b'; warn is used");
}

static void a_lost_policy_matters_more_than_the_log_level(void **state)
{
    (void)state;
    read_with("@missing", "loud", NULL);
    assert_string_equal(settings.problem, "SHM_POLICY=@missing: no such file" NO_POLICY);
    assert_int_equal(settings.log, SETTINGS_LOG_WARN);
}

static void ways_of_holding_writers(void **state)
{
    (void)state;
    const char *const words[] = {"userfaultfd", "scan", "compare"};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(setenv("SHM_MERGE_HOLD", words[i], 1), 0);
        read_with(NULL, NULL, NULL);
        assert_int_equal(settings.hold, i);
        assert_string_equal(settings.problem, "");
    }
    assert_int_equal(setenv("SHM_MERGE_HOLD", "", 1), 0);
    read_with(NULL, NULL, NULL);
    assert_int_equal(settings.hold, SETTINGS_HOLD_BEST);
    assert_string_equal(settings.problem, "");
    assert_int_equal(unsetenv("SHM_MERGE_HOLD"), 0);
}

static void an_unknown_way_of_holding_matters_least(void **state)
{
    (void)state;
    assert_int_equal(setenv("SHM_MERGE_HOLD", "skan", 1), 0);
    read_with("pass", NULL, NULL);
    assert_string_equal(settings.problem, "SHM_MERGE_HOLD: expected userfaultfd, scan or compare, found "
                                          "'skan'; did you mean 'scan'?; userfaultfd is used");
    assert_int_equal(settings.hold, SETTINGS_HOLD_BEST);
    assert_string_equal(settings.policy, "pass");
    read_with("pass", "loud", NULL);
    assert_string_equal(settings.problem,
                        "SHM_LOG: expected error, warn, info or debug, found 'loud'; warn is used");
    read_with("@missing", NULL, NULL);
    assert_string_equal(settings.problem, "SHM_POLICY=@missing: no such file" NO_POLICY);
    assert_int_equal(unsetenv("SHM_MERGE_HOLD"), 0);
}

static void policy_from_a_file(void **state)
{
    (void)state;
    write_file("policy", "export func=x\npass\n", 19);
    read_with("@policy", NULL, NULL);
    assert_string_equal(settings.problem, "");
    assert_string_equal(settings.policy_file, "policy");
    assert_ptr_equal(settings.policy, memory);
    assert_int_equal(settings.policy_length, 19);
    assert_memory_equal(settings.policy, "export func=x\npass\n", 19);

    assert_int_equal(symlink("policy", "link"), 0);
    read_with(" @link", NULL, NULL);
    assert_string_equal(settings.problem, "");
    assert_int_equal(settings.policy_length, 19);

    write_file("empty", "", 0);
    read_with("@empty", NULL, NULL);
    assert_string_equal(settings.problem, "");
    assert_non_null(settings.policy);
    assert_int_equal(settings.policy_length, 0);
}

static void what_is_no_regular_file(void **state)
{
    (void)state;
    assert_int_equal(mkdir("folder", 0700), 0);
    assert_int_equal(mkfifo("fifo", 0600), 0);
    assert_int_equal(symlink("loop", "loop"), 0);
    int end = socket(AF_UNIX, SOCK_STREAM, 0);
    const struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "socket"};
    assert_int_equal(bind(end, (const struct sockaddr *)&address, sizeof address), 0);
    close(end);

    expect_no_policy("@", "SHM_POLICY=@: the name of a file is missing after @" NO_POLICY);
    expect_no_policy("@/x/y", "SHM_POLICY=@/x/y: no such file" NO_POLICY);
    expect_no_policy("@folder/", "SHM_POLICY=@folder/: expected a regular file, found a directory" NO_POLICY);
    expect_no_policy("@fifo", "SHM_POLICY=@fifo: expected a regular file, found a FIFO" NO_POLICY);
    expect_no_policy("@/dev/zero",
                     "SHM_POLICY=@/dev/zero: expected a regular file, found a device" NO_POLICY);
    expect_no_policy("@socket",
                     "SHM_POLICY=@socket: expected a regular file, found a socket or a device" NO_POLICY);
    expect_no_policy("@loop", "SHM_POLICY=@loop: too many symbolic links" NO_POLICY);
    expect_no_policy("@mis\x1bsing", "SHM_POLICY=@mis\\x1bsing: no such file" NO_POLICY);
}

static void sizes_of_files(void **state)
{
    (void)state;
    write_noise("just-fits", POLICY_TEXT_MAX);
    read_with("@just-fits", NULL, NULL);
    assert_string_equal(settings.problem, "");
    assert_int_equal(settings.policy_length, POLICY_TEXT_MAX);

    write_noise("one-more", POLICY_TEXT_MAX + 1);
    expect_no_policy("@one-more", "SHM_POLICY=@one-more: the file has 65537 bytes, more than the 65536 "
                                  "bytes that a policy may have" NO_POLICY);
    write_noise("noise", (size_t)1 << 20);
    expect_no_policy("@noise", "SHM_POLICY=@noise: the file has 1048576 bytes, more than the 65536 bytes "
                               "that a policy may have" NO_POLICY);
}

/* Files of /proc are regular and have size 0, whatever can be read from them. */
static void a_file_that_hides_its_size(void **state)
{
    (void)state;
    read_with("@/proc/self/comm", NULL, NULL);
    assert_string_equal(settings.problem, "");
    assert_true(settings.policy_length > 1);
    assert_int_equal(settings.policy[settings.policy_length - 1], '\n');

    memset(memory, 0x5a, sizeof memory);
    settings_read(&settings, memory, 1);
    assert_string_equal(settings.problem, "SHM_POLICY=@/proc/self/comm: the file has more than the 1 bytes "
                                          "that a policy may have" NO_POLICY);
    assert_int_equal(memory[1], 0x5a);
}

static void an_unreadable_file(void **state)
{
    (void)state;
    write_file("secret", "pass", 4);
    assert_int_equal(chmod("secret", 0), 0);
    bool is_root = geteuid() == 0;
    if (is_root)
        assert_int_equal(seteuid(65534), 0); /* root may read everything */
    chmod(".", 0755);
    read_with("@secret", NULL, NULL);
    if (is_root)
        assert_int_equal(seteuid(0), 0);
    assert_string_equal(settings.problem, "SHM_POLICY=@secret: no permission to read it" NO_POLICY);
    assert_null(settings.policy);
}

static void a_long_name_is_shortened(void **state)
{
    (void)state;
    char value[3000] = "@";
    memset(value + 1, 'x', sizeof value - 2);
    value[sizeof value - 1] = '\0';
    read_with(value, NULL, NULL);
    const char *ending = "xxx...: the name is too long" NO_POLICY;
    size_t length = strlen(settings.problem);
    assert_true(length > strlen(ending));
    assert_string_equal(settings.problem + length - strlen(ending), ending);

    /* What is not printable takes four times the room: it must not push out the ending. */
    memset(value + 1, '\1', sizeof value - 2);
    read_with(value, NULL, NULL);
    length = strlen(settings.problem);
    assert_non_null(strstr(settings.problem, "\\x01...: the name is too long" NO_POLICY));
}

/* The program may count on its next descriptor being the lowest free one. */
static void no_descriptor_is_kept(void **state)
{
    (void)state;
    int before = dup(0);
    close(before);
    write_file("kept", "pass", 4);
    const char *const values[] = {"@kept", "@folder", "@fifo", "@missing", "@noise"};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        read_with(values[i], NULL, NULL);
        int after = dup(0);
        close(after);
        assert_int_equal(after, before);
    }
}

static int enter_directory(void **state)
{
    (void)state;
    return mkdtemp(directory) && chdir(directory) == 0 ? 0 : -1;
}

static int remove_directory(void **state)
{
    (void)state;
    const char *const names[] = {"policy",    "link",     "empty", "fifo",   "loop", "socket",
                                 "just-fits", "one-more", "noise", "secret", "kept"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        unlink(names[i]);
    rmdir("folder");
    return chdir("/") == 0 && rmdir(directory) == 0 ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_set),
        cmocka_unit_test(records),
        cmocka_unit_test(ranks),
        cmocka_unit_test(set_to_nothing_is_unset),
        cmocka_unit_test(text_in_the_variable),
        cmocka_unit_test(log_levels),
        cmocka_unit_test(an_unknown_log_level_keeps_the_policy),
        cmocka_unit_test(a_lost_policy_matters_more_than_the_log_level),
        cmocka_unit_test(ways_of_holding_writers),
        cmocka_unit_test(an_unknown_way_of_holding_matters_least),
        cmocka_unit_test(policy_from_a_file),
        cmocka_unit_test(what_is_no_regular_file),
        cmocka_unit_test(sizes_of_files),
        cmocka_unit_test(a_file_that_hides_its_size),
        cmocka_unit_test(an_unreadable_file),
        cmocka_unit_test(a_long_name_is_shortened),
        cmocka_unit_test(no_descriptor_is_kept),
    };
    unsetenv("SHM_MERGE_HOLD");
    return cmocka_run_group_tests(tests, enter_directory, remove_directory);
}
