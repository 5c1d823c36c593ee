/* SPDX-License-Identifier: MIT */
#include "forked_run.h"

#include <string.h>

#include "export_own.h"
#include "export_slots.h"
#include "os.h"

/* Smaller copies are made without asking how much memory there is: the question costs more. */
#define ASKED_FROM     MEBI
/* What is left to others on the node. */
#define MARGIN         (16 * MEBI)
#define HUGE_BYTES     (2 * MEBI)
#define HUGE_FROM      (4 * MEBI)
#define POPULATED_FROM (64 * KIBI)

#define VIEW_UNSAID 3u /* of what holds no block */

/* Lies at the start of a mapping of its own. */
struct forked_run {
    struct forked_run *next;
    unsigned char *memory;          /* the copy, as long as the range; NULL: no piece of it is copied */
    uint64_t offset, length;        /* of the range in the segment */
    struct inherited_run inherited; /* must be last */
};

struct piece {
    uint32_t first, count; /* quanta */
    uint32_t view;         /* enum fork_view, or VIEW_UNSAID */
};

/* ---------------------------------------------------------------- pieces */

/* The extent at `quantum`, as the run's own copy of the table has it. */
static struct piece extent_at(const struct forked_run *run, uint32_t quantum)
{
    const uint32_t end = run->inherited.first + run->inherited.count;
    const struct quantum *entry = &run->inherited.quanta[quantum - run->inherited.first];
    const uint32_t kind = atomic_load_explicit(&entry->kind, memory_order_relaxed);
    if (kind == QUANTUM_NONE || kind == QUANTUM_EXPORT_INNER)
        return (struct piece){quantum, 1, VIEW_UNSAID};
    const uint32_t count = (uint32_t)least(most(entry->count, 1), end - quantum);
    if (kind != QUANTUM_EXPORT && kind != QUANTUM_EXPORT_SLAB)
        return (struct piece){quantum, count, VIEW_UNSAID};
    return (struct piece){quantum, count, (uint32_t)(entry->sequence >> QUANTUM_FORK_SHIFT & 3)};
}

/* The piece that begins at `from`; count 0 at the end of the run. */
static struct piece piece_at(const struct forked_run *run, uint32_t from)
{
    const uint32_t end = run->inherited.first + run->inherited.count;
    struct piece piece = {from, 0, VIEW_UNSAID};
    while (from + piece.count < end) {
        const struct piece extent = extent_at(run, from + piece.count);
        if (extent.view != VIEW_UNSAID && piece.view != VIEW_UNSAID && extent.view != piece.view)
            break;
        if (piece.view == VIEW_UNSAID)
            piece.view = extent.view;
        piece.count += extent.count;
    }
    return piece;
}

#define EACH_PIECE(run, piece)                                                                               \
    struct piece piece = piece_at((run), (run)->inherited.first);                                            \
    piece.count != 0;                                                                                        \
    piece = piece_at((run), piece.first + piece.count)

static uint64_t piece_offset(struct piece piece)
{
    return (uint64_t)piece.first << QUANTUM_SHIFT;
}

static uint64_t piece_bytes(struct piece piece)
{
    return (uint64_t)piece.count << QUANTUM_SHIFT;
}

/* ---------------------------------------------------------------- copying */

/* Through the file where that can be had: the program may have taken pages away from itself with mprotect().
 */
static void copy_range(const shmcore_segment *segment, uint64_t from, uint64_t to, unsigned char *copy)
{
    for (uint64_t bytes; from < to; from += bytes, copy += bytes) {
        bytes = least(to - from, GIBI); /* one read has a limit */
        if (bytes >= POPULATED_FROM)
            (void)os_populate(copy, bytes); /* with one call, where a write would fault for each page */
        if (segment->forked_file < 0 || os_read_at(segment->forked_file, copy, bytes, from) != (int64_t)bytes)
            memcpy(copy, view_at(&segment->file.view, from), bytes);
    }
}

