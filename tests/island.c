/* SPDX-License-Identifier: MIT */
#include "island.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

static bool write_text(const char *path, const char *text)
{
    const int descriptor = open(path, O_WRONLY | O_CLOEXEC);
    if (descriptor < 0)
        return false;
    const ssize_t put = write(descriptor, text, strlen(text));
    close(descriptor);
    return put == (ssize_t)strlen(text);
}

/* Who is not root is it in a user namespace of his own, in which he keeps his number. */
static bool enter_namespaces(void)
{
    char map[64];
    const unsigned user = geteuid(), group = getegid();
    if (unshare(CLONE_NEWNS) == 0)
        return true;
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0)
        return false;
    snprintf(map, sizeof map, "%u %u 1", user, user);
    if (!write_text("/proc/self/uid_map", map) || !write_text("/proc/self/setgroups", "deny"))
        return false;
    snprintf(map, sizeof map, "%u %u 1", group, group);
    return write_text("/proc/self/gid_map", map);
}

bool island_make(uint64_t bytes, const char **why)
{
    char options[64];
    snprintf(options, sizeof options, "size=%llu,mode=1777", (unsigned long long)bytes);
    *why = "this user may not make a mount namespace";
    if (!enter_namespaces())
        return false;
    *why = "this user may not mount a tmpfs";
    return mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, options) == 0;
}
