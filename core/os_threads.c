/* SPDX-License-Identifier: MIT
 *
 * The threads of this process, as /proc shows them, and signals to them.
 */
#include "os.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "error.h"
#include "os_answer.h"

enum { CLOSE_UNSHARED = 2 }; /* CLOSE_RANGE_UNSHARE, Linux 5.9 */

int32_t os_thread(void)
{
    return (int32_t)syscall(SYS_gettid);
}

void os_give_way(void)
{
    (void)ANSWER(syscall(SYS_sched_yield));
}

struct thread_walk {
    int (*visit)(int32_t thread, void *argument);
    void *argument;
};

static int32_t number_of(const char *name)
{
    int32_t number = 0;
    for (; *name >= '0' && *name <= '9' && number < INT32_MAX / 16; name++)
        number = number * 10 + (*name - '0');
    return *name == '\0' ? number : 0;
}

static int visit_thread(const char *name, void *argument)
{
    const struct thread_walk *walk = argument;
    const int32_t thread = number_of(name);
    return thread > 0 ? walk->visit(thread, walk->argument) : 0;
}

int os_each_thread(int (*visit)(int32_t thread, void *argument), void *argument)
{
    struct thread_walk walk = {visit, argument};
    return os_list("/proc/self/task", visit_thread, &walk);
}

int os_signal_thread(int32_t thread, int signal)
{
    return (int)ANSWER(syscall(SYS_tgkill, os_process(), thread, signal));
}

uint64_t os_hexadecimal_after(const char *text, const char *key)
{
    const char *found = strstr(text, key);
    uint64_t value = 0;
    if (found == NULL)
        return 0;
    for (found += strlen(key); *found == '\t' || *found == ' '; found++)
        continue;
    for (;; found++) {
        if (*found >= '0' && *found <= '9')
            value = value << 4 | (uint64_t)(*found - '0');
        else if (*found >= 'a' && *found <= 'f')
            value = value << 4 | (uint64_t)(*found - 'a' + 10);
        else
            return value;
    }
}

/* The lines of its state and masks. False: it has ended. */
static bool read_status(int32_t thread, char *text, size_t bytes)
{
    char path[64];
    error_format(path, sizeof path, "/proc/self/task/%d/status", thread);
    if (os_read_text(path, text, bytes) <= 0)
        return false;
    const char *state = strstr(text, "\nState:\t");
    return state != NULL && state[8] != 'Z' && state[8] != 'X';
}

/* While a thread waits for blocked signals, by sigwait() and its like, the kernel shows them as not blocked.
 */
static bool waits_for(int32_t thread, int signal)
{
    struct os_call call;
    uint64_t set;
    os_thread_call(thread, &call);
    if (call.number != SYS_rt_sigtimedwait)
        return false;
    const struct iovec here = {&set, sizeof set}, there = {(void *)(uintptr_t)call.argument[0], sizeof set};
    return ANSWER(syscall(SYS_process_vm_readv, os_process(), &here, 1, &there, 1, 0)) != sizeof set ||
           (set >> (signal - 1) & 1) != 0;
}

/* It may come from such a wait, or begin one, while it is looked at: so a look before and one after. */
enum os_thread_state os_thread_state(int32_t thread, int signal)
{
    char text[4096];
    const bool waited = waits_for(thread, signal);
    if (!read_status(thread, text, sizeof text))
        return OS_THREAD_ENDED;
    const bool blocks = (os_hexadecimal_after(text, "\nSigBlk:") >> (signal - 1) & 1) != 0;
    return waited || blocks || waits_for(thread, signal) ? OS_THREAD_BLOCKS_SIGNAL : OS_THREAD_RUNS;
}

static int count_living(int32_t thread, void *argument)
{
    char text[4096];
    *(uint32_t *)argument += read_status(thread, text, sizeof text);
    return 0;
}

uint32_t os_thread_count(void)
{
    uint32_t count = 0;
    os_each_thread(count_living, &count);
    return count;
}

int os_own_descriptors(void)
{
    return (int)ANSWER(syscall(SYS_close_range, 0u, ~0u, CLOSE_UNSHARED));
}

void os_name_thread(const char *name)
{
    (void)ANSWER(prctl(PR_SET_NAME, name, 0, 0, 0));
}

bool os_thread_is_named(int32_t thread, const char *name)
{
    char path[64], text[32];
    const size_t length = strlen(name);
    error_format(path, sizeof path, "/proc/self/task/%d/comm", thread);
    return os_read_text(path, text, sizeof text) == (int64_t)length + 1 && memcmp(text, name, length) == 0;
}

uint64_t os_thread_time(void)
{
    struct timespec time = {0};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* "NUMBER 0xARG … 0xSTACK 0xPLACE", "-1 0xSTACK 0xPLACE" or "running". */
void os_thread_call(int32_t thread, struct os_call *out)
{
    char path[64], text[256];
    const char *from = text;
    uint64_t value[9] = {0};
    unsigned count = 0;
    out->number = -1;
    error_format(path, sizeof path, "/proc/self/task/%d/syscall", thread);
    if (os_read_text(path, text, sizeof text) <= 0 || text[0] < '0' || text[0] > '9')
        return;
    for (; count < COUNT_OF(value) && *from != '\0' && *from != '\n'; count++) {
        const bool hex = from[0] == '0' && from[1] == 'x';
        for (from += hex ? 2 : 0; *from != ' ' && *from != '\n' && *from != '\0'; from++) {
            const unsigned digit = (unsigned)(*from <= '9' ? *from - '0' : *from - 'a' + 10);
            value[count] = value[count] * (hex ? 16 : 10) + digit;
        }
        from += *from == ' ';
    }
    if (count != COUNT_OF(value))
        return;
    *out = (struct os_call){.number = (int64_t)value[0], .stack = value[7], .place = value[8]};
    memcpy(out->argument, value + 1, sizeof out->argument);
}
