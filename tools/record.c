/* SPDX-License-Identifier: MIT
 *
 * record: becomes a program under the shim that keeps a record of what each call site allocates. As with
 * run, the program is exec'ed in place and prints what it prints.
 *
 * The shim never writes over a file. So a name that is one file is made free here, if what lies there is a
 * record; anything else of that name stays and is an error. What would be wrong in every process is said
 * before the program starts.
 */
#include "config/record.h"
#include "display.h"
#include "launch.h"
#include "tool.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEFAULT_FILE "shmpreload.%p.rec"

/* The directory of the file, absolute; NULL after a message. */
static char *find_directory(const char *file)
{
    const char *slash = strrchr(file, '/');
    char *given = slash ? formatted("%.*s/", (int)(slash - file), file) : formatted(".");
    char *directory = realpath(given, NULL);
    if (!directory)
        complain("cannot record to '%s': the directory '%s': %s", file, given, strerror(errno));
    else if (access(directory, W_OK | X_OK) < 0) {
        complain("cannot record to '%s': no file can be made in '%s': %s", file, given, strerror(errno));
        free(directory);
        directory = NULL;
    }
    free(given);
    return directory;
}

/* As the shim is to know it: absolute, for programs may start elsewhere. NULL after a message. */
static char *absolute(const char *file)
{
    const char *slash = strrchr(file, '/');
    const char *base = slash ? slash + 1 : file;
    if (*base == '\0') {
        complain("cannot record to '%s': the name of a file is missing", file);
        return NULL;
    }
    const char *percent = strchr(file, '%');
    if (percent && percent < base) { /* which directory it is, each process finds out */
        char *here = file[0] == '/' ? formatted("%s", "") : required(getcwd(NULL, 0));
        char *path = formatted("%s%s%s", here, *here ? "/" : "", file);
        free(here);
        return path;
    }
    char *directory = find_directory(file);
    char *path = directory ? formatted("%s/%s", strcmp(directory, "/") == 0 ? "" : directory, base) : NULL;
    free(directory);
    return path;
}

static bool is_record(const char *path)
{
    uint64_t magic = 0;
    int file = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
    bool yes = file >= 0 && read(file, &magic, sizeof magic) == sizeof magic && magic == RECORD_MAGIC;
    if (file >= 0)
        close(file);
    return yes;
}

/* 0, or -1 after a message. */
static int make_free(const char *path)
{
    struct stat status;
    if (strchr(path, '%') || lstat(path, &status) < 0)
        return 0;
    if (!is_record(path)) {
        complain("'%s' is there already and is no record; it is left as it is", path);
        return -1;
    }
    if (unlink(path) == 0)
        return 0;
    complain("cannot replace '%s': %s", path, strerror(errno));
    return -1;
}

static int set_variables(const struct options *options, const char *path)
{
    char *size = formatted("%llu", (unsigned long long)options->size);
    int result = setenv("SHM_RECORD", path, 1);
    if (result == 0 && options->has_size)
        result = setenv("SHM_RECORD_SIZE", size, 1);
    free(size);
    if (result < 0)
        complain("cannot set SHM_RECORD: %s", strerror(errno));
    return result;
}

static int perform(const struct options *options)
{
    char *path = absolute(options->output ? options->output : DEFAULT_FILE);
    int result = path ? make_free(path) : -1;
    if (result == 0)
        result = set_variables(options, path);
    if (result == 0)
        result = launch_environment(NULL, options->log);
    free(path);
    if (result == 0)
        return launch_become(options->operands);
    complain("'%s' was not run", options->operands[0]);
    return STATUS_FAILED;
}

const struct command command_record = {
    .name = "record",
    .summary = "run a program and note what each call site allocates",
    .help = "Usage: shmpreload record [-o FILE] [-s BYTES] [--log LEVEL] [--] PROGRAM [ARGUMENT]…\n"
            "Runs PROGRAM and notes for each call stack that allocates: calls, bytes, what was live at the\n"
            "most, sizes, lifetimes, and for blocks of 64 KiB or more fingerprints of their contents. The\n"
            "record is kept while the program runs, so it is there however that ends.\n"
            "\n"
            "  -o, --output FILE  the record, " DEFAULT_FILE " without it. In FILE, %p stands for the\n"
            "                     process id, %r for the MPI rank (outside MPI the process id), %h for\n"
            "                     the host. Where FILE has none of them the first process that allocates\n"
            "                     has FILE, and the others FILE.PID\n"
            "  -s, --size BYTES   leave out smaller requests: 0 notes all, 64K is the default\n"
            "      --log LEVEL    error, warn, info or debug\n"
            "  -h, --help         this text\n"
            "\n"
            "Both ways serve for MPI; the first one leaves the launcher out:\n"
            "    mpirun -n 4 shmpreload record -o run.%r.rec -- ./app\n"
            "    shmpreload record -o run.%p.rec -- mpirun -n 4 ./app\n"
            "\n"
            "The exit status is that of PROGRAM; 127 if it is not found, 126 if it cannot be run, 1 if FILE\n"
            "cannot be made. A process that allocates nothing of that size leaves no record.\n",
    .accepts = "OsL",
    .operands_least = 1,
    .operands_most = INT_MAX,
    .program_follows = true,
    .perform = perform,
};
