/* SPDX-License-Identifier: MIT
 *
 * core/segment: names; who makes a segment and who joins it; half-born files; leaving. See also
 * test-segment-refused.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sys/mman.h>

#include "test-segment.h"

/* ---------------------------------------------------------------- names */

static void names(void **state)
{
    (void)state;
    char longest[97];
    memset(longest, 'x', sizeof longest);
    memcpy(longest, "SHARED", 6);
    longest[95] = '\0';
    const char *const good[] = {"SHARED",           "SHARED::node",     "my SHARED thing",
                                "SHARED.with.dots", "SHARED::\xc3\xa4", longest};
    for (size_t i = 0; i < COUNT_OF(good); i++)
        assert_int_equal(segment_check_name(good[i]), 0);
    static const struct {
        const char *name, *word;
    } bad[] = {{NULL, "needs a name"},          {"", "needs a name"},
               {"node", "does not contain"},    {"shared::node", "does not contain"},
               {"SHARED/node", "contains '/'"}, {"SHARED\n", "printable"},
               {"SHARED\xff", "printable"},     {"SHARED\x7f", "printable"}};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        errno = 0;
        assert_int_equal(segment_check_name(bad[i].name), -1);
        assert_int_equal(errno, EINVAL);
        if (strstr(error_last(), bad[i].word) == NULL)
            fail_msg("'%s' does not say '%s'", error_last(), bad[i].word);
    }
    longest[95] = 'x';
    longest[96] = '\0';
    assert_int_equal(segment_check_name(longest), -1);
    assert_non_null(strstr(error_last(), "at most 95"));
}

static void file_names(void **state)
{
    (void)state;
    static const struct {
        const char *file, *job, *name;
        uid_t uid;
    } good[] = {{"shmcore.0..SHARED", "", "SHARED", 0},
                {"shmcore.1000.42.SHARED::node", "42", "SHARED::node", 1000},
                {"shmcore.4294967295.a-b_c.x.SHARED.z", "a-b_c", "x.SHARED.z", UINT32_MAX}};
    char job[64], name[96], at[512];
    uid_t uid;
    for (size_t i = 0; i < COUNT_OF(good); i++) {
        assert_true(segment_parse_file_name(good[i].file, &uid, job, name));
        assert_int_equal(uid, good[i].uid);
        assert_string_equal(job, good[i].job);
        assert_string_equal(name, good[i].name);
        segment_path(at, "/d", uid, job, name);
        assert_memory_equal(at, "/d/", 3);
        assert_string_equal(at + 3, good[i].file);
    }
    static const char *const bad[] = {"",
                                      "shmcore",
                                      "shmcore.",
                                      "shmcore.1",
                                      "shmcore.1.",
                                      "shmcore.1.job",
                                      "shmcore.1.job.",
                                      "shmcore..job.SHARED",
                                      "shmcore.-1.job.SHARED",
                                      "shmcore.1.job.name",
                                      "shmcore.x.job.SHARED",
                                      "shmcore.4294967296.job.SHARED",
                                      "shmcore.18446744073709551617.job.SHARED",
                                      "shmcore-0.registry",
                                      "other.1.job.SHARED"};
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        if (segment_parse_file_name(bad[i], &uid, job, name))
            fail_msg("'%s' was taken for a segment", bad[i]);
}

static void long_file_names(void **state)
{
    (void)state;
    char file[256], job[64], name[96];
    uid_t uid;
    snprintf(file, sizeof file, "shmcore.1.%063d.SHARED%089d", 0, 0);
    assert_true(segment_parse_file_name(file, &uid, job, name));
    assert_int_equal(strlen(job), 63);
    assert_int_equal(strlen(name), 95);
    snprintf(file, sizeof file, "shmcore.1.%064d.SHARED%089d", 0, 0);
    assert_false(segment_parse_file_name(file, &uid, job, name));
    snprintf(file, sizeof file, "shmcore.1.%063d.SHARED%090d", 0, 0);
    assert_false(segment_parse_file_name(file, &uid, job, name));
}

