/* SPDX-License-Identifier: MIT
 *
 * Segments through the public API: names, traits, opening twice, jobs, removing, persisting.
 */
#include "test-api.h"

#include <pthread.h>
#include <spawn.h>
#include <sys/statvfs.h>

static int take_path(const shmcore_segment_info *info, void *argument)
{
    snprintf(argument, sizeof info->path, "%s", info->path);
    return 1;
}

/* The path of the only segment file. */
static void find_path(char path[512])
{
    assert_int_equal(files_in_directory(), 1);
    assert_int_equal(shmcore_for_each_segment(test_directory, take_path, path), 1);
}

static void *error_of_new_thread(void *out)
{
    snprintf(out, 16, "%s", shmcore_error());
    return NULL;
}

static void defaults(void **state)
{
    (void)state;
    const shmcore_traits traits = shmcore_default_traits();
    assert_int_equal(traits.size, 0);
    assert_int_equal(traits.scope, SHMCORE_SCOPE_NODE);
    assert_int_equal(traits.resource, SHMCORE_RESOURCE_SHARED);
    assert_false(traits.read_only);
    assert_false(traits.persist);
    assert_null(traits.dir);
    assert_null(traits.job);
}

static void errors_are_each_thread_s_own(void **state)
{
    (void)state;
    char seen[16] = "never";
    pthread_t thread;
    assert_refused(shmcore_open(NULL, NULL), EINVAL);
    assert_int_equal(pthread_create(&thread, NULL, error_of_new_thread, seen), 0);
    pthread_join(thread, NULL);
    assert_string_equal(seen, "");
    assert_string_not_equal(shmcore_error(), "");
}

static void open_and_close(void **state)
{
    (void)state;
    char path[512];
    struct stat status;
    shmcore_segment *segment = open_here(NODE, 8 * MIB);
    assert_string_equal(shmcore_segment_name(segment), NODE);
    const shmcore_traits traits = shmcore_get_traits(segment);
    assert_int_equal(traits.size, 8 * MIB);
    assert_int_equal(traits.scope, SHMCORE_SCOPE_NODE);
    assert_int_equal(traits.resource, SHMCORE_RESOURCE_SHARED);
    assert_false(traits.read_only || traits.persist);
    assert_string_equal(traits.dir, test_directory);
    assert_string_equal(traits.job, "test");
    find_path(path);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0600);
    assert_int_equal(status.st_size, 8 * MIB);
    assert_int_equal(shmcore_close(segment), 0);
    assert_int_equal(files_in_directory(), 0);
    assert_int_equal(shmcore_close(NULL), 0);
}

static void statistics(void **state)
{
    (void)state;
    shmcore_segment *segment = open_here(NODE, 8 * MIB);
    const shmcore_statistics before = statistics_of(segment);
    assert_int_equal(before.capacity, 8 * MIB);
    assert_int_equal(before.used, shmcore_actual_size(segment));
    assert_int_equal(before.used + before.free, before.capacity);
    assert_int_equal(before.blocks, 0);
    assert_int_equal(before.processes, 1);
    assert_in_range(before.reserved, 4096, before.capacity);
    allocate(segment, "block", MIB);
    const shmcore_statistics after = statistics_of(segment);
    assert_int_equal(after.blocks, 1);
    assert_int_equal(after.used, before.used + MIB);
    assert_in_range(after.free, 1, before.free - MIB);
    assert_in_range(after.reserved, before.reserved + MIB, after.capacity);
    shmcore_close(segment);
}

