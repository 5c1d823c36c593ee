/* SPDX-License-Identifier: MIT */
#include "trial.h"

#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "blocks.h"
#include "directory.h"
#include "hooks.h"
#include "reference.h"

static char sentence[640];

#define SAY(...) (snprintf(sentence, sizeof sentence, __VA_ARGS__), sentence)

/* ---------------------------------------------------------------- contents */

/* The same for all copies of a name, different at each place: 64 bits at a time, for there are many to look
 * at. */
static uint64_t pattern_at(uint64_t seed, size_t word)
{
    return (seed + word) * UINT64_C(0x9e3779b97f4a7c15) | 1;
}

static uint64_t seed_of(const char *name)
{
    return hash_bytes(name, strlen(name));
}

void pattern_fill(const char *name, void *memory, size_t bytes)
{
    const uint64_t seed = seed_of(name);
    unsigned char *at = memory;
    for (size_t i = 0; name[0] != 'z' && i < bytes; i += sizeof seed) {
        const uint64_t word = pattern_at(seed, i);
        memcpy(at + i, &word, least(sizeof word, bytes - i));
    }
}

bool pattern_is_there(const char *name, const void *memory, size_t bytes)
{
    const uint64_t seed = seed_of(name);
    const unsigned char *at = memory;
    for (size_t i = 0; i < bytes; i += sizeof seed) {
        const uint64_t word = name[0] == 'z' ? 0 : pattern_at(seed, i);
        if (memcmp(at + i, &word, least(sizeof word, bytes - i)) != 0)
            return false;
    }
    return true;
}

/* ---------------------------------------------------------------- the copy */

static unsigned char *map_memory(uint64_t bytes)
{
    const int descriptor = memfd_create("trial", MFD_CLOEXEC);
    if (descriptor < 0 || ftruncate(descriptor, (off_t)bytes) != 0)
        return NULL;
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    close(descriptor);
    return memory == MAP_FAILED ? NULL : memory;
}

/* Pages without memory stay without: what is marked as reserved can be compared with what is there. */
static void copy_pages(const struct view *live, const unsigned char *resident, unsigned char *memory,
                       unsigned char *resident_copy)
{
    const uint64_t pages = live->capacity / PAGE_BYTES;
    if (mincore(memory, live->capacity, resident_copy) != 0)
        abort();
    for (uint64_t page = 0, count; page < pages; page += count) {
        const uint64_t at = page * PAGE_BYTES;
        count = 1;
        if ((resident[page] & 1) != 0) {
            memcpy(memory + at, live->base + at, PAGE_BYTES);
        } else if ((resident_copy[page] & 1) != 0) {
            while (page + count < pages && (resident[page + count] & 1) == 0)
                count++;
            madvise(memory + at, count * PAGE_BYTES, MADV_REMOVE);
        }
    }
}

bool trial_begin(struct trial *trial, shmcore_segment *segment, struct expectation *expected)
{
    const uint64_t bytes = segment->file.view.capacity, pages = bytes / PAGE_BYTES;
    *trial = (struct trial){.segment = segment,
                            .live = segment->file.view,
                            .expected = expected,
                            .lived_before = expected->living_count};
    trial->memory = map_memory(bytes);
    trial->before = map_memory(bytes);
    trial->resident = calloc(pages, 1);
    trial->resident_copy = calloc(pages, 1);
    if (trial->memory == NULL || trial->before == NULL || trial->resident == NULL ||
        trial->resident_copy == NULL || mincore(trial->live.base, bytes, trial->resident) != 0)
        return false;
    copy_pages(&trial->live, trial->resident, trial->before, trial->resident_copy);
    return true;
}

void trial_end(struct trial *trial)
{
    munmap(trial->memory, trial->live.capacity);
    munmap(trial->before, trial->live.capacity);
    free(trial->resident);
    free(trial->resident_copy);
}

/* ---------------------------------------------------------------- what the kernel does at a death */

/* The place in the copy of what lies at an address of the victim; NULL: not in the segment. */
static void *in_copy(unsigned char *copy, uint64_t bytes, const struct stepper *stepper, uint64_t address)
{
    const uint64_t offset = address - stepper->base;
    return offset <= bytes - sizeof(uint64_t) && offset % sizeof(uint32_t) == 0 ? copy + offset : NULL;
}

