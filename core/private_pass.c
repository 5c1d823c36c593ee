/* SPDX-License-Identifier: MIT
 *
 * Passes of the merge engine over the arenas of this process, requests for them, and the gate that keeps
 * other processes' process_vm_writev out while a chunk is replaced.
 */
#include <errno.h>
#include <string.h>

#include "error.h"
#include "os.h"
#include "park.h"
#include "private.h"
#include "private_own.h"

/* What is awaited is looked at again after so long, so many times. */
#define AWAIT_STEP     UINT64_C(1000000)
#define AWAIT_ROUNDS   1000u
#define BUSY_ROUNDS    64u
/* A chunk that would not merge is left alone for twice as long each time, up to so many doublings. */
#define DOUBLINGS_MOST 6u
#define RETRY_LEAST    UINT64_C(100000000)
#define GATE_LOOK      UINT64_C(100000000) /* then it is looked whether the process lives */
#define GATE_PATIENCE  UINT64_C(10000000000)

struct sweep {
    struct private_space *space;
    struct merge_pass pass;
    struct private_tally *tally;
    enum private_when when;
    bool now;
    uint32_t *list, *chunks; /* found; in the order in which they are looked at */
    uint64_t list_bytes;
    uint32_t count;
    uint32_t mappings;
    uint32_t first, end; /* only these chunks; end 0: all */
    uint32_t busy_left;  /* how often, in all, a chunk whose writers could not be held is looked at again */
};

/* ---------------------------------------------------------------- one chunk */

static bool has_new_copy(const struct sweep *sweep, const struct merge_local *local, uint32_t chunk)
{
    const struct chunk_status status = merge_index_status(&sweep->space->index, chunk);
    return local->holds && status.state == CHUNK_READY && status.file != local->file;
}

/* Worth a try: it has been as it is for long enough. */
static bool is_due(struct sweep *sweep, struct merge_local *local, uint32_t chunk, uint64_t quiet)
{
    const uint64_t signature = merge_signature(&sweep->pass, chunk), now = os_clock();
    const bool changed = signature != local->signature || local->since == 0;
    if (changed) {
        local->signature = signature;
        local->since = now;
    }
    if (signature == local->tried &&
        (local->failures == 0 ? !has_new_copy(sweep, local, chunk) : now < local->not_before))
        return false;
    if (sweep->now)
        return true;
    if (changed || now - local->since < quiet) {
        sweep->tally->waiting++;
        return false;
    }
    return true;
}

static void put_off(struct sweep *sweep, struct merge_local *local, uint32_t chunk, uint64_t quiet,
                    unsigned doublings_most)
{
    local->tried = merge_signature(&sweep->pass, chunk);
    local->failures = (uint16_t)least(local->failures + 1u, 1000);
    const unsigned doublings = (unsigned)least(local->failures, doublings_most);
    local->not_before = sweep->now ? 0 : os_clock() + (most(quiet, RETRY_LEAST) << doublings);
}

/* True: look again soon. */
static bool settle(struct sweep *sweep, struct merge_local *local, uint32_t chunk, uint64_t quiet,
                   enum merge_outcome outcome)
{
    struct private_tally *tally = sweep->tally;
    switch (outcome) {
    case MERGE_DONE:
        tally->merged++;
        local->failures = 0;
        local->tried = local->signature = merge_signature(&sweep->pass, chunk);
        return false;
    case MERGE_AWAITED:
        return true;
    case MERGE_BUSY:
        if (sweep->now && sweep->busy_left > 0) {
            sweep->busy_left--;
            return true;
        }
        tally->busy++; /* that may be otherwise soon, whatever the chunk is like */
        put_off(sweep, local, chunk, quiet, 1);
        return false;
    case MERGE_FULL:
        tally->full++;
        tally->error = errno;
        break;
    case MERGE_NEVER:
    case MERGE_DIFFERS:
        tally->differing++;
        break;
    }
    put_off(sweep, local, chunk, quiet, DOUBLINGS_MOST);
    return false;
}

struct plainness {
    uint64_t start, end;
    bool plain;
};

static int look_at_mapping(uint64_t start, uint64_t end, bool plain, void *argument)
{
    struct plainness *range = argument;
    range->plain &= plain || end <= range->start || start >= range->end;
    return !range->plain;
}

