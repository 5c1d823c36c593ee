/* SPDX-License-Identifier: MIT
 *
 * core/export: slabs of exported blocks. One thread against a model of what is where; what others free;
 * threads that end; sequences beyond what an info can hold; pointers to nothing.
 */
#include "test-api.h"

#include <pthread.h>
#include <stdbool.h>

#include "export.h"
#include "export_at_once.h"
#include "export_source.h"
#include "label.h"

enum { LIVE = 3000, ROUNDS = 60000, HANDED = 40000, QUEUE = 64 };

static shmcore_segment *segment;

static uint32_t make_label(const char *text)
{
    char label[64];
    uint32_t made;
    const int length = snprintf(label, sizeof label, "%s/%c", text, LABEL_HOLE_SEQUENCE);
    assert_true(export_label(segment, label, (size_t)length, 0, &made));
    return made;
}

static struct export_source source_of(const char *text)
{
    return (struct export_source){.label = make_label(text)};
}

static void *make(struct export_source *source, uint64_t sequence, size_t bytes)
{
    void *block = export_allocate(segment, source, sequence, bytes, 0, 0);
    if (block == NULL)
        fail_msg("%zu bytes: %s", bytes, shmcore_error());
    return block;
}

/* As the preload frees. */
static enum export_answer release(void *block)
{
    const enum export_given given = export_give(block);
    if (given == EXPORT_GIVEN_LAST)
        export_emptied(block);
    return given != EXPORT_REFUSED ? EXPORT_DONE : export_free(segment, block);
}

struct listing {
    const char *name;
    unsigned blocks;
    bool found;
    const void *address;
    size_t bytes;
};

static int look(const shmcore_block *block, void *argument)
{
    struct listing *listing = argument;
    listing->blocks += block->kind == SHMCORE_BLOCK_EXPORT;
    if (listing->name != NULL && strcmp(block->name, listing->name) == 0) {
        listing->found = true;
        listing->address = block->address;
        listing->bytes = block->bytes;
    }
    return 0;
}

static struct listing list(const char *name)
{
    struct listing listing = {.name = name};
    assert_int_equal(shmcore_for_each(segment, look, &listing), 0);
    return listing;
}

static void assert_listed(const char *name, const void *block, size_t bytes)
{
    const struct listing listing = list(name);
    if (!listing.found)
        fail_msg("%s is not listed", name);
    assert_ptr_equal(listing.address, block);
    assert_int_equal(listing.bytes, bytes);
}

/* ---------------------------------------------------------------- one thread */

static unsigned random_number(unsigned *state)
{
    *state = *state * 1103515245u + 12345u;
    return *state >> 8;
}

static bool is_filled(const unsigned char *block, size_t bytes, unsigned char with)
{
    for (size_t i = 0; i < bytes; i++)
        if (block[i] != with)
            return false;
    return true;
}

/* Each block is filled with its number, and has it still when it is freed. */
static void replace_at_random(void **state)
{
    static struct {
        unsigned char *block;
        size_t bytes;
    } live[LIVE];
    struct export_source source = source_of("random");
    unsigned dice = 4711;
    uint64_t sequence = 0;
    (void)state;
    for (unsigned round = 0; round < ROUNDS; round++) {
        const unsigned i = random_number(&dice) % LIVE;
        if (live[i].block != NULL) {
            assert_true(is_filled(live[i].block, live[i].bytes, (unsigned char)i));
            assert_int_equal(release(live[i].block), EXPORT_DONE);
        }
        live[i].bytes = random_number(&dice) % (i % 8 == 0 ? 9000 : 90);
        live[i].block = make(&source, sequence++, live[i].bytes);
        assert_int_equal((uintptr_t)live[i].block % 16, 0);
        assert_true(export_usable(segment, live[i].block) >= live[i].bytes);
        memset(live[i].block, (int)i, live[i].bytes);
    }
    unsigned there = 0;
    for (unsigned i = 0; i < LIVE; i++)
        there += live[i].block != NULL;
    assert_int_equal(list(NULL).blocks, there);
    for (unsigned i = 0; i < LIVE; i++)
        if (live[i].block != NULL) {
            assert_true(is_filled(live[i].block, live[i].bytes, (unsigned char)i));
            assert_int_equal(release(live[i].block), EXPORT_DONE);
        }
    assert_int_equal(list(NULL).blocks, 0);
    export_retire(segment, &source);
}

static uint64_t used_now(void)
{
    shmcore_statistics now;
    assert_int_equal(shmcore_stat(segment, &now), 0);
    return now.free;
}

