/* SPDX-License-Identifier: MIT
 *
 * Victim: closes every descriptor, as daemons do, and gets the freed numbers for files of its own; allocates
 * and frees before and after, in a child too. `closed DIRECTORY`: what it finds is in DIRECTORY/result,
 * whatever its standard output was.
 */
#include "child.h"

#include <fcntl.h>
#include <sys/stat.h>

enum { FILES = 12 };

static char path[512];

static void name_file(const char *directory, unsigned i)
{
    snprintf(path, sizeof path, "%s/file%u", directory, i);
}

static void churn(void)
{
    unsigned char *block[64];
    for (unsigned i = 0; i < 64; i++) {
        const size_t bytes = i % 2 == 0 ? 40 + i * 20 : 33000 + i * 10000;
        block[i] = malloc(bytes);
        check_routed(block[i], "the block is routed");
        fill(block[i], bytes, i);
    }
    for (unsigned i = 0; i < 64; i++) {
        const size_t bytes = i % 2 == 0 ? 40 + i * 20 : 33000 + i * 10000;
        if (!is_filled(block[i], bytes, i))
            check(false, "the block is whole");
        free(block[i]);
    }
    if (getenv("VICTIM_ROUTED") != NULL)
        free(hide(block[2])); /* a mistake, which must not be told to whoever has number 2 now */
}

/* Each number still leads to its file, and nobody has written to it. */
static bool files_are_whole(const char *directory)
{
    bool good = true;
    for (unsigned i = 0; i < FILES; i++) {
        struct stat here, there;
        name_file(directory, i);
        good = good && fstat((int)i, &here) == 0 && stat(path, &there) == 0 && here.st_ino == there.st_ino &&
               here.st_size == 0;
    }
    return good && fcntl(FILES, F_GETFD) == -1;
}

int main(int count, char **arguments)
{
    if (count != 2)
        return 2;
    const char *directory = arguments[1];
    churn();
    closefrom(0);
    churn();
    bool good = true;
    for (unsigned i = 0; i < FILES; i++) {
        name_file(directory, i);
        good = good && open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) == (int)i;
    }
    churn();
    const bool whole = files_are_whole(directory);
    const pid_t child = fork();
    if (child == 0) {
        churn();
        _exit(files_are_whole(directory) ? 0 : 1);
    }
    const bool child_good = ends_well(child);
    snprintf(path, sizeof path, "%s/result", directory);
    if (freopen(path, "w", stdout) == NULL)
        return 3;
    check(good, "every number was free");
    check(whole, "the files are the program's");
    check(child_good, "and in a child");
    return verdict() == 0 ? 7 : 1;
}