/* Whatever the batch system calls a job, it becomes a part of a file name; two that differ stay two. */
static void jobs(void **state)
{
    (void)state;
    static char longest[64], longer[2][300];
    memset(longest, 'j', sizeof longest - 1);
    memset(longer, 'j', sizeof longer);
    longer[0][299] = longer[1][298] = '\0';
    const char *const kept[] = {"", "4711", "prte-1@2+3,4", "a_b", longest};
    const char *const changed[] = {"4711.server", "4711 server", "4711_server.", "../../etc/passwd",
                                   "a\nb",        "\xc3\xa4",    longer[0],      longer[1]};
    char becomes[COUNT_OF(changed)][64], again[64];
    for (size_t i = 0; i < COUNT_OF(kept); i++) {
        segment_set_job(again, kept[i]);
        assert_string_equal(again, kept[i]);
    }
    for (size_t i = 0; i < COUNT_OF(changed); i++) {
        memset(becomes[i], '#', sizeof becomes[i]);
        segment_set_job(becomes[i], changed[i]);
        assert_true(strnlen(becomes[i], sizeof becomes[i]) < sizeof becomes[i]);
        assert_null(strpbrk(becomes[i], "./ \n\xc3"));
        assert_string_not_equal(becomes[i], "");
        for (size_t other = 0; other < i; other++)
            assert_string_not_equal(becomes[i], becomes[other]);
        segment_set_job(again, becomes[i]); /* it is a job id itself, and stays what it is */
        assert_string_equal(again, becomes[i]);
    }
    assert_memory_equal(becomes[0], "4711_server-", 12);
}

static void job_in_the_file_name(void **state)
{
    (void)state;
    ON_ISLAND();
    struct segment segment, other;
    struct segment_request request = wish();
    request.job = "1/2";
    assert_int_equal(open_it(&segment, &request), 0);
    request.job = "1.2";
    assert_int_equal(open_it(&other, &request), 0);
    assert_true(segment.created && other.created);
    assert_string_equal(other.view.header->job, other.job);
    segment_leave(&segment, yes, NULL);
    segment_leave(&other, yes, NULL);
    segment_unmap(&segment);
    segment_unmap(&other);
}

/* ---------------------------------------------------------------- the job of the environment */

static int say_job(struct child *self, void *argument)
{
    char *const *environment = argument;
    char *const arguments[] = {"test-segment", "--job", NULL};
    if (dup2(self->link, STDOUT_FILENO) < 0)
        return 1;
    execve("/proc/self/exe", arguments, environment);
    return 1;
}

/* This program once more, with another environment, saying the job it finds. */
static void assert_job(char *const *environment, const char *wanted)
{
    char found[65] = "";
    size_t length = 0;
    struct child child = child_start(say_job, (void *)(uintptr_t)environment);
    while (length < sizeof found - 1 && (found[length] = child_hear(&child)) != '\0')
        length++;
    assert_int_equal(child_end(&child), 0);
    assert_string_equal(found, wanted);
}