static void a_closed_handle_is_refused(void **state)
{
    (void)state;
    shmcore_statistics statistics;
    shmcore_segment *segment = open_here(NODE, MIB);
    assert_fails(shmcore_stat(segment, NULL), EINVAL);
    shmcore_close(segment);
    shmcore_segment *const bad[] = {segment, NULL, (void *)&statistics};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_refused(shmcore_allocate(bad[i], "name", 1), EINVAL);
        assert_refused(shmcore_find(bad[i], "name", NULL), EINVAL);
        assert_refused(shmcore_shim_create(bad[i], "prefix"), EINVAL);
        assert_fails(shmcore_deallocate(bad[i], &statistics), EINVAL);
        assert_fails(shmcore_for_each(bad[i], NULL, NULL), EINVAL);
        assert_fails(shmcore_stat(bad[i], &statistics), EINVAL);
        assert_int_equal(shmcore_actual_size(bad[i]), 0);
        assert_false(shmcore_address_stable(bad[i]));
        assert_string_equal(shmcore_segment_name(bad[i]), "");
        if (bad[i] != NULL)
            assert_fails(shmcore_close(bad[i]), EINVAL);
    }
}

static void opening_twice_gives_the_same_handle(void **state)
{
    (void)state;
    static const char *const jobs[] = {
        "test", "4711.server", "a/b",
        "0123456789012345678901234567890123456789012345678901234567890123456789"};
    for (size_t i = 0; i < sizeof jobs / sizeof *jobs; i++) {
        shmcore_traits traits = traits_here(MIB);
        traits.job = jobs[i];
        shmcore_segment *segment = shmcore_open(NODE, &traits);
        assert_non_null(segment);
        traits.size = 0;
        assert_ptr_equal(shmcore_open(NODE, &traits), segment);
        assert_int_equal(statistics_of(segment).processes, 1);
        assert_int_equal(shmcore_close(segment), 0);
        allocate(segment, "still there", 10);
        assert_int_equal(shmcore_close(segment), 0);
        assert_fails(shmcore_close(segment), EINVAL);
        assert_int_equal(files_in_directory(), 0);
    }
}

static void segment_names(void **state)
{
    (void)state;
    char longest[97];
    memset(longest, 'x', sizeof longest);
    memcpy(longest, "SHARED", 6);
    longest[96] = '\0';
    const char *const bad[] = {NULL,
                               "",
                               "node",
                               "shared",
                               "SHARE",
                               "SHARED/one",
                               "/SHARED",
                               "SHARED\n",
                               "SHARED\x7f",
                               longest,
                               "SHARED\xff",
                               "\x01SHARED",
                               "SHARED\xc2\x80",
                               "SHARED\xed\xa0\x80"};
    const shmcore_traits traits = traits_here(MIB);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_refused(shmcore_open(bad[i], &traits), EINVAL);
        assert_fails(shmcore_remove(bad[i], &traits), EINVAL);
    }
    assert_int_equal(files_in_directory(), 0);
    longest[95] = '\0';
    const char *const good[] = {"SHARED",           longest,         "SHARED::a.b",
                                "my SHARED memory", "SHARED é 内存", "..SHARED"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        shmcore_segment *segment = open_here(good[i], MIB);
        assert_string_equal(shmcore_segment_name(segment), good[i]);
        assert_int_equal(files_in_directory(), 1);
        shmcore_close(segment);
    }
}

static void expect_refusal(shmcore_traits traits, int code)
{
    assert_refused(shmcore_open(NODE, &traits), code);
}

static void reopen_with_others(void)
{
    shmcore_traits traits = traits_here(16 * MIB);
    expect_refusal(traits, EINVAL);
    assert_non_null(strstr(shmcore_error(), "16777216"));
    assert_non_null(strstr(shmcore_error(), "8388608"));
    traits.size = 8 * MIB;
    traits.persist = true;
    expect_refusal(traits, EINVAL);
    traits.persist = false;
    traits.resource = (enum shmcore_resource)7;
    expect_refusal(traits, EINVAL);
}

static void holds_a_segment(const struct peer *parent)
{
    const shmcore_traits traits = traits_here(8 * MIB);
    REQUIRE(shmcore_open(NODE, &traits) != NULL);
    tell(parent, 1);
    hear(parent);
}

