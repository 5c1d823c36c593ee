/* SPDX-License-Identifier: MIT */
#include "storm-actor.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---------------------------------------------------------------- answers */

/* An operation has ended and failed. While somebody is stopped he may hold a lock, and what the dead held
 * cannot be given back past him. */
void actor_judge(const char *what, const char *name, int error, bool stopped)
{
    struct storm_board *board = process.board;
    if (error == EBUSY)
        atomic_fetch_add(stopped ? &board->busy : &board->busy_in_calm, 1);
    else if (error == ENOMEM)
        atomic_fetch_add(stopped ? &board->full : &board->full_in_calm, 1);
    else
        COMPLAIN("%s of '%s': %s (%s)", what, name, strerror(error), shmcore_error());
}

static void *allocate(enum storm_operation operation, const char *name, size_t bytes)
{
    storm_begin(operation);
    void *pointer = shmcore_allocate(process.segment, name, bytes);
    const bool stopped = storm_end();
    if (pointer == NULL)
        actor_judge(storm_operation_name[operation], name, errno, stopped);
    return pointer;
}

static bool deallocate(void *pointer, const char *name)
{
    storm_begin(STORM_FREE);
    const int result = shmcore_deallocate(process.segment, pointer);
    const bool stopped = storm_end();
    if (result != 0)
        actor_judge("free", name, errno, stopped);
    return result == 0;
}

/* ---------------------------------------------------------------- own blocks */

static size_t some_size(struct storm_dice *dice)
{
    const uint32_t kind = storm_roll(dice, 100);
    if (kind < 60)
        return storm_roll(dice, 600);
    if (kind < 90)
        return storm_roll(dice, 9000);
    return kind < 98 ? storm_roll(dice, 80000) : storm_roll(dice, 1000000);
}

static void some_name(struct actor *actor, char name[SHMCORE_NAME_MAX + 1])
{
    const unsigned long generation = atomic_load(&process.board->place[storm_place()].generation);
    const int length = snprintf(name, SHMCORE_NAME_MAX + 1, "own/%lu.%u.%lu", generation, actor->number,
                                (unsigned long)actor->made++);
    if (storm_roll(&actor->dice, 3) != 0)
        return;
    size_t longer = (size_t)length + storm_roll(&actor->dice, SHMCORE_NAME_MAX - (uint32_t)length + 1);
    memset(name + length, 'x', longer - (size_t)length);
    name[longer] = '\0';
}

static void verify(const struct own *own, const char *when)
{
    if (!storm_is_filled(own->pointer, own->bytes, own->seed))
        COMPLAIN("block '%s' of %zu bytes, %s, at %p has changed %s", own->name, own->bytes,
                 own->borrowed ? "borrowed" : "own", own->pointer, when);
}

static void make_own(struct actor *actor, struct own *own)
{
    own->bytes = some_size(&actor->dice);
    own->borrowed = false;
    some_name(actor, own->name);
    own->seed = storm_mix(storm_roll(&actor->dice, UINT32_MAX) | (uint64_t)storm_line() << 32);
    own->pointer = allocate(STORM_ALLOCATE, own->name, own->bytes);
    if (own->pointer == NULL)
        return;
    if (!storm_is_zero(own->pointer, own->bytes))
        COMPLAIN("new block '%s' of %zu bytes is not zero", own->name, own->bytes);
    storm_fill(own->pointer, own->bytes, own->seed);
}

static void drop_own(struct own *own)
{
    verify(own, "before it is freed");
    if (deallocate(own->pointer, own->name))
        own->pointer = NULL; /* else it is tried again some time */
}

void actor_own_step(struct actor *actor)
{
    struct own *own = &actor->own[storm_roll(&actor->dice, OWN)];
    if (own->pointer == NULL)
        make_own(actor, own);
    else
        drop_own(own);
}