/* Slabs that are empty go, those in use when their source does. */
static void memory_comes_back(void **state)
{
    static void *block[20000];
    struct export_source source = source_of("back");
    const uint64_t free_before = used_now();
    (void)state;
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < COUNT_OF(block); i++)
            block[i] = make(&source, i, 64);
        for (unsigned i = 0; i < COUNT_OF(block); i++)
            assert_int_equal(release(block[(i * 7919u) % COUNT_OF(block)]), EXPORT_DONE);
    }
    assert_int_equal(list(NULL).blocks, 0);
    export_retire(segment, &source);
    struct export_source large = source_of("large"); /* only what is given back can become this */
    void *whole = export_allocate(segment, &large, 0, 20000 * 64, 0, 0);
    assert_non_null(whole);
    assert_int_equal(export_free(segment, whole), EXPORT_DONE);
    assert_true(used_now() + 4 * MIB >= free_before);
}

static void nothing_there(void **state)
{
    struct export_source source = source_of("nothing");
    unsigned char *block = make(&source, 0, 100), *other = make(&source, 1, 100);
    (void)state;
    assert_int_equal(export_give(block + 1), EXPORT_REFUSED);
    assert_int_equal(export_give(block + 16), EXPORT_REFUSED);
    assert_int_equal(export_free(segment, block + 16), EXPORT_NOT_LIVE);
    assert_int_equal(export_free(segment, (void *)((uintptr_t)block & ~(uintptr_t)0xffff)), EXPORT_NOT_LIVE);
    assert_int_equal(release(block), EXPORT_DONE);
    assert_int_equal(export_give(block), EXPORT_REFUSED);
    assert_int_equal(export_free(segment, block), EXPORT_NOT_LIVE);
    assert_int_equal(export_free(segment, other), EXPORT_DONE); /* the slow way does as well */
    assert_int_equal(export_free(segment, other), EXPORT_NOT_LIVE);
    assert_int_equal(export_give(other), EXPORT_REFUSED);
    export_retire(segment, &source);
}

/* What is promised of sizes that need not be decided again. */
static void classes(void **state)
{
    (void)state;
    struct export_source source = source_of("classes");
    for (size_t bytes = 0; bytes < 32 * 1024; bytes += bytes < 2000 ? 1 : 37) {
        size_t least, most;
        void *block = make(&source, bytes, bytes);
        struct slab_book *const *in_use = export_in_use(&source, bytes, &least, &most);
        assert_non_null(in_use);
        assert_in_range(bytes, least, most);
        uint64_t sequence = 100000 + bytes;
        void *same = export_take(in_use, &sequence, most);
        assert_int_equal(sequence, 100000 + bytes + (same != NULL));
        if (same != NULL) {
            assert_true(export_usable(segment, same) == export_usable(segment, block));
            assert_int_equal(release(same), EXPORT_DONE);
        }
        assert_int_equal(export_usable(segment, block), most);
        assert_int_equal(release(block), EXPORT_DONE);
        if (least > 0) {
            block = make(&source, bytes, least - 1);
            assert_true(export_usable(segment, block) < least);
            assert_int_equal(release(block), EXPORT_DONE);
        }
    }
    size_t least, most;
    assert_null(export_in_use(&source, 40000, &least, &most));
    export_retire(segment, &source);
}

/* ---------------------------------------------------------------- sequences */

/* They have 48 bits, and an info has room for fewer. */
static void far_sequences(void **state)
{
    struct export_source source = source_of("far");
    const uint64_t far = UINT64_C(1) << 40;
    (void)state;
    void *first = make(&source, 5, 100), *second = make(&source, far, 90), *third = make(&source, 6, 80);
    assert_listed("far/5", first, 100);
    assert_listed("far/1099511627776", second, 90);
    assert_listed("far/6", third, 80);
    assert_null(export_allocate(segment, &source, UINT64_C(1) << EXPORT_SEQUENCE_BITS, 100, 0, 0));
    assert_true(export_resize(segment, second, 100));
    assert_listed("far/1099511627776", second, 100);
    assert_int_equal(release(first), EXPORT_DONE);
    assert_int_equal(release(third), EXPORT_DONE);
    assert_int_equal(release(second), EXPORT_DONE);
    void *again = make(&source, far + far, 100); /* an empty slab begins anew */
    assert_listed("far/2199023255552", again, 100);
    assert_int_equal(release(again), EXPORT_DONE);
    export_retire(segment, &source);
}

/* ---------------------------------------------------------------- several threads */

static void run(void *(*body)(void *), void *argument)
{
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, body, argument), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

struct batch {
    void **block;
    unsigned count, wrong;
};

static void *release_all(void *argument)
{
    struct batch *batch = argument;
    for (unsigned i = 0; i < batch->count; i++)
        batch->wrong += release(batch->block[i]) != EXPORT_DONE;
    return NULL;
}

