/* SPDX-License-Identifier: MIT
 *
 * preload/router, serve and advice: which allocator serves a request, whose a pointer is, crossing from one
 * to the other, misuse, what is freed inside the shim, threads, fork. Nothing is interposed: requests are
 * made by hand.
 */
#include "resizing.h"
#include "test-preload.h"

#include "advice.h"
#include "export.h"
#include "handing.h"
#include "handle.h"

enum { THREADS = 4, ROUNDS = 4000, SLOTS = 61 };

static const char policy_text[] = "segment SHARED::main size=64M dir=%s\n"
                                  "segment SHARED::small size=1M dir=%s\n"
                                  "pass size<16\n"
                                  "export func=alpha size=102..103 name=plain\n"
                                  "export func=alpha call=new segment=SHARED::small full=fail\n"
                                  "share func=beta call=calloc name=common/{size}\n"
                                  "export func=alpha\n"
                                  "share func=beta name=%s{size}{size}{size}{size}{size}{size}{seq}\n"
                                  "export func=never name=never";

static size_t live_blocks(void)
{
    void *probe = make_at(site_in(alpha), 1000);
    const size_t blocks = statistics_of(export_segment_of(probe)).blocks;
    drop(probe, site_in(alpha));
    return blocks - 1;
}

static void test_routed(void **state)
{
    (void)state;
    const unsigned passed = next_mallocs;
    for (size_t bytes = 16; bytes < 3000000; bytes = bytes * 3 + 1) {
        errno = EDOM;
        unsigned char *block = make_at(site_in(alpha), bytes);
        assert_true(router_owns(block));
        assert_true(router_usable_size(block) >= bytes);
        memset(block, 0x5a, bytes);
        assert_string_equal(block_at(block).segment, "SHARED::main");
        assert_int_equal(block_at(block).bytes, bytes);
        drop(block, site_in(alpha));
        assert_int_equal(router_usable_size(block), 0);
        assert_int_equal(errno, EDOM);
        const struct request request = {
            .call = POLICY_CALL_CALLOC, .bytes = bytes, .zero = true, .caller = site_in(alpha)};
        void *zero = NULL;
        assert_true(router_allocate(&request, &zero));
        assert_true(is_filled_with(zero, 0, bytes));
        drop(zero, site_in(alpha));
    }
    assert_int_equal(next_mallocs, passed);
    assert_int_equal(lines_logged(), 0);
}

static void test_passed(void **state)
{
    (void)state;
    void *pointer;
    const struct request small = request_at(site_in(alpha), POLICY_CALL_MALLOC, 15);
    assert_false(router_allocate(&small, &pointer));
    const struct request elsewhere = request_at((const void *)0x1000, POLICY_CALL_MALLOC, 100);
    assert_false(router_allocate(&elsewhere, &pointer));
    const struct request good = request_at(site_in(alpha), POLICY_CALL_MALLOC, 1000);
    handing_begin(NULL); /* the inside of an operator new */
    assert_false(router_allocate(&good, &pointer));
    thread_self.inside++;
    assert_false(router_allocate(&good, &pointer));
    thread_self.inside--;
    assert_true(router_allocate(&good, &pointer));
    drop(pointer, site_in(alpha));
}

static void test_alignment(void **state)
{
    (void)state;
    for (size_t alignment = 16; alignment <= MIB; alignment *= 2)
        for (size_t bytes = 16; bytes < 100000; bytes *= 5) {
            struct request request = request_at(site_in(alpha), POLICY_CALL_ALIGNED, bytes);
            void *pointer = NULL;
            request.alignment = alignment;
            assert_true(router_allocate(&request, &pointer));
            assert_int_equal((uintptr_t)pointer % alignment, 0);
            drop(pointer, NULL);
        }
}

/* ---------------------------------------------------------------- names */

static void name_is(const void *pointer, const char *suffix)
{
    char name[300];
    snprintf(name, sizeof name, "plain@p%d%s", (int)getpid(), suffix);
    assert_string_equal(block_at(pointer).name, name);
}

static void test_names(void **state)
{
    (void)state;
    void *block[3];
    for (unsigned i = 0; i < 3; i++)
        block[i] = make_at(site_in(alpha), 102);
    name_is(block[0], "");
    name_is(block[1], "#1");
    name_is(block[2], "#2");
    for (unsigned i = 0; i < 3; i++)
        drop(block[i], site_in(alpha));
}