/* With its arena locked: is it readable and writable as a whole? */
static bool is_plain(const struct private_space *space, uint32_t chunk)
{
    struct plainness range = {.start = space->index.base + chunk * MERGE_CHUNK, .plain = true};
    range.end = range.start + MERGE_CHUNK;
    return os_each_mapping(look_at_mapping, &range) >= 0 && range.plain;
}

/* True: look again soon. */
static bool look_at(struct sweep *sweep, uint32_t chunk)
{
    struct private_space *space = sweep->space;
    struct merge_local *local = &space->chunks[chunk];
    struct arena *arena = atomic_load_explicit(&space->by_grain[chunk / GRAIN_CHUNKS], memory_order_acquire);
    bool again = false;
    if (arena == NULL || (sweep->when != PRIVATE_MANUAL && arena->when != (uint32_t)sweep->when))
        return false;
    pthread_mutex_lock(&arena->lock);
    if (UNLIKELY(local->altered))
        local->altered = !is_plain(space, chunk);
    if (local->used && !local->barred && !local->altered) {
        sweep->tally->looked++;
        if (merge_index_held(&space->index, space->segment->row, chunk) == HELD_NOTHING)
            merge_index_use(&space->index, space->segment->row, chunk, 1); /* a forked child's first look */
        const bool due = is_due(sweep, local, chunk, arena->quiet);
        if (due)
            arena_clear(arena); /* nothing happens there: what was freed can go, and need not be compared */
        if (due && local->used)
            again = settle(sweep, local, chunk, arena->quiet, merge_chunk(&sweep->pass, chunk, local));
    }
    pthread_mutex_unlock(&arena->lock);
    return again;
}

/* ---------------------------------------------------------------- a pass */

/* Each process begins somewhere else, so that they share the work of publishing. */
static bool list_chunks(struct sweep *sweep)
{
    struct private_space *space = sweep->space;
    const uint32_t end = sweep->end != 0 ? sweep->end : private_chunks_end(space);
    const uint32_t grains = private_chunks_end(space) / GRAIN_CHUNKS;
    void *memory;
    sweep->list_bytes = align_up(grains * GRAIN_CHUNKS * 2 * sizeof(uint32_t), PAGE_BYTES);
    if (grains == 0 || os_map_private(sweep->list_bytes, &memory) != 0)
        return false;
    uint32_t *found = sweep->list = memory, count = 0;
    for (uint32_t chunk = sweep->first; chunk < end; chunk++)
        if (space->by_grain[chunk / GRAIN_CHUNKS] != NULL && space->chunks[chunk].used)
            found[count++] = chunk;
    const uint32_t rows = (uint32_t)most(process_rows_used(&space->segment->file.view), 1);
    const uint32_t begin = count != 0 ? (uint32_t)((uint64_t)count * (space->segment->row % rows) / rows) : 0;
    sweep->chunks = found + grains * GRAIN_CHUNKS;
    for (uint32_t i = 0; i < count; i++)
        sweep->chunks[i] = found[(align_down(begin, SHEET_CHUNKS) + i) % count];
    sweep->count = count;
    return true;
}

static int count_mapping(uint64_t start, uint64_t end, bool plain, void *argument)
{
    (void)start, (void)end, (void)plain;
    ++*(uint32_t *)argument;
    return 0;
}

static bool takes_part(const struct private_space *space)
{
    return space != NULL && !private_has_ended() && atomic_load(&space->arenas) != NULL &&
           space->segment->row < MERGE_ROWS && space->segment->self.pid == os_process();
}

static void sweep_all(struct sweep *sweep)
{
    uint32_t left = sweep->count;
    for (unsigned round = 0; round < AWAIT_ROUNDS && left > 0; round++) {
        uint32_t again = 0;
        for (uint32_t i = 0; i < left && !private_has_ended(); i++)
            if (look_at(sweep, sweep->chunks[i]))
                sweep->chunks[again++] = sweep->chunks[i];
        left = again;
        if (left > 0 && !private_has_ended())
            os_pause(AWAIT_STEP);
    }
    sweep->tally->waiting += left;
}

