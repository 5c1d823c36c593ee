/* SPDX-License-Identifier: MIT
 *
 * Looks at another process's blocks by name, in place.
 *
 *     reader [-k] SEGMENT NAME
 *
 * NAME is a block's name or a shell pattern; a pattern may match several blocks. For each one the
 * program prints its name, size, owner, first bytes and the sum of its 64-bit words modulo 2^64
 * (what NumPy's a.view("u8").sum() gives; a tail of less than 8 bytes counts as if zeros followed).
 * With -k it then keeps the segment mapped until standard input ends.
 *
 * The segment is attached read-only: nothing here can change what it looks at, no byte is copied,
 * and no reference is taken. So it is for the user to see to it that the owner keeps the block
 * meanwhile; a block that is freed or written while it is summed gives a sum of no meaning.
 */
#include <fnmatch.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <shmcore.h>

struct search {
    const char *pattern;
    unsigned found;
};

static uint64_t sum(const void *bytes, size_t count)
{
    const uint64_t *words = bytes; /* blocks are aligned to 16 bytes at least */
    uint64_t total = 0, tail = 0;
    size_t whole = count / sizeof *words;
    for (size_t i = 0; i < whole; i++)
        total += words[i];
    memcpy(&tail, words + whole, count % sizeof *words);
    return total + tail;
}

static void print_first_bytes(const unsigned char *bytes, size_t count)
{
    printf("first    ");
    for (size_t i = 0; i < count && i < 16; i++)
        printf(" %02x", bytes[i]);
    printf("\n");
}

static void print_block(const shmcore_block *block)
{
    printf("name      %s\n", block->name);
    printf("bytes     %zu\n", block->bytes);
    printf("owner     %ld\n", (long)block->owner);
    print_first_bytes(block->address, block->bytes);
    printf("checksum  %016" PRIx64 "\n", sum(block->address, block->bytes));
}

static int visit(const shmcore_block *block, void *argument)
{
    struct search *search = argument;
    if (fnmatch(search->pattern, block->name, 0) == 0) {
        search->found++;
        print_block(block);
    }
    return 0;
}

/* Prints the blocks that match. A plain name is looked up, which does not depend on how many blocks
 * there are; a pattern is compared with all of them. */
static int search_blocks(shmcore_segment *segment, const char *name)
{
    struct search search = {.pattern = name, .found = 0};
    shmcore_block block;
    const void *address = shmcore_find(segment, name, NULL);
    if (address != NULL && shmcore_block_of(address, &block) == 0) {
        print_block(&block);
        return EXIT_SUCCESS;
    }
    if (strpbrk(name, "*?[") == NULL) {
        fprintf(stderr, "reader: %s\n", shmcore_error());
        return EXIT_FAILURE;
    }
    if (shmcore_for_each(segment, visit, &search) < 0) {
        fprintf(stderr, "reader: %s\n", shmcore_error());
        return EXIT_FAILURE;
    }
    if (search.found == 0)
        fprintf(stderr, "reader: no block of %s matches %s\n", shmcore_segment_name(segment), name);
    return search.found != 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static void wait_for_end_of_input(void)
{
    while (getchar() != EOF)
        ;
}

int main(int argc, char **argv)
{
    int keep = argc == 4 && strcmp(argv[1], "-k") == 0;
    if (argc != (keep ? 4 : 3)) {
        fprintf(stderr, "usage: reader [-k] SEGMENT NAME\n");
        return 2;
    }
    shmcore_traits traits = shmcore_default_traits();
    traits.read_only = true;
    shmcore_segment *segment = shmcore_open(argv[1 + keep], &traits);
    if (segment == NULL) {
        fprintf(stderr, "reader: %s\n", shmcore_error());
        return EXIT_FAILURE;
    }
    int status = search_blocks(segment, argv[2 + keep]);
    fflush(stdout);
    if (keep && status == EXIT_SUCCESS)
        wait_for_end_of_input();
    shmcore_close(segment);
    return status;
}
