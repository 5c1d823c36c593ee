/* SPDX-License-Identifier: MIT
 *
 * Files, directories and file systems.
 */
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "error.h"
#include "os_answer.h"

/* A program that closed its standard error must not print into our file. */
static int above_standard(int descriptor)
{
    if (descriptor < 0 || descriptor > STDERR_FILENO)
        return descriptor;
    const int higher = (int)ANSWER(fcntl(descriptor, F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
    os_close(descriptor);
    return higher;
}

int os_open_file(const char *path, enum os_open how)
{
    static const int ways[] = {[OS_READ] = O_RDONLY,
                               [OS_WRITE] = O_RDWR,
                               [OS_CREATE] = O_RDWR | O_CREAT,
                               [OS_CREATE_NEW] = O_RDWR | O_CREAT | O_EXCL};
    const int flags = ways[how];
    const int descriptor =
        (int)ANSWER(open(path, flags | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0600));
    return above_standard(descriptor);
}

void os_close(int descriptor)
{
    (void)ANSWER(close(descriptor));
}

static void fill_file(struct os_file *out, const struct stat *status)
{
    *out = (struct os_file){
        .device = status->st_dev,
        .inode = status->st_ino,
        .bytes = (uint64_t)status->st_size,
        .blocks = (uint64_t)status->st_blocks * 512,
        .mode = status->st_mode & 07777,
        .uid = status->st_uid,
        .links = (uint32_t)status->st_nlink,
        .regular = S_ISREG(status->st_mode),
    };
}

int os_stat_file(int descriptor, struct os_file *out)
{
    struct stat status;
    const int error = (int)ANSWER(fstat(descriptor, &status));
    if (error == 0)
        fill_file(out, &status);
    return error;
}

int os_stat_path(const char *path, struct os_file *out)
{
    struct stat status;
    const int error = (int)ANSWER(lstat(path, &status));
    if (error == 0)
        fill_file(out, &status);
    return error;
}

/* Beyond RLIMIT_FSIZE the kernel would not only refuse but send SIGXFSZ, which kills. */
static bool within_file_limit(uint64_t end)
{
    struct rlimit limit;
    return getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY || end <= limit.rlim_cur;
}

int os_resize(int descriptor, uint64_t bytes)
{
    if (!within_file_limit(bytes))
        return -EFBIG;
    return (int)ANSWER(ftruncate(descriptor, (off_t)bytes));
}

int64_t os_read_at(int descriptor, void *out, size_t bytes, uint64_t offset)
{
    int64_t got;
    do
        got = ANSWER(pread(descriptor, out, bytes, (off_t)offset));
    while (got == -EINTR);
    return got;
}

int os_write_at(int descriptor, const void *data, size_t bytes, uint64_t offset)
{
    int64_t put;
    if (!within_file_limit(offset + bytes))
        return -EFBIG;
    do
        put = ANSWER(pwrite(descriptor, data, bytes, (off_t)offset));
    while (put == -EINTR);
    if (put < 0)
        return (int)put;
    return (size_t)put == bytes ? 0 : -ENOSPC;
}

int os_next_data(int descriptor, uint64_t from, uint64_t end, uint64_t *start, uint64_t *stop)
{
    const int64_t data = ANSWER(lseek(descriptor, (off_t)from, SEEK_DATA));
    if (data == -ENXIO || (data >= 0 && (uint64_t)data >= end))
        return 0;
    if (data < 0)
        return (int)data;
    const int64_t hole = ANSWER(lseek(descriptor, (off_t)data, SEEK_HOLE));
    *start = (uint64_t)data;
    *stop = hole < 0 ? end : least((uint64_t)hole, end);
    return 1;
}

int os_unlink(const char *path)
{
    return (int)ANSWER(unlink(path));
}

/* Tries again with growing pauses: a blocking flock() could wait for a stopped process for ever. */
int os_lock_file(int descriptor, uint64_t patience)
{
    uint64_t pause = 50000, end = 0; /* not asked for when there is nothing to wait for */
    for (;;) {
        const int error = (int)ANSWER(flock(descriptor, LOCK_EX | LOCK_NB));
        if (error != -EWOULDBLOCK && error != -EINTR)
            return error;
        if (patience == 0 || (end != 0 && os_clock() >= end))
            return -EBUSY;
        if (end == 0)
            end = os_clock() + patience;
        os_pause(pause);
        pause = least(pause * 2, 5000000);
    }
}

void os_unlock_file(int descriptor)
{
    (void)ANSWER(flock(descriptor, LOCK_UN));
}

int64_t os_read_text(const char *path, char *out, size_t bytes)
{
    const int descriptor = (int)ANSWER(open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
    if (descriptor < 0)
        return descriptor;
    size_t length = 0;
    int64_t got = 0;
    while (length < bytes - 1) {
        got = ANSWER(read(descriptor, out + length, bytes - 1 - length));
        if (got == -EINTR)
            continue;
        if (got <= 0)
            break;
        length += (size_t)got;
    }
    os_close(descriptor);
    out[length] = '\0';
    return got < 0 ? got : (int64_t)length;
}

struct directory_entry { /* what getdents64(2) writes */
    uint64_t inode;
    int64_t next;
    unsigned short bytes;
    unsigned char type;
    char name[];
};

/* Not opendir(): that allocates. */
int os_list(const char *directory, int (*visit)(const char *name, void *argument), void *argument)
{
    _Alignas(8) char buffer[4096];
    const int descriptor = (int)ANSWER(open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK));
    if (descriptor < 0)
        return descriptor;
    int result = 0;
    while (result == 0) {
        const int64_t got = ANSWER(syscall(SYS_getdents64, descriptor, buffer, sizeof buffer));
        if (got <= 0) {
            result = (int)got;
            break;
        }
        for (int64_t at = 0; at < got && result == 0;) {
            const struct directory_entry *entry = (const void *)(buffer + at);
            result = visit(entry->name, argument);
            at += entry->bytes;
        }
    }
    os_close(descriptor);
    return result;
}

int os_file_system(const char *directory, struct os_space *out)
{
    struct statfs status;
    const int error = (int)ANSWER(statfs(directory, &status));
    if (error != 0)
        return error;
    const uint64_t block = (uint64_t)status.f_bsize;
    out->total = (uint64_t)status.f_blocks * block;
    out->free = status.f_blocks == 0 ? UINT64_MAX : (uint64_t)status.f_bavail * block;
    if (status.f_type == TMPFS_MAGIC)
        out->kind = OS_MEMORY_FILES;
    else
        out->kind = status.f_type == HUGETLBFS_MAGIC ? OS_HUGE_PAGES : OS_OTHER_FILES;
    return 0;
}

int os_reserve(int descriptor, uint64_t offset, uint64_t bytes)
{
    int error;
    do
        error = (int)ANSWER(fallocate(descriptor, 0, (off_t)offset, (off_t)bytes));
    while (error == -EINTR);
    return error == -ENOSPC ? -ENOMEM : error;
}

int64_t os_read_link(const char *directory, const char *name, char *out, size_t bytes)
{
    char path[512];
    error_format(path, sizeof path, "%s/%s", directory, name);
    const int64_t length = ANSWER(readlink(path, out, bytes - 1));
    if (length >= 0)
        out[length] = '\0';
    return length;
}
