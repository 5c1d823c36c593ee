/* SPDX-License-Identifier: MIT
 *
 * Victim: `fork-poor [DIRECTORY]` has 48 MiB and forks when there is no memory to copy them: with
 * VICTIM_LIMIT it limits its own address space first, otherwise the test has done something of the kind. With
 * DIRECTORY it has gone into that one with chroot(2) before, as servers do. The child writes a little and the
 * parent does not see it, unless VICTIM_SHARED says that they share; both go on allocating.
 */
#include "child.h"

#include <sys/resource.h>

enum { BLOCKS = 48, BYTES = 1 << 20, LITTLE = 100 };

static unsigned char *block[BLOCKS];

static bool all_are(unsigned seed)
{
    for (unsigned i = 0; i < BLOCKS; i++)
        if (!is_filled(block[i], BYTES, seed + i))
            return false;
    return true;
}

static void *made(size_t bytes)
{
    unsigned char *one = malloc(bytes);
    return hide(one);
}

/* Little more than there is now. */
static void limit_addresses(void)
{
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL || fscanf(file, "%lu", &pages) != 1)
        exit(2);
    fclose(file);
    const struct rlimit limit = {pages * 4096 + (16 << 20), pages * 4096 + (16 << 20)};
    if (setrlimit(RLIMIT_AS, &limit) != 0)
        exit(2);
}

static bool allocate_a_little(void)
{
    bool good = true;
    for (unsigned i = 0; i < LITTLE; i++) {
        unsigned char *one = made(1000 + i * 50);
        fill(one, 1000 + i * 50, i);
        good = good && is_filled(one, 1000 + i * 50, i);
        free(one);
    }
    return good;
}

static int in_child(void)
{
    bool good = all_are(1);
    for (unsigned i = 0; i < BLOCKS; i++)
        fill(block[i], LITTLE, 90 + i);
    for (unsigned i = 0; i < BLOCKS; i++)
        good = good && is_filled(block[i], LITTLE, 90 + i);
    good = good && allocate_a_little();
    for (unsigned i = 0; i < BLOCKS; i++)
        free(block[i]);
    return good && allocate_a_little() ? 0 : 1;
}

int main(int count, char **arguments)
{
    for (unsigned i = 0; i < BLOCKS; i++) {
        block[i] = made(BYTES);
        check_routed(block[i], "the block is routed");
        fill(block[i], BYTES, 1 + i);
    }
    if (getenv("VICTIM_LIMIT") != NULL)
        limit_addresses();
    if (count > 1 && (chroot(arguments[1]) != 0 || chdir("/") != 0))
        return 2;
    for (int round = 0; round < 2; round++) {
        const pid_t child = checked_fork();
        if (child == 0)
            _exit(in_child());
        check(ends_well(child), "the child has what it inherits");
        check(getenv("VICTIM_SHARED") != NULL || all_are(1), "the parent's blocks are whole");
        for (unsigned i = 0; i < BLOCKS; i++)
            fill(block[i], BYTES, 1 + i);
        check(allocate_a_little(), "the parent goes on");
    }
    return verdict();
}
