/* SPDX-License-Identifier: MIT */
#include "record_live.h"

#include "os.h"

#define GRAIN_BITS 4u
#define LEAF_BITS  21u /* of an address: what one leaf stands for */
#define NODE_BITS  15u
#define TOP_BITS   12u
#define LEAF_SIZE  (UINT32_C(1) << (LEAF_BITS - GRAIN_BITS))
#define NODE_SIZE  (UINT32_C(1) << NODE_BITS)
#define TOP_SIZE   (UINT32_C(1) << TOP_BITS)

/* What a word says: size, known, row. */
#define SIZE_SHIFT 16u
#define KNOWN      UINT64_C(0x8000)
#define ROW_MASK   UINT64_C(0x7fff)

struct entry {
    _Atomic uint64_t word; /* 0: no block */
    uint64_t birth;
};

#define GROUP       (PAGE_BYTES / sizeof(struct entry)) /* entries that share a page */
#define GROUP_WORDS (LEAF_SIZE / GROUP / 64)

struct leaf {
    _Alignas(4096) _Atomic uint64_t visited[GROUP_WORDS]; /* groups that had a block to be visited */
    _Alignas(4096) struct entry entry[LEAF_SIZE];
};

struct node {
    _Atomic(struct leaf *) leaf[NODE_SIZE];
};

static NEEDED_LATER struct {
    uint64_t visited_bytes;
    bool all_visited; /* a group without the mark has nothing in it: it need not be touched */
    _Atomic(struct node *) node[TOP_SIZE];
} live;

/* ---------------------------------------------------------------- places */

static struct leaf *leaf_of(uintptr_t address)
{
    if (UNLIKELY(address >> (LEAF_BITS + NODE_BITS) >= TOP_SIZE))
        return NULL;
    struct node *node =
        atomic_load_explicit(&live.node[address >> (LEAF_BITS + NODE_BITS)], memory_order_acquire);
    if (node == NULL)
        return NULL;
    return atomic_load_explicit(&node->leaf[(address >> LEAF_BITS) % NODE_SIZE], memory_order_acquire);
}

/* Maps what is to stand at *at, unless somebody else was faster. */
static void *mapped(void *_Atomic *at, size_t bytes)
{
    void *fresh, *expected = NULL;
    void *there = atomic_load(at);
    if (there != NULL || os_map_sparse(bytes, &fresh) != 0)
        return there;
    if (atomic_compare_exchange_strong(at, &expected, fresh))
        return fresh;
    os_unmap(fresh, bytes);
    return expected;
}

static COLD struct leaf *make_leaf(uintptr_t address)
{
    const uintptr_t top = address >> (LEAF_BITS + NODE_BITS);
    if (top >= TOP_SIZE)
        return NULL;
    struct node *node = mapped((void *_Atomic *)&live.node[top], sizeof *node);
    if (node == NULL)
        return NULL;
    return mapped((void *_Atomic *)&node->leaf[(address >> LEAF_BITS) % NODE_SIZE], sizeof(struct leaf));
}

static uint32_t index_of(uintptr_t address)
{
    return (uint32_t)(address >> GRAIN_BITS) % LEAF_SIZE;
}

static bool is_marked(struct leaf *leaf, uint32_t index)
{
    const uint32_t group = (uint32_t)(index / GROUP);
    return (atomic_load_explicit(&leaf->visited[group / 64], memory_order_relaxed) >> group % 64 & 1) != 0;
}

static void mark(struct leaf *leaf, uint32_t index)
{
    const uint32_t group = (uint32_t)(index / GROUP);
    if (!is_marked(leaf, index))
        atomic_fetch_or(&leaf->visited[group / 64], UINT64_C(1) << group % 64);
}

/* NULL: there is no block at this address. */
static struct entry *entry_of(uintptr_t address)
{
    struct leaf *leaf = leaf_of(address);
    const uint32_t index = index_of(address);
    if (leaf == NULL || (live.all_visited && !is_marked(leaf, index)))
        return NULL;
    return &leaf->entry[index];
}

static struct record_block block_of(uint64_t word, uint64_t birth)
{
    return (struct record_block){.bytes = word >> SIZE_SHIFT,
                                 .birth = birth,
                                 .row = (uint32_t)(word & ROW_MASK),
                                 .is_known = (word & KNOWN) != 0};
}

