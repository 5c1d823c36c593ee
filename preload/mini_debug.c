/* SPDX-License-Identifier: MIT */
#include "mini_debug.h"

#include <lzma.h>
#include <stdlib.h>

#define BYTES_MOST (UINT64_C(256) << 20)

/* How much comes out of it, from the end of the stream. */
static uint64_t plain_size(const unsigned char *packed, uint64_t bytes)
{
    lzma_stream_flags flags;
    lzma_index *index = NULL;
    uint64_t memory_most = UINT64_C(16) << 20, size = 0;
    size_t at = 0;
    if (bytes < LZMA_STREAM_HEADER_SIZE ||
        lzma_stream_footer_decode(&flags, packed + bytes - LZMA_STREAM_HEADER_SIZE) != LZMA_OK ||
        flags.backward_size > bytes - LZMA_STREAM_HEADER_SIZE)
        return 0;
    if (lzma_index_buffer_decode(&index, &memory_most, NULL,
                                 packed + bytes - LZMA_STREAM_HEADER_SIZE - flags.backward_size, &at,
                                 flags.backward_size) == LZMA_OK)
        size = lzma_index_uncompressed_size(index);
    lzma_index_end(index, NULL);
    return size;
}

bool shmpreload_unpack_symbols(const struct elf_image *image, struct elf_image *out)
{
    const elf_section *section = elf_image_section(image, SHT_PROGBITS, ".gnu_debugdata");
    if (section == NULL)
        return false;
    const unsigned char *packed = elf_image_contents(image, section);
    const uint64_t size = plain_size(packed, section->sh_size);
    unsigned char *plain = size > 0 && size <= BYTES_MOST ? malloc(size) : NULL;
    uint64_t memory_most = BYTES_MOST;
    size_t from = 0, to = 0;
    if (plain != NULL &&
        lzma_stream_buffer_decode(&memory_most, 0, NULL, packed, &from, section->sh_size, plain, &to, size) ==
            LZMA_OK &&
        elf_image_read(plain, to, out))
        return true;
    free(plain);
    return false;
}
