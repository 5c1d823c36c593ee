/* SPDX-License-Identifier: MIT
 *
 * advise: from records to a policy.
 *
 * A policy file is written aside and renamed, with the signals held that ask to end: there is the old file or
 * the new one, and nothing else. What is no regular file, such as /dev/stdout, is written to.
 */
#include "advice_policy.h"
#include "report.h"
#include "tool.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ROWS = 20 };

#define SAVING_LEAST (UINT64_C(1) << 20)

/* ---------------------------------------------------------------- the policy file */

static int say_failed(const char *path)
{
    complain("cannot write the policy to '%s': %s", path, strerror(errno));
    return -1;
}

static int write_all(FILE *stream, const char *text)
{
    const bool written = stream != NULL && fputs(text, stream) >= 0;
    const bool closed = stream != NULL && fclose(stream) == 0;
    return written && closed ? 0 : -1;
}

/* With the rights that a new file would have. */
static FILE *open_aside(char *aside)
{
    const mode_t mask = umask(0);
    umask(mask);
    const int descriptor = mkstemp(aside);
    if (descriptor < 0)
        return NULL;
    fchmod(descriptor, 0666 & ~mask);
    return required(fdopen(descriptor, "w"));
}

static int replace(const char *path, const char *text)
{
    char *aside = formatted("%s.XXXXXX", path);
    FILE *stream = open_aside(aside);
    int result = -1;
    if (stream != NULL) {
        result = write_all(stream, text) == 0 ? rename(aside, path) : -1;
        const int error = errno;
        if (result != 0)
            unlink(aside);
        errno = error;
    }
    free(aside);
    return result;
}

static int write_undisturbed(const char *path, const char *text)
{
    sigset_t ends, before;
    sigemptyset(&ends);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGHUP);
    sigaddset(&ends, SIGQUIT);
    sigprocmask(SIG_BLOCK, &ends, &before);
    const int result = replace(path, text);
    const int error = errno;
    sigprocmask(SIG_SETMASK, &before, NULL);
    errno = error;
    return result;
}

/* A symbolic link stays one. */
static int write_policy(const char *path, const char *text)
{
    struct stat status;
    if (stat(path, &status) == 0 && !S_ISREG(status.st_mode))
        return write_all(fopen(path, "we"), text) == 0 ? 0 : say_failed(path);
    char *real = realpath(path, NULL);
    const int result = write_undisturbed(real != NULL ? real : path, text);
    if (result != 0)
        say_failed(path);
    free(real);
    return result;
}

/* ---------------------------------------------------------------- the command */

static void print(const struct options *options, const struct advice *advice)
{
    const bool only_policy = options->output != NULL && strcmp(options->output, "-") == 0;
    const size_t rows = options->all ? SIZE_MAX : options->count < SIZE_MAX ? options->count : ROWS;
    if (only_policy) {
        fputs(advice->policy, stdout);
    } else if (options->json) {
        report_print_json(advice, rows);
    } else {
        report_print(advice, rows);
        if (options->output == NULL && advice->wording.rule_count > 0)
            printf("\nThe policy (-o FILE writes it to a file):\n\n%s", advice->policy);
    }
}

static int perform(const struct options *options)
{
    struct advice advice;
    int status = STATUS_DONE;
    if (advice_read_records(&advice, options->operands, (size_t)options->operand_count) < 0) {
        complain("there is no record to advise from");
        advice_release(&advice);
        return STATUS_FAILED;
    }
    advice_find(&advice, options->least_saving != UINT64_MAX ? options->least_saving : SAVING_LEAST);
    advice_write_policy(&advice);
    symbols_complain(advice.symbols);
    if (options->output != NULL && strcmp(options->output, "-") != 0 &&
        write_policy(options->output, advice.policy) < 0)
        status = STATUS_FAILED;
    print(options, &advice);
    advice_release(&advice);
    return status;
}

const struct command command_advise = {
    .name = "advise",
    .summary = "rank the call sites of recorded processes, and write a policy",
    .help =
        "Usage: shmpreload advise [-o FILE] [--json] [-n ROWS | --all] [--min-saving BYTES] RECORD…\n"
        "Compares what processes have allocated, from the files that `shmpreload record` wrote: which\n"
        "call sites hold most, how much of that is the same in several processes, what one copy on each\n"
        "host would save, and a policy with the rules that are worth having. Record at least two\n"
        "processes, with the same input.\n"
        "\n"
        "  -o, --output FILE       writes the policy there; -o - prints the policy alone\n"
        "      --json              a JSON object\n"
        "  -n, --count ROWS        so many call sites are shown; 20 without it\n"
        "      --all               all of them are\n"
        "      --min-saving BYTES  a rule must save so much, such as 64M; 1M without it\n"
        "  -h, --help              this text\n"
        "\n"
        "SITE is the function that allocates, or the first caller of one that allocates for others;\n"
        "where the callers matter, they stand behind <-. PEAK is of all PROCESSES together. IDENTICAL% is\n"
        "the part of what was compared (64 KiB at a time, in blocks of that size and above, without\n"
        "zeros) that another process of the host has, too.\n"
        "\n"
        "Files without a symbol table have no names: there, sites are MODULE!0xOFFSET and rules site=.\n"
        "Exit status: 1 if no record could be used or the policy could not be written.\n",
    .accepts = "ONnAM",
    .operands_least = 1,
    .operands_most = INT_MAX,
    .perform = perform,
};