static void job_of_environment(void **state)
{
    (void)state;
    static const struct {
        const char *wanted;
        char *environment[5];
    } jobs[] = {
        {"", {"PATH=/bin", "XSHM_JOB=no", "SHM_JOBX=no"}},
        {"mine", {"SLURM_JOB_ID=7", "PMIX_NAMESPACE=p-1", "SHM_JOB=mine"}},
        {"p-1", {"PMIX_NAMESPACE=p-1", "PMIX_RANK=0", "OMPI_COMM_WORLD_RANK=0"}},
        /* steps of one job */
        {"7", {"SLURM_JOB_ID=7", "SLURM_STEP_ID=0", "PMIX_NAMESPACE=slurm.pmix.7.0"}},
        {"7", {"SHM_JOB=", "SLURM_JOB_ID=7", "SLURM_STEP_ID=1", "PMIX_NAMESPACE=slurm.pmix.7.1"}},
        {"7", {"SLURM_JOB_ID=7", "PMI_RANK=0", "PMI_FD=0"}},
        {"8@host", {"PBS_JOBID=8@host", "PMIX_NAMESPACE=p-1"}},
        /* elements of arrays */
        {"9", {"LSB_JOBID=9", "LSB_JOBINDEX=0"}},
        {"9_12", {"LSB_JOBID=9", "LSB_JOBINDEX=12"}},
        {"10", {"JOB_ID=10", "SGE_TASK_ID=undefined"}},
        {"10_2", {"JOB_ID=10", "SGE_TASK_ID=2"}},
        /* no rank of MPICH */
        {"", {"PMI_FD=none"}},
        {"", {"PMI_FD=1000000"}},
    };
    for (size_t i = 0; i < COUNT_OF(jobs); i++)
        assert_job(jobs[i].environment, jobs[i].wanted);
}

/* MPICH's launcher says no job; each of its ranks has one end of a pair of sockets that it made. */
static void job_of_mpich(void **state)
{
    (void)state;
    int ends[2], file = open("/dev/null", O_RDONLY);
    char pmi[32], wanted[32];
    char *const environment[] = {"PMI_RANK=0", pmi, NULL};
    assert_true(file >= 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    error_format(wanted, sizeof wanted, "pmi-%d", getpid());
    for (int i = 0; i < 2; i++) {
        error_format(pmi, sizeof pmi, "PMI_FD=%d", ends[i]);
        assert_job(environment, wanted);
    }
    error_format(pmi, sizeof pmi, "PMI_FD=%d", file);
    assert_job(environment, "");
    close(file);
    close(ends[0]);
    close(ends[1]);
}

/* ---------------------------------------------------------------- making and joining */

static void made(void **state)
{
    (void)state;
    ON_ISLAND();
    struct stat status;
    struct segment segment = must_open();
    const struct header *header = segment.view.header;
    assert_true(segment.created && segment.stable && segment.owns_mapping);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode, S_IFREG | 0600);
    assert_int_equal(status.st_size, SIZE);
    assert_int_equal(segment.inode, status.st_ino);
    assert_string_equal(segment.path, path);
    assert_int_equal(header->base, (uintptr_t)segment.view.base);
    assert_true(header->base >= WINDOW_BASE && header->base + SIZE <= WINDOW_END);
    assert_string_equal(header->name, NAME);
    assert_string_equal(header->job, "unit");
    assert_int_equal(header->uid, geteuid());
    assert_int_equal(header->pid_namespace, os_pid_namespace());
    assert_true(pool_is_sound(&segment.view));
    assert_int_equal(segment.view.pool->free_regions, segment.view.region_count - segment.view.table_regions);
    segment_unmap(&segment);
    assert_null(segment.view.base);
    assert_true(exists());
}

static int join(struct child *self, void *argument)
{
    const struct segment_request *request = argument;
    struct segment segment;
    child_hear(self);
    if (segment_open(&segment, request, attach, NULL) != 0)
        return 1;
    char answer[64];
    const uint64_t seen[] = {(uint64_t)(uintptr_t)segment.view.base, segment.view.header->nonce,
                             segment.created};
    memcpy(answer, seen, sizeof seen);
    if (write(self->link, answer, sizeof seen) != sizeof seen)
        return 2;
    child_hear(self);
    return 0;
}

