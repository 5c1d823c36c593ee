/* SPDX-License-Identifier: MIT */
#include "export_book.h"

#include <string.h>

#include "os.h"

#define CHUNK_BYTES ((uint64_t)64 << 10)

struct book_chunk {
    struct book_chunk *next;
};

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
    return true;
}

/* Cuts a chunk into free books. */
static bool have_free(struct export_heap *exports)
{
    void *memory;
    if (exports->free_books != NULL)
        return true;
    if (os_map_private(CHUNK_BYTES, &memory) != 0)
        return false;
    struct book_chunk *chunk = memory;
    chunk->next = exports->book_chunks;
    exports->book_chunks = chunk;
    struct slab_book *book = (struct slab_book *)(uintptr_t)align_up((uintptr_t)(chunk + 1), 64);
    const struct slab_book *end = (const void *)((unsigned char *)memory + CHUNK_BYTES);
    for (; book + 1 <= end; book++) {
        book->next = exports->free_books;
        exports->free_books = book;
    }
    return true;
}

struct slab_book *book_new(shmcore_segment *segment)
{
    struct export_heap *exports = &segment->exports;
    if (!have_table(segment) || !have_free(exports))
        return NULL;
    struct slab_book *book = exports->free_books;
    exports->free_books = book->next;
    *book = (struct slab_book){0};
    return book;
}

void book_drop(shmcore_segment *segment, struct slab_book *book)
{
    atomic_store(&book->thread, 0);
    atomic_store(&book->state, 0);
    book->next = segment->exports.free_books;
    segment->exports.free_books = book;
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
    void *table = atomic_exchange(&exports->books, NULL);
    if (table != NULL)
        os_unmap(table, table_bytes(segment));
    for (struct book_chunk *chunk = exports->book_chunks, *next; chunk != NULL; chunk = next) {
        next = chunk->next;
        os_unmap(chunk, CHUNK_BYTES);
    }
    exports->book_chunks = NULL;
    exports->free_books = NULL;
    memset(exports->partial, 0, sizeof exports->partial);
}
