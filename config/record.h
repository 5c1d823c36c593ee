/* SPDX-License-Identifier: MIT
 *
 * The record of one process: what it allocated at each call site. Types only; written by the shim in the mode
 * that `shmpreload record` switches on, read by `shmpreload advise` and `check`.
 *
 * A file of fixed size classes: one row for each call stack that allocated (not for each call), kept up to
 * date in place through a shared mapping, so that it survives the program however that ends. All numbers are
 * of this machine. Whoever reads believes none of them: each index and count is compared with the file's
 * size.
 *
 *     header | modules | sites | pages of fingerprints
 *
 * A row appears when its count in the header is stored (release); a reader that sees the count sees the row.
 * Counters of a row change at any time while the process runs.
 */
#ifndef SHM_RECORD_H
#define SHM_RECORD_H

#include <assert.h>
#include <stdint.h>

#define RECORD_MAGIC       UINT64_C(0x3144524f43455253) /* "SRECORD1" */
#define RECORD_FRAMES      16u
#define RECORD_SIZES       64u /* one for each power of two */
#define RECORD_LIFETIMES   48u
#define RECORD_PIECE_BYTES (UINT64_C(64) << 10) /* what a fingerprint is of */
#define RECORD_PAGE_MARKS  61u

#define RECORD_MODULES_MAX 1024u
#define RECORD_SITES_MAX   16384u
#define RECORD_PAGES_MAX   (UINT32_C(1) << 18)

struct record_header {
    uint64_t magic;
    uint64_t began, ended;   /* CLOCK_REALTIME in ns; ended 0: it runs, or was killed, or called exec */
    uint64_t least_bytes;    /* smaller requests were not looked at */
    int32_t process, parent; /* as this process saw them */
    uint32_t module_count, site_count, page_count;
    uint32_t frames;         /* how deep stacks were looked at, at most */
    uint64_t dropped_calls;  /* there was no row left for their stack */
    uint64_t dropped_blocks; /* there was no memory to remember them: their end is not seen */
    uint64_t unread_bytes;   /* of blocks whose contents were not looked at, to save time */
    char rank[32];           /* of MPI; "" outside */
    char host[64];
    char program[1024]; /* path of the executable */
    char padding[2896];
};
static_assert(sizeof(struct record_header) == 4096, "a page");

struct record_module {
    uint64_t address;        /* load address in this process: tells modules apart that come and go */
    uint32_t build_id_bytes; /* 0: it has none */
    unsigned char build_id[20];
    char path[480]; /* "" : code that belongs to no file */
};
static_assert(sizeof(struct record_module) == 512, "no padding");

/* Where a call returns to. */
struct record_frame {
    uint64_t offset; /* from the module's load address; the address itself where there is no module */
    uint32_t module; /* index + 1; 0: none */
    uint32_t unused;
};

/* One call stack. frame[0] is the direct caller of malloc (or of operator new). */
struct record_site {
    uint32_t frame_count;
    uint32_t entry_points; /* enum policy_call, as bits */
    struct record_frame frame[RECORD_FRAMES];
    uint64_t calls, bytes; /* asked for */
    uint64_t frees;
    uint64_t live_blocks, live_bytes; /* now */
    uint64_t peak_blocks, peak_bytes; /* bytes at the moment of most bytes; blocks likewise */
    uint64_t least_size, most_size;
    uint64_t sizes[RECORD_SIZES];         /* [i]: calls for 2^i … 2^(i+1) - 1 bytes; [0] has 0, too */
    uint64_t lifetimes[RECORD_LIFETIMES]; /* [i]: blocks freed after 2^i … 2^(i+1) - 1 ns */
    uint32_t first_page, last_page;       /* of fingerprints: index + 1; 0: none */
    uint64_t marks;                       /* in all its pages */
    uint64_t read_bytes;                  /* that fingerprints were taken of */
    uint64_t unused[4];
};
static_assert(sizeof(struct record_site) == 8 + 256 + 72 + 512 + 384 + 8 + 16 + 32, "no padding");

/* XXH3 of the pieces of blocks that had at least one whole piece; a last, shorter piece counts with its
 * bytes. */
struct record_page {
    uint32_t next; /* index + 1; 0: the last */
    uint32_t count;
    uint64_t zeros; /* pieces here that hold nothing but zeros: they have no mark */
    uint64_t mark[RECORD_PAGE_MARKS];
    uint64_t short_bytes; /* of pieces that were shorter, to be taken off */
};
static_assert(sizeof(struct record_page) == 512, "no padding");

/* Where the parts lie. */
#define RECORD_MODULES_AT UINT64_C(4096)
#define RECORD_SITES_AT   (RECORD_MODULES_AT + RECORD_MODULES_MAX * sizeof(struct record_module))
#define RECORD_PAGES_AT   (RECORD_SITES_AT + RECORD_SITES_MAX * sizeof(struct record_site))
#define RECORD_BYTES_MAX  (RECORD_PAGES_AT + RECORD_PAGES_MAX * sizeof(struct record_page))

#endif