static void one_creator_one_address(void **state)
{
    (void)state;
    ON_ISLAND();
    struct child child[16];
    uint64_t seen[16][3], created = 0;
    struct segment_request request = wish();
    for (unsigned i = 0; i < COUNT_OF(child); i++)
        child[i] = child_start(join, &request);
    for (unsigned i = 0; i < COUNT_OF(child); i++)
        child_say(&child[i], 'g');
    for (unsigned i = 0; i < COUNT_OF(child); i++)
        assert_int_equal(read(child[i].link, seen[i], sizeof seen[i]), sizeof seen[i]);
    for (unsigned i = 0; i < COUNT_OF(child); i++) {
        assert_int_equal(seen[i][0], seen[0][0]);
        assert_int_equal(seen[i][1], seen[0][1]);
        created += seen[i][2];
        child_say(&child[i], 'e');
        assert_int_equal(child_end(&child[i]), 0);
    }
    assert_int_equal(created, 1);
}

static void twice_in_one_process(void **state)
{
    (void)state;
    ON_ISLAND();
    struct segment first = must_open(), second = must_open();
    assert_true(first.created && !second.created);
    assert_ptr_equal(first.view.base, second.view.base);
    assert_false(second.owns_mapping);
    segment_unmap(&second);
    assert_int_equal(first.view.header->magic, LAYOUT_MAGIC); /* still mapped */
    segment_unmap(&first);
}

/* Another segment, made while the first is mapped nowhere: only the registry knows of its place. */
static void two_segments(void **state)
{
    (void)state;
    ON_ISLAND();
    struct segment first = must_open(), second;
    const uint64_t base = first.view.header->base;
    segment_unmap(&first);
    struct segment_request request = wish();
    request.name = "SHARED::other";
    assert_int_equal(open_it(&second, &request), 0);
    const uint64_t other = second.view.header->base;
    assert_true(second.created && second.stable);
    assert_true(other >= base + SIZE || base >= other + SIZE);
    segment_leave(&second, yes, NULL);
    segment_unmap(&second);
}

