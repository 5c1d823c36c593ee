/* SPDX-License-Identifier: MIT
 *
 * Everything that lies in a segment file: types only.
 *
 * A segment is divided three ways, each a multiple of the one before:
 *   page     4 KiB     the unit of memory: is it reserved or not (a bitmap)
 *   quantum  16 KiB    the unit of extents: one `struct quantum` each
 *   region   64 KiB..  the unit of ownership: a region belongs to nobody (the pool), to a shard,
 *                      or to one process
 * All three are counted from the start of the file, so an offset, a quantum and a region are one
 * shift apart. Where the tables lie follows from the capacity alone (geometry.c): nothing in the
 * file is believed about it.
 *
 * Who may write what:
 *   header            its creator, before the ready mark
 *   pool, rows, region owners     holder of the pool's lock
 *   shard, its regions' quanta and slabs     holder of the shard's lock
 *   a process's regions' quanta and slabs    that process alone; readers validate what they see
 *   reserved bitmap   anyone, atomically: a bit says "this page has memory", set after the fact
 *
 * Lock order: one shard, then the pool. Never two shards.
 *
 * Any change here changes LAYOUT_VERSION; the sizes are pinned below and by tests/test-layout.c,
 * and the fingerprint refuses a file laid out by another compiler or version.
 */
#ifndef SHM_LAYOUT_H
#define SHM_LAYOUT_H

#include <assert.h>

#include "base.h"

#define LAYOUT_MAGIC   UINT64_C(0x45524f434d48530a) /* "\nSHMCORE" */
#define LAYOUT_VERSION 6u
#define LAYOUT_READY   UINT32_C(0x52454459)

#define QUANTUM_SHIFT      14u
#define QUANTUM_BYTES      ((uint64_t)1 << QUANTUM_SHIFT)
#define REGION_SHIFT_LEAST 16u
#define REGIONS_MOST       16384u
#define SLAB_BYTES         ((uint64_t)64 << 10)
#define SLAB_QUANTA        ((uint32_t)(SLAB_BYTES / QUANTUM_BYTES))

#define CAPACITY_LEAST MEBI
#define CAPACITY_MOST  ((uint64_t)2 << 40)

/* Where segments are mapped. Inside it "is this pointer ours" is one subtraction and one comparison. */
#define WINDOW_BASE VACANT_FROM
#define WINDOW_END  VACANT_END
#define WINDOW_SLOT GIBI /* bases are multiples of it */

/* Records are named by offset / 8 in 32 bits, so slabs of records lie below this offset. */
#define RECORD_UNIT  8u
#define RECORD_LIMIT ((uint64_t)32 << 30)

#define SHARDS_MOST 16u
#define ROWS_MOST   2048u

/* Owners of regions and quanta. */
#define OWNER_POOL      0u
#define OWNER_TABLES    1u
#define OWNER_SHARD     16u      /* + shard number */
#define OWNER_PROCESS   0x10000u /* + row number */
/* + row number: in none of the process's structures any more, on the way to the pool. A fork in between must
 * not take them for the process's: the child would get private pages over regions that are others' by then.
 */
#define OWNER_RETURNING 0x20000u

/* ------------------------------------------------------------------ undo log and lock */

/* One transaction of the library stores fewer words than this. */
#define UNDO_ENTRIES 384u

struct undo_entry {
    uint64_t offset; /* of an aligned 64-bit word of the segment */
    uint64_t old;
};

struct undo {
    uint64_t count; /* 0: nothing to undo */
    struct undo_entry entry[UNDO_ENTRIES];
};

/* Room for a robust process-shared mutex; what it is, lock.c knows. */
struct lock {
    _Alignas(64) unsigned char opaque[64];
};

/* ------------------------------------------------------------------ extents */