static size_t common_size(unsigned number)
{
    static const size_t sizes[] = {STORM_COMMON_LEAST, 4096, 40000, 9000, 300000, STORM_COMMON_LEAST + 1000};
    return sizes[number % 6] / 8 * 8;
}

static void common_name(unsigned number, char name[SHMCORE_NAME_MAX + 1])
{
    snprintf(name, SHMCORE_NAME_MAX + 1, "common/%u%s", number,
             number % 4 == 3 ? "/with a name that does not fit the record and needs room of its own" : "");
}

/* Nearly all of the time inside the library, and much of that inside a transaction: so that is where a kill
 * or a stop hits. The whole is one operation; it ends early when something was refused. */
static void strike(const char *name, size_t bytes, unsigned times)
{
    const char *what = NULL;
    unsigned done = 0;
    storm_begin(STORM_HAMMER);
    for (; done < times && what == NULL; done++) {
        void *pointer = shmcore_allocate(process.segment, name, bytes);
        if (pointer == NULL)
            what = "allocate";
        else if (shmcore_deallocate(process.segment, pointer) != 0)
            what = "free"; /* a reference more: it goes with the process */
    }
    const bool stopped = storm_end();
    storm_count(2 * done);
    if (what != NULL)
        actor_judge(what, name, errno, stopped);
}

void actor_hammer(struct actor *actor)
{
    char name[SHMCORE_NAME_MAX + 1];
    const uint32_t kind = storm_roll(&actor->dice, 8);
    some_name(actor, name);
    if (kind == 0)
        strike(name, 40000, 1 + storm_roll(&actor->dice, 50));
    else
        strike(name, storm_roll(&actor->dice, 2000), 1 + storm_roll(&actor->dice, 2000));
}

/* The same with a block that others have, too: what changes is references. */
void actor_hammer_common(struct actor *actor)
{
    char name[SHMCORE_NAME_MAX + 1];
    const unsigned number = storm_roll(&actor->dice, COMMON);
    common_name(number, name);
    strike(name, common_size(number),
           1 + storm_roll(&actor->dice, actor->common[number].pointer != NULL ? 2000 : 50));
}

/* ---------------------------------------------------------------- borrowed blocks */

struct candidates {
    struct actor *actor;
    unsigned seen[OWN], met;
    shmcore_block chosen;
};

static int meet(const shmcore_block *block, void *argument)
{
    struct candidates *candidates = argument;
    if (strncmp(block->name, "own/", 4) != 0)
        return 0;
    for (unsigned i = 0; i < OWN; i++) {
        const struct own *own = &candidates->actor->own[i];
        if (own->pointer == block->address && strcmp(own->name, block->name) == 0) {
            candidates->seen[i]++;
            return 0;
        }
    }
    if (block->owner != getpid() && block->bytes >= 2 * STORM_HEADER_BYTES &&
        storm_roll(&candidates->actor->dice, ++candidates->met) == 0)
        candidates->chosen = *block;
    return 0;
}

/* Everything that this thread holds is seen once, whatever the others do meanwhile. */
static void visit(struct actor *actor, struct candidates *candidates)
{
    *candidates = (struct candidates){.actor = actor};
    storm_begin(STORM_VISIT);
    const int result = shmcore_for_each(process.segment, meet, candidates);
    storm_end();
    if (result != 0)
        COMPLAIN("for_each: %s", shmcore_error());
    for (unsigned i = 0; i < OWN; i++)
        if (candidates->seen[i] != (actor->own[i].pointer != NULL))
            COMPLAIN("for_each met '%s' (%zu bytes, %s) %u times", actor->own[i].name, actor->own[i].bytes,
                     actor->own[i].borrowed ? "borrowed" : "own", candidates->seen[i]);
}

