/* SPDX-License-Identifier: MIT
 *
 * The rules for policy files are those of the shim itself: regular, and no larger than the parser
 * takes. What is accepted here must be accepted there.
 */
#include "source.h"

#include "display.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int say_unreadable(const char *path, const char *reason)
{
    complain("cannot read the policy file '%s': %s", path, reason);
    return -1;
}

static int read_all(struct source *source, const char *path, int descriptor)
{
    source->text = required(malloc(POLICY_TEXT_MAX + 1));
    while (source->length <= POLICY_TEXT_MAX) {
        ssize_t got = read(descriptor, source->text + source->length, POLICY_TEXT_MAX + 1 - source->length);
        if (got == 0)
            return 0;
        if (got > 0)
            source->length += (size_t)got;
        else if (errno != EINTR)
            return say_unreadable(path, strerror(errno));
    }
    complain("cannot read the policy file '%s': it is larger than %zu bytes", path, POLICY_TEXT_MAX);
    return -1;
}

static int read_regular(struct source *source, const char *path)
{
    struct stat status;
    int descriptor = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC); /* a FIFO must not hold us */
    if (descriptor < 0)
        return say_unreadable(path, strerror(errno));
    bool regular = fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode);
    int result =
        regular ? read_all(source, path, descriptor) : say_unreadable(path, "it is not a regular file");
    close(descriptor);
    return result;
}

static int read_file(struct source *source, const char *path)
{
    if (read_regular(source, path) < 0)
        return -1;
    char *absolute = realpath(path, NULL);
    if (!absolute)
        return say_unreadable(path, strerror(errno));
    source->setting = formatted("@%s", absolute);
    source->label = formatted("%s", path);
    free(absolute);
    return 0;
}

static int take_text(struct source *source, const char *text)
{
    source->length = strlen(text);
    if (source->length > POLICY_TEXT_MAX) {
        complain("the policy is longer than %zu bytes", POLICY_TEXT_MAX);
        return -1;
    }
    source->text = formatted("%s", text);
    source->setting = formatted("%s", text);
    source->label = formatted("policy");
    return 0;
}

static int read_text(struct source *source, const char *argument, bool bare_path)
{
    struct stat status;
    if (argument[0] == '@')
        return read_file(source, argument + 1);
    if (bare_path && stat(argument, &status) == 0)
        return read_file(source, argument);
    source->perhaps_path = bare_path && !argument[strcspn(argument, " \t\n=;")];
    return take_text(source, argument);
}

int source_read(struct source *source, const char *argument, bool bare_path)
{
    *source = (struct source){0};
    if (read_text(source, argument, bare_path) < 0)
        return -1;
    source->memory = required(malloc(POLICY_MEMORY)); /* malloc aligns to 16 */
    source->policy =
        policy_parse(source->text, source->length, source->memory, POLICY_MEMORY, &source->error);
    return 0;
}

void source_release(struct source *source)
{
    free(source->setting);
    free(source->label);
    free(source->text);
    free(source->memory);
    *source = (struct source){0};
}

/* The bytes of line `number`, without its end; empty when there is no such line. */
static const char *find_line(const struct source *source, unsigned number, size_t *length)
{
    const char *line = source->text, *end = source->text + source->length;
    while (--number > 0 && line < end) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        line = newline ? newline + 1 : end;
    }
    const char *newline = line < end ? memchr(line, '\n', (size_t)(end - line)) : NULL;
    *length = (size_t)((newline ? newline : end) - line);
    if (*length > 0 && line[*length - 1] == '\r')
        --*length;
    return line;
}

/* A long line is shown around the column only. */
static void print_line_and_caret(const char *line, size_t length, size_t before, FILE *stream)
{
    enum { CONTEXT = 60 };
    size_t from = before > CONTEXT ? before - CONTEXT : 0;
    size_t to = length - before > CONTEXT ? before + CONTEXT : length;
    char *left = display_escape(line + from, before - from),
         *right = display_escape(line + before, to - before);
    fprintf(stream, "    %s%s\n    %*s^\n", left, right, (int)display_width(left), "");
    free(left);
    free(right);
}

void source_print_error(const struct source *source, FILE *stream)
{
    size_t length, column = source->error.column > 0 ? source->error.column - 1 : 0;
    const char *line = find_line(source, source->error.line, &length);
    char *message = display_escape(source->error.message, strlen(source->error.message));
    fprintf(stream, "%s:%u:%u: %s\n", source->label, source->error.line, source->error.column, message);
    print_line_and_caret(line, length, column < length ? column : length, stream);
    if (source->perhaps_path)
        complain("and there is no file of that name");
    free(message);
}
