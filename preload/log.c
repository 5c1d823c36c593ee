/* SPDX-License-Identifier: MIT */
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "error.h"
#include "export.h"
#include "os.h"

#define CAUSES 64u

static struct {
    enum settings_log level;
    bool has_file;
    bool has_standard_error;
    dev_t device;
    ino_t inode;
} sink;

static NEEDED_LATER char sink_file[512];                /* a copy: programs write over their environment */
static NEEDED_LATER _Atomic uint64_t sink_said[CAUSES]; /* hashes of causes; when full, the last place is used
                                                         * over */

void log_begin(const struct settings *settings)
{
    struct stat status;
    sink.level = settings->log;
    sink.has_file = settings->log_file != NULL;
    if (sink.has_file)
        error_format(sink_file, sizeof sink_file, "%s", settings->log_file);
    /* as fstat() does, whose empty name lies on a page of libc's that is touched for nothing else */
    sink.has_standard_error = fstatat(STDERR_FILENO, "", &status, AT_EMPTY_PATH) == 0;
    if (sink.has_standard_error) {
        sink.device = status.st_dev;
        sink.inode = status.st_ino;
    }
}

bool log_wants(enum settings_log level)
{
    return level <= sink.level;
}

/* In this process for the first time? */
static bool is_news(const char *cause)
{
    const uint64_t hash = hash_bytes(cause, strlen(cause)) | 1;
    for (uint32_t i = 0; i < CAUSES; i++) {
        uint64_t expected = 0;
        if (atomic_load(&sink_said[i]) == hash)
            return false;
        if (atomic_compare_exchange_strong(&sink_said[i], &expected, hash))
            return true;
        if (expected == hash)
            return false;
    }
    return false;
}

/* %p in the name of the log file is the pid. */
static void expand_path(char *out, size_t bytes)
{
    size_t length = 0;
    for (const char *at = sink_file; *at != '\0' && length + 1 < bytes; at++) {
        if (at[0] == '%' && at[1] == 'p') {
            length += error_format(out + length, bytes - length, "%d", os_process());
            at++;
        } else {
            out[length++] = *at;
        }
    }
    out[length] = '\0';
}

static void write_to_file(const char *line, size_t length)
{
    char path[1024];
    expand_path(path, sizeof path);
    const int descriptor =
        open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0644);
    if (descriptor < 0)
        return;
    const ssize_t written = write(descriptor, line, length);
    (void)written;
    close(descriptor);
}

static _Thread_local bool apart;

void log_from_apart(void)
{
    apart = true;
}

static void write_to_standard_error(const char *line, size_t length)
{
    struct stat status;
    int descriptor = STDERR_FILENO, opened = -1;
    if (apart) /* its descriptors are not the program's; this is the way to those */
        descriptor = opened =
            open("/proc/self/fd/2", O_WRONLY | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (sink.has_standard_error && fstat(descriptor, &status) == 0 && status.st_dev == sink.device &&
        status.st_ino == sink.inode) {
        const ssize_t written = write(descriptor, line, length);
        (void)written;
    }
    if (opened >= 0)
        close(opened);
}

void log_say(enum settings_log level, const char *cause, const char *format, ...)
{
    static const char *const words[] = {"error", "warning", "info", "debug"};
    char line[1024];
    va_list arguments;
    if (!log_wants(level) || (cause != NULL && !is_news(cause)))
        return;
    const int kept_errno = errno;
    if (cause == NULL || export_first_to_say(cause)) {
        size_t length = error_format(line, sizeof line - 1, "shmpreload: %s: ", words[level]);
        va_start(arguments, format);
        length += error_format_list(line + length, sizeof line - 1 - length, format, arguments);
        va_end(arguments);
        line[length++] = '\n';
        if (sink.has_file)
            write_to_file(line, length);
        else
            write_to_standard_error(line, length);
    }
    errno = kept_errno;
}
