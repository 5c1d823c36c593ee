/* SPDX-License-Identifier: MIT
 *
 * Canonical copies: the states of chunks, the files of sheets, and who holds what. See merge_index.h.
 */
#include <errno.h>
#include <string.h>

#include "error.h"
#include "merge_index.h"
#include "merge_index_own.h"

/* A copy is renewed when so many pages are apart, and so many times. */
#define RENEW_PAGES (CHUNK_PAGES / 16)
#define RENEWALS    3u

static void sheet_path(const struct merge_index *index, uint32_t sheet, uint32_t number,
                       char out[MERGE_PATH_BYTES])
{
    error_format(out, MERGE_PATH_BYTES, "%s.%x.%x", index->prefix, sheet, number);
}

/* ---------------------------------------------------------------- who holds what */

static uint64_t held_page(uint32_t chunk)
{
    return UINT64_C(1) << (chunk * sizeof(uint16_t) / PAGE_BYTES);
}

static bool is_reserved(const struct merge_index *index, uint32_t row, uint32_t chunk)
{
    return (atomic_load_explicit(&index->file->rows[row].held_pages, memory_order_acquire) &
            held_page(chunk)) != 0;
}

uint32_t merge_index_held(const struct merge_index *index, uint32_t row, uint32_t chunk)
{
    if (row >= MERGE_ROWS || chunk >= MERGE_CHUNKS || !is_reserved(index, row, chunk))
        return HELD_NOTHING;
    return atomic_load(&index->file->held[row][chunk]);
}

static void set_held(struct merge_index *index, uint32_t row, uint32_t chunk, uint32_t value)
{
    if (row < MERGE_ROWS && is_reserved(index, row, chunk))
        atomic_store(&index->file->held[row][chunk], (uint16_t)value);
}

int merge_index_use(struct merge_index *index, uint32_t row, uint32_t first, uint32_t count)
{
    if (row >= MERGE_ROWS)
        return -ENOMEM;
    int descriptor = -1, error = 0;
    for (uint32_t chunk = first; chunk < first + count && error == 0; chunk++) {
        if (!is_reserved(index, row, chunk)) {
            char path[MERGE_PATH_BYTES];
            merge_index_path(index, path);
            if (descriptor < 0)
                descriptor = merge_index_open_own(path, OS_WRITE);
            error = descriptor < 0
                        ? descriptor
                        : merge_index_reserve(descriptor,
                                              offsetof(struct merge_file, held) +
                                                  ((uint64_t)row * MERGE_CHUNKS + chunk) * sizeof(uint16_t),
                                              sizeof(uint16_t));
            if (error == 0)
                atomic_fetch_or(&index->file->rows[row].held_pages, held_page(chunk));
        }
        if (error == 0 && merge_index_held(index, row, chunk) == HELD_NOTHING)
            set_held(index, row, chunk, HELD_USED);
    }
    if (descriptor >= 0)
        os_close(descriptor);
    return error == 0 ? 0 : -ENOMEM;
}

/* One that has been killed holds nothing, though nobody has given it back yet. */
static bool is_killed(const struct view *view, uint32_t row)
{
    const enum row_state state = process_state(view, row);
    return (state == ROW_ALIVE || state == ROW_EXITING) &&
           process_is_gone(view->rows[row].pid, view->rows[row].start_time);
}

/* Is there a row with at least so much in held[]? */
static bool has_row(const struct merge_index *index, uint32_t chunk, uint32_t least_held)
{
    const struct view *view = &index->segment->view;
    const uint32_t rows = (uint32_t)least(process_rows_used(view), MERGE_ROWS);
    for (uint32_t row = 0; row < rows; row++)
        if (merge_index_held(index, row, chunk) >= least_held && !is_killed(view, row))
            return true;
    return false;
}

static bool has_holder(const struct merge_index *index, uint32_t chunk)
{
    return has_row(index, chunk, HELD_SHARED);
}

bool merge_index_is_used(const struct merge_index *index, uint32_t chunk)
{
    return has_row(index, chunk, HELD_USED);
}

/* ---------------------------------------------------------------- chunks */

static uint64_t pack(const struct merge_index *index, enum chunk_state state, uint32_t file, uint32_t row)
{
    const uint64_t nonce = index->segment->view.rows[row].nonce & CHUNK_NONCE_MASK;
    return state | (uint64_t)file << CHUNK_FILE_SHIFT | (uint64_t)row << CHUNK_ROW_SHIFT |
           nonce << CHUNK_NONCE_SHIFT;
}

