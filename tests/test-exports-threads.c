/* SPDX-License-Identifier: MIT
 *
 * core/export: slabs of exported blocks and several threads. What others free; who frees what at the same
 * time; threads that end.
 */
#include "test-exports.h"

enum { HANDED = 40000, QUEUE = 64 };

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

/* Their infos are the other thread's to write. */
static void *resize_all(void *argument)
{
    struct batch *batch = argument;
    for (unsigned i = 0; i < batch->count; i++) {
        bool resized;
        batch->wrong += export_resize_at_once(batch->block[i], 100, &resized) != 0 || resized;
    }
    return NULL;
}

static void not_resized_by_another(void **state)
{
    void *block[10];
    struct export_source source = source_of("others");
    struct batch batch = {.block = block, .count = COUNT_OF(block)};
    (void)state;
    for (unsigned i = 0; i < COUNT_OF(block); i++)
        block[i] = make(&source, i, 120);
    run(resize_all, &batch);
    assert_int_equal(batch.wrong, 0);
    shmcore_block found;
    assert_int_equal(shmcore_block_of(block[3], &found), 0);
    assert_int_equal(found.bytes, 120);
    for (unsigned i = 0; i < COUNT_OF(block); i++)
        assert_int_equal(release(block[i]), EXPORT_DONE);
    export_retire(segment, &source);
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

/* A thread that has stopped allocating does not keep what others free from those who need it. */
static void lost_to_another(void **state)
{
    static void *block[40000];
    struct export_source source[2] = {source_of("lost"), source_of("found")};
    struct batch batch = {.block = block, .count = COUNT_OF(block)};
    uint64_t filled = 0;
    (void)state;
    const uint64_t before = pages_of_file();
    for (unsigned round = 0; round < 6; round++) {
        struct export_source *in_turn = &source[round % 2];
        for (unsigned i = 0; i < COUNT_OF(block); i++)
            memset(block[i] = make(in_turn, COUNT_OF(block) * round + i, 256), (int)i, 256);
        if (round == 0)
            filled = pages_of_file();
        for (unsigned i = 0; i < COUNT_OF(block); i++)
            assert_true(is_filled(block[i], 256, (unsigned char)i));
        assert_int_equal(list(NULL).blocks, COUNT_OF(block));
        run(release_all, &batch);
        assert_int_equal(batch.wrong, 0);
        assert_int_equal(list(NULL).blocks, 0);
    }
    assert_true(filled >= before + COUNT_OF(block) / 16 - 100);
    const uint64_t pages = pages_of_file();
    if (pages > filled + (filled - before) / 8)
        fail_msg("%lu pages before, %lu filled, %lu in the end", before, filled, pages);
    export_retire(segment, &source[0]);
    export_retire(segment, &source[1]);
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

/* Two free what lies side by side, each time at the same moment, also while the thread that made it makes
 * more there: when they rest, those are listed that are alive. */
enum { SIDES = 2, SIDE_BLOCKS = 6000, SIDE_ROUNDS = 40 };

static struct {
    pthread_barrier_t begin, end;
    _Atomic unsigned made, wrong;
    _Atomic uint64_t arrived;
    void *block[SIDE_BLOCKS];
} side;

/* Processors may be fewer than threads. */
static void wait_for_both(uint64_t *moment)
{
    *moment += SIDES;
    atomic_fetch_add(&side.arrived, 1);
    for (unsigned spins = 1; atomic_load(&side.arrived) < *moment; spins++)
        if (spins % 256 == 0)
            sched_yield();
}

/* Of three blocks the first, or the second. */
static void *free_my_side(void *which)
{
    uint64_t moment = 0;
    for (unsigned round = 0; round < SIDE_ROUNDS; round++) {
        pthread_barrier_wait(&side.begin);
        for (unsigned i = 0; i < SIDE_BLOCKS; i += 3) {
            while (i + 3 > atomic_load(&side.made))
                sched_yield();
            wait_for_both(&moment);
            side.wrong += release(side.block[i + (uintptr_t)which]) != EXPORT_DONE;
        }
        pthread_barrier_wait(&side.end);
    }
    return NULL;
}

static void freed_side_by_side(void **state)
{
    pthread_t thread[SIDES];
    struct export_source source = source_of("side by side");
    (void)state;
    pthread_barrier_init(&side.begin, NULL, SIDES + 1);
    pthread_barrier_init(&side.end, NULL, SIDES + 1);
    for (uintptr_t i = 0; i < SIDES; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, free_my_side, (void *)i), 0);
    for (uint64_t round = 0; round < SIDE_ROUNDS; round++) {
        atomic_store(&side.made, 0);
        pthread_barrier_wait(&side.begin);
        for (unsigned i = 0; i < SIDE_BLOCKS; i++) {
            side.block[i] = make(&source, round * SIDE_BLOCKS + i, 64);
            if (round % 2 != 0)
                atomic_store(&side.made, i + 1);
        }
        atomic_store(&side.made, SIDE_BLOCKS);
        pthread_barrier_wait(&side.end);
        assert_int_equal(list(NULL).blocks, SIDE_BLOCKS / 3);
        for (unsigned i = 2; i < SIDE_BLOCKS; i += 3)
            assert_int_equal(release(side.block[i]), EXPORT_DONE);
        assert_int_equal(list(NULL).blocks, 0);
    }
    for (unsigned i = 0; i < SIDES; i++)
        assert_int_equal(pthread_join(thread[i], NULL), 0);
    assert_int_equal(side.wrong, 0);
    pthread_barrier_destroy(&side.begin);
    pthread_barrier_destroy(&side.end);
    export_retire(segment, &source);
}

/* Threads replace each other's blocks: so all that one has made is freed by those who have their turn after
 * it, and what it leaves behind is the next one's. When they rest, those are listed that are alive. */
enum { TURN_THREADS = 6, TURN_BLOCKS = 4000, TURN_ROUNDS = 6, TURN_STEPS = 30000 };

static struct {
    pthread_barrier_t begin, end;
    _Atomic unsigned wrong;
    _Atomic(unsigned char *) block[TURN_BLOCKS];
} turns;

/* A block begins with its size, and is full of that. */
static unsigned char *make_for_turn(struct export_source *source, uint64_t sequence, uint32_t bytes)
{
    unsigned char *block = make(source, sequence, bytes);
    memset(block, (int)(bytes % 251), bytes);
    memcpy(block, &bytes, sizeof bytes);
    return block;
}

static bool drop_for_turn(unsigned char *block)
{
    uint32_t bytes;
    memcpy(&bytes, block, sizeof bytes);
    return bytes <= 2000 &&
           is_filled(block + sizeof bytes, bytes - sizeof bytes, (unsigned char)(bytes % 251)) &&
           release(block) == EXPORT_DONE;
}

static void *replace_in_turn(void *argument)
{
    struct export_source *source = argument;
    unsigned dice = source->label;
    uint64_t sequence = 0;
    for (unsigned round = 0; round < TURN_ROUNDS; round++) {
        pthread_barrier_wait(&turns.begin);
        for (unsigned i = 0; i < TURN_STEPS; i++) {
            const unsigned place = random_number(&dice) % TURN_BLOCKS;
            unsigned char *block = make_for_turn(source, sequence++, 4 + random_number(&dice) % 1997);
            block = atomic_exchange(&turns.block[place], block);
            turns.wrong += block != NULL && !drop_for_turn(block);
        }
        pthread_barrier_wait(&turns.end);
    }
    export_retire(segment, source);
    return NULL;
}

static void taken_in_turn(void **state)
{
    pthread_t thread[TURN_THREADS];
    struct export_source source[TURN_THREADS];
    (void)state;
    pthread_barrier_init(&turns.begin, NULL, TURN_THREADS + 1);
    pthread_barrier_init(&turns.end, NULL, TURN_THREADS + 1);
    for (unsigned i = 0; i < TURN_THREADS; i++) {
        source[i] = source_of("in turn");
        assert_int_equal(pthread_create(&thread[i], NULL, replace_in_turn, &source[i]), 0);
    }
    for (unsigned round = 0; round < TURN_ROUNDS; round++) {
        unsigned alive = 0;
        pthread_barrier_wait(&turns.begin);
        pthread_barrier_wait(&turns.end);
        for (unsigned i = 0; i < TURN_BLOCKS; i++)
            alive += atomic_load(&turns.block[i]) != NULL;
        assert_int_equal(list(NULL).blocks, alive);
        assert_int_equal(turns.wrong, 0);
    }
    for (unsigned i = 0; i < TURN_THREADS; i++)
        assert_int_equal(pthread_join(thread[i], NULL), 0);
    for (unsigned i = 0; i < TURN_BLOCKS; i++)
        assert_true(drop_for_turn(atomic_exchange(&turns.block[i], NULL)));
    assert_int_equal(list(NULL).blocks, 0);
    pthread_barrier_destroy(&turns.begin);
    pthread_barrier_destroy(&turns.end);
}

/* What another thread frees is folded in and taken again all the time, since nearly all of the slab stays
 * taken: when that thread rests, what has been made there since is listed. */
enum { BALLAST = 890, AT_ONCE = 40, FOLDS = 8000 };

static struct {
    _Atomic(void *) place[AT_ONCE];
    _Atomic uint64_t emptied;
    _Atomic bool ended;
    unsigned wrong;
} bin;

static void *empty_the_bin(void *argument)
{
    for (unsigned i = 0; !atomic_load(&bin.ended); i++) {
        void *block = atomic_exchange(&bin.place[i % AT_ONCE], NULL);
        if (block == NULL) {
            sched_yield();
            continue;
        }
        bin.wrong += release(block) != EXPORT_DONE;
        atomic_fetch_add(&bin.emptied, 1);
    }
    return argument;
}

static void throw_away(unsigned i, void *block)
{
    while (atomic_load(&bin.place[i]) != NULL)
        sched_yield();
    atomic_store(&bin.place[i], block);
}

static void folded_meanwhile(void **state)
{
    static void *ballast[BALLAST], *block[AT_ONCE];
    pthread_t thread;
    struct export_source source = source_of("folded");
    uint64_t sequence = 0;
    (void)state;
    for (unsigned i = 0; i < BALLAST; i++)
        ballast[i] = make(&source, sequence++, 64);
    assert_int_equal(pthread_create(&thread, NULL, empty_the_bin, NULL), 0);
    for (uint64_t fold = 1; fold <= FOLDS; fold++) {
        for (unsigned i = 0; i < AT_ONCE; i++)
            block[i] = make(&source, sequence++, 64);
        while (atomic_load(&bin.emptied) < (fold - 1) * AT_ONCE)
            sched_yield();
        assert_int_equal(list(NULL).blocks, BALLAST + AT_ONCE);
        for (unsigned i = 0; i < AT_ONCE; i++)
            throw_away(i, block[i]);
    }
    while (atomic_load(&bin.emptied) < (uint64_t)FOLDS * AT_ONCE)
        sched_yield();
    atomic_store(&bin.ended, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(bin.wrong, 0);
    for (unsigned i = 0; i < BALLAST; i++)
        assert_int_equal(release(ballast[i]), EXPORT_DONE);
    assert_int_equal(list(NULL).blocks, 0);
    export_retire(segment, &source);
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
    source = source_of("leaving");
    void *third = make(&source, 2, 64);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(list(NULL).blocks, 1);
    assert_int_equal(release(third), EXPORT_DONE);
    export_retire(segment, &source);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_few_stay),
        cmocka_unit_test(lost_to_another),
        cmocka_unit_test(not_resized_by_another), /* first: later there is free memory that was used before */
        cmocka_unit_test(freed_by_another),
        cmocka_unit_test(ended_threads),
        cmocka_unit_test(handed_on),
        cmocka_unit_test(crowd),
        cmocka_unit_test(freed_side_by_side),
        cmocka_unit_test(taken_in_turn),
        cmocka_unit_test(folded_meanwhile),
        cmocka_unit_test(book_of_another),
    };
    return cmocka_run_group_tests_name("exports-threads", tests, open_segment, close_segment);
}
