/* SPDX-License-Identifier: MIT
 *
 * How much memory may be taken without hurting anybody.
 */
#include "os.h"

#include <string.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>

#include "error.h"
#include "os_answer.h"

uint64_t os_number_after(const char *text, const char *key, uint64_t none)
{
    const char *at = strstr(text, key);
    if (at == NULL)
        return none;
    at += strlen(key);
    while (*at == ' ' || *at == '\t' || *at == ':')
        at++;
    if (*at < '0' || *at > '9')
        return none;
    uint64_t value = 0;
    while (*at >= '0' && *at <= '9')
        value = value * 10 + (uint64_t)(*at++ - '0');
    return value;
}

static struct os_room machine_room(void)
{
    char text[2048];
    struct os_room room = {.limit = OS_LIMIT_MEMORY, .left = UINT64_MAX};
    if (os_read_text("/proc/meminfo", text, sizeof text) > 0) {
        room.left = os_number_after(text, "MemAvailable:", UINT64_MAX / 1024) * 1024;
        room.total = os_number_after(text, "MemTotal:", 0) * 1024;
        return room;
    }
    struct sysinfo info; /* no descriptor left: what is free without giving up caches */
    if (sysinfo(&info) == 0) {
        room.left = ((uint64_t)info.freeram + info.bufferram) * info.mem_unit;
        room.total = (uint64_t)info.totalram * info.mem_unit;
    }
    return room;
}

static struct os_room file_room(const char *directory)
{
    struct os_space space;
    struct os_room room = {.limit = OS_LIMIT_FILES, .left = UINT64_MAX};
    if (os_file_system(directory, &space) == 0) {
        room.left = space.free;
        room.total = space.total;
    }
    return room;
}

/* What one cgroup directory leaves: limit - usage + what the kernel could drop at once. */
static struct os_room room_in(const char *directory, const char *limit_file, const char *usage_file)
{
    char path[600], text[4096];
    struct os_room room = {.limit = OS_LIMIT_GROUP, .left = UINT64_MAX};
    error_format(path, sizeof path, "%s/%s", directory, limit_file);
    if (os_read_text(path, text, sizeof text) <= 0)
        return room;
    const uint64_t limit = os_number_after(text, "", UINT64_MAX);
    if (limit >= UINT64_MAX / 4)
        return room;
    error_format(path, sizeof path, "%s/%s", directory, usage_file);
    if (os_read_text(path, text, sizeof text) <= 0)
        return room;
    const uint64_t usage = os_number_after(text, "", 0);
    error_format(path, sizeof path, "%s/memory.stat", directory);
    uint64_t droppable = 0;
    if (os_read_text(path, text, sizeof text) > 0)
        droppable = os_number_after(text, "\ninactive_file ", 0);
    const uint64_t held = usage > droppable ? usage - droppable : 0;
    room.left = limit > held ? limit - held : 0;
    room.total = limit;
    return room;
}

static struct os_room narrower(struct os_room one, struct os_room other)
{
    return other.left < one.left ? other : one;
}

/* The room of the cgroup that limits us most, walking up to the root of the hierarchy. */
static struct os_room room_on_the_way_up(const char *mount, char *group, const char *limit_file,
                                         const char *usage_file)
{
    char directory[512];
    struct os_room room = {.limit = OS_LIMIT_GROUP, .left = UINT64_MAX};
    for (;;) {
        error_format(directory, sizeof directory, "%s%s", mount, strcmp(group, "/") == 0 ? "" : group);
        room = narrower(room, room_in(directory, limit_file, usage_file));
        char *slash = strrchr(group, '/');
        if (slash == NULL || group[1] == '\0')
            return room;
        *(slash == group ? slash + 1 : slash) = '\0';
    }
}

static bool group_after(const char *text, const char *key, char *out, size_t bytes)
{
    const char *at = strstr(text, key);
    if (at == NULL)
        return false;
    at += strlen(key);
    size_t length = strcspn(at, "\n");
    if (length == 0 || length >= bytes)
        return false;
    memcpy(out, at, length);
    out[length] = '\0';
    return true;
}

static struct os_room group_room(void)
{
    const struct os_room unlimited = {.limit = OS_LIMIT_GROUP, .left = UINT64_MAX};
    char text[2048], group[256];
    if (os_read_text("/proc/self/cgroup", text, sizeof text) <= 0)
        return unlimited;
    if (group_after(text, ":memory:", group, sizeof group))
        return room_on_the_way_up("/sys/fs/cgroup/memory", group, "memory.limit_in_bytes",
                                  "memory.usage_in_bytes");
    if (group_after(text, "0::", group, sizeof group))
        return room_on_the_way_up("/sys/fs/cgroup", group, "memory.max", "memory.current");
    return unlimited;
}

struct os_room os_memory_room(const char *directory)
{
    return narrower(file_room(directory), narrower(machine_room(), group_room()));
}

uint64_t os_private_memory_left(void)
{
    return narrower(machine_room(), group_room()).left;
}

uint64_t os_memory_left(const char *directory)
{
    return os_memory_room(directory).left;
}

static uint64_t limit_of(__rlimit_resource_t what)
{
    struct rlimit limit;
    return getrlimit(what, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY ? limit.rlim_cur : UINT64_MAX;
}

uint64_t os_address_space_limit(void)
{
    return limit_of(RLIMIT_AS);
}

uint64_t os_file_limit(void)
{
    return limit_of(RLIMIT_FSIZE);
}
