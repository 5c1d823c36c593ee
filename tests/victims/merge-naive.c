/* SPDX-License-Identifier: MIT
 *
 * A library to be preloaded into the victim merge-writers, to see that it finds what it looks for: it does
 * what a shim must not do. NAIVE_MERGE says what: `swap` puts copies of its pages over the block while
 * threads write there; `signal` interrupts all threads with a signal whose handler has SA_RESTART and does
 * nothing.
 *
 * It finds the block as the one private mapping of that size.
 */
#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { CHUNK = 2 << 20, LEAST = 13 << 20 };

static const char *mode;

/* The chunks that lie in the block as a whole. */
static bool find_block(uintptr_t *from, uintptr_t *to)
{
    char line[512], rights[8];
    unsigned long begin, end, inode;
    bool found = false;
    FILE *maps = fopen("/proc/self/maps", "re");
    while (maps != NULL && !found && fgets(line, sizeof line, maps) != NULL)
        found = sscanf(line, "%lx-%lx %7s %*s %*s %lu", &begin, &end, rights, &inode) == 4 && inode == 0 &&
                strcmp(rights, "rw-p") == 0 && strchr(line, '[') == NULL && end - begin >= LEAST;
    if (maps != NULL)
        fclose(maps);
    *from = (begin + CHUNK - 1) & -(uintptr_t)CHUNK;
    *to = end & -(uintptr_t)CHUNK;
    return found;
}

static void swap_chunk(void *chunk)
{
    const int file = memfd_create("naive", MFD_CLOEXEC);
    if (file >= 0 && write(file, chunk, CHUNK) == CHUNK)
        mmap(chunk, CHUNK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, file, 0);
    close(file);
}

static void swap_all(void)
{
    uintptr_t from, to;
    while (!find_block(&from, &to))
        usleep(1000);
    for (;;)
        for (uintptr_t chunk = from; chunk < to; chunk += CHUNK, usleep(2000))
            swap_chunk((void *)chunk);
}

static void do_nothing(int number)
{
    (void)number;
}

static void signal_all(void)
{
    const struct sigaction action = {.sa_handler = do_nothing, .sa_flags = SA_RESTART};
    const struct dirent *entry;
    sigaction(SIGURG, &action, NULL);
    for (;; usleep(3000)) {
        DIR *threads = opendir("/proc/self/task");
        while (threads != NULL && (entry = readdir(threads)) != NULL)
            if (entry->d_name[0] != '.' && atoi(entry->d_name) != (int)syscall(SYS_gettid))
                syscall(SYS_tgkill, getpid(), atoi(entry->d_name), SIGURG);
        if (threads != NULL)
            closedir(threads);
    }
}

static void *run(void *unused)
{
    if (strcmp(mode, "swap") == 0)
        swap_all();
    else
        signal_all();
    return unused;
}

__attribute__((constructor)) static void start(void)
{
    char command[64] = "";
    pthread_t thread;
    sigset_t all, before;
    FILE *file = fopen("/proc/self/cmdline", "re");
    mode = getenv("NAIVE_MERGE");
    if (file != NULL) {
        const size_t bytes = fread(command, 1, sizeof command, file);
        fclose(file);
        if (mode == NULL || memmem(command, bytes, "--rank", 6) == NULL)
            return;
    }
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (pthread_create(&thread, NULL, run, NULL) != 0)
        abort();
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}
