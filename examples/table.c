/* SPDX-License-Identifier: MIT
 *
 * A program that knows nothing of shared memory: it builds a table with malloc.
 *
 *     table [ENTRIES]
 *
 * For each number below ENTRIES (default 8 million) the table holds the smallest prime that
 * divides it. The program prints how many primes there are and the sum of the table, and keeps it
 * until standard input ends: time for another process to look at it under a rule such as
 * `export func=build_table`.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* Not inlined, so that the call of malloc has this function's name in a release build as well. */
__attribute__((noinline)) static uint32_t *build_table(uint32_t entries)
{
    uint32_t *table = malloc(entries * sizeof *table);
    if (table == NULL) {
        perror("table");
        return NULL;
    }
    for (uint32_t i = 0; i < entries; i++)
        table[i] = i;
    for (uint64_t prime = 2; prime * prime < entries; prime++)
        if (table[prime] == prime)
            for (uint64_t multiple = prime * prime; multiple < entries; multiple += prime)
                if (table[multiple] == multiple)
                    table[multiple] = (uint32_t)prime;
    return table;
}

static void print_table(const uint32_t *table, uint32_t entries)
{
    uint64_t total = 0;
    uint32_t primes = 0;
    for (uint32_t i = 0; i < entries; i++) {
        total += table[i];
        primes += i >= 2 && table[i] == i;
    }
    printf("%" PRIu32 " primes, sum of the table %" PRIu64 "\n", primes, total);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    unsigned long entries = argc > 1 ? strtoul(argv[1], NULL, 10) : 8000000;
    if (argc > 2 || entries < 4 || entries > UINT32_MAX) {
        fprintf(stderr, "usage: table [ENTRIES]\n");
        return 2;
    }
    uint32_t *table = build_table((uint32_t)entries);
    if (table == NULL)
        return EXIT_FAILURE;
    print_table(table, (uint32_t)entries);
    while (getchar() != EOF)
        ;
    free(table);
    return EXIT_SUCCESS;
}