/* Pages that the segment's file has. */
static uint64_t pages_of_file(void)
{
    uint64_t blocks = 0;
    DIR *directory = opendir(test_directory);
    for (struct dirent *entry; directory != NULL && (entry = readdir(directory)) != NULL;) {
        struct stat file;
        if (entry->d_name[0] != '.' && fstatat(dirfd(directory), entry->d_name, &file, 0) == 0)
            blocks += (uint64_t)file.st_blocks;
    }
    if (directory != NULL)
        closedir(directory);
    return blocks / 8;
}

/* A thread that has stopped allocating does not keep what others free. */
static void drained_by_another(void **state)
{
    static void *block[40000];
    struct export_source source = source_of("drained");
    struct batch batch = {.block = block, .count = COUNT_OF(block)};
    (void)state;
    const uint64_t before = pages_of_file();
    for (unsigned i = 0; i < COUNT_OF(block); i++)
        memset(block[i] = make(&source, i, 256), (int)i, 256);
    const uint64_t filled = pages_of_file();
    assert_true(filled >= before + 40000 / 16 - 100);
    run(release_all, &batch);
    assert_int_equal(batch.wrong, 0);
    const uint64_t drained = pages_of_file();
    if (drained > before + (filled - before) / 8)
        fail_msg("%lu pages before, %lu filled, %lu drained", before, filled, drained);
    for (unsigned round = 0; round < 2; round++) { /* and it can use them again */
        for (unsigned i = 0; i < COUNT_OF(block); i++)
            memset(block[i] = make(&source, COUNT_OF(block) * (round + 1) + i, 256), (int)i, 256);
        for (unsigned i = 0; i < COUNT_OF(block); i++)
            assert_true(is_filled(block[i], 256, (unsigned char)i));
        run(release_all, &batch);
        assert_int_equal(batch.wrong, 0);
    }
    assert_true(pages_of_file() <= filled + filled / 8);
    export_retire(segment, &source);
}

/* Where one thread allocates and another frees, a few slabs keep their memory. */
static void a_few_stay(void **state)
{
    static void *block[3000]; /* four slabs */
    struct export_source source = source_of("passed on");
    struct batch batch = {.block = block, .count = COUNT_OF(block)};
    (void)state;
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < COUNT_OF(block); i++)
            memset(block[i] = make(&source, COUNT_OF(block) * round + i, 64), (int)i, 64);
        const uint64_t filled = pages_of_file();
        run(release_all, &batch);
        assert_int_equal(batch.wrong, 0);
        assert_int_equal(pages_of_file(), filled);
    }
    export_retire(segment, &source);
}

/* What another thread freed is used again before there is more. */
static void freed_by_another(void **state)
{
    static void *block[5000], *again[5000];
    struct export_source source = source_of("another");
    struct batch batch = {.block = block, .count = COUNT_OF(block)};
    (void)state;
    for (unsigned i = 0; i < COUNT_OF(block); i++)
        block[i] = make(&source, i, 200);
    run(release_all, &batch);
    assert_int_equal(batch.wrong, 0);
    assert_int_equal(list(NULL).blocks, 0);
    assert_int_equal(release(block[7]), EXPORT_NOT_LIVE);
    for (unsigned i = 0; i < COUNT_OF(block); i++)
        again[i] = make(&source, 5000 + i, 200);
    uintptr_t lowest = UINTPTR_MAX, highest = 0;
    for (unsigned i = 0; i < COUNT_OF(block); i++) {
        lowest = (uintptr_t)block[i] < lowest ? (uintptr_t)block[i] : lowest;
        highest = (uintptr_t)block[i] > highest ? (uintptr_t)block[i] : highest;
    }
    for (unsigned i = 0; i < COUNT_OF(again); i++) {
        assert_in_range((uintptr_t)again[i], lowest, highest + 64 * 1024);
        assert_int_equal(release(again[i]), EXPORT_DONE);
    }
    export_retire(segment, &source);
}

static void *make_and_end(void *argument)
{
    struct batch *batch = argument;
    struct export_source source = {.label = make_label("ended")};
    for (unsigned i = 0; i < batch->count; i++)
        batch->block[i] = export_allocate(segment, &source, i, 64, 0, 0);
    export_retire(segment, &source);
    return NULL;
}

/* Its slabs have room for the next thread with that label, and go with their last block. */
static void ended_threads(void **state)
{
    void *block[3], *next[1];
    struct batch first = {.block = block, .count = 3}, second = {.block = next, .count = 1};
    (void)state;
    run(make_and_end, &first);
    run(make_and_end, &second);
    assert_in_range((uintptr_t)next[0], (uintptr_t)block[0], (uintptr_t)block[0] + 64 * 1024);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(release(block[i]), EXPORT_DONE);
    assert_int_equal(list(NULL).blocks, 1);
    assert_int_equal(release(next[0]), EXPORT_DONE);
    assert_int_equal(release(next[0]), EXPORT_NOT_LIVE);
}

