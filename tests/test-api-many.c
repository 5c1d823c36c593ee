/* SPDX-License-Identifier: MIT
 *
 * Much at once through the public API: a hundred thousand names, blocks of up to a GiB, a full segment, and
 * four processes of two threads that make and free blocks at random and verify every byte.
 */
#include "test-api.h"

#include <pthread.h>
#include <sys/statvfs.h>

/* ---------------------------------------------------------------- many, big, full */

static int count_block(const shmcore_block *block, void *argument)
{
    *(int *)argument += block->bytes == 24;
    return 0;
}

static void a_hundred_thousand_names(void **state)
{
    (void)state;
    enum { COUNT = 100000 };
    static void *block[COUNT];
    char name[48];
    int seen = 0;
    shmcore_segment *segment = open_here(NODE, 256 * MIB);
    const size_t before = shmcore_actual_size(segment);
    for (int i = 0; i < COUNT; i++) {
        snprintf(name, sizeof name, i % 2 != 0 ? "%d" : "a rather longer name %d", i);
        block[i] = allocate(segment, name, 24);
        memcpy(block[i], &i, sizeof i);
    }
    for (int i = 0; i < COUNT; i++) {
        snprintf(name, sizeof name, i % 2 != 0 ? "%d" : "a rather longer name %d", i);
        assert_ptr_equal(shmcore_find(segment, name, NULL), block[i]);
        memcpy(&seen, block[i], sizeof seen);
        assert_int_equal(seen, i);
    }
    assert_int_equal(statistics_of(segment).blocks, COUNT);
    int count = 0;
    assert_int_equal(shmcore_for_each(segment, count_block, &count), 0);
    assert_int_equal(count, COUNT);
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(shmcore_deallocate(segment, block[i * 7 % COUNT]), 0);
    assert_int_equal(shmcore_actual_size(segment), before);
    assert_int_equal(statistics_of(segment).blocks, 0);
    shmcore_close(segment);
}

/* What a part of the segment keeps to itself when a block is freed does not stand in the way of a larger one.
 */
static void room_that_was_kept(void **state)
{
    (void)state;
    shmcore_segment *segment = open_here(NODE, 64 * MIB);
    const size_t before = shmcore_actual_size(segment);
    for (size_t mib = 32; mib <= 60; mib += 4) {
        assert_int_equal(shmcore_deallocate(segment, allocate(segment, "block", mib * MIB)), 0);
        assert_int_equal(shmcore_actual_size(segment), before);
    }
    assert_refused(shmcore_allocate(segment, "too much", 64 * MIB), ENOMEM);
    shmcore_close(segment);
}

static size_t available_memory(void)
{
    size_t kibibytes = 0;
    char line[128];
    struct statvfs space;
    FILE *file = fopen("/proc/meminfo", "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "MemAvailable: %zu", &kibibytes) == 1)
            break;
    if (file != NULL)
        fclose(file);
    assert_int_equal(statvfs(test_directory, &space), 0);
    const size_t files = (size_t)space.f_bavail * space.f_frsize;
    return files < kibibytes * 1024 ? files : kibibytes * 1024;
}

static void big_blocks(void **state)
{
    (void)state;
    static const size_t sizes[] = {32 * 1024 + 1, MIB, 3 * MIB + 5, 64 * MIB, 300 * MIB, GIB};
    if (available_memory() < 3 * GIB) {
        print_message("skipped: less than 3 GiB of memory or of /dev/shm are free\n");
        skip();
    }
    shmcore_segment *segment = open_here(NODE, 3 * GIB);
    const size_t before = shmcore_actual_size(segment);
    for (int round = 0; round < 2; round++) /* the second round gets memory that was used */
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            unsigned char *block = allocate(segment, "big", sizes[i]);
            assert_true(is_filled_with(block, 0, sizes[i]));
            for (size_t at = 0; at < sizes[i]; at += 2048)
                block[at] = 0xa5;
            block[sizes[i] - 1] = 0xa5;
            assert_int_equal((uintptr_t)block % 4096, 0);
            assert_int_equal(shmcore_deallocate(segment, block), 0);
        }
    assert_int_equal(shmcore_actual_size(segment), before);
    shmcore_close(segment);
}

/* A full segment refuses, loses nothing, and has all its room again afterwards. */
static void a_full_segment(void **state)
{
    (void)state;
    static const size_t sizes[] = {16, 3000, 32768, 200000, 16, MIB};
    static void *block[200000];
    shmcore_segment *segment = open_here(NODE, 8 * MIB);
    const size_t before = shmcore_actual_size(segment);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        unsigned count = 0;
        for (;; count++) {
            char name[32];
            snprintf(name, sizeof name, "%u", count);
            assert_true(count < 200000);
            block[count] = shmcore_allocate(segment, name, sizes[i]);
            if (block[count] == NULL)
                break;
        }
        assert_int_equal(errno, ENOMEM);
        assert_non_null(strstr(shmcore_error(), NODE));
        assert_true(count > 0 && count >= 4 * MIB / (sizes[i] + 64));
        while (count-- > 0)
            assert_int_equal(shmcore_deallocate(segment, block[count]), 0);
        assert_int_equal(shmcore_actual_size(segment), before);
    }
    shmcore_close(segment);
}

/* ---------------------------------------------------------------- at random */

enum { PROCESSES = 4, THREADS = 2, ITERATIONS = 40000, OWN = 24, COMMON = 40 };

struct worker {
    shmcore_segment *segment;
    uint64_t random;
    unsigned number;
    struct {
        unsigned char *block;
        size_t bytes;
        unsigned char value;
    } own[OWN];
    unsigned char *common[COMMON];
};

