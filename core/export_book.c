/* SPDX-License-Identifier: MIT */
#include "export_book.h"

#include <string.h>

#include "handle.h"
#include "os.h"

#define CHUNK_BYTES ((uint64_t)64 << 10)

struct book_chunk {
    struct book_chunk *next;
};

_Thread_local uint64_t book_mark = BOOK_NO_MARK;
struct book_shelf book_shelf;

COLD uint64_t book_make_mark(void)
{
    static _Atomic uint64_t last;
    return book_mark = atomic_fetch_add(&last, 1) + 1 + BOOK_NO_MARK;
}

static uint64_t table_bytes(const shmcore_segment *segment)
{
    return align_up(view_quantum_count(&segment->file.view) * sizeof(struct slab_book *), PAGE_BYTES);
}

static bool have_table(shmcore_segment *segment)
{
    void *memory;
    if (atomic_load(&segment->exports.books) != NULL)
        return true;
    if (os_map_sparse(table_bytes(segment), &memory) != 0)
        return false;
    atomic_store_explicit(&segment->exports.books, memory, memory_order_release);
    if (segment == segment_handles) {
        book_shelf.from = (uintptr_t)segment->file.view.base;
        book_shelf.books = memory;
        atomic_store_explicit(&book_shelf.bytes, segment->file.view.capacity, memory_order_release);
    }
    return true;
}

/* Books have room for 8, 16, 24 … words of bits, and for one more than they have: a hint may be behind the
 * last one, and who takes a slot reads there. */
static uint32_t kind_of(const struct export_shape *shape)
{
    return shape->words / 8;
}

static uint32_t words_of(uint32_t kind)
{
    return (kind + 1) * 8;
}

static size_t bytes_of(uint32_t kind)
{
    return sizeof(struct slab_book) + words_of(kind) * sizeof(struct book_word);
}

/* Cuts a chunk into free books. */
static bool have_free(struct export_heap *exports, uint32_t kind)
{
    void *memory;
    if (exports->free_books[kind] != NULL)
        return true;
    if (os_map_private(CHUNK_BYTES, &memory) != 0)
        return false;
    struct book_chunk *chunk = memory;
    chunk->next = exports->book_chunks;
    exports->book_chunks = chunk;
    for (size_t at = 64; at + bytes_of(kind) <= CHUNK_BYTES; at += bytes_of(kind)) {
        struct slab_book *book = (void *)((unsigned char *)memory + at);
        book->next = exports->free_books[kind];
        exports->free_books[kind] = book;
    }
    return true;
}

struct slab_book *book_new(shmcore_segment *segment, const struct export_shape *shape)
{
    struct export_heap *exports = &segment->exports;
    const uint32_t kind = kind_of(shape);
    if (!have_table(segment) || !have_free(exports, kind))
        return NULL;
    struct slab_book *book = exports->free_books[kind];
    exports->free_books[kind] = book->next;
    /* Who freed a block of the slab before may still look at them. */
    for (uint32_t word = 0; word < words_of(kind); word++) {
        atomic_store_explicit(&book->bits[word].live, 0, memory_order_relaxed);
        atomic_store_explicit(&book->bits[word].gone, 0, memory_order_relaxed);
    }
    book->hint = book->ready = 0;
    book->source = NULL;
    book->shape = shape;
    book->window = export_window(shape);
    book->inverse = shape->inverse;
    book->slot_bytes = shape->slot_bytes;
    book->slots = (uint16_t)shape->slots;
    book->slack_bits = (uint8_t)shape->slack_bits;
    book->words = (uint8_t)shape->words;
    return book;
}

bool book_has_vacant(const struct slab_book *book, uint32_t slots, uint32_t wanted)
{
    uint32_t vacant = 0;
    for (uint32_t word = 0; word * 64 < slots && vacant < wanted; word++) {
        const uint32_t count = (uint32_t)least(slots - word * 64, 64);
        const uint64_t bits = ~book_live_now(book, word) & (~UINT64_C(0) >> (64 - count));
        vacant += (uint32_t)__builtin_popcountll(bits);
    }
    return vacant >= wanted;
}

void book_describe(struct slab_book *book, struct export_slab *slab)
{
    book->data = (unsigned char *)slab + book->shape->data;
    book->infos = export_info(slab, book->shape, 0);
    book->shown = export_live_word(slab, 0);
}

void book_drop(shmcore_segment *segment, struct slab_book *book)
{
    struct slab_book **free_books = &segment->exports.free_books[kind_of(book->shape)];
    atomic_store(&book->thread, 0);
    atomic_store(&book->state, 0);
    atomic_store(&book->use, SLAB_NOT_IN_USE);
    book->next = *free_books;
    *free_books = book;
}

void book_enter(shmcore_segment *segment, uint32_t first, uint32_t count, struct slab_book *book)
{
    _Atomic(struct slab_book *) *table = atomic_load(&segment->exports.books);
    for (uint32_t i = 0; i < count; i++)
        atomic_store_explicit(&table[first + i], book, memory_order_release);
}

void book_forget_all(shmcore_segment *segment)
{
    struct export_heap *exports = &segment->exports;
    if (segment == segment_handles)
        atomic_store(&book_shelf.bytes, 0);
    void *table = atomic_exchange(&exports->books, NULL);
    if (table != NULL)
        os_unmap(table, table_bytes(segment));
    for (struct book_chunk *chunk = exports->book_chunks, *next; chunk != NULL; chunk = next) {
        next = chunk->next;
        os_unmap(chunk, CHUNK_BYTES);
    }
    exports->book_chunks = NULL;
    memset(exports->free_books, 0, sizeof exports->free_books);
    memset(exports->partial, 0, sizeof exports->partial);
    exports->spare_bytes = 0;
}
