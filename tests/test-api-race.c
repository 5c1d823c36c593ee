/* SPDX-License-Identifier: MIT
 *
 * Processes open and close one segment as fast as they can, are killed wherever they happen to be, and a
 * collector removes what it takes for dead. Whoever has the segment open at the same time must have the same
 * one: nobody may be left with a file that was removed under him while others make a new one.
 *
 * All who are in hold a reference to one named block. Its first holder writes a number into it that nobody
 * had before. Each publishes the number that he finds, outside the segment, for as long as he holds the
 * block; two different numbers published at once are two segments of one name.
 */
#include "test-api.h"

#include <sched.h>
#include <stdatomic.h>
#include <sys/mman.h>

enum { KILLS = 400, LIVE = 4, SLOTS = KILLS + LIVE };

/* Of one process; never of another one after it. */
struct slot {
    _Atomic uint64_t number; /* 0: not in */
    _Atomic uint32_t turns;
    _Atomic uint32_t doomed; /* set before it is killed: its number may be there for ever */
};

static struct shared {
    struct slot slot[SLOTS];
    _Atomic uint64_t last_number, apart, busy, collected;
    _Atomic uint32_t slots_used, over;
} * shared;

static uint64_t number_in(_Atomic uint64_t *block)
{
    uint64_t found = 0;
    const uint64_t fresh = atomic_fetch_add(&shared->last_number, 1) + 1;
    return atomic_compare_exchange_strong(block, &found, fresh) ? fresh : found;
}

static void compare_with_others(uint64_t number)
{
    const uint32_t used = atomic_load(&shared->slots_used);
    for (uint32_t i = 0; i < used; i++) {
        const uint64_t other = atomic_load(&shared->slot[i].number);
        if (other != 0 && other != number && atomic_load(&shared->slot[i].doomed) == 0)
            atomic_fetch_add(&shared->apart, 1);
    }
}

static void take_a_turn(struct slot *slot)
{
    const shmcore_traits traits = traits_here(2 * MIB);
    shmcore_segment *segment = shmcore_open(NODE, &traits);
    REQUIRE(segment != NULL);
    _Atomic uint64_t *block = shmcore_allocate(segment, "meeting point", 64);
    REQUIRE(block != NULL || errno == EBUSY); /* the lock is timed, and this machine may have much to do */
    if (block != NULL) {
        const uint64_t number = number_in(block);
        atomic_store(&slot->number, number);
        compare_with_others(number);
        sched_yield();
        compare_with_others(number);
        REQUIRE(atomic_load(block) == number);
        atomic_store(&slot->number, 0);
        REQUIRE(shmcore_deallocate(segment, block) == 0 || errno == EBUSY);
    } else {
        atomic_fetch_add(&shared->busy, 1);
    }
    REQUIRE(shmcore_close(segment) == 0);
    atomic_fetch_add(&slot->turns, 1);
}

static void comes_and_goes(const struct peer *parent)
{
    struct slot *slot = &shared->slot[hear(parent)];
    while (atomic_load(&shared->over) == 0)
        take_a_turn(slot);
}

static void collects(const struct peer *parent)
{
    shmcore_collected result;
    (void)parent;
    while (atomic_load(&shared->over) == 0) {
        REQUIRE(shmcore_collect(test_directory, &result) == 0);
        atomic_fetch_add(&shared->collected, result.segments);
    }
}

static struct peer start_opener(uint32_t *number)
{
    *number = atomic_load(&shared->slots_used);
    const struct peer peer = start_peer(comes_and_goes);
    atomic_store(&shared->slots_used, *number + 1);
    tell(&peer, *number);
    return peer;
}

static void nobody_is_left_alone(void **state)
{
    (void)state;
    struct peer opener[LIVE];
    uint32_t number[LIVE];
    for (unsigned i = 0; i < LIVE; i++)
        opener[i] = start_opener(&number[i]);
    const struct peer collector = start_peer(collects);
    const unsigned kills = repeated(KILLS);
    for (unsigned kill = 0; kill < kills; kill++) {
        const unsigned which = kill % LIVE;
        struct slot *slot = &shared->slot[number[which]];
        while (atomic_load(&slot->turns) <= kill * 7 % 10) /* not a time: where it is hit varies */
            sched_yield();
        atomic_store(&slot->doomed, 1);
        kill_peer(&opener[which]);
        opener[which] = start_opener(&number[which]);
    }
    atomic_store(&shared->over, 1);
    for (unsigned i = 0; i < LIVE; i++)
        peer_ends_well(&opener[i]);
    peer_ends_well(&collector);
    print_message("%u killed, %lu numbers, %lu segments collected, %lu times busy\n", kills,
                  (unsigned long)shared->last_number, (unsigned long)shared->collected,
                  (unsigned long)shared->busy);
    assert_int_equal(atomic_load(&shared->apart), 0);
    assert_int_equal(shmcore_collect(test_directory, NULL), 0);
    assert_int_equal(files_in_directory(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {API_TEST(nobody_is_left_alone)};
    signal(SIGPIPE, SIG_IGN);
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED || make_test_directory("race") != 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, remove_test_directory);
}