static uint64_t next_random(struct worker *worker)
{
    worker->random ^= worker->random << 13;
    worker->random ^= worker->random >> 7;
    worker->random ^= worker->random << 17;
    return worker->random;
}

static size_t random_size(struct worker *worker)
{
    const uint64_t random = next_random(worker);
    return random % 64 == 0 ? random % 300000 : random % 4 == 0 ? random % 20000 : random % 300;
}

/* A block whose name only this thread uses: zeros at first, then what the thread has written, to the last
 * byte. */
static void turn_over_own(struct worker *worker, unsigned index)
{
    char name[64];
    if (worker->own[index].block != NULL) {
        REQUIRE(is_filled_with(worker->own[index].block, worker->own[index].value, worker->own[index].bytes));
        REQUIRE(shmcore_deallocate(worker->segment, worker->own[index].block) == 0);
        worker->own[index].block = NULL;
        return;
    }
    const size_t bytes = random_size(worker);
    snprintf(name, sizeof name, bytes % 2 != 0 ? "%u/%u" : "a long name of thread %u, block %u",
             worker->number, index);
    unsigned char *block = shmcore_allocate(worker->segment, name, bytes);
    REQUIRE(block != NULL);
    REQUIRE(is_filled_with(block, 0, bytes));
    worker->own[index].value = (unsigned char)(next_random(worker) | 1);
    memset(block, worker->own[index].value, bytes);
    worker->own[index].block = block;
    worker->own[index].bytes = bytes;
}

static size_t common_size(unsigned index)
{
    return index % 10 == 9 ? 40000 + index * 100 : 1 + index * 37 % 5000;
}

/* A block that all ask for: everybody writes the same, so each byte is either that or zero. */
static void turn_over_common(struct worker *worker, unsigned index)
{
    char name[64];
    const unsigned char value = (unsigned char)(index + 1);
    const size_t bytes = common_size(index);
    if (worker->common[index] != NULL) {
        REQUIRE(is_filled_with(worker->common[index], value, bytes));
        REQUIRE(shmcore_deallocate(worker->segment, worker->common[index]) == 0);
        worker->common[index] = NULL;
        return;
    }
    snprintf(name, sizeof name, index % 2 != 0 ? "common/%u" : "a block that all processes want, %u", index);
    unsigned char *block = shmcore_allocate(worker->segment, name, bytes);
    REQUIRE(block != NULL);
    for (size_t i = 0; i < bytes; i++) {
        const unsigned char seen = __atomic_load_n(&block[i], __ATOMIC_RELAXED);
        REQUIRE(seen == 0 || seen == value);
        if (seen == 0)
            __atomic_store_n(&block[i], value, __ATOMIC_RELAXED);
    }
    worker->common[index] = block;
}

static void *works_at_random(void *argument)
{
    struct worker *worker = argument;
    for (unsigned i = repeated(ITERATIONS); i > 0; i--) {
        const uint64_t random = next_random(worker);
        if (random % 3 == 0)
            turn_over_common(worker, (unsigned)(random >> 8) % COMMON);
        else
            turn_over_own(worker, (unsigned)(random >> 8) % OWN);
    }
    for (unsigned i = 0; i < OWN; i++)
        if (worker->own[i].block != NULL)
            turn_over_own(worker, i);
    for (unsigned i = 0; i < COMMON; i++)
        if (worker->common[i] != NULL)
            turn_over_common(worker, i);
    return NULL;
}

static void works_with_two_threads(const struct peer *parent)
{
    static struct worker worker[THREADS];
    pthread_t thread[THREADS];
    const unsigned process = (unsigned)hear(parent);
    const shmcore_traits traits = traits_here(64 * MIB);
    shmcore_segment *segment = shmcore_open(NODE, &traits);
    REQUIRE(segment != NULL);
    for (unsigned i = 0; i < THREADS; i++) {
        worker[i].segment = segment;
        worker[i].number = process * THREADS + i;
        worker[i].random = UINT64_C(0x9e3779b97f4a7c15) * (worker[i].number + 1);
        REQUIRE(pthread_create(&thread[i], NULL, works_at_random, &worker[i]) == 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    tell(parent, 1);
    hear(parent);
    REQUIRE(shmcore_close(segment) == 0);
}

static void four_processes_at_random(void **state)
{
    (void)state;
    struct peer peer[PROCESSES];
    for (unsigned i = 0; i < PROCESSES; i++)
        peer[i] = start_peer(works_with_two_threads);
    shmcore_segment *segment = open_here(NODE, 64 * MIB);
    const size_t before = shmcore_actual_size(segment);
    for (unsigned i = 0; i < PROCESSES; i++)
        tell(&peer[i], i);
    for (unsigned i = 0; i < PROCESSES; i++)
        hear(&peer[i]);
    assert_int_equal(statistics_of(segment).blocks, 0);
    assert_int_equal(statistics_of(segment).processes, PROCESSES + 1);
    assert_int_equal(shmcore_actual_size(segment), before);
    assert_int_equal(shmcore_close(segment), 0);
    assert_int_equal(files_in_directory(), 1);
    for (unsigned i = 0; i < PROCESSES; i++) {
        tell(&peer[i], 1);
        peer_ends_well(&peer[i]);
    }
    assert_int_equal(files_in_directory(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        API_TEST(a_hundred_thousand_names), API_TEST(big_blocks),
        API_TEST(a_full_segment),           API_TEST(room_that_was_kept),
        API_TEST(four_processes_at_random),
    };
    signal(SIGPIPE, SIG_IGN);
    if (make_test_directory("many") != 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, remove_test_directory);
}