/* handle_futex_death() of kernel/futex/core.c. */
static void one_lock_dies(uint32_t *word, const struct stepper *stepper)
{
    if (word != NULL && (*word & FUTEX_TID_MASK) == (uint32_t)stepper->pid)
        *word = (*word & FUTEX_WAITERS) | FUTEX_OWNER_DIED;
}

/* exit_robust_list(): the list, then what was about to be put in or taken out. The links between the entries
 * lie in the segment. */
void trial_locks_die(unsigned char *copy, uint64_t bytes, const struct stepper *stepper)
{
    const struct robust_head *head = &stepper->robust;
    const uint64_t to_word = (uint64_t)head->futex_offset, flag = 1;
    uint64_t entry = head->next;
    for (unsigned steps = 0; (entry & ~flag) != stepper->robust_at && steps < ROBUST_LIST_LIMIT; steps++) {
        uint64_t next = stepper->robust_at;
        const uint64_t *link = in_copy(copy, bytes, stepper, entry & ~flag);
        if (link != NULL)
            memcpy(&next, link, sizeof next);
        if (entry != head->pending)
            one_lock_dies(in_copy(copy, bytes, stepper, (entry & ~flag) + to_word), stepper);
        entry = next;
    }
    if (head->pending != 0)
        one_lock_dies(in_copy(copy, bytes, stepper, (head->pending & ~flag) + to_word), stepper);
}

void trial_copy(struct trial *trial, const struct stepper *stepper)
{
    if (mincore(trial->live.base, trial->live.capacity, trial->resident) != 0)
        abort();
    copy_pages(&trial->live, trial->resident, trial->memory, trial->resident_copy);
    trial_locks_die(trial->memory, trial->live.capacity, stepper);
}

const char *trial_compare(const struct trial *trial)
{
    for (uint64_t at = 0; at < trial->live.capacity; at += sizeof(uint64_t)) {
        uint64_t real, copy;
        if (at % PAGE_BYTES == 0 && (trial->resident[at / PAGE_BYTES] & 1) == 0) {
            at += PAGE_BYTES - sizeof real;
            continue;
        }
        memcpy(&real, trial->live.base + at, sizeof real);
        memcpy(&copy, trial->memory + at, sizeof copy);
        if (real != copy)
            return SAY("after the real death the word at %lx is %lx, and in the copy %lx", (unsigned long)at,
                       (unsigned long)real, (unsigned long)copy);
    }
    return NULL;
}

/* ---------------------------------------------------------------- recovery */

static const char *enter_pool(shmcore_segment *segment)
{
    struct guarded guarded;
    if (!pool_enter(segment, &guarded))
        return SAY("the pool cannot be entered: %s", shmcore_error());
    pool_leave(&guarded);
    return NULL;
}

static const char *enter_shards(shmcore_segment *segment)
{
    for (uint32_t s = 0; s < segment->file.view.shard_count; s++) {
        struct guarded guarded;
        if (!shard_enter(segment, s, &guarded))
            return SAY("shard %u cannot be entered: %s", s, shmcore_error());
        shard_leave(&guarded);
    }
    return NULL;
}

static const char *recover(shmcore_segment *segment, enum trial_order order)
{
    if (order == TRIAL_DEAD_FIRST)
        reap_some(segment, ROWS_MOST);
    const char *wrong = order == TRIAL_POOL_FIRST ? enter_pool(segment) : enter_shards(segment);
    if (wrong == NULL)
        wrong = order == TRIAL_POOL_FIRST ? enter_shards(segment) : enter_pool(segment);
    return wrong;
}

/* What is published is whole: a block that others can find has its size, its memory and its zeros. */
static const char *look_at_fresh(const struct trial *trial)
{
    const struct expectation *expected = trial->expected;
    size_t bytes = 0;
    if (expected->fresh == NULL)
        return NULL;
    const unsigned char *at = block_find(trial->segment, expected->fresh, &bytes);
    if (at == NULL)
        return NULL;
    if (bytes != expected->fresh_bytes)
        return SAY("block '%s' can be found with %zu bytes", expected->fresh, bytes);
    for (size_t i = 0; i < bytes; i++)
        if (at[i] != 0)
            return SAY("block '%s' can be found and byte %zu is not zero", expected->fresh, i);
    return NULL;
}