enum quantum_kind {
    QUANTUM_NONE = 0,         /* inside an extent, or never used */
    QUANTUM_FREE = 1,         /* first and last quantum of a free extent */
    QUANTUM_NAMED = 2,        /* first quantum of a named block */
    QUANTUM_RECORDS = 3,      /* first quantum of a slab of a shard */
    QUANTUM_TABLE = 4,        /* first quantum of a piece of a bucket table */
    QUANTUM_EXPORT = 5,       /* first quantum of an exported block */
    QUANTUM_EXPORT_SLAB = 6,  /* first quantum of a slab of exported blocks */
    QUANTUM_EXPORT_INNER = 7, /* a later quantum of it */
    QUANTUM_LABELS = 8,       /* first quantum of a process's labels */
    QUANTUM_PENDING = 9,      /* first quantum of a slab of a shard that is being made: not to be read */
};

struct quantum {
    _Atomic uint32_t kind; /* enum quantum_kind */
    uint32_t owner;
    uint32_t count; /* quanta of the extent */
    union {
        uint32_t record; /* NAMED: its record */
        uint32_t label;  /* EXPORT, EXPORT_SLAB: its label */
        uint32_t back;   /* EXPORT_INNER: quanta back to the first one */
    };
    union {
        struct {
            uint32_t next, previous; /* FREE: neighbours in its bin, 0 at the ends */
        };
        uint64_t bytes; /* EXPORT: as asked for */
    };
    uint64_t sequence; /* EXPORT: what {seq} stands for, and flags; EXPORT_SLAB: the flags */
};

/* Flags in quantum.sequence. TOUCHED: memory was only promised (reserve=touch), so the reserved bitmap does
 * not tell which pages hold something. FORK: what a forked child sees, an enum fork_view. */
#define QUANTUM_TOUCHED    ((uint64_t)1 << 63)
#define QUANTUM_FORK_SHIFT 61u
#define QUANTUM_FLAGS      ((uint64_t)7 << QUANTUM_FORK_SHIFT)

enum fork_view {
    FORK_COPY = 0,    /* a copy made at the fork */
    FORK_OVERLAY = 1, /* the parent's pages until the child writes to them */
    FORK_SHARED = 2,  /* the parent's pages */
};

#define HEAP_BINS 64u

struct heap_bins {
    uint64_t occupied;        /* bit b: bin b is not empty */
    uint64_t free_quanta;     /* in all bins together */
    uint32_t head[HEAP_BINS]; /* first quantum of the first free extent, 0: none */
};

/* ------------------------------------------------------------------ named blocks */

enum record_state {
    RECORD_FREE = 0,
    RECORD_INITIALISING = 1, /* its creator, the first row, is still filling it */
    RECORD_READY = 2,
    RECORD_STATE_MASK = 0x0f,
    RECORD_SHARE = 0x20,     /* made by a `share` rule */
    RECORD_LONG_NAME = 0x40, /* `name` begins with the reference of a struct long_name */
    RECORD_EXTENT = 0x80,    /* its slot holds a struct extent_slot, not the bytes themselves */
};

#define RECORD_NAME_BYTES 16u

struct record {
    uint32_t refs;           /* == first_count + the counts of `rows` */
    uint32_t rows;           /* references of further processes: a list of struct row_slot */
    uint16_t first_process;  /* row number; meaningless while first_count is 0 */
    uint16_t first_count;    /* references of that process */
    _Atomic uint32_t status; /* bytes << 16 | name length << 8 | state and flags; a futex */
    char name[RECORD_NAME_BYTES];
};

struct extent_slot {
    uint32_t quantum;
    uint32_t count;
    uint64_t bytes;
};

struct row_slot {
    uint32_t next;
    uint32_t process;
    uint32_t count;
    uint32_t unused;
};

struct long_name {
    uint64_t salt; /* build-id of the module for automatic names, else 0 */
    char text[];   /* not NUL-terminated */
};

/* Blocks from this size on are extents, smaller ones slots of slabs. */
#define SLOT_BYTES_END (32 * KIBI)

/* Slabs of a shard: 64 KiB, slots of one class, with or without a record for each slot. */
#define SLAB_LIVE_WORDS 64u

struct slab {
    uint32_t slab_class;
    uint32_t used;           /* slots */
    uint32_t next, previous; /* slabs of the class that have room: their first quanta */
    uint32_t listed;         /* is in that list */
    uint32_t unused[11];
    uint64_t live[SLAB_LIVE_WORDS]; /* bit: the slot is taken */
};

