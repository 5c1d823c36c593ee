/* SPDX-License-Identifier: MIT
 *
 * Everything that lies in the index of merged memory: types only.
 *
 * Merged memory has addresses of its own, the *merge space*: MERGE_SPACE bytes that no file lies behind as a
 * whole. It is divided four ways:
 *   page   4 KiB    the unit of comparison
 *   chunk  2 MiB    the unit of merging: one canonical copy, one state
 *   sheet  8 MiB    the unit of files: the copies of its chunks lie in one, at their place
 *   grain  16 MiB   the unit of agreement
 *
 * Chunks side by side in a file become one mapping. A *span* is a run of grains that has one owner, an arena,
 * in every process that has that arena.
 *
 * The index is a sparse file beside the segment's; everybody who uses merge maps it whole. What is not
 * reserved is not touched: the spans, and the chunks and sheets of spans that exist, by who adds the span; a
 * row's part of `held` by the process of the row, page by page, which row.held_pages tells.
 *
 * Who may write what:
 *   header, spans, sheets   holder of the index file's lock; header.wanted and done anyone
 *   chunk.state             anyone by compare-and-swap, see merge_index.h
 *   chunk.pages, zero       the chunk's publisher
 *   chunk.renewals          holder of the index file's lock
 *   chunk.block_*           whoever has the block; for listings only
 *   row, held[row]          the process of the row, and who reaps it
 */
#ifndef SHM_MERGE_LAYOUT_H
#define SHM_MERGE_LAYOUT_H

#include "layout.h"

#define MERGE_MAGIC   UINT64_C(0x454752454d48530a) /* "\nSHMERGE" */
#define MERGE_VERSION 2u

#define MERGE_SPACE  (256 * GIBI)
#define MERGE_GRAIN  (16 * MEBI)
#define MERGE_SHEET  (8 * MEBI)
#define MERGE_CHUNK  (2 * MEBI)
#define MERGE_GRAINS ((uint32_t)(MERGE_SPACE / MERGE_GRAIN))
#define MERGE_SHEETS ((uint32_t)(MERGE_SPACE / MERGE_SHEET))
#define MERGE_CHUNKS ((uint32_t)(MERGE_SPACE / MERGE_CHUNK))
#define MERGE_SPANS  8192u
#define MERGE_ROWS   512u /* processes of higher rows do not merge */

#define CHUNK_PAGES  ((uint32_t)(MERGE_CHUNK / PAGE_BYTES))
#define CHUNK_WORDS  (CHUNK_PAGES / 64)
#define SHEET_CHUNKS ((uint32_t)(MERGE_SHEET / MERGE_CHUNK))
#define GRAIN_CHUNKS ((uint32_t)(MERGE_GRAIN / MERGE_CHUNK))
#define GRAIN_PAGES  ((uint32_t)(MERGE_GRAIN / PAGE_BYTES))

struct merge_header {
    uint64_t magic;
    uint32_t version;
    _Atomic uint32_t ready;
    uint64_t nonce; /* of the segment */
    uint64_t base;
    _Atomic uint32_t grains; /* given out, from the start */
    _Atomic uint32_t spans;
    _Atomic uint32_t wanted; /* counts requests to merge now; a futex */
    _Atomic uint32_t done;   /* counts processes that have; a futex */
    char unused[4048];
};

struct merge_row {
    _Atomic uint64_t held_pages; /* a bit for each page of held[row] that is reserved */
    _Atomic uint32_t writing;    /* process_vm_writev calls under way in this process */
    _Atomic uint32_t closed;     /* this process's memory is being replaced: others must not write; a futex */
    _Atomic uint32_t listens;    /* this process answers requests */
    _Atomic uint32_t answered;   /* header.wanted as it was when it last merged */
    uint32_t unused[10];
};

/* A sheet's files are numbered. Into each, a place is written once: one that was given up needs the next
 * file. */
#define SHEET_WRITTEN    UINT64_C(0xf) /* a bit a chunk, of the current file */
#define SHEET_FILE_SHIFT 8u
#define SHEET_FILE_MASK  UINT64_C(0xffffff)
#define SHEET_OLD_SHIFT  32u /* no file before this one is left */

#define MERGE_LABEL 224u

struct merge_span {
    uint64_t key[2];
    uint32_t first, count; /* grains */
    uint32_t length;       /* of the label */
    uint32_t unused;
    char label[MERGE_LABEL];
};

enum chunk_state { CHUNK_EMPTY = 0, CHUNK_PUBLISHING = 1, CHUNK_READY = 2, CHUNK_CLOSING = 3 };

/* chunk.state: state | file << 2 | row << 26 | low bits of the row's nonce << 40. */
#define CHUNK_STATE_MASK  UINT64_C(3)
#define CHUNK_FILE_SHIFT  2u
#define CHUNK_ROW_SHIFT   26u
#define CHUNK_ROW_MASK    UINT64_C(0x3fff)
#define CHUNK_NONCE_SHIFT 40u
#define CHUNK_NONCE_MASK  UINT64_C(0xffffff)

struct merge_chunk {
    _Atomic uint64_t state;
    uint32_t pages;    /* that the canonical copy has */
    uint32_t renewals; /* how often a better copy took its place */
    /* the block that begins in this chunk, when one of a chunk or more does; for listings */
    _Atomic uint64_t block_bytes;
    _Atomic uint64_t block_sequence;
    uint64_t unused_words[4];
    uint64_t zero[CHUNK_WORDS]; /* pages that it does not have: they are zero */
};

/* held[row][chunk]: 0 nothing; 1 memory of the row's lies there; 2 + n: n pages of it are the canonical
 * copy's, which must stay. */
#define HELD_NOTHING 0u
#define HELD_USED    1u
#define HELD_SHARED  2u

struct merge_file {
    struct merge_header header;
    struct merge_row rows[MERGE_ROWS];
    _Atomic uint64_t sheets[MERGE_SHEETS];
    struct merge_span spans[MERGE_SPANS];
    struct merge_chunk chunks[MERGE_CHUNKS];
    _Atomic uint16_t held[MERGE_ROWS][MERGE_CHUNKS];
};

static_assert(sizeof(struct merge_header) == 4096, "layout");
static_assert(sizeof(struct merge_row) == 64, "layout");
static_assert(sizeof(struct merge_span) == 256, "layout");
static_assert(sizeof(struct merge_chunk) == 128, "layout");
static_assert(MERGE_CHUNKS * sizeof(uint16_t) / PAGE_BYTES == 64, "a word has a bit for each page of held");
static_assert(offsetof(struct merge_file, sheets) % PAGE_BYTES == 0, "layout");
static_assert(offsetof(struct merge_file, spans) % PAGE_BYTES == 0, "layout");
static_assert(offsetof(struct merge_file, chunks) % PAGE_BYTES == 0, "layout");
static_assert(offsetof(struct merge_file, held) % PAGE_BYTES == 0, "layout");

#endif
