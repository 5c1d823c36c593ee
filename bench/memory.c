/* SPDX-License-Identifier: MIT
 *
 * Bytes of memory that a live block of 64 bytes takes. Knows nothing of the shim: it counts its own anonymous
 * pages, and what the files that match PATTERN occupy, which bench/run says.
 *
 *     bench-memory COUNT [PATTERN]
 */
#include <glob.h>
#include <string.h>
#include <sys/stat.h>

#include "measure.h"

static __attribute__((noinline)) void *make_block(void)
{
    void *volatile block = malloc(64);
    return block;
}

static double bytes_of_files(const char *pattern)
{
    glob_t found;
    double bytes = 0;
    if (glob(pattern, 0, NULL, &found) != 0)
        return 0;
    for (size_t i = 0; i < found.gl_pathc; i++) {
        struct stat file;
        if (stat(found.gl_pathv[i], &file) == 0)
            bytes += (double)file.st_blocks * 512;
    }
    globfree(&found);
    return bytes;
}

static double anonymous_bytes(void)
{
    FILE *status = fopen("/proc/self/status", "r");
    char line[256];
    double kib = 0;
    if (status == NULL)
        exit(1);
    while (fgets(line, sizeof line, status) != NULL)
        if (sscanf(line, "RssAnon: %lf", &kib) == 1)
            break;
    fclose(status);
    return kib * 1024;
}

static double bytes_now(const char *pattern)
{
    return anonymous_bytes() + (pattern == NULL ? 0 : bytes_of_files(pattern));
}

int main(int count, char **words)
{
    const size_t blocks = number_in(count, words, 1, 1000000);
    const char *pattern = count > 2 ? words[2] : NULL;
    void **block = malloc(blocks * sizeof *block);
    if (block == NULL || blocks == 0)
        return 1;
    memset(block, 1, blocks * sizeof *block); /* its pages are not what is counted */
    bytes_now(pattern);                       /* nor are those that counting takes */
    const double before = bytes_now(pattern);
    for (size_t i = 0; i < blocks; i++) {
        block[i] = make_block();
        if (block[i] == NULL)
            return 1;
        memset(block[i], 1, 64);
    }
    print_figure("bytes", (bytes_now(pattern) - before) / (double)blocks);
    return 0;
}