/* The second one to ask gets the block that is there, and must not fill it. */
static void test_shared(void **state)
{
    (void)state;
    const struct request request = {
        .call = POLICY_CALL_CALLOC, .bytes = 5000, .zero = true, .caller = site_in(beta)};
    void *one = NULL, *two = NULL, *three = NULL;
    assert_true(router_allocate(&request, &one));
    assert_string_equal(block_at(one).name, "common/5000");
    assert_int_equal(block_at(one).kind, SHMCORE_BLOCK_SHARE);
    assert_true(router_allocate(&request, &two));
    assert_string_equal(block_at(two).name, "common/5000#1");
    memset(one, 7, 5000);
    thread_after_fork(); /* as if it were another process: its counters begin again */
    thread_self.counters = NULL;
    thread_self.counter_buckets = thread_self.counter_count = 0;
    assert_true(router_allocate(&request, &three));
    assert_ptr_equal(three, one);
    assert_true(is_filled_with(one, 7, 5000));
    drop(three, site_in(beta));
    assert_true(is_filled_with(one, 7, 5000));
    drop(one, site_in(beta));
    drop(two, site_in(beta));
    assert_int_equal(lines_logged(), 0);
}

static void test_name_too_long(void **state)
{
    (void)state;
    void *pointer;
    const struct request request = request_at(site_in(beta), POLICY_CALL_MALLOC, 1000000);
    assert_false(router_allocate(&request, &pointer));
    assert_false(router_allocate(&request, &pointer));
    assert_int_equal(lines_logged(), 1);
}

/* ---------------------------------------------------------------- realloc */

static void *resize(void *pointer, size_t bytes, int (*function)(int))
{
    const struct request request = {.call = POLICY_CALL_REALLOC, .bytes = bytes, .caller = site_in(function)};
    return resizing_reallocate(pointer, &request);
}

static void test_crossing(void **state)
{
    (void)state;
    unsigned char *block = real.malloc(40);
    memset(block, 3, 40);
    block = resize(block, 50000, alpha);
    assert_true(router_owns(block));
    assert_true(is_filled_with(block, 3, 40));
    memset(block, 4, 50000);
    unsigned char *same = resize(block, 45000, alpha);
    assert_ptr_equal(same, block);
    const struct request unrouted = request_at((const void *)0x1000, POLICY_CALL_REALLOC, 30000);
    block = resizing_reallocate(block, &unrouted);
    assert_false(router_owns(block));
    assert_true(is_filled_with(block, 4, 30000));
    block = resize(block, 20, alpha);
    assert_true(router_owns(block));
    assert_true(is_filled_with(block, 4, 20));
    block = resize(block, 40000, alpha);
    assert_true(is_filled_with(block, 4, 20));
    assert_null(resize(block, 0, alpha));
    assert_int_equal(router_usable_size(block), 0);
    assert_int_equal(live_blocks(), 0);
}

/* ---------------------------------------------------------------- full */

static void test_full(void **state)
{
    (void)state;
    void *block[64];
    unsigned made = 0;
    struct request request = request_at(site_in(alpha), POLICY_CALL_NEW, 100000);
    for (; made < 64 && router_allocate(&request, &block[made]) && block[made] != NULL; made++)
        assert_string_equal(block_at(block[made]).segment, "SHARED::small");
    assert_in_range(made, 1, 63);
    errno = 0;
    assert_true(router_allocate(&request, &block[made])); /* answered: with nothing */
    assert_null(block[made]);
    assert_int_equal(errno, ENOMEM);
    assert_int_equal(lines_logged(), 1);
    request = request_at(site_in(alpha), POLICY_CALL_MALLOC, 100 * MIB); /* falls back */
    errno = EDOM;
    assert_false(router_allocate(&request, &block[made]));
    assert_int_equal(errno, EDOM);
    assert_int_equal(lines_logged(), 1);
    while (made > 0)
        drop(block[--made], NULL);
}

/* ---------------------------------------------------------------- misuse */

static void test_misuse(void **state)
{
    (void)state;
    char text[8192];
    unsigned char *block = make_at(site_in(alpha), 50000), *small = make_at(site_in(alpha), 300);
    memset(block, 6, 50000);
    memset(small, 6, 300);
    errno = EDOM;
    drop(block + 16, site_in(alpha));
    drop(block + 16384, site_in(alpha));
    drop(small + 16, site_in(alpha));
    assert_int_equal(errno, EDOM);
    assert_int_equal(logged(text, sizeof text), 1);
    assert_non_null(strstr(text, "free() or realloc() in alpha+0x2 (tester!0x"));
    assert_true(is_filled_with(block, 6, 50000) && is_filled_with(small, 6, 300));
    drop(block, site_in(alpha));
    drop(small, site_in(alpha));
    drop(block, site_in(beta));
    drop(small, site_in(beta));
    assert_int_equal(logged(text, sizeof text), 1);
    assert_non_null(strstr(text, " in beta+0x2 (tester!0x"));
    unsigned char *moved = resize(block, 1000, beta);
    assert_non_null(moved);
    drop(moved, NULL);
    shmcore_segment *segment = export_segment_of(block);
    unsigned char *tables = (unsigned char *)block - 0;
    while (export_segment_of(tables - MIB) == segment)
        tables -= MIB;
    drop(tables, site_in(beta));
    assert_int_equal(router_usable_size(tables), 0);
    assert_int_equal(lines_logged(), 0); /* the place has been named */
    assert_int_equal(live_blocks(), 0);
}