static uint32_t file_of(uint64_t word)
{
    return (uint32_t)(word >> CHUNK_FILE_SHIFT & SHEET_FILE_MASK);
}

static bool is_being_changed(uint64_t word)
{
    const enum chunk_state state = (enum chunk_state)(word & CHUNK_STATE_MASK);
    return state == CHUNK_PUBLISHING || state == CHUNK_CLOSING;
}

static bool owner_is_dead(const struct merge_index *index, uint64_t word)
{
    const struct view *view = &index->segment->view;
    const uint32_t row = (uint32_t)(word >> CHUNK_ROW_SHIFT & CHUNK_ROW_MASK);
    if (row >= view->row_count || process_state(view, row) == ROW_FREE ||
        (view->rows[row].nonce & CHUNK_NONCE_MASK) != (word >> CHUNK_NONCE_SHIFT & CHUNK_NONCE_MASK))
        return true;
    return process_is_dead(view, row, index->segment->device, index->segment->inode);
}

struct chunk_status merge_index_status(const struct merge_index *index, uint32_t chunk)
{
    const uint64_t word = atomic_load(&index->file->chunks[chunk].state);
    struct chunk_status status = {(enum chunk_state)(word & CHUNK_STATE_MASK), file_of(word)};
    if (is_being_changed(word) && owner_is_dead(index, word))
        status.state = CHUNK_EMPTY;
    return status;
}

/* With the lock: files of the sheet that no chunk needs lose their names. */
static void tidy_sheet(struct merge_index *index, uint32_t sheet)
{
    char path[MERGE_PATH_BYTES];
    uint64_t word = atomic_load(&index->file->sheets[sheet]);
    const uint32_t current = (uint32_t)(word >> SHEET_FILE_SHIFT & SHEET_FILE_MASK);
    uint32_t old = (uint32_t)(word >> SHEET_OLD_SHIFT & SHEET_FILE_MASK);
    bool all_before = true;
    for (uint32_t number = old; number <= current; number++) {
        bool needed = false;
        for (uint32_t i = 0; i < SHEET_CHUNKS; i++) {
            const uint64_t state = atomic_load(&index->file->chunks[sheet * SHEET_CHUNKS + i].state);
            needed |= (state & CHUNK_STATE_MASK) != CHUNK_EMPTY && file_of(state) == number;
        }
        if (!needed && number > 0) {
            sheet_path(index, sheet, number, path);
            os_unlink(path);
        }
        all_before &= !needed;
        if (all_before && number < current)
            old = number + 1;
    }
    word = (word & (SHEET_WRITTEN | SHEET_FILE_MASK << SHEET_FILE_SHIFT)) | (uint64_t)old << SHEET_OLD_SHIFT;
    atomic_store(&index->file->sheets[sheet], word);
}

/* With the lock: the file that has the chunk's place still free. Above SHEET_FILE_MASK: there are no more
 * numbers. */
static uint32_t take_place(struct merge_index *index, uint32_t chunk)
{
    _Atomic uint64_t *sheet = &index->file->sheets[chunk / SHEET_CHUNKS];
    const uint64_t bit = UINT64_C(1) << chunk % SHEET_CHUNKS, word = atomic_load(sheet);
    uint64_t current = word >> SHEET_FILE_SHIFT & SHEET_FILE_MASK, written = word & SHEET_WRITTEN;
    if (current == 0 || (written & bit) != 0) {
        current++;
        written = 0;
    }
    if (current <= SHEET_FILE_MASK)
        atomic_store(sheet, written | bit | current << SHEET_FILE_SHIFT |
                                (word & SHEET_FILE_MASK << SHEET_OLD_SHIFT));
    return (uint32_t)current;
}

static int open_sheet(struct merge_index *index, uint32_t sheet, uint32_t number)
{
    char path[MERGE_PATH_BYTES];
    sheet_path(index, sheet, number, path);
    const int descriptor = merge_index_open_own(path, OS_CREATE);
    if (descriptor < 0)
        return descriptor;
    const int error = os_resize(descriptor, MERGE_SHEET);
    if (error != 0)
        os_close(descriptor);
    return error != 0 ? error : descriptor;
}

/* With the lock: a dead process was publishing or closing. Whoever said that he holds the copy before it was
 * to be closed keeps it. False: it is not dead, or somebody else has gone on from there. */
static bool go_on_from_dead(struct merge_index *index, uint32_t chunk, uint64_t word)
{
    const bool kept = (word & CHUNK_STATE_MASK) == CHUNK_CLOSING && has_holder(index, chunk);
    return owner_is_dead(index, word) &&
           atomic_compare_exchange_strong(&index->file->chunks[chunk].state, &word,
                                          kept ? (word & ~CHUNK_STATE_MASK) | CHUNK_READY : CHUNK_EMPTY);
}