void actor_borrow(struct actor *actor)
{
    struct candidates candidates;
    struct own *own = &actor->own[storm_roll(&actor->dice, OWN)];
    visit(actor, &candidates);
    if (own->pointer != NULL || candidates.met == 0)
        return;
    const shmcore_block *block = &candidates.chosen;
    own->pointer = allocate(STORM_ATTACH, block->name, block->bytes);
    if (own->pointer == NULL)
        return;
    own->borrowed = true;
    own->bytes = block->bytes;
    strcpy(own->name, block->name);
    const int sound = storm_is_sound(own->pointer, own->bytes);
    if (sound < 0)
        COMPLAIN("borrowed block '%s' of %zu bytes is spoilt", own->name, own->bytes);
    if (sound > 0) {
        memcpy(&own->seed, own->pointer, sizeof own->seed);
        return;
    }
    if (deallocate(own->pointer,
                   own->name)) /* its maker is at it, or has died at it, or it is ours and new */
        own->pointer = NULL;
    else
        own->seed = 0;
}

/* ---------------------------------------------------------------- common blocks */

void actor_common_step(struct actor *actor)
{
    const unsigned number = storm_roll(&actor->dice, COMMON);
    struct common *common = &actor->common[number];
    const size_t bytes = common_size(number);
    const uint64_t seed = storm_mix(number + 1);
    const char *wrong = NULL;
    char name[SHMCORE_NAME_MAX + 1];
    common_name(number, name);
    if (common->pointer == NULL) {
        common->pointer = allocate(STORM_ATTACH, name, bytes);
        if (common->pointer != NULL)
            wrong = storm_common_begin(common->pointer, bytes, seed, &common->count);
    } else {
        wrong = storm_common_look(common->pointer, bytes, seed, &common->count);
        if (storm_roll(&actor->dice, 3) == 0 && deallocate(common->pointer, name))
            common->pointer = NULL;
    }
    if (wrong != NULL)
        COMPLAIN("common block '%s' of %zu bytes: %s", name, bytes, wrong);
}

/* ---------------------------------------------------------------- looking */

void actor_look(struct actor *actor)
{
    const struct own *own = &actor->own[storm_roll(&actor->dice, OWN)];
    shmcore_statistics statistics;
    shmcore_block block;
    size_t bytes = 0;
    if (own->pointer == NULL) {
        storm_begin(STORM_STATISTICS);
        const int result = shmcore_stat(process.segment, &statistics);
        storm_end();
        if (result != 0 || statistics.processes == 0 || statistics.used > statistics.capacity)
            COMPLAIN("stat: %s", shmcore_error());
        return;
    }
    verify(own, "while it was held");
    storm_begin(STORM_FIND);
    const void *found = shmcore_find(process.segment, own->name, &bytes);
    storm_end();
    if (found != own->pointer || bytes != own->bytes)
        COMPLAIN("find of '%s': %p, %zu bytes, and it is at %p with %zu", own->name, found, bytes,
                 own->pointer, own->bytes);
    storm_begin(STORM_DESCRIBE);
    const int result = shmcore_block_of(own->pointer, &block);
    storm_end();
    if (result != 0 || strcmp(block.name, own->name) != 0 || block.bytes != own->bytes || block.refs == 0)
        COMPLAIN("block_of '%s' of %zu bytes: %s", own->name, own->bytes,
                 result != 0 ? shmcore_error() : block.name);
}

/* ---------------------------------------------------------------- as a whole */

void actor_look_at_heritage(struct actor *actor)
{
    for (unsigned i = 0; i < OWN; i++)
        if (actor->own[i].pointer != NULL)
            verify(&actor->own[i], "after a fork, in the child");
    for (unsigned i = 0; i < COMMON; i++) {
        struct common *common = &actor->common[i];
        const char *wrong = NULL;
        if (common->pointer != NULL)
            wrong = storm_common_begin(common->pointer, common_size(i), storm_mix(i + 1), &common->count);
        if (wrong != NULL)
            COMPLAIN("common block %u in a child: %s", i, wrong);
    }
}

void actor_give_back(struct actor *actor)
{
    for (unsigned i = 0; i < OWN; i++)
        if (actor->own[i].pointer != NULL)
            drop_own(&actor->own[i]);
}
