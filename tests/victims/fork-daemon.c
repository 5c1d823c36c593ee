/* SPDX-License-Identifier: MIT
 *
 * Victim: `fork-daemon FIFO` becomes a daemon, as daemon(3) and programs before it do it: forks twice, closes
 * every descriptor and uses the numbers for files of its own. The daemon uses what it has inherited from a
 * process that is gone, allocates, forks, and says in the FIFO how it went.
 */
#include "child.h"

#include <fcntl.h>

enum { BLOCKS = 12, FILES = 10 };

static unsigned char *block[BLOCKS];

static size_t size_of(unsigned i)
{
    return (size_t)20 << i;
}

static bool all_are(unsigned seed)
{
    bool good = true;
    for (unsigned i = 0; i < BLOCKS; i++)
        good = good && is_filled(block[i], size_of(i), seed + i);
    return good;
}

static void make_all(unsigned seed)
{
    for (unsigned i = 0; i < BLOCKS; i++) {
        block[i] = malloc(size_of(i));
        fill(block[i], size_of(i), seed + i);
    }
}

static bool turn_over(unsigned from, unsigned to)
{
    bool good = all_are(from);
    for (unsigned i = 0; i < BLOCKS; i++)
        free(block[i]);
    make_all(to);
    return good && all_are(to);
}

static bool fork_twice(void)
{
    const pid_t child = fork();
    if (child == 0) {
        const pid_t grandchild = fork();
        if (grandchild == 0)
            _exit(turn_over(3, 4) ? 0 : 1);
        _exit(ends_well(grandchild) && turn_over(3, 5) ? 0 : 1);
    }
    return ends_well(child) && all_are(3);
}

static bool be_daemon(int *answer, const char *path)
{
    int file[FILES];
    for (int i = 0; i < 1024; i++)
        close(i);
    for (int i = 0; i < FILES; i++)
        file[i] = open("/dev/null", O_RDWR);
    bool good = turn_over(1, 2) && turn_over(2, 3) && fork_twice();
    for (int i = 0; i < FILES; i++)
        good = good && file[i] == i && write(file[i], "x", 1) == 1 && fcntl(file[i], F_GETFD) >= 0;
    *answer = open(path, O_WRONLY);
    return good;
}

int main(int count, char **arguments)
{
    char word[8] = "";
    int answer;
    if (count < 2)
        return 2;
    make_all(1);
    check_routed(block[BLOCKS - 1], "the block is routed");
    const pid_t child = checked_fork();
    if (child == 0) {
        if (daemon(0, 0) != 0)
            return 2;
        const bool good = be_daemon(&answer, arguments[1]);
        return write(answer, good ? "good" : "bad", 4) == 4 ? 0 : 2;
    }
    check(ends_well(child), "the one that made the daemon");
    answer = open(arguments[1], O_RDONLY);
    check(read(answer, word, 4) == 4 && strcmp(word, "good") == 0, "the daemon");
    check(read(answer, word, 4) == 0, "the daemon ends");
    check(all_are(1), "the first one's blocks are whole");
    return verdict();
}