static void copy_reserved(const shmcore_segment *segment, uint64_t from, uint64_t to, unsigned char *copy)
{
    const struct view *view = &segment->file.view;
    for (uint64_t at = from, stop; at < to; at = stop) {
        const bool reserved = space_is_reserved(view, at, PAGE_BYTES);
        for (stop = at + PAGE_BYTES; stop < to && space_is_reserved(view, stop, PAGE_BYTES) == reserved;)
            stop += PAGE_BYTES;
        if (reserved)
            copy_range(segment, at, stop, copy + (at - from));
    }
}

/* Of touched memory the file system knows which pages there are; reading the others would make them. */
static void copy_touched(const shmcore_segment *segment, uint64_t from, uint64_t to, unsigned char *copy)
{
    uint64_t start, stop, at = from;
    if (segment->forked_file < 0) { /* the file's name is gone: there is no other way */
        copy_range(segment, from, to, copy);
        return;
    }
    for (; at < to && os_next_data(segment->forked_file, at, to, &start, &stop) == 1; at = stop)
        copy_range(segment, start, stop, copy + (start - from));
}

static void copy_part(const shmcore_segment *segment, const struct forked_run *run, uint64_t from,
                      uint64_t to, bool touched)
{
    unsigned char *copy = run->memory + (from - run->offset);
    if (touched)
        copy_touched(segment, from, to, copy);
    else
        copy_reserved(segment, from, to, copy);
}

/* Of a slab its head and the pages that hold a live slot: a program with many threads and sites has many
 * slabs, and most of them are nearly empty. */
static void copy_slab(const shmcore_segment *segment, const struct forked_run *run, struct piece extent,
                      bool touched)
{
    const uint64_t start = piece_offset(extent);
    const struct export_slab *slab = view_at(&segment->file.view, start);
    const struct export_shape *shape = own_slab_shape(&segment->file.view, slab);
    if (shape == NULL || shape->quanta > extent.count)
        return; /* somebody scribbled over it: nothing in it can be found again */
    uint64_t from = start, to = start + align_up(shape->data, PAGE_BYTES);
    for (uint32_t slot = 0; slot < shape->slots; slot++) {
        const uint64_t bytes = start + shape->data + (uint64_t)slot * shape->slot_bytes;
        const uint64_t end = align_up(bytes + shape->slot_bytes, PAGE_BYTES);
        if (!export_slot_is_alive(slab, shape, slot) || end <= to)
            continue;
        if (bytes >= to) {
            copy_part(segment, run, from, to, touched);
            from = align_down(bytes, PAGE_BYTES);
        }
        to = end;
    }
    copy_part(segment, run, from, to, touched);
}

static void copy_extents(const shmcore_segment *segment, const struct forked_run *run)
{
    const uint32_t end = run->inherited.first + run->inherited.count;
    for (uint32_t q = run->inherited.first; q < end;) {
        const struct piece extent = extent_at(run, q);
        const struct quantum *entry = &run->inherited.quanta[q - run->inherited.first];
        const uint64_t from = piece_offset(extent);
        const bool touched = (entry->sequence & QUANTUM_TOUCHED) != 0;
        q += extent.count;
        if (extent.view != FORK_COPY)
            continue;
        if (atomic_load_explicit(&entry->kind, memory_order_relaxed) == QUANTUM_EXPORT_SLAB)
            copy_slab(segment, run, extent, touched);
        else
            copy_part(segment, run, from, from + piece_bytes(extent), touched);
    }
}

/* What is to be copied, and how much of the run is memory of blocks that are copied whole: of slabs some
 * pages are. */
struct amount {
    uint64_t bytes, whole;
};

