/* SPDX-License-Identifier: MIT
 *
 * See settings.h. A setting that is set to nothing counts as unset. There is room for one sentence:
 * that about a policy that cannot be had takes precedence over one about SHM_LOG, this over one about
 * SHM_MERGE_HOLD, and this over one about SHM_RECORD_SIZE.
 */
#include "config/settings.h"

#include "config/policy.h"
#include "config/text.h"
#include "config/values.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What is shown of a file's name; with it the sentence stays within settings.problem. */
#define PATH_SHOWN 300

static const char *setting(const char *name)
{
    const char *value = secure_getenv(name);
    return value && *value ? value : NULL;
}

/* MPI launchers each have a name of their own for it. */
static const char *find_rank(void)
{
    static const char *const names[] = {"PMIX_RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK",
                                        "MV2_COMM_WORLD_RANK", "SLURM_PROCID"};
    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++)
        if (setting(names[i]))
            return setting(names[i]);
    return NULL;
}

/* The place in `words` of what the variable says; `fallback` when it says nothing or what is no word. */
static unsigned read_choice(struct settings *settings, const char *name, const char *const *words,
                            const char *expected, unsigned fallback)
{
    const char *value = setting(name);
    if (!value)
        return fallback;
    for (unsigned i = 0; words[i]; i++)
        if (strcmp(value, words[i]) == 0)
            return i;
    struct message message = message_begin(settings->problem, sizeof settings->problem);
    message_add(&message, name);
    message_add(&message, ": expected ");
    message_add(&message, expected);
    message_add(&message, ", found ");
    message_quote(&message, text_of(value));
    message_suggest(&message, text_of(value), words);
    message_add(&message, "; ");
    message_add(&message, words[fallback]);
    message_add(&message, " is used");
    return fallback;
}

/* The words stand in the order of the enums. */
static void read_choices(struct settings *settings)
{
    static const char *const holds[] = {"userfaultfd", "scan", "compare", NULL};
    static const char *const levels[] = {"error", "warn", "info", "debug", NULL};
    settings->hold = (enum settings_hold)read_choice(settings, "SHM_MERGE_HOLD", holds,
                                                     "userfaultfd, scan or compare", SETTINGS_HOLD_BEST);
    settings->log = (enum settings_log)read_choice(settings, "SHM_LOG", levels, "error, warn, info or debug",
                                                   SETTINGS_LOG_WARN);
}

static size_t read_record_least(struct settings *settings)
{
    const char *value = setting("SHM_RECORD_SIZE");
    struct policy_error error;
    size_t bytes;
    if (!value)
        return SETTINGS_RECORD_LEAST;
    const struct text text = text_of(value);
    if (value_bytes((struct piece){.text = text}, &bytes, &error))
        return bytes;
    struct message message = message_begin(settings->problem, sizeof settings->problem);
    message_add(&message, "SHM_RECORD_SIZE: expected a number of bytes such as 4096 or 64K, found ");
    message_quote(&message, text);
    message_add(&message, "; 64K is used");
    return SETTINGS_RECORD_LEAST;
}

static struct message begin_complaint(struct settings *settings)
{
    struct message message = message_begin(settings->problem, sizeof settings->problem);
    message_add(&message, "SHM_POLICY=@");
    message_escape(&message, text_of(settings->policy_file), PATH_SHOWN);
    message_add(&message, ": ");
    return message;
}

static void end_complaint(struct message *message)
{
    message_add(message, "; the program runs without a policy");
}

static void complain(struct settings *settings, const char *what)
{
    struct message message = begin_complaint(settings);
    message_add(&message, what);
    end_complaint(&message);
}

static void complain_size(struct settings *settings, uint64_t size, size_t limit)
{
    struct message message = begin_complaint(settings);
    message_add(&message, "the file has ");
    if (size > limit)
        message_number(&message, size);
    else
        message_add(&message, "more"); /* it grew, or is of a kind that does not know its size */
    message_add(&message, size > limit ? " bytes, more than the " : " than the ");
    message_number(&message, limit);
    message_add(&message, " bytes that a policy may have");
    end_complaint(&message);
}