/* Classes 0 … SLAB_DATA_CLASSES-1 hold block bytes, see slab_class.h; then the internal ones. */
#define SLAB_DATA_CLASSES 35u
enum slab_internal_class {
    SLAB_EXTENT_SLOTS = SLAB_DATA_CLASSES, /* struct extent_slot, with a record */
    SLAB_ROW_SLOTS,                        /* struct row_slot */
    SLAB_BUCKETS,                          /* struct bucket, where one is full */
    SLAB_NAMES_32,                         /* struct long_name of up to 32 bytes in all … */
    SLAB_NAMES_64,
    SLAB_NAMES_128,
    SLAB_NAMES_272,
    SLAB_CLASSES
};

/* One cache line of a shard's names: where their records are, and enough of their hashes to tell most names
 * apart without a look at the records. */
#define BUCKET_ENTRIES 10u

struct bucket {
    uint16_t tag[BUCKET_ENTRIES];    /* of the record beside it; without one it means nothing */
    uint32_t record[BUCKET_ENTRIES]; /* 0: none */
    uint32_t next;                   /* reference of another bucket, when this one was full; else 0 */
};

/* The names of a shard: linear hashing, so that one insertion splits one bucket at the most. The table grows
 * in pieces that never move, of 256 buckets, and of a quarter of the table once that is more. */
#define DIRECTORY_PIECES          60u
#define DIRECTORY_PIECE_LEAST     256u       /* buckets */
#define DIRECTORY_BUCKETS_MOST    (1u << 24) /* tags tell no more apart */
#define DIRECTORY_ENTRIES_BUCKETS 6u /* as many names as that to a bucket, and the next one is split */

#define DIRECTORY_ENTRIES_LEAST 2u /* and fewer than that: the last bucket goes */

struct directory {
    uint32_t buckets; /* in use; 0: no piece yet */
    uint32_t entries;
    uint32_t piece[DIRECTORY_PIECES]; /* their first quanta, 0: not there */
};

/* A run of regions that has an owner and is in none of its structures: on its way to or from the
 * pool. Whoever finds one after a death gives it back to the pool. */
struct loose_run {
    uint32_t first, count;
};

struct shard {
    struct lock lock;
    _Atomic uint32_t sequence; /* odd while a transaction is under way: for readers without the lock */
    _Atomic uint32_t poisoned;
    uint64_t blocks;
    uint64_t used_bytes; /* of live blocks, with rounding */
    struct loose_run loose;
    struct directory directory;
    struct heap_bins bins;
    uint32_t partial[SLAB_CLASSES]; /* slabs with room */
    struct undo undo;
};

/* ------------------------------------------------------------------ exported blocks */

/* What every block of one (site, thread) is called: text with holes. */
#define LABEL_HOLE_SEQUENCE '\x01'
#define LABEL_HOLE_SIZE     '\x02'
#define LABEL_BYTES         512u
#define LABEL_SHIFT         9u
#define LABEL_TEXT          488u

struct label {
    uint64_t salt;   /* build-id of the module */
    uint32_t length; /* of text */
    uint32_t owner;
    uint64_t users; /* the owner's: see export_label.c */
    char text[LABEL_TEXT];
};

#define EXPORT_SLOTS_MOST 4096u

/* A slab of exported blocks: one label, one slot size. Bits and infos of its slots follow, then the slots;
 * see export_slots.h. Its shape follows from its class (view.export_shapes): nothing in the slab, which lies
 * beside what the program writes to, is believed about it. */
struct export_slab {
    uint32_t owner;
    uint32_t label;
    uint32_t slab_class;
    uint32_t touched; /* memory was only promised: see QUANTUM_TOUCHED */
    uint64_t base;    /* infos count their sequences from here */
    uint64_t unused[5];
    _Atomic uint64_t bits[];
};

/* ------------------------------------------------------------------ processes, pool, header */