static struct amount to_copy(const shmcore_segment *segment, const struct forked_run *run)
{
    struct amount amount = {0, 0};
    const uint32_t end = run->inherited.first + run->inherited.count;
    for (uint32_t q = run->inherited.first; q < end;) {
        const struct piece extent = extent_at(run, q);
        const struct quantum *entry = &run->inherited.quanta[q - run->inherited.first];
        const uint64_t from = piece_offset(extent), to = from + piece_bytes(extent);
        q += extent.count;
        if (extent.view != FORK_COPY)
            continue;
        amount.bytes += to - from;
        if (atomic_load_explicit(&entry->kind, memory_order_relaxed) != QUANTUM_EXPORT)
            continue;
        for (uint64_t at = from; at < to; at += PAGE_BYTES)
            amount.whole += space_is_reserved(&segment->file.view, at, PAGE_BYTES) ? PAGE_BYTES : 0;
    }
    return amount;
}

/* Would huge pages, where there are such, take hardly more than is copied? A fault for each page of a copy
 * costs far more than the copying. */
static bool suits_huge_pages(const struct forked_run *run, struct amount amount)
{
    return amount.bytes >= HUGE_FROM && run->length - amount.whole <= least(run->length / 16, MARGIN / 2);
}

/* Fresh memory that lies as the run does, so that huge pages can be moved there as they are. */
static int map_huge(const shmcore_segment *segment, const struct forked_run *run, void **memory)
{
    void *place;
    const int error = os_map_private(run->length + HUGE_BYTES, &place);
    if (error != 0)
        return error;
    const uintptr_t target = (uintptr_t)view_at(&segment->file.view, run->offset);
    const uint64_t before = (target - (uintptr_t)place) % HUGE_BYTES;
    unsigned char *start = (unsigned char *)place + before;
    if (before != 0)
        os_unmap(place, before);
    os_unmap(start + run->length, HUGE_BYTES - before);
    os_welcome_huge(start, run->length);
    *memory = start;
    return 0;
}

/* False: there is no memory for it. */
static bool copy_run(const shmcore_segment *segment, struct forked_run *run, uint64_t *left)
{
    const struct amount amount = to_copy(segment, run);
    const uint64_t bytes = amount.bytes;
    void *memory;
    if (bytes == 0)
        return true;
    if (bytes >= ASKED_FROM && *left == UINT64_MAX)
        *left = os_private_memory_left();
    if (*left != UINT64_MAX && *left < bytes + MARGIN)
        return false;
    if ((suits_huge_pages(run, amount) ? map_huge(segment, run, &memory)
                                       : os_map_private(run->length, &memory)) != 0)
        return false;
    *left -= *left != UINT64_MAX ? bytes : 0;
    run->memory = memory;
    copy_extents(segment, run);
    return true;
}

/* ---------------------------------------------------------------- before the fork */

static struct forked_run *make_run(const shmcore_segment *segment, struct region_run regions)
{
    const struct view *view = &segment->file.view;
    const uint32_t each = view_region_quanta(view);
    const uint32_t count = regions.count * each;
    const uint64_t bytes = align_up(sizeof(struct forked_run) + count * sizeof(struct quantum), PAGE_BYTES);
    void *place;
    if (os_map_private(bytes, &place) != 0)
        return NULL;
    struct forked_run *run = place;
    run->inherited.mapping = place;
    run->inherited.mapping_bytes = bytes;
    run->offset = (uint64_t)regions.first << view->region_shift;
    run->length = (uint64_t)regions.count << view->region_shift;
    run->inherited.first = regions.first * each;
    run->inherited.count = count;
    memcpy(run->inherited.quanta, &view->quanta[run->inherited.first], count * sizeof(struct quantum));
    return run;
}

/* Our own file, or -1: its name may be gone, or out of reach since a chroot. */
static int open_file(const shmcore_segment *segment)
{
    struct os_file file;
    const int descriptor = os_open_file(segment->file.path, OS_READ);
    if (descriptor < 0)
        return -1;
    if (os_stat_file(descriptor, &file) == 0 && file.inode == segment->file.inode &&
        file.device == segment->file.device)
        return descriptor;
    os_close(descriptor);
    return -1;
}

