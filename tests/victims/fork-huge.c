/* SPDX-License-Identifier: MIT
 *
 * Victim: blocks side by side, and a child that has copies of them. `fork-huge huge`: the copies are in huge
 * pages; `fork-huge holes`: every other block was freed before, and they are not, or the copies would take
 * twice as much; `fork-huge slabs`: small blocks, of which most were freed; nor are these, of which few pages
 * are copied.
 */
#include "child.h"

enum { LARGE = 12, SMALL = 24000, KEPT = 16 /* one of so many small ones */ };

static size_t blocks = LARGE, block_bytes = (size_t)3 << 20;
static unsigned char *block[SMALL];

/* Of all private memory of this process, in KiB. */
static unsigned long huge_pages(void)
{
    FILE *maps = fopen("/proc/self/smaps", "r");
    char line[512];
    unsigned long sum = 0, here;
    while (maps != NULL && fgets(line, sizeof line, maps) != NULL)
        if (sscanf(line, "AnonHugePages: %lu kB", &here) == 1)
            sum += here;
    if (maps != NULL)
        fclose(maps);
    return sum;
}

static bool all_are(unsigned seed)
{
    for (unsigned i = 0; i < blocks; i++)
        if (block[i] != NULL && !is_filled(block[i], block_bytes, seed + i))
            return false;
    return true;
}

static void write_all(unsigned seed)
{
    for (unsigned i = 0; i < blocks; i++)
        if (block[i] != NULL)
            fill(block[i], block_bytes, seed + i);
}

static int in_child(bool huge)
{
    const unsigned long found = huge_pages();
    const bool good = all_are(1);
    write_all(100);
    if (!good || !all_are(100))
        return 1;
    return (huge ? found < LARGE / 2 * block_bytes / 1024 : found != 0) ? 2 : 0;
}

int main(int count, char **arguments)
{
    const char *how = count == 2 ? arguments[1] : "huge";
    const bool huge = strcmp(how, "huge") == 0, slabs = strcmp(how, "slabs") == 0;
    if (slabs) {
        blocks = SMALL;
        block_bytes = 2000;
    }
    for (unsigned i = 0; i < blocks; i++) {
        block[i] = malloc(block_bytes);
        check_routed(block[i], "the block is routed");
    }
    for (unsigned i = 0; !huge && i < blocks; i++)
        if (slabs ? i % KEPT != 0 : i % 2 == 0) {
            free(block[i]);
            block[i] = NULL;
        }
    write_all(1);
    const pid_t child = checked_fork();
    if (child == 0)
        return in_child(huge);
    int status = 0;
    check(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) != 1,
          "neither sees what the other writes");
    check(status == 0, "as many huge pages as there should be");
    check(all_are(1), "the parent's are as they were");
    for (unsigned i = 0; i < blocks; i++)
        free(block[i]);
    return verdict();
}