/* ---------------------------------------------------------------- blocks */

bool record_live_put(const void *pointer, const struct record_block *block, struct record_block *before)
{
    const uintptr_t address = (uintptr_t)pointer;
    struct leaf *leaf = leaf_of(address);
    *before = (struct record_block){0};
    if (UNLIKELY(address % (1u << GRAIN_BITS) != 0 || block->bytes >> (64 - SIZE_SHIFT) != 0))
        return false;
    if (UNLIKELY(leaf == NULL) && (leaf = make_leaf(address)) == NULL)
        return false;
    const uint32_t index = index_of(address);
    struct entry *entry = &leaf->entry[index];
    if (block->bytes >= live.visited_bytes)
        mark(leaf, index);
    *before = block_of(atomic_load_explicit(&entry->word, memory_order_relaxed), entry->birth);
    entry->birth = block->birth;
    atomic_store_explicit(&entry->word,
                          block->bytes << SIZE_SHIFT | (block->is_known ? KNOWN : 0) | block->row,
                          memory_order_release);
    return true;
}

struct record_block record_live_find(const void *address)
{
    const struct entry *entry =
        (uintptr_t)address % (1u << GRAIN_BITS) == 0 ? entry_of((uintptr_t)address) : NULL;
    if (entry == NULL)
        return (struct record_block){0};
    return block_of(atomic_load_explicit(&entry->word, memory_order_relaxed), entry->birth);
}

/* Only the visitor at the program's end wants it as well. */
struct record_block record_live_take(const void *address)
{
    struct entry *entry = (uintptr_t)address % (1u << GRAIN_BITS) == 0 ? entry_of((uintptr_t)address) : NULL;
    if (entry == NULL)
        return (struct record_block){0};
    const uint64_t birth = entry->birth;
    uint64_t word = atomic_load_explicit(&entry->word, memory_order_relaxed);
    if (word >> SIZE_SHIFT < live.visited_bytes || os_is_alone())
        atomic_store_explicit(&entry->word, 0, memory_order_relaxed);
    else
        word = atomic_exchange_explicit(&entry->word, 0, memory_order_relaxed);
    return block_of(word, birth);
}

/* ---------------------------------------------------------------- all of them */

typedef void visitor(void *address, const struct record_block *block);

/* True: the block is the visitor's to look at. */
static bool claim(struct entry *entry, struct record_block *block)
{
    uint64_t word = atomic_load_explicit(&entry->word, memory_order_acquire);
    while (word != 0 && (word & KNOWN) == 0 && word >> SIZE_SHIFT >= live.visited_bytes)
        if (atomic_compare_exchange_weak(&entry->word, &word, word | KNOWN)) {
            *block = block_of(word, entry->birth);
            return true;
        }
    return false;
}

static void visit_leaf(struct leaf *leaf, uintptr_t start, visitor *visit)
{
    struct record_block block;
    for (uint32_t index = 0; index < LEAF_SIZE; index++) {
        if (index % GROUP == 0 && !is_marked(leaf, index)) {
            index += (uint32_t)GROUP - 1;
            continue;
        }
        if (claim(&leaf->entry[index], &block))
            visit((void *)(start + ((uintptr_t)index << GRAIN_BITS)), &block);
    }
}

static void visit_node(struct node *node, uintptr_t start, visitor *visit)
{
    for (uintptr_t i = 0; i < NODE_SIZE; i++) {
        struct leaf *leaf = atomic_load(&node->leaf[i]);
        if (leaf != NULL)
            visit_leaf(leaf, start + (i << LEAF_BITS), visit);
    }
}

void record_live_visit(visitor *visit)
{
    for (uintptr_t i = 0; i < TOP_SIZE; i++) {
        struct node *node = atomic_load(&live.node[i]);
        if (node != NULL)
            visit_node(node, i << (LEAF_BITS + NODE_BITS), visit);
    }
}

void record_live_begin(uint64_t least_bytes, uint64_t visited_bytes)
{
    live.visited_bytes = visited_bytes;
    live.all_visited = least_bytes >= visited_bytes;
}
