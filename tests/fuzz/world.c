/* SPDX-License-Identifier: MIT */
#include "world.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "os.h"

#define SECOND   UINT64_C(1000000000)
#define DAYBREAK (1000 * SECOND)
#define LOOKS    1000000u /* at the clock, by one operation */

struct world world = {.self = WORLD_SELF, .everyone_lives = true, .clock = DAYBREAK};

/* What the linker calls instead; see meson.build. */
uint64_t __wrap_os_clock(void);
void __wrap_os_wait(_Atomic uint32_t *word, uint32_t seen, uint64_t patience);
void __wrap_os_pause(uint64_t nanoseconds);
int32_t __wrap_os_process(void);
int __wrap_os_process_start(int32_t pid, uint64_t *start, bool *ended);
bool __wrap_os_process_exists(int32_t pid);
int __wrap_os_process_maps(int32_t pid, uint64_t device, uint64_t inode);
int __wrap_os_each_process(int (*visit)(int32_t pid, void *argument), void *argument);
uid_t __wrap_os_process_user(int32_t pid);
uint64_t __wrap_os_random(void);
uint64_t __wrap_os_pid_namespace(void);
uint64_t __wrap_os_memory_left(const char *directory);
int __wrap_os_populate(void *address, uint64_t bytes);
int __real_os_populate(void *address, uint64_t bytes);
int __wrap_pthread_mutex_clocklock(pthread_mutex_t *mutex, clockid_t clock, const struct timespec *until);

void world_begin(void)
{
    world = (struct world){.self = WORLD_SELF, .clock = DAYBREAK, .random = 1};
    world_allow(0);
}

void world_allow(uint64_t seconds)
{
    world.patience = seconds * SECOND;
    world.looks = 0;
}

void world_complain(const char *what)
{
    fprintf(stderr, "fuzz: %s\n", what);
    abort();
}

/* ---------------------------------------------------------------- time */

static void pass(uint64_t nanoseconds)
{
    world.clock += nanoseconds;
    if (world.everyone_lives) /* no run yet */
        return;
    if (nanoseconds > world.patience)
        world_complain("an operation waits for too long");
    world.patience -= nanoseconds;
}

/* Looking at the clock takes a microsecond, which is no waiting; but who does nothing else spins. */
uint64_t __wrap_os_clock(void)
{
    if (++world.looks > LOOKS)
        world_complain("an operation spins until a time has come");
    return world.clock += 1000;
}

void __wrap_os_pause(uint64_t nanoseconds)
{
    pass(nanoseconds);
}

void __wrap_os_wait(_Atomic uint32_t *word, uint32_t seen, uint64_t patience)
{
    if (atomic_load(word) == seen)
        pass(patience);
}

/* There is nobody who could give the lock back. */
int __wrap_pthread_mutex_clocklock(pthread_mutex_t *mutex, clockid_t clock, const struct timespec *until)
{
    struct timespec now;
    const int error = pthread_mutex_trylock(mutex);
    if (error != EBUSY)
        return error;
    clock_gettime(clock, &now);
    const int64_t left = (until->tv_sec - now.tv_sec) * (int64_t)SECOND + until->tv_nsec - now.tv_nsec;
    pass(left > 0 ? (uint64_t)left : 0);
    return ETIMEDOUT;
}

/* ---------------------------------------------------------------- processes */

static bool lives(int32_t pid)
{
    return world.everyone_lives || pid == world.self || pid == WORLD_FRIEND || pid == WORLD_ELSEWHERE;
}

int32_t __wrap_os_process(void)
{
    return world.self;
}

int __wrap_os_process_start(int32_t pid, uint64_t *start, bool *ended)
{
    *start = WORLD_START;
    *ended = pid == WORLD_ZOMBIE && !world.everyone_lives;
    if (lives(pid) || *ended)
        return 0;
    return pid == WORLD_HIDDEN ? -EACCES : -ESRCH;
}

bool __wrap_os_process_exists(int32_t pid)
{
    return lives(pid) || pid == WORLD_ZOMBIE || pid == WORLD_HIDDEN;
}

int __wrap_os_process_maps(int32_t pid, uint64_t device, uint64_t inode)
{
    (void)device, (void)inode;
    if (pid == WORLD_HIDDEN)
        return -EACCES;
    if (!lives(pid))
        return -ESRCH;
    return world.everyone_lives || pid != WORLD_ELSEWHERE;
}

int __wrap_os_each_process(int (*visit)(int32_t pid, void *argument), void *argument)
{
    int result = 0;
    for (int32_t pid = WORLD_SELF; pid <= WORLD_HIDDEN && result == 0; pid++)
        if (__wrap_os_process_exists(pid))
            result = visit(pid, argument);
    return result;
}

/* Who cannot be looked into is somebody else's. */
uid_t __wrap_os_process_user(int32_t pid)
{
    return pid == WORLD_HIDDEN ? os_user() + 1 : os_user();
}

uint64_t __wrap_os_pid_namespace(void)
{
    return 4026531836;
}

/* ---------------------------------------------------------------- chance and memory */

uint64_t __wrap_os_random(void)
{
    return hash_mix(world.random++) | 1;
}

uint64_t __wrap_os_memory_left(const char *directory)
{
    (void)directory;
    return world.full ? 0 : GIBI;
}

int __wrap_os_populate(void *address, uint64_t bytes)
{
    return world.full ? -ENOMEM : __real_os_populate(address, bytes);
}
