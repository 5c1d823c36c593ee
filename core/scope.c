/* SPDX-License-Identifier: MIT */
#include "scope.h"

#include <errno.h>
#include <string.h>

#include "error.h"
#include "os.h"

#define SYSTEM "/sys/devices/system"

static const char *const words[] = {[SHMCORE_SCOPE_SOCKET] = "socket", [SHMCORE_SCOPE_NUMA] = "numa"};

/* ---------------------------------------------------------------- what the system tells */

static int unknown(enum shmcore_scope scope, const char *system)
{
    return error_set(ENOTSUP, "%s/cpu does not tell which %s the processors belong to: use scope=node",
                     system, words[scope]);
}

/* A processor's directory has a link to that of its NUMA domain: node0, node1, … */
static int find_node(const char *name, void *argument)
{
    const bool is = strncmp(name, "node", 4) == 0 && name[4] >= '0' && name[4] <= '9';
    if (is)
        *(uint64_t *)argument = os_number_after(name, "node", 0);
    return is;
}

/* 1 with its domain; 0: it is offline, and in nobody's way; -1 with the error set. */
static int domain_of_processor(enum shmcore_scope scope, const char *system, uint32_t processor,
                               uint32_t *domain)
{
    char path[256], text[32];
    uint64_t number = 0; /* a kernel without NUMA has no such link: all is one domain */
    error_format(path, sizeof path, "%s/cpu/cpu%u/topology/physical_package_id", system, processor);
    if (os_read_text(path, text, sizeof text) <= 0)
        return 0;
    if (scope == SHMCORE_SCOPE_SOCKET) {
        number = os_number_after(text, "", UINT64_MAX); /* "-1": the kernel does not know */
    } else {
        error_format(path, sizeof path, "%s/cpu/cpu%u", system, processor);
        if (os_list(path, find_node, &number) < 0)
            number = UINT64_MAX;
    }
    if (number > UINT32_MAX)
        return unknown(scope, system);
    *domain = (uint32_t)number;
    return 1;
}

/* ---------------------------------------------------------------- domains */

static int refuse(enum shmcore_scope scope, uint32_t one, uint32_t other)
{
    const char *word = words[scope];
    return error_set(
        EINVAL,
        "scope=%s is for processes that stay in one, and this one may run on %s %u and on %s %u: "
        "start it bound, as with mpirun --bind-to %s or srun --cpu-bind=%s, or use scope=node",
        word, word, one, word, other, word, scope == SHMCORE_SCOPE_SOCKET ? "sockets" : "ldoms");
}

int scope_domain(enum shmcore_scope scope, const struct scope_processors *processors, const char *system,
                 uint32_t *domain)
{
    bool found = false;
    for (uint32_t processor = 0; processor < SCOPE_PROCESSORS; processor++) {
        uint32_t this_one;
        if ((processors->bits[processor / 64] >> (processor % 64) & 1) == 0)
            continue;
        const int known = domain_of_processor(scope, system, processor, &this_one);
        if (known < 0)
            return -1;
        if (known == 0)
            continue;
        if (found && this_one != *domain)
            return refuse(scope, *domain, this_one);
        found = true;
        *domain = this_one;
    }
    return found ? 0 : unknown(scope, system);
}

/* ---------------------------------------------------------------- names */

static bool has_domain(const char *name, const char *word)
{
    const char *at = strrchr(name, '@');
    if (at == NULL || strncmp(at + 1, word, strlen(word)) != 0)
        return false;
    at += 1 + strlen(word);
    return *at != '\0' && at[strspn(at, "0123456789")] == '\0';
}

int scope_name(char out[SEGMENT_NAME_BYTES], const char *name, enum shmcore_scope scope)
{
    struct scope_processors processors = {{0}};
    uint32_t domain;
    if ((unsigned)scope > SHMCORE_SCOPE_NUMA)
        return error_set(EINVAL, "the scope must be that of a node, a socket or a NUMA domain");
    if (scope == SHMCORE_SCOPE_NODE || has_domain(name, words[scope])) {
        strcpy(out, name);
        return 0;
    }
    const int error = os_processors(processors.bits, sizeof processors.bits);
    if (error != 0)
        return error_set(-error, "the processors that this process may run on cannot be found: %s",
                         error_words(-error));
    if (scope_domain(scope, &processors, SYSTEM, &domain) != 0)
        return -1;
    char whole[SEGMENT_NAME_BYTES + 24];
    if (error_format(whole, sizeof whole, "%s@%s%u", name, words[scope], domain) >= SEGMENT_NAME_BYTES)
        return error_set(EINVAL, "the segment name '%s' is too long: the %s is added to it", name,
                         words[scope]);
    strcpy(out, whole);
    return 0;
}