static int join_where_taken(struct child *self, void *argument)
{
    const uint64_t *base = argument;
    const struct segment_request request = wish();
    struct segment segment;
    (void)self;
    void *taken = (void *)(uintptr_t)*base;
    if (mmap(taken, PAGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != taken)
        return 1;
    if (segment_open(&segment, &request, attach, NULL) != 0)
        return 2;
    return segment.stable || segment.view.base == taken || segment.view.header->base != *base ? 3 : 0;
}

static void address_taken(void **state)
{
    (void)state;
    ON_ISLAND();
    struct segment segment = must_open();
    uint64_t base = segment.view.header->base;
    segment_unmap(&segment);
    struct child child = child_start(join_where_taken, &base);
    assert_int_equal(child_end(&child), 0);
}

static void read_only(void **state)
{
    (void)state;
    ON_ISLAND();
    struct segment_request request = wish();
    request.read_only = true;
    assert_refused(&request, ENOENT, "no segment");
    assert_false(exists());
    struct segment writer = must_open(), reader;
    const uint64_t base = writer.view.header->base;
    segment_unmap(&writer);
    request.persist = true; /* a viewer need not know */
    request.size = 0;
    assert_int_equal(segment_open(&reader, &request, NULL, NULL), 0); /* and takes no row */
    assert_true(reader.read_only && reader.stable);
    assert_int_equal((uintptr_t)reader.view.base, base);
    segment_unmap(&reader);
}

static void attach_fails(void **state)
{
    (void)state;
    ON_ISLAND();
    struct segment segment;
    const struct segment_request request = wish();
    int calls = -10;
    assert_int_equal(segment_open(&segment, &request, attach, &calls), -1);
    assert_int_equal(errno, ESHUTDOWN);
    assert_null(segment.view.base);
    calls = 0;
    assert_int_equal(segment_open(&segment, &request, attach, &calls), 0);
    assert_int_equal(calls, 1);
    segment_unmap(&segment);
}

/* Who waits for the file's lock is told each time when it is given back, but not where the mapping has gone,
 * or may not be written to. */
static void waiters_are_told(void **state)
{
    (void)state;
    ON_ISLAND();
    struct segment segment = must_open(), second, gone;
    struct segment_request request = wish();
    const struct header *header = segment.view.header;
    assert_int_equal(header->unlocks, 1);
    assert_int_equal(open_it(&second, &request), 0);
    assert_int_equal(header->unlocks, 2);
    segment_leave(&second, no, NULL);
    assert_int_equal(header->unlocks, 3);
    gone = second;
    segment_unmap(&gone);
    gone.view.base = NULL;
    segment_leave(&gone, no, NULL);
    request.read_only = true;
    assert_int_equal(segment_open(&second, &request, NULL, NULL), 0);
    segment_leave(&second, no, NULL);
    segment_unmap(&second);
    assert_int_equal(header->unlocks, 3);
    segment_unmap(&segment);
}

static void left(void **state)
{
    (void)state;
    ON_ISLAND();
    struct segment segment = must_open();
    segment_leave(&segment, no, NULL);
    assert_true(exists());
    assert_int_equal(unlink(path), 0);
    struct segment second = must_open(); /* another one of the same name */
    assert_true(second.created);
    segment_leave(&segment, yes, NULL);
    assert_true(exists());
    segment_leave(&second, yes, NULL);
    assert_false(exists());
    segment_leave(&second, yes, NULL);
    segment_unmap(&segment);
    segment_unmap(&second);
}

static void too_large_for_the_files(void **state)
{
    (void)state;
    ON_ISLAND();
    const int descriptor = open("/dev/shm/others", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(posix_fallocate(descriptor, 0, 64 * MEBI - 3 * PAGE_BYTES), 0);
    close(descriptor);
    const struct segment_request request = wish();
    assert_refused(&request, ENOMEM, "from the start: /dev/shm has ");
    assert_false(exists());
    unlink("/dev/shm/others");
    struct segment segment = must_open();
    segment_unmap(&segment);
}

/* ---------------------------------------------------------------- half-born files */

/* A creator who died before the mark leaves a file that the next one takes over. */
static void assert_taken_over(void)
{
    struct segment_request request = wish();
    request.read_only = true;
    assert_refused(&request, EPROTO, "not ready");
    struct segment segment = must_open();
    assert_true(segment.created);
    assert_true(pool_is_sound(&segment.view));
    assert_int_equal(segment.view.capacity, SIZE);
    segment_unmap(&segment);
    unlink(path);
}

static void half_born(void **state)
{
    (void)state;
    ON_ISLAND();
    static const char zero[8192], noise[] = "what a dead creator has left";
    write_at("", 0, 0);
    assert_taken_over();
    write_at(zero, sizeof zero, 0); /* resized, nothing written */
    assert_taken_over();
    write_at(zero, sizeof zero, SIZE * 2 - sizeof zero); /* of another size */
    write_at(noise, sizeof noise, sizeof(struct header) + 64);
    assert_taken_over();

    struct segment segment = must_open(); /* everything but the mark */
    const uint64_t nonce = segment.view.header->nonce;
    atomic_store(&segment.view.header->ready, 0);
    segment_unmap(&segment);
    segment = must_open();
    assert_true(segment.created);
    assert_true(segment.view.header->nonce != nonce);
    segment_unmap(&segment);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, clear, clear)

int main(int count, char **arguments)
{
    const struct CMUnitTest tests[] = {
        TEST(names),
        TEST(file_names),
        TEST(long_file_names),
        TEST(jobs),
        TEST(job_in_the_file_name),
        TEST(job_of_environment),
        TEST(job_of_mpich),
        TEST(made),
        TEST(one_creator_one_address),
        TEST(twice_in_one_process),
        TEST(two_segments),
        TEST(address_taken),
        TEST(read_only),
        TEST(attach_fails),
        TEST(waiters_are_told),
        TEST(left),
        TEST(too_large_for_the_files),
        TEST(half_born),
    };
    if (count == 2 && strcmp(arguments[1], "--job") == 0) {
        char job[64];
        segment_find_job(job);
        return printf("%s", job) < 0;
    }
    return cmocka_run_group_tests_name("segment", tests, land, NULL);
}