/* Does what the run's blocks ask for, or the next best. */
static enum forked_lapse prepare_run(shmcore_segment *segment, struct forked_run *run, uint64_t *left,
                                     bool *read)
{
    bool overlaid = false, shared = false, lapsed;
    for (EACH_PIECE(run, piece)) {
        overlaid |= piece.view == FORK_OVERLAY;
        shared |= piece.view == FORK_SHARED;
    }
    lapsed = !copy_run(segment, run, left);
    *read |= overlaid || shared || lapsed;
    if ((overlaid || lapsed) && segment->forked_file < 0)
        return FORKED_SHARED;
    return lapsed ? FORKED_OVERLAID : FORKED_AS_ASKED;
}

enum forked_lapse forked_runs_make(shmcore_segment *segment, bool *read)
{
    const struct view *view = &segment->file.view;
    struct region_run regions = {0, 0};
    enum forked_lapse worst = FORKED_AS_ASKED;
    uint64_t left = UINT64_MAX;
    *read = false;
    segment->forked_runs = NULL;
    segment->forked_file = -1;
    segment->tables_lost_by_fork = false;
    if (view->rows[segment->row].had_regions == 0)
        return FORKED_AS_ASKED;
    while ((regions = pool_next_of(view, OWNER_PROCESS + segment->row, regions.first, UINT32_MAX)).count !=
           0) {
        struct forked_run *run = make_run(segment, regions);
        enum forked_lapse lapse = FORKED_SHARED;
        if (segment->forked_file < 0)
            segment->forked_file = open_file(segment);
        if (run != NULL) {
            run->next = segment->forked_runs;
            segment->forked_runs = run;
            lapse = prepare_run(segment, run, &left, read);
        } else {
            segment->tables_lost_by_fork = *read = true;
        }
        worst = lapse > worst ? lapse : worst;
        regions.first += regions.count;
    }
    return worst;
}

/* ---------------------------------------------------------------- after it */

static void close_file(shmcore_segment *segment)
{
    if (segment->forked_file >= 0)
        os_close(segment->forked_file);
    segment->forked_file = -1;
}

void forked_runs_drop(shmcore_segment *segment)
{
    while (segment->forked_runs != NULL) {
        struct forked_run *run = segment->forked_runs;
        segment->forked_runs = run->next;
        if (run->memory != NULL)
            os_unmap(run->memory, run->length);
        os_unmap(run->inherited.mapping, run->inherited.mapping_bytes);
    }
    close_file(segment);
}

/* Lays one piece over its range. False: it could not be, and stays shared. That there would be no file was
 * known before. */
static bool lay_over(const shmcore_segment *segment, const struct forked_run *run, struct piece piece)
{
    const uint64_t offset = piece_offset(piece), bytes = piece_bytes(piece);
    void *place = view_at(&segment->file.view, offset);
    unsigned char *copy = run->memory != NULL ? run->memory + (offset - run->offset) : NULL;
    const bool overlay = piece.view == FORK_OVERLAY || (piece.view == FORK_COPY && copy == NULL);
    if (piece.view == FORK_COPY && copy != NULL)
        return os_move_over(copy, bytes, place) == 0;
    if (copy != NULL)
        os_unmap(copy, bytes);
    if (overlay)
        return segment->forked_file < 0 || os_map_over(segment->forked_file, offset, bytes, place) == 0;
    return true;
}

enum forked_lapse forked_runs_adopt(shmcore_segment *segment)
{
    bool lost = false;
    while (segment->forked_runs != NULL) {
        struct forked_run *run = segment->forked_runs;
        segment->forked_runs = run->next;
        for (EACH_PIECE(run, piece))
            lost |= !lay_over(segment, run, piece);
        run->inherited.next = segment->inherited;
        segment->inherited = &run->inherited;
    }
    close_file(segment);
    segment->tables_lost |= segment->tables_lost_by_fork;
    return lost ? FORKED_SHARED : FORKED_AS_ASKED;
}