static bool is_among(const struct expectation *expected, uint32_t count, uint32_t row)
{
    for (uint32_t i = 0; i < count; i++)
        if (expected->living[i] == row)
            return true;
    return false;
}

static const char *reap(const struct trial *trial)
{
    const struct view *view = &trial->segment->file.view;
    reap_some(trial->segment, ROWS_MOST);
    const char *wrong = soundness_of(view); /* promises to children that never came may still be there */
    if (wrong != NULL)
        return SAY("after the first reaping: %s", wrong);
    hooks.ahead = 2 * FORKING_PATIENCE;
    reap_some(trial->segment, ROWS_MOST);
    hooks.ahead = 0;
    for (uint32_t row = 0; row < view->row_count; row++)
        if ((view->rows[row].state != ROW_FREE) !=
            is_among(trial->expected, trial->expected->living_count, row))
            return SAY("row %u is in state %u after the reaping", row, view->rows[row].state);
    return NULL;
}

/* ---------------------------------------------------------------- what must be there */

static const char *block_is_whole(const struct view *view, const struct sound_block *block)
{
    if ((block->status & RECORD_STATE_MASK) != RECORD_READY)
        return SAY("block '%s' is not ready", block->name);
    if (!pattern_is_there(block->name, view_at(view, block->offset), block->bytes))
        return SAY("block '%s' does not hold what was written to it", block->name);
    return NULL;
}

static const char *own_blocks(const struct trial *trial)
{
    const struct expectation *expected = trial->expected;
    const struct view *view = &trial->segment->file.view;
    for (uint32_t i = 0; i < expected->held_count; i++) {
        const struct held *held = &expected->held[i];
        const struct name_key key = directory_key(held->name, strlen(held->name), 0);
        const uint32_t shard = directory_shard(view, &key);
        bool damaged = false;
        size_t bytes = 0;
        const uint32_t reference =
            directory_find(view, &view->shards[shard], OWNER_SHARD + shard, &key, &damaged);
        if (reference == 0 || block_find(trial->segment, held->name, &bytes) == NULL || bytes != held->bytes)
            return SAY("block '%s', which others hold, is gone", held->name);
        if (reference_count(view, view_record(view, reference), shard, trial->segment->row) != held->times)
            return SAY("block '%s' is held by this process %u times, not %u", held->name,
                       reference_count(view, view_record(view, reference), shard, trial->segment->row),
                       held->times);
    }
    return NULL;
}

/* The regions of the living are as they were: nobody else writes there. */
static const char *regions_of_the_living(const struct trial *trial)
{
    struct view before;
    const struct view *view = &trial->segment->file.view;
    const uint64_t bytes = (uint64_t)1 << view->region_shift;
    view_make(&before, trial->before, view->capacity);
    for (uint32_t r = 0; r < view->region_count; r++) {
        const uint32_t owner = before.region_owner[r];
        const bool taken = (before.region_free[r / 64] >> r % 64 & 1) == 0;
        if (!taken || owner < OWNER_PROCESS ||
            !is_among(trial->expected, trial->lived_before, owner - OWNER_PROCESS))
            continue;
        const uint32_t each = view_region_quanta(view);
        if (view->region_owner[r] != owner || (view->region_free[r / 64] >> r % 64 & 1) != 0)
            return SAY("region %u was row %u's, who lives", r, owner - OWNER_PROCESS);
        if (memcmp(view->base + r * bytes, before.base + r * bytes, bytes) != 0 ||
            memcmp(&view->quanta[r * each], &before.quanta[r * each], each * sizeof(struct quantum)) != 0)
            return SAY("region %u of row %u, who lives, has changed", r, owner - OWNER_PROCESS);
    }
    return NULL;
}

static const char *what_is_reserved_is_there(const struct trial *trial)
{
    const struct view *view = &trial->segment->file.view;
    if (view->base == trial->live.base || mincore(view->base, view->capacity, trial->resident_copy) != 0)
        return NULL;
    for (uint64_t page = view->eager_bytes / PAGE_BYTES + 1; page < view->capacity / PAGE_BYTES; page++)
        if ((view->reserved[page / 64] >> page % 64 & 1) != 0 && (trial->resident_copy[page] & 1) == 0)
            return SAY("page %lu is marked as reserved and has no memory", (unsigned long)page);
    return NULL;
}

