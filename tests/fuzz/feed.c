/* SPDX-License-Identifier: MIT
 *
 * Feeds the files named, or those of the directories named, to a fuzzer's function, each once: the inputs
 * that once were found must never do harm again. Needs no libFuzzer, so any compiler will do.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "feeding.h"

static unsigned fed;

static int feed_file(const char *path)
{
    static uint8_t bytes[1 << 20];
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        return 1;
    }
    const size_t size = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    fprintf(stderr, "%s\n", path);                 /* the last one named is the culprit */
    uint8_t *exact = malloc(size != 0 ? size : 1); /* so that a sanitizer sees a step over the end */
    if (exact == NULL)
        return 1;
    memcpy(exact, bytes, size);
    LLVMFuzzerTestOneInput(exact, size);
    free(exact);
    fed++;
    return 0;
}

static int feed(const char *path)
{
    char inside[4096];
    DIR *directory = opendir(path);
    int failed = 0;
    if (directory == NULL)
        return feed_file(path);
    for (const struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(inside, sizeof inside, "%s/%s", path, entry->d_name);
        failed |= feed_file(inside);
    }
    closedir(directory);
    return failed;
}

int main(int argc, char **argv)
{
    int failed = 0;
    LLVMFuzzerInitialize(&argc, &argv);
    for (int i = 1; i < argc; i++)
        failed |= feed(argv[i]);
    printf("%u inputs\n", fed);
    return failed != 0 || fed == 0;
}