/* With the lock: from `word` to PUBLISHING. */
static int begin(struct merge_index *index, uint32_t row, uint32_t chunk, uint64_t word, uint32_t *number)
{
    _Atomic uint64_t *state = &index->file->chunks[chunk].state;
    *number = take_place(index, chunk);
    if (*number > SHEET_FILE_MASK)
        return -ENOSPC;
    if (!atomic_compare_exchange_strong(state, &word, pack(index, CHUNK_PUBLISHING, *number, row)))
        return -EBUSY;
    const int descriptor = open_sheet(index, chunk / SHEET_CHUNKS, *number);
    if (descriptor < 0)
        atomic_store(state, CHUNK_EMPTY);
    return descriptor;
}

int merge_index_begin(struct merge_index *index, uint32_t row, uint32_t chunk, uint32_t *number)
{
    const int locked = merge_index_lock(index);
    if (locked < 0)
        return locked;
    struct merge_chunk *this = &index->file->chunks[chunk];
    uint64_t word = atomic_load(&this->state);
    int descriptor = -EBUSY;
    if (is_being_changed(word) && go_on_from_dead(index, chunk, word)) {
        tidy_sheet(index, chunk / SHEET_CHUNKS);
        word = atomic_load(&this->state);
    }
    if ((word & CHUNK_STATE_MASK) == CHUNK_EMPTY) {
        this->renewals = 0;
        descriptor = begin(index, row, chunk, word, number);
    }
    merge_index_unlock(locked);
    return descriptor;
}

bool merge_index_is_outdated(const struct merge_index *index, uint32_t row, uint32_t chunk, uint32_t shared,
                             uint32_t apart)
{
    const struct view *view = &index->segment->view;
    const uint32_t rows = (uint32_t)least(process_rows_used(view), MERGE_ROWS);
    uint32_t others = 0;
    if (apart < RENEW_PAGES || index->file->chunks[chunk].renewals >= RENEWALS)
        return false;
    for (uint32_t other = 0; other < rows; other++) {
        const uint32_t held = merge_index_held(index, other, chunk);
        if (other == row || held < HELD_SHARED || is_killed(view, other))
            continue;
        if (held - HELD_SHARED > shared)
            return false;
        others++;
    }
    return others * apart > shared;
}

int merge_index_renew(struct merge_index *index, uint32_t row, uint32_t chunk, uint32_t file,
                      uint32_t *number)
{
    const int locked = merge_index_lock(index);
    if (locked < 0)
        return locked;
    struct merge_chunk *this = &index->file->chunks[chunk];
    const uint64_t word = atomic_load(&this->state);
    int descriptor = -EBUSY;
    if ((word & CHUNK_STATE_MASK) == CHUNK_READY && file_of(word) == file) {
        this->renewals++;
        descriptor = begin(index, row, chunk, word, number);
        tidy_sheet(index, chunk / SHEET_CHUNKS);
    }
    merge_index_unlock(locked);
    return descriptor;
}

void merge_index_publish(struct merge_index *index, uint32_t row, uint32_t chunk, uint32_t number,
                         uint32_t pages, const uint64_t zero[CHUNK_WORDS])
{
    struct merge_chunk *this = &index->file->chunks[chunk];
    uint64_t word = pack(index, CHUNK_PUBLISHING, number, row);
    this->pages = pages;
    memcpy(this->zero, zero, sizeof this->zero);
    atomic_compare_exchange_strong(&this->state, &word, pack(index, CHUNK_READY, number, row));
}

static void tidy(struct merge_index *index, uint32_t chunk)
{
    const int locked = merge_index_lock(index);
    if (locked < 0)
        return; /* the file goes with the next one of its sheet, or with the segment */
    tidy_sheet(index, chunk / SHEET_CHUNKS);
    merge_index_unlock(locked);
}

void merge_index_abandon(struct merge_index *index, uint32_t chunk)
{
    atomic_store(&index->file->chunks[chunk].state, CHUNK_EMPTY);
    tidy(index, chunk);
}

/* When nobody holds the copy it goes. True: it has, and its file may be tidied away. Should the row's process
 * be taken for dead meanwhile, somebody else goes on from CLOSING, and what he did is not touched. */