enum row_state {
    ROW_FREE = 0,
    ROW_ALIVE = 1,
    ROW_FORKING = 2, /* made by the parent for a child that has not said yet that it is there */
    ROW_EXITING = 3, /* called exit(); its threads may still run */
    ROW_REAPING = 4, /* dead, being given back by `reaper` */
    ROW_PINNED = 5,  /* dead and given back, but for its regions: forked children still have private pages
                      * at those addresses, so nobody may get them */
};

struct process_row {
    _Atomic uint32_t state;
    int32_t pid;
    uint64_t start_time; /* of the process, in clock ticks since boot: tells a reused pid */
    uint64_t nonce;      /* of this attach: tells an exec */
    int32_t reaper;      /* REAPING: pid; FORKING: the parent's */
    uint32_t parent;     /* row + 1 of the process that forked this one while attached, 0: none */
    uint64_t since;      /* CLOCK_BOOTTIME in ns of the last change of state */
    uint64_t reaper_start;
    char command[16];
    uint32_t read_by_children; /* forked children read its regions, not copies of them: their memory and
                                * quanta stay as long as the row is PINNED */
    uint32_t had_regions;  /* regions have been its own, or its to return: else nobody need look for any */
    uint64_t reaper_nonce; /* REAPING: which copy of the library in the reaper's process */
    _Atomic uint64_t fork_over; /* FORKING: the nonce, once the parent's fork() has returned */
    _Atomic uint64_t entered;   /* a bit for each shard that its process has been in, or was given references
                                 * in: it holds none elsewhere, and has left no other locked */
    uint64_t unused[4];
};

struct pool {
    struct lock lock;
    _Atomic uint32_t sequence;
    _Atomic uint32_t poisoned;
    uint32_t free_regions;
    uint32_t hint;      /* no region below it is free */
    uint32_t next_row;  /* where the next attach looks for the dead */
    uint32_t rows_used; /* rows from this one on were never used */
    uint64_t unused[3];
    struct undo undo;
};

struct header {
    uint64_t magic;
    uint32_t version;
    uint32_t fingerprint; /* of the types of this file */
    _Atomic uint32_t ready;
    uint32_t scope;
    uint64_t capacity;
    uint64_t asked_size; /* traits.size of the creator, 0: the default */
    uint64_t base;       /* the address agreed on, 0: none */
    uint64_t pid_namespace;
    uint32_t uid;
    uint32_t persist;
    uint64_t nonce; /* of this segment */
    char name[96];
    char job[64];
    uint32_t interleave;      /* its pages are spread over NUMA nodes */
    _Atomic uint32_t unlocks; /* how often the file's lock was given back: who waits for it sleeps on this */
    char unused[3856];
};

static_assert(sizeof(struct undo_entry) == 16, "layout");
static_assert(sizeof(struct lock) == 64, "layout");
static_assert(sizeof(struct quantum) == 32, "layout");
static_assert(sizeof(struct record) == 32, "layout");
static_assert(sizeof(struct bucket) == 64, "layout");
static_assert(sizeof(struct extent_slot) == 16, "layout");
static_assert(sizeof(struct row_slot) == 16, "layout");
static_assert(sizeof(struct slab) == 64 + 8 * SLAB_LIVE_WORDS, "layout");
static_assert(sizeof(struct label) == LABEL_BYTES, "layout");
static_assert(sizeof(struct export_slab) == 64, "layout");
static_assert(sizeof(struct process_row) == 128, "layout");
static_assert(sizeof(struct header) == 4096, "layout");
static_assert(offsetof(struct record, name) == 16, "layout");
static_assert(offsetof(struct quantum, bytes) == 16, "layout");
static_assert(SLAB_CLASSES == 42, "layout");
static_assert(sizeof(((struct shard *)0)->partial) % 8 == 0, "layout");

#define LAYOUT_FINGERPRINT                                                                                   \
    ((uint32_t)(sizeof(struct shard) * 31 + sizeof(struct pool) * 17 + sizeof(struct process_row) * 13 +     \
                sizeof(struct export_slab) * 11 + sizeof(struct slab) * 7 + sizeof(struct quantum) * 5 +     \
                sizeof(struct record) * 3 + sizeof(void *) + LAYOUT_VERSION * 65537u))

#endif