static const char *contents(const struct trial *trial)
{
    struct expectation *expected = trial->expected;
    const struct view *view = &trial->segment->file.view;
    const char *wrong = soundness_of(view);
    for (uint32_t i = 0; wrong == NULL && i < expected->living_count; i++)
        wrong = soundness_of_exports(view, expected->living[i]);
    if (wrong != NULL)
        return SAY("after the reaping: %s", wrong);
    const uint64_t sum = soundness_sum(view);
    const size_t actual = shmcore_actual_size(trial->segment);
    if (!expected->known) {
        expected->sum = sum;
        expected->actual = actual;
        expected->known = true;
    }
    if ((wrong = own_blocks(trial)) != NULL || (wrong = soundness_for_each(view, block_is_whole)) != NULL)
        return wrong;
    if (sum != expected->sum)
        return "the blocks that are left, or who holds them, are not what they were";
    if (actual != expected->actual)
        return SAY("%zu bytes are in use and it should be %zu", actual, expected->actual);
    wrong = regions_of_the_living(trial);
    return wrong != NULL ? wrong : what_is_reserved_is_there(trial);
}

static bool is_zero(const unsigned char *at, size_t bytes)
{
    return bytes == 0 || (at[0] == 0 && memcmp(at, at + 1, bytes - 1) == 0);
}

/* Life goes on: new blocks can be made, are zero, and go again without a trace. */
static const char *use_it(const struct trial *trial)
{
    static const size_t sizes[] = {48, 3 * QUANTUM_BYTES};
    shmcore_segment *segment = trial->segment;
    void *made[2];
    for (unsigned i = 0; i < 2; i++) {
        made[i] = shmcore_allocate(segment, i == 0 ? "probe" : "probe/that has a long name", sizes[i]);
        if (made[i] == NULL)
            return SAY("no block can be made afterwards: %s", shmcore_error());
        if (!is_zero(made[i], sizes[i]))
            return SAY("a block of %zu bytes made afterwards is not zero", sizes[i]);
        memset(made[i], 0xa5, sizes[i]);
    }
    const char *wrong = soundness_of(&segment->file.view);
    for (unsigned i = 0; wrong == NULL && i < 2; i++)
        if (shmcore_deallocate(segment, made[i]) != 0)
            return SAY("a block made afterwards cannot be freed: %s", shmcore_error());
    if (wrong == NULL)
        wrong = soundness_of(&segment->file.view);
    if (wrong != NULL)
        return SAY("when it is used afterwards: %s", wrong);
    if (shmcore_actual_size(segment) != trial->expected->actual ||
        soundness_sum(&segment->file.view) != trial->expected->sum)
        return "what is made and freed afterwards leaves a trace";
    return NULL;
}

static const char *verdict(struct trial *trial, enum trial_order order)
{
    const char *wrong = recover(trial->segment, order);
    if (wrong != NULL)
        return wrong;
    if ((wrong = soundness_of(&trial->segment->file.view)) != NULL)
        return SAY("after the recovery: %s", wrong);
    if ((wrong = look_at_fresh(trial)) != NULL || (wrong = reap(trial)) != NULL ||
        (wrong = contents(trial)) != NULL)
        return wrong;
    return use_it(trial);
}

const char *trial_verdict(struct trial *trial, int32_t victim, enum trial_order order)
{
    shmcore_segment *segment = trial->segment;
    hooks = (struct hooks){.dead = victim, .impatient = true};
    view_make(&segment->file.view, trial->memory, trial->live.capacity);
    segment->next_look = segment->next_search = 0;
    const char *wrong = verdict(trial, order);
    segment->file.view = trial->live;
    hooks = (struct hooks){.dead = 0};
    return wrong;
}

const char *trial_of_segment(struct trial *trial, enum trial_order order)
{
    hooks.impatient = true;
    const char *wrong = verdict(trial, order);
    hooks.impatient = false;
    return wrong;
}