static bool close_if_last(struct merge_index *index, uint32_t row, uint32_t chunk)
{
    _Atomic uint64_t *state = &index->file->chunks[chunk].state;
    uint64_t ready = atomic_load(state);
    if ((ready & CHUNK_STATE_MASK) != CHUNK_READY || has_holder(index, chunk))
        return false;
    uint64_t closing = pack(index, CHUNK_CLOSING, file_of(ready), row);
    if (!atomic_compare_exchange_strong(state, &ready, closing))
        return false;
    const bool last = !has_holder(index, chunk);
    return atomic_compare_exchange_strong(state, &closing, last ? CHUNK_EMPTY : ready) && last;
}

/* A copy that is renewed meanwhile has lost its file's name, and its list of pages may be half the new one's.
 */
static int open_copy(const struct merge_index *index, uint32_t chunk, uint32_t *number,
                     uint64_t zero[CHUNK_WORDS])
{
    const struct merge_chunk *this = &index->file->chunks[chunk];
    char path[MERGE_PATH_BYTES];
    const uint64_t word = atomic_load(&this->state);
    if ((word & CHUNK_STATE_MASK) != CHUNK_READY)
        return -EAGAIN;
    *number = file_of(word);
    sheet_path(index, chunk / SHEET_CHUNKS, *number, path);
    const int descriptor = merge_index_open_own(path, OS_READ);
    memcpy(zero, this->zero, sizeof this->zero);
    atomic_thread_fence(memory_order_acquire);
    if (atomic_load(&this->state) == word)
        return descriptor;
    if (descriptor >= 0)
        os_close(descriptor);
    return -EAGAIN;
}

int merge_index_hold(struct merge_index *index, uint32_t row, uint32_t chunk, uint32_t *number,
                     uint64_t zero[CHUNK_WORDS])
{
    const uint32_t before = merge_index_held(index, row, chunk);
    if (row >= MERGE_ROWS || !is_reserved(index, row, chunk))
        return -ENOMEM;
    if (before < HELD_SHARED)
        set_held(index, row, chunk, HELD_SHARED);
    const int descriptor = open_copy(index, chunk, number, zero);
    if (descriptor < 0 && before < HELD_SHARED)
        set_held(index, row, chunk, before);
    return descriptor;
}

void merge_index_note_shared(struct merge_index *index, uint32_t row, uint32_t chunk, uint32_t pages)
{
    set_held(index, row, chunk, HELD_SHARED + pages);
}

void merge_index_release(struct merge_index *index, uint32_t row, uint32_t chunk, bool used)
{
    const uint32_t before = merge_index_held(index, row, chunk);
    set_held(index, row, chunk, used ? HELD_USED : HELD_NOTHING);
    if (before >= HELD_SHARED && close_if_last(index, row, chunk))
        tidy(index, chunk);
}

/* A process that was killed may have left a chunk in any state, or a file that is not needed, without it
 * being said that it had anything to do with them. */
static void clear_up(struct merge_index *index, uint32_t row)
{
    const uint32_t grains = (uint32_t)least(atomic_load(&index->file->header.grains), MERGE_GRAINS);
    const int locked = merge_index_lock(index);
    if (locked < 0)
        return; /* whoever is dropped next */
    for (uint32_t chunk = 0; chunk < grains * GRAIN_CHUNKS; chunk++) {
        const uint64_t word = atomic_load(&index->file->chunks[chunk].state);
        if (is_being_changed(word))
            go_on_from_dead(index, chunk, word);
        close_if_last(index, row, chunk);
    }
    for (uint32_t sheet = 0; sheet < grains * (GRAIN_CHUNKS / SHEET_CHUNKS); sheet++)
        if (atomic_load(&index->file->sheets[sheet]) != 0)
            tidy_sheet(index, sheet);
    merge_index_unlock(locked);
}

void merge_index_drop_row(struct merge_index *index, uint32_t row)
{
    if (row >= MERGE_ROWS)
        return;
    struct merge_row *this = &index->file->rows[row];
    const uint32_t each = (uint32_t)(PAGE_BYTES / sizeof(uint16_t));
    uint64_t pages = atomic_load(&this->held_pages);
    for (; pages != 0; pages &= pages - 1) {
        const uint32_t first = (uint32_t)__builtin_ctzll(pages) * each;
        for (uint32_t chunk = first; chunk < first + each; chunk++)
            if (atomic_load_explicit(&index->file->held[row][chunk], memory_order_relaxed) != HELD_NOTHING)
                set_held(index, row, chunk, HELD_NOTHING);
    }
    clear_up(index, row);
    atomic_store(&this->listens, 0);
    atomic_store(&this->writing, 0);
    atomic_store(&this->closed, 0);
}
