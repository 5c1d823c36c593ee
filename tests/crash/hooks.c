/* SPDX-License-Identifier: MIT */
#include "hooks.h"

#include <errno.h>

struct hooks hooks;

int __real_os_process_start(int32_t pid, uint64_t *start, bool *ended);
bool __real_os_process_exists(int32_t pid);
int __real_os_process_maps(int32_t pid, uint64_t device, uint64_t inode);
uint64_t __real_os_clock(void);
void __real_os_pause(uint64_t nanoseconds);

int __wrap_os_process_start(int32_t pid, uint64_t *start, bool *ended);
bool __wrap_os_process_exists(int32_t pid);
int __wrap_os_process_maps(int32_t pid, uint64_t device, uint64_t inode);
uint64_t __wrap_os_clock(void);
void __wrap_os_pause(uint64_t nanoseconds);

static bool is_dead(int32_t pid)
{
    return hooks.dead != 0 && pid == hooks.dead;
}

int __wrap_os_process_start(int32_t pid, uint64_t *start, bool *ended)
{
    return is_dead(pid) ? -ESRCH : __real_os_process_start(pid, start, ended);
}

bool __wrap_os_process_exists(int32_t pid)
{
    return !is_dead(pid) && __real_os_process_exists(pid);
}

int __wrap_os_process_maps(int32_t pid, uint64_t device, uint64_t inode)
{
    return is_dead(pid) ? -ESRCH : __real_os_process_maps(pid, device, inode);
}

uint64_t __wrap_os_clock(void)
{
    return __real_os_clock() + hooks.ahead;
}

void __wrap_os_pause(uint64_t nanoseconds)
{
    if (!hooks.impatient)
        __real_os_pause(nanoseconds);
}
