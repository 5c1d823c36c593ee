/* SPDX-License-Identifier: MIT
 *
 * For the tests of the rooms of preload/: they are linked with the rooms themselves, and this is the next
 * allocator, so nothing is interposed and the sanitizers can look on.
 *
 * There are two call sites, addresses in the functions `alpha` and `beta`, and whatever else a test takes for
 * one. A test runs in a job of its own, because what is said once in a job must be said again in the next
 * run.
 */
#ifndef TEST_PRELOAD_H
#define TEST_PRELOAD_H

#include "code.h"
#include "config/policy.h"
#include "config/settings.h"
#include "log.h"
#include "real.h"
#include "router.h"
#include "site.h"
#include "test-api.h"
#include "thread.h"

#include <malloc.h>
#include <pthread.h>
#include <sys/mman.h>

static _Atomic unsigned next_mallocs;

static void *count_malloc(size_t bytes)
{
    next_mallocs++;
    return malloc(bytes);
}

struct real_allocator real = {
    .malloc = count_malloc,
    .calloc = calloc,
    .realloc = realloc,
    .free = free,
    .malloc_usable_size = malloc_usable_size,
    .madvise = madvise,
    .mprotect = mprotect,
    .pthread_create = pthread_create,
};

/* ---------------------------------------------------------------- call sites */

static int alpha(int value)
{
    return value * 3 + 1;
}

static int beta(int value)
{
    return value * 5 + 2;
}

static inline const void *site_in(int (*function)(int))
{
    uintptr_t address;
    memcpy(&address, &function, sizeof address);
    return (const void *)(address + 2);
}

static _Atomic unsigned names_asked;

/* What shmpreload-symbols.so would say. */
static inline bool find_function(uintptr_t address, char *name, size_t bytes, uint64_t *offset)
{
    names_asked++;
    const uintptr_t inside = address - ((uintptr_t)site_in(alpha) - 2);
    const bool in_alpha = inside < 2;
    if (!in_alpha && address - ((uintptr_t)site_in(beta) - 2) >= 2)
        return false;
    snprintf(name, bytes, "%s", in_alpha ? "alpha" : "beta");
    *offset = 1;
    return true;
}

/* ---------------------------------------------------------------- beginning */

static char log_path[192];

/* Starts again in a job of its own. */
static inline void be_a_job(char **arguments)
{
    char job[64], path[1024];
    const char *now = getenv("SHM_JOB");
    snprintf(job, sizeof job, "%s-%d", "unit", (int)getpid());
    if (now != NULL && strcmp(now, job) == 0)
        return;
    setenv("SHM_JOB", job, 1);
    const ssize_t length =
        readlink("/proc/self/exe", path, sizeof path - 1); /* which valgrind answers itself */
    path[length > 0 ? length : 0] = '\0';
    execv(path, arguments);
    abort();
}

static inline const struct policy *parse(const char *text)
{
    static _Alignas(16) unsigned char memory[POLICY_MEMORY];
    struct policy_error error;
    const struct policy *policy = policy_parse(text, strlen(text), memory, sizeof memory, &error);
    if (policy == NULL) {
        fprintf(stderr, "%u:%u: %s\n", error.line, error.column, error.message);
        abort();
    }
    return policy;
}

/* As bring-up does it; what is logged is in `log_path`. */
static inline void begin(const struct policy *policy)
{
    static struct settings settings;
    snprintf(log_path, sizeof log_path, "/tmp/test-preload-%d.log", (int)getpid());
    settings.log = SETTINGS_LOG_WARN;
    settings.log_file = log_path;
    log_begin(&settings);
    code_begin(policy, "/usr/bin/tester", find_function);
    site_begin(policy, false);
    thread_begin();
    router_begin(policy, &settings, "/usr/bin/tester");
}

/* What has been logged since the last call; the number of its lines. */
static inline unsigned logged(char *out, size_t bytes)
{
    unsigned lines = 0;
    FILE *file = fopen(log_path, "r");
    const size_t length = file != NULL ? fread(out, 1, bytes - 1, file) : 0;
    out[length] = '\0';
    if (file != NULL)
        fclose(file);
    unlink(log_path);
    for (const char *at = out; *at != '\0'; at++)
        lines += *at == '\n';
    return lines;
}

static inline unsigned lines_logged(void)
{
    char text[8192];
    return logged(text, sizeof text);
}

static inline struct request request_at(const void *caller, enum policy_call call, size_t bytes)
{
    return (struct request){.call = call, .bytes = bytes, .caller = caller};
}

/* malloc() at a call site. */
static inline void *make_at(const void *caller, size_t bytes)
{
    void *pointer = NULL;
    const struct request request = request_at(caller, POLICY_CALL_MALLOC, bytes);
    return router_allocate(&request, &pointer) ? pointer : real.malloc(bytes);
}

static inline void drop(void *pointer, const void *caller)
{
    if (router_owns(pointer))
        router_free(pointer, caller);
    else
        real.free(pointer);
}

/* As bring-up does it, under a policy that exports what `alpha` makes. False: no segment can lie in the
 * window here, and that is said. */
static inline bool begin_routing(const char *policy)
{
    begin(parse(policy));
    void *first = make_at(site_in(alpha), 1000);
    const bool routed = router_owns(first);
    if (!routed) {
        lines_logged();
        rmdir(test_directory);
        puts("skipped: no segment can lie in the window here");
    }
    drop(first, NULL);
    return routed;
}

#endif