static void run(struct sweep *sweep)
{
    struct private_space *space = sweep->space;
    pthread_mutex_lock(&space->passing);
    if (list_chunks(sweep)) {
        if (merge_pass_begin(&sweep->pass, &space->index, space->segment->row,
                             (enum hold_way)private_hold())) {
            os_each_mapping(count_mapping, &sweep->mappings);
            const uint64_t limit = os_mappings_limit() / 4 * 3;
            sweep->pass.mappings_left = limit > sweep->mappings ? (uint32_t)(limit - sweep->mappings) : 0;
            sweep_all(sweep);
            merge_pass_end(&sweep->pass);
        } else {
            sweep->tally->error = errno;
        }
        os_unmap(sweep->list, sweep->list_bytes);
    }
    pthread_mutex_unlock(&space->passing);
}

void private_pass_over(struct private_space *space, uint32_t first, uint32_t end, struct private_tally *tally)
{
    struct sweep sweep = {.space = space,
                          .tally = tally,
                          .when = PRIVATE_MANUAL,
                          .now = true,
                          .first = first,
                          .end = end,
                          .busy_left = BUSY_ROUNDS};
    *tally = (struct private_tally){0};
    run(&sweep);
}

void private_pass(enum private_when when, bool now, struct private_tally *out)
{
    struct private_tally unwanted;
    struct private_tally *tally = out != NULL ? out : &unwanted;
    const int kept_errno = errno;
    *tally = (struct private_tally){0};
    for (uint32_t i = 0; i < STORE_HANDLES; i++) {
        struct private_space *space = private_space_of(i);
        struct sweep sweep = {
            .space = space, .tally = tally, .when = when, .now = now, .busy_left = BUSY_ROUNDS};
        if (takes_part(space))
            run(&sweep);
    }
    errno = kept_errno;
}

bool private_wants(enum private_when when, uint64_t *quiet)
{
    bool wanted = false;
    *quiet = UINT64_MAX;
    for (uint32_t i = 0; i < STORE_HANDLES; i++) {
        struct private_space *space = private_space_of(i);
        for (struct arena *arena = takes_part(space) ? atomic_load(&space->arenas) : NULL; arena != NULL;
             arena = arena->next)
            if (arena->when == (uint32_t)when) {
                wanted = true;
                *quiet = least(*quiet, arena->quiet);
            }
    }
    return wanted;
}

/* ---------------------------------------------------------------- out of merged memory */

/* With the arena locked. */
static bool restore(struct private_space *space, uint32_t first, uint32_t last)
{
    struct merge_pass pass;
    bool whole = true;
    if (!merge_pass_begin(&pass, &space->index, space->segment->row, (enum hold_way)private_hold()))
        return false;
    for (uint32_t chunk = first; chunk <= last; chunk++) {
        enum merge_outcome outcome = MERGE_BUSY;
        for (unsigned i = 0; i < BUSY_ROUNDS && outcome == MERGE_BUSY && space->chunks[chunk].file != 0; i++)
            outcome = merge_restore(&pass, chunk, &space->chunks[chunk]);
        whole &= space->chunks[chunk].file == 0;
    }
    merge_pass_end(&pass);
    return whole;
}

bool private_bar(void *address, size_t bytes, bool barred)
{
    struct private_space *space = private_space_at(address);
    struct arena *arena = private_alter_begin(address, bytes);
    bool whole = true, merged = false;
    private_alter_end(arena);
    if (arena == NULL)
        return true;
    const uint32_t first = private_chunk_of(space, address);
    const uint32_t last =
        (uint32_t)least(private_chunk_of(space, (unsigned char *)address + bytes - 1), MERGE_CHUNKS - 1);
    pthread_mutex_lock(&space->passing);
    pthread_mutex_lock(&arena->lock);
    for (uint32_t chunk = first; chunk <= last; chunk++) {
        space->chunks[chunk].barred = barred;
        merged |= space->chunks[chunk].file != 0;
    }
    if (barred && merged && takes_part(space))
        whole = restore(space, first, last);
    pthread_mutex_unlock(&arena->lock);
    pthread_mutex_unlock(&space->passing);
    return whole;
}

/* ---------------------------------------------------------------- requests */

static struct private_space *first_space(void)
{
    for (uint32_t i = 0; i < STORE_HANDLES; i++)
        if (takes_part(private_space_of(i)))
            return private_space_of(i);
    return NULL;
}

static bool is_asked(const struct private_space *space)
{
    return atomic_load(&space->index.file->header.wanted) !=
           atomic_load(&space->index.file->rows[space->segment->row].answered);
}