/* strerror() speaks the user's language and may allocate for it. */
static void complain_errno(struct settings *settings, int error)
{
    static const struct {
        int error;
        const char *says;
    } known[] = {
        {ENOENT, "no such file"},
        {ENOTDIR, "no such file"},
        {EACCES, "no permission to read it"},
        {EPERM, "no permission to read it"},
        {ELOOP, "too many symbolic links"},
        {ENAMETOOLONG, "the name is too long"},
        {ENXIO, "expected a regular file, found a socket or a device"},
        {ENODEV, "expected a regular file, found a socket or a device"},
        {EMFILE, "too many open files"},
        {ENFILE, "too many open files"},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (known[i].error == error) {
            complain(settings, known[i].says);
            return;
        }
    struct message message = begin_complaint(settings);
    message_add(&message, "it cannot be read (error ");
    message_number(&message, (uint64_t)error);
    message_add(&message, ")");
    end_complaint(&message);
}

static const char *irregular(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFDIR:
        return "expected a regular file, found a directory";
    case S_IFIFO:
        return "expected a regular file, found a FIFO";
    default:
        return "expected a regular file, found a device";
    }
}

/* Reads until `room` bytes or the end; the bytes read, or -errno. */
static ssize_t read_all(int file, char *memory, size_t room)
{
    size_t length = 0;
    while (length < room) {
        ssize_t got = read(file, memory + length, room - length);
        if (got == 0)
            break;
        if (got > 0)
            length += (size_t)got;
        else if (errno != EINTR)
            return -errno;
    }
    return (ssize_t)length;
}

static void read_open_file(struct settings *settings, int file, char *memory, size_t limit)
{
    struct stat status;
    if (fstat(file, &status) != 0) {
        complain_errno(settings, errno);
        return;
    }
    if (!S_ISREG(status.st_mode)) {
        complain(settings, irregular(status.st_mode));
        return;
    }
    /* The file's size is no promise: only the end of the file proves that all was read. */
    char beyond;
    ssize_t length = read_all(file, memory, limit);
    ssize_t more = length < 0 ? length : read_all(file, &beyond, 1);
    if (more < 0) {
        complain_errno(settings, (int)-more);
    } else if (more > 0) {
        complain_size(settings, (uint64_t)status.st_size, limit);
    } else {
        settings->policy = memory;
        settings->policy_length = (size_t)length;
    }
}

static void read_file(struct settings *settings, char *memory, size_t bytes)
{
    if (*settings->policy_file == '\0') {
        complain(settings, "the name of a file is missing after @");
        return;
    }
    /* Not blocking: a FIFO without a writer must not hang the program. No terminal becomes ours. */
    int file = open(settings->policy_file, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (file < 0) {
        complain_errno(settings, errno);
        return;
    }
    read_open_file(settings, file, memory, bytes < POLICY_TEXT_MAX ? bytes : POLICY_TEXT_MAX);
    close(file);
}

/* strspn() has a table, and a page of its own in libc: that costs more at a start than all of this file. */
static const char *past_blanks(const char *text)
{
    while (*text == ' ' || *text == '\t' || *text == '\r' || *text == '\n')
        text++;
    return text;
}

void settings_read(struct settings *settings, char *memory, size_t bytes)
{
    int saved_errno = errno; /* the program never called us */
    *settings = (struct settings){.log_file = setting("SHM_LOG_FILE"),
                                  .check_file = setting("SHM_POLICY_CHECK"),
                                  .rank = find_rank(),
                                  .record_file = setting("SHM_RECORD")};
    settings->record_least = read_record_least(settings);
    read_choices(settings);

    const char *value = setting("SHM_POLICY");
    const char *start = value ? past_blanks(value) : "";
    if (*start == '@') {
        settings->policy_file = start + 1;
        read_file(settings, memory, bytes);
    } else if (*start != '\0') {
        settings->policy = value; /* with its leading blanks, so that columns are right */
        settings->policy_length = strlen(value);
    }
    errno = saved_errno;
}