static void other_traits(void **state)
{
    (void)state;
    shmcore_segment *segment = open_here(NODE, 8 * MIB);
    reopen_with_others(); /* by the process that has it */
    shmcore_close(segment);
    const struct peer peer = start_peer(holds_a_segment);
    hear(&peer);
    reopen_with_others(); /* by another one */
    segment = open_here(NODE, 0);
    assert_int_equal(shmcore_get_traits(segment).size, 8 * MIB);
    assert_int_equal(statistics_of(segment).processes, 2);
    kill_peer(&peer);
    shmcore_close(segment);
}

static void sizes(void **state)
{
    (void)state;
    struct statvfs space;
    static const size_t absurd[] = {SIZE_MAX, SIZE_MAX - 4095, SIZE_MAX / 2, (size_t)1 << 62};
    for (size_t i = 0; i < sizeof absurd / sizeof *absurd; i++)
        expect_refusal(traits_here(absurd[i]), ENOMEM);
    assert_int_equal(files_in_directory(), 0);
    shmcore_segment *segment = open_here(NODE, 1);
    allocate(segment, "in the smallest segment", 1000);
    shmcore_close(segment);
    assert_int_equal(statvfs(test_directory, &space), 0);
    segment = open_here(NODE, 0);
    const size_t half = (size_t)space.f_blocks * space.f_frsize / 2;
    assert_in_range(statistics_of(segment).capacity, half - 2 * MIB, half);
    shmcore_close(segment);
}

static void directories(void **state)
{
    (void)state;
    static const char *const not_in_memory[] = {"/proc", "/sys"};
    shmcore_traits traits = traits_here(MIB);
    for (size_t i = 0; i < sizeof not_in_memory / sizeof *not_in_memory; i++) {
        traits.dir = not_in_memory[i];
        expect_refusal(traits, ENOTSUP);
        assert_non_null(strstr(shmcore_error(), "tmpfs"));
    }
    char missing[160];
    snprintf(missing, sizeof missing, "%s/missing", test_directory);
    traits.dir = missing;
    expect_refusal(traits, ENOENT);
}

/* ---------------------------------------------------------------- jobs */

static void jobs_never_meet(void **state)
{
    (void)state;
    static const char *const jobs[] = {"",
                                       "one",
                                       "two",
                                       "12.host",
                                       "12,host",
                                       "a-job-id-that-is-longer-than-the-sixty-three-bytes-that-are-kept-1",
                                       "a-job-id-that-is-longer-than-the-sixty-three-bytes-that-are-kept-2"};
    enum { COUNT = sizeof jobs / sizeof *jobs };
    shmcore_segment *segment[COUNT];
    for (int i = 0; i < COUNT; i++) {
        shmcore_traits traits = traits_here(MIB);
        traits.job = jobs[i];
        segment[i] = shmcore_open(NODE, &traits);
        assert_non_null(segment[i]);
        assert_null(shmcore_find(segment[i], "block", NULL));
        *(int *)allocate(segment[i], "block", sizeof(int)) = i;
    }
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(*(int *)shmcore_find(segment[i], "block", NULL), i);
    for (int i = 0; i < COUNT; i++)
        shmcore_close(segment[i]);
}

/* What the process started by the next test does. */
static int print_job(void)
{
    setenv("SHM_JOB", "too-late", 1);
    snprintf(test_directory, sizeof test_directory, "%s", getenv("TEST_DIRECTORY"));
    shmcore_traits traits = traits_here(MIB);
    traits.job = NULL;
    shmcore_segment *segment = shmcore_open(NODE, &traits);
    REQUIRE(segment != NULL);
    const int right = strcmp(shmcore_get_traits(segment).job, getenv("EXPECTED_JOB")) == 0;
    return shmcore_close(segment) == 0 && right ? 0 : 1;
}