static void test_advice(void **state)
{
    (void)state;
    struct request request = request_at(site_in(alpha), POLICY_CALL_ALIGNED, 100000);
    request.alignment = 4096;
    void *pointer = NULL;
    assert_true(router_allocate(&request, &pointer));
    unsigned char *block = pointer;
    memset(block, 9, 100000);
    assert_int_equal(advice_take(block + 4096, 4097, MADV_DONTNEED), 0);
    assert_true(is_filled_with(block, 9, 4096));
    assert_true(is_filled_with(block + 4096, 0, 8192));
    assert_true(is_filled_with(block + 3 * 4096, 9, 100000 - 3 * 4096));
    assert_int_equal(advice_take(block, 4096, MADV_FREE), 0);
    errno = 0;
    assert_int_equal(advice_take(block, 4096, MADV_REMOVE), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(advice_protect(block + 4096, 4096, PROT_NONE), 0);
    drop(block, NULL);
    assert_true(router_allocate(&request, &pointer));
    memset(pointer, 1, 100000);
    drop(pointer, NULL);
}

/* ---------------------------------------------------------------- inside the shim */

/* What a signal handler frees there waits for the end; the same one twice is a mistake like any other. */
static void test_deferred(void **state)
{
    (void)state;
    static unsigned char *block[1000];
    const size_t before = live_blocks();
    for (unsigned i = 0; i < 1000; i++) {
        block[i] = make_at(site_in(alpha), i % 2 == 0 ? 300 : 34000);
        memset(block[i], 8, 300);
    }
    thread_self.inside++;
    for (unsigned i = 0; i < 1000; i++)
        drop(block[i], site_in(beta));
    drop(block[500], site_in(beta));
    for (unsigned i = 0; i < 1000; i++)
        assert_true(is_filled_with(block[i], 8, 300)); /* nothing is written through them */
    thread_self.inside--;
    drop(make_at(site_in(alpha), 40), site_in(alpha)); /* leaves the shim */
    assert_null(thread_self.deferred);
    assert_int_equal(thread_self.inside, 0);
    assert_int_equal(live_blocks(), before);
}

/* ---------------------------------------------------------------- threads */

static _Atomic(unsigned char *) slot[SLOTS];
static _Atomic unsigned damaged;

static size_t size_of(unsigned i)
{
    return i % 7 == 0 ? 33000 + 100 * (size_t)i : 16 + 40 * (size_t)i;
}

static void swap_in(unsigned i, unsigned char *fresh)
{
    unsigned char *old = atomic_exchange(&slot[i], fresh);
    if (old == NULL)
        return;
    if (!is_filled_with(old, (unsigned char)i, size_of(i)) || router_usable_size(old) < size_of(i))
        damaged++;
    drop(old, site_in(alpha));
}

/* Frees what others have made. */
static void *churn(void *argument)
{
    unsigned i = (unsigned)(uintptr_t)argument;
    for (unsigned round = 0; round < ROUNDS; round++) {
        i = (i * 31 + 17) % SLOTS;
        unsigned char *fresh = make_at(site_in(alpha), size_of(i));
        memset(fresh, (int)i, size_of(i));
        if (round % 11 == 0) {
            fresh = resize(fresh, size_of(i) + 50, alpha);
            fresh = resize(fresh, size_of(i), alpha);
        }
        swap_in(i, fresh);
    }
    return NULL;
}

static int count_block(const shmcore_block *block, void *argument)
{
    ++*(size_t *)argument;
    return block->bytes == 0; /* which would be wrong */
}

static void test_threads(void **state)
{
    (void)state;
    pthread_t thread[THREADS];
    void *probe = make_at(site_in(alpha), 1000);
    shmcore_segment *segment = export_segment_of(probe);
    for (uintptr_t t = 0; t < THREADS; t++)
        assert_int_equal(thread_create(&thread[t], NULL, churn, (void *)t), 0);
    for (unsigned i = 0; i < 50; i++) { /* look on meanwhile */
        size_t seen = 0;
        assert_int_equal(shmcore_for_each(segment, count_block, &seen), 0);
        assert_true(seen > 0);
    }
    for (unsigned t = 0; t < THREADS; t++)
        assert_int_equal(pthread_join(thread[t], NULL), 0);
    for (unsigned i = 0; i < SLOTS; i++)
        swap_in(i, NULL);
    assert_int_equal(damaged, 0);
    drop(probe, NULL);
    assert_int_equal(live_blocks(), 0);
    assert_int_equal(lines_logged(), 0);
}

/* ---------------------------------------------------------------- a lock that is not to be had */

/* Another process keeps every shard of the segment until its end of the pipe is closed. */
static void keep_all_shards(shmcore_segment *segment, const int ends[2])
{
    char byte = 'k';
    const struct view *view = &segment->file.view;
    for (uint32_t number = 0; number < view->shard_count; number++) {
        const struct guarded guarded = {.lock = &view->shards[number].lock,
                                        .undo = &view->shards[number].undo,
                                        .sequence = &view->shards[number].sequence,
                                        .poisoned = &view->shards[number].poisoned,
                                        .base = view->base,
                                        .capacity = view->capacity};
        if (lock_acquire(&guarded, LOCK_PATIENCE) != LOCK_OK)
            byte = '-';
    }
    if (write(ends[1], &byte, 1) == 1)
        pause();
    _exit(1);
}

/* What is freed meanwhile is freed later. */
static void test_pending(void **state)
{
    (void)state;
    int ends[2];
    char byte = 0, text[8192];
    void *block[3];
    const struct request request = {
        .call = POLICY_CALL_CALLOC, .bytes = 7000, .zero = true, .caller = site_in(beta)};
    for (unsigned i = 0; i < 3; i++)
        assert_true(router_allocate(&request, &block[i]));
    const size_t before = live_blocks();
    assert_int_equal(pipe(ends), 0);
    const pid_t keeper = fork();
    if (keeper == 0)
        keep_all_shards(export_segment_of(block[0]), ends);
    assert_int_equal(read(ends[0], &byte, 1), 1);
    assert_int_equal(byte, 'k');
    drop(block[0], site_in(beta));
    drop(block[1], site_in(beta));
    assert_int_equal(logged(text, sizeof text), 1);
    assert_non_null(strstr(text, "will be later"));
    assert_int_equal(kill(keeper, SIGKILL), 0);
    assert_int_equal(waitpid(keeper, NULL, 0), keeper);
    assert_int_equal(live_blocks(), before);
    drop(block[2], site_in(beta)); /* the lock can be had again: the others go, too */
    assert_int_equal(live_blocks(), before - 3);
    close(ends[0]);
    close(ends[1]);
}

/* ---------------------------------------------------------------- fork, the end */

static int in_child(unsigned char *block, const unsigned char *shared)
{
    router_fork_child();
    if (!is_filled_with(block, 1, 50000) || !is_filled_with(shared, 1, 50))
        return 1;
    memset(block, 2, 50000);
    unsigned char *own = make_at(site_in(alpha), 50000);
    if (!router_owns(own) || own == block)
        return 2;
    memset(own, 3, 50000);
    drop(block, NULL);
    drop(own, NULL);
    return router_end() != VERDICT_NOTHING ? 3 : 0; /* the parent has the last word */
}

static void test_fork(void **state)
{
    (void)state;
    int status = -1;
    unsigned char *block = make_at(site_in(alpha), 50000);
    unsigned char *shared = make_at(site_in(alpha), 50);
    memset(block, 1, 50000);
    memset(shared, 1, 50);
    router_fork_prepare();
    const pid_t child = fork();
    if (child == 0)
        _exit(in_child(block, shared));
    router_fork_parent();
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_true(is_filled_with(block, 1, 50000));
    drop(block, NULL);
    drop(shared, NULL);
    assert_int_equal(live_blocks(), 0);
    assert_int_equal(thread_self.inside, 0);
}

static void test_end(void **state)
{
    (void)state;
    char text[8192];
    assert_int_equal(router_end(), VERDICT_SOMETHING);
    assert_int_equal(logged(text, sizeof text), 1);
    assert_non_null(strstr(text, "line 9 of the policy never matched: export func=never"));
    export_forget_said();
}

int main(int count, char **arguments)
{
    static char text[2048];
    char long_name[215]; /* with six sizes of seven digits it is one too long */
    (void)count;
    be_a_job(arguments);
    if (make_test_directory("router") != 0)
        return 1;
    memset(long_name, 'n', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    snprintf(text, sizeof text, policy_text, test_directory, test_directory, long_name);
    if (!begin_routing(text))
        return 77;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_routed),    cmocka_unit_test(test_passed),
        cmocka_unit_test(test_alignment), cmocka_unit_test(test_names),
        cmocka_unit_test(test_shared),    cmocka_unit_test(test_name_too_long),
        cmocka_unit_test(test_crossing),  cmocka_unit_test(test_full),
        cmocka_unit_test(test_misuse),    cmocka_unit_test(test_advice),
        cmocka_unit_test(test_deferred),  cmocka_unit_test(test_threads),
        cmocka_unit_test(test_pending),   cmocka_unit_test(test_fork),
        cmocka_unit_test(test_end),
    };
    alarm(300);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