bool private_wait(uint64_t patience)
{
    struct private_space *space = first_space();
    if (space == NULL) {
        os_pause(patience);
        return false;
    }
    const uint32_t seen = atomic_load(&space->index.file->header.wanted);
    if (!is_asked(space))
        os_wait(&space->index.file->header.wanted, seen, patience);
    for (uint32_t i = 0; i < STORE_HANDLES; i++)
        if (takes_part(private_space_of(i)) && is_asked(private_space_of(i)))
            return true;
    return false;
}

void private_listen(bool listens)
{
    if (listens)
        park_except_this();
    for (uint32_t i = 0; i < STORE_HANDLES; i++) {
        struct private_space *space = private_space_of(i);
        if (!takes_part(space))
            continue;
        struct merge_row *row = &space->index.file->rows[space->segment->row];
        if (listens && atomic_load(&row->listens) == 0)
            atomic_store(&row->answered, atomic_load(&space->index.file->header.wanted));
        atomic_store(&row->listens, listens);
    }
}

uint32_t private_asked(void)
{
    const struct private_space *space = first_space();
    return space != NULL ? atomic_load(&space->index.file->header.wanted) : 0;
}

void private_answer(uint32_t asked)
{
    for (uint32_t i = 0; i < STORE_HANDLES; i++) {
        struct private_space *space = private_space_of(i);
        if (!takes_part(space))
            continue;
        struct merge_header *header = &space->index.file->header;
        atomic_store(&space->index.file->rows[space->segment->row].answered,
                     space == first_space() ? asked : atomic_load(&header->wanted));
        atomic_fetch_add(&header->done, 1);
        os_wake(&header->done);
    }
}

/* ---------------------------------------------------------------- the gate */

/* A process has a row for each copy of this library in it: the shim's, and its own. ROW_NONE: none of them
 * replaces anything. */
static uint32_t closed_row(const struct private_space *space, int32_t pid)
{
    const struct view *view = &space->segment->file.view;
    const uint32_t rows = (uint32_t)least(process_rows_used(view), MERGE_ROWS);
    for (uint32_t row = 0; row < rows; row++)
        if (view->rows[row].pid == pid && process_state(view, row) == ROW_ALIVE &&
            atomic_load(&space->index.file->rows[row].closed) != 0)
            return row;
    return ROW_NONE;
}

/* Whoever replaces his memory may not run for a while on a busy machine, and what is written meanwhile would
 * be lost. He waits for nobody with his gate closed, so he opens it, or dies; or he has executed another
 * program in that very moment, which looks like living on: so there is an end to patience. */
static void enter_gate(const struct private_space *space, int32_t pid)
{
    struct merge_row *own = &space->index.file->rows[space->segment->row];
    const uint64_t until = os_clock() + GATE_PATIENCE;
    uint64_t look = os_clock() + GATE_LOOK;
    for (;;) {
        atomic_fetch_add(&own->writing, 1);
        const uint32_t theirs = closed_row(space, pid);
        if (theirs == ROW_NONE)
            return;
        const uint64_t now = os_clock();
        if (now >= look) {
            const struct process_row *process = &space->segment->file.view.rows[theirs];
            if (now >= until || process_is_gone(process->pid, process->start_time))
                return;
            look = now + GATE_LOOK;
        }
        atomic_fetch_sub(&own->writing, 1);
        os_wait(&space->index.file->rows[theirs].closed, 1, AWAIT_STEP);
    }
}

uint32_t private_write_begin(int32_t pid)
{
    const int kept_errno = errno;
    uint32_t gates = 0;
    for (uint32_t i = 0; i < STORE_HANDLES; i++) {
        struct private_space *space = private_space_or_join(i);
        if (space == NULL || space->segment->row >= MERGE_ROWS)
            continue;
        enter_gate(space, pid);
        gates |= UINT32_C(1) << i;
    }
    errno = kept_errno;
    return gates;
}

void private_write_end(uint32_t gates)
{
    for (uint32_t i = 0; i < STORE_HANDLES; i++) {
        struct private_space *space = private_space_of(i);
        if ((gates >> i & 1) != 0 && space != NULL && space->segment->row < MERGE_ROWS)
            atomic_fetch_sub(&space->index.file->rows[space->segment->row].writing, 1);
    }
}