static void job_of_the_environment(void **state)
{
    (void)state;
    static char *const environments[][2] = {
        {"SHM_JOB=mine", "EXPECTED_JOB=mine"}, {"SLURM_JOB_ID=4711", "EXPECTED_JOB=4711"},
        {"PBS_JOBID=12", "EXPECTED_JOB=12"},   {"PMIX_NAMESPACE=prun-1@2", "EXPECTED_JOB=prun-1@2"},
        {"NOTHING=1", "EXPECTED_JOB="},
    };
    char directory[160];
    char *const arguments[] = {"test-api-segments", "print-job", NULL};
    snprintf(directory, sizeof directory, "TEST_DIRECTORY=%s", test_directory);
    for (size_t i = 0; i < sizeof environments / sizeof *environments; i++) {
        char *const environment[] = {environments[i][0], environments[i][1], directory, NULL};
        pid_t pid;
        int status = -1;
        assert_int_equal(posix_spawn(&pid, "/proc/self/exe", NULL, NULL, arguments, environment), 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (status != 0)
            fail_msg("with %s the job is not %s", environments[i][0], environments[i][1]);
    }
}

/* ---------------------------------------------------------------- removing, persisting */

static void removing(void **state)
{
    (void)state;
    shmcore_traits traits = traits_here(MIB);
    traits.job = "4711.server"; /* not all of it can be part of a file's name */
    assert_fails(shmcore_remove(NODE, &traits), ENOENT);
    shmcore_segment *old = shmcore_open(NODE, &traits);
    assert_non_null(old);
    strcpy(allocate(old, "block", 10), "old");
    assert_int_equal(shmcore_remove(NODE, &traits), 0);
    assert_int_equal(files_in_directory(), 0);
    assert_fails(shmcore_remove(NODE, &traits), ENOENT);
    shmcore_segment *fresh = shmcore_open(NODE, &traits);
    assert_non_null(fresh);
    assert_ptr_not_equal(fresh, old);
    assert_null(shmcore_find(fresh, "block", NULL));
    strcpy(allocate(fresh, "block", 10), "new");
    assert_string_equal(shmcore_find(old, "block", NULL), "old");
    allocate(old, "the old one works on", 100000);
    assert_int_equal(shmcore_close(old), 0);
    assert_int_equal(files_in_directory(), 1);
    assert_string_equal(shmcore_find(fresh, "block", NULL), "new");
    assert_int_equal(shmcore_close(fresh), 0);
}

static void persisting(void **state)
{
    (void)state;
    shmcore_traits traits = traits_here(4 * MIB);
    traits.persist = true;
    shmcore_segment *segment = shmcore_open(NODE, &traits);
    assert_non_null(segment);
    assert_true(shmcore_get_traits(segment).persist);
    allocate(segment, "block", 10);
    shmcore_close(segment);
    assert_int_equal(files_in_directory(), 1);
    expect_refusal(traits_here(4 * MIB), EINVAL); /* others must know that it persists */
    segment = shmcore_open(NODE, &traits);
    assert_non_null(segment);
    assert_null(shmcore_find(segment, "block", NULL)); /* nobody held the block */
    shmcore_close(segment);
    assert_int_equal(shmcore_remove(NODE, &traits), 0);
    assert_int_equal(files_in_directory(), 0);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "print-job") == 0)
        return print_job();
    const struct CMUnitTest tests[] = {
        API_TEST(defaults),
        API_TEST(errors_are_each_thread_s_own),
        API_TEST(open_and_close),
        API_TEST(statistics),
        API_TEST(a_closed_handle_is_refused),
        API_TEST(opening_twice_gives_the_same_handle),
        API_TEST(segment_names),
        API_TEST(other_traits),
        API_TEST(sizes),
        API_TEST(directories),
        API_TEST(jobs_never_meet),
        API_TEST(job_of_the_environment),
        API_TEST(removing),
        API_TEST(persisting),
    };
    if (make_test_directory("segments") != 0)
        return 1;
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, remove_test_directory);
}