/* One makes, the other frees, through a short queue. */
static struct {
    _Atomic(uint64_t *) place[QUEUE];
    _Atomic unsigned wrong;
} queue;

static void *take_and_free(void *argument)
{
    (void)argument;
    for (uint64_t i = 0; i < HANDED; i++) {
        uint64_t *block;
        while ((block = atomic_exchange(&queue.place[i % QUEUE], NULL)) == NULL)
            sched_yield();
        queue.wrong += block[0] != i || block[7] != i;
        queue.wrong += release(block) != EXPORT_DONE;
    }
    return NULL;
}

static void handed_on(void **state)
{
    pthread_t thread;
    struct export_source source = source_of("handed");
    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, take_and_free, NULL), 0);
    for (uint64_t i = 0; i < HANDED; i++) {
        uint64_t *block = make(&source, i, 64);
        block[0] = block[7] = i;
        while (atomic_load(&queue.place[i % QUEUE]) != NULL)
            sched_yield();
        atomic_store(&queue.place[i % QUEUE], block);
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(queue.wrong, 0);
    assert_int_equal(list(NULL).blocks, 0);
    export_retire(segment, &source);
}

/* Threads that make, hand some over to each other, and end while the others go on. */
static _Atomic(unsigned char *) handed[256];
static _Atomic unsigned crowd_wrong;

static void check_and_free(unsigned char *block)
{
    if (block == NULL)
        return;
    crowd_wrong += block[0] != block[47];
    crowd_wrong += release(block) != EXPORT_DONE;
}

static void *live_a_while(void *argument)
{
    unsigned dice = (unsigned)(uintptr_t)argument;
    struct export_source source = {.label = make_label("crowd")};
    for (uint64_t i = 0; i < 3000; i++) {
        unsigned char *block = export_allocate(segment, &source, i, 48, 0, 0);
        if (block == NULL) {
            crowd_wrong++;
            continue;
        }
        block[0] = block[47] = (unsigned char)dice;
        check_and_free(atomic_exchange(&handed[random_number(&dice) % COUNT_OF(handed)], block));
    }
    export_retire(segment, &source);
    return NULL;
}

static void crowd(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 5; round++) {
        pthread_t thread[4];
        for (unsigned i = 0; i < COUNT_OF(thread); i++)
            assert_int_equal(
                pthread_create(&thread[i], NULL, live_a_while, (void *)(uintptr_t)(round * 4 + i + 1)), 0);
        for (unsigned i = 0; i < COUNT_OF(thread); i++)
            assert_int_equal(pthread_join(thread[i], NULL), 0);
    }
    for (unsigned i = 0; i < COUNT_OF(handed); i++)
        check_and_free(atomic_exchange(&handed[i], NULL));
    assert_int_equal(crowd_wrong, 0);
    assert_int_equal(list(NULL).blocks, 0);
}

/* Whoever gave back one of a slab's blocks looks at its book for a moment longer. By then the slab may be
 * gone and its book another one's: ThreadSanitizer would see it if that were not made with atomic stores.
 * Relaxed, so that nothing says the one comes after the other. */
static _Atomic bool given_back;

static void *give_back(void *block)
{
    assert_int_equal(release(block), EXPORT_DONE);
    atomic_store_explicit(&given_back, true, memory_order_relaxed);
    return NULL;
}

static void book_of_another(void **state)
{
    pthread_t thread;
    struct export_source source = source_of("leaving");
    void *first = make(&source, 0, 64), *second = make(&source, 1, 64);
    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, give_back, first), 0);
    while (!atomic_load_explicit(&given_back, memory_order_relaxed))
        sched_yield();
    assert_int_equal(release(second), EXPORT_DONE);
    export_retire(segment, &source);
    void *third = make(&source, 2, 64);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(list(NULL).blocks, 1);
    assert_int_equal(release(third), EXPORT_DONE);
    export_retire(segment, &source);
}

static int open_segment(void **state)
{
    (void)state;
    if (make_test_directory("exports") != 0)
        return -1;
    const shmcore_traits traits = traits_here(256 * MIB);
    segment = shmcore_open(NODE, &traits);
    return segment != NULL ? 0 : -1;
}

static int close_segment(void **state)
{
    (void)state;
    return shmcore_close(segment);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_few_stay),
        cmocka_unit_test(drained_by_another), /* first: later there is free memory that was used before */
        cmocka_unit_test(replace_at_random),
        cmocka_unit_test(memory_comes_back),
        cmocka_unit_test(nothing_there),
        cmocka_unit_test(classes),
        cmocka_unit_test(far_sequences),
        cmocka_unit_test(freed_by_another),
        cmocka_unit_test(ended_threads),
        cmocka_unit_test(handed_on),
        cmocka_unit_test(crowd),
        cmocka_unit_test(book_of_another),
    };
    return cmocka_run_group_tests_name("exports", tests, open_segment, close_segment);
}
