/* SPDX-License-Identifier: MIT
 *
 * shmpreload: the command line of the project. Built on the public API alone (core/shmcore.h), so
 * whatever it can do, any other program can; the policy parser is compiled in, because `run` and
 * `check` judge a policy before a program meets it.
 *
 * Map of the source:
 *
 *   main.c       this: finds the command, closes the output
 *   tool.h       what all parts share; tool.c messages and memory
 *   options.c    the only user of getopt: options and operands of every command
 *
 *   run.c        run:   a program under the shim
 *   check.c      check: a policy, and what it would match in a program
 *   advise.c     advise: records → a ranked table, and a policy
 *   ls.c         ls:    segments, or the blocks of one
 *   record.c     record: becomes a program whose call sites are noted
 *   show.c       show and cat: one block, its fields or its bytes
 *   remove.c     rm and gc: segments that should go
 *   merge.c      merge: asks the processes of a segment to merge
 *
 *   segments.c   name → segment: which one is meant, attaching read-only
 *   merged.c     the merged blocks of a segment: table, JSON, sums;  blocks.c  the same for the others
 *   source.c     POLICY argument → text → parsed policy, or the error with its line and a caret
 *   rules.c      a parsed policy as a table or JSON
 *   sites.c      the report of a dry run, grouped by rule
 *   records.c    a record file, proven;  stacks.c  the rows of several, joined
 *   symbols.c    names for what they hold;  lines.c  source lines
 *   matching.c   recorded stacks against a policy;  recorded.c  what comes of it, for check
 *   worth.c      what one copy would save;  places.c  call sites as a person would say them
 *   wording.c    from places to rules
 *   advice.c     all this put together;  advice_policy.c  its policy
 *   report.c     its table and JSON;  notes.c  its sentences
 *   static_check.c  a policy against the calls in a program's files;  calls.c  these;  loaded.c  its files
 *   launch.c     finds the shim's library, sets the environment, starts a program and waits for it
 *   table.c      aligned columns;  json_output.c  JSON;  display.c  escapes, widths, sizes
 *
 * Arrows go from the commands down to the helpers, never between commands.
 */
#include "tool.h"

#include <errno.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>

static const struct command *const commands[] = {
    &command_run,  &command_check, &command_record, &command_advise, &command_ls,
    &command_show, &command_cat,   &command_merge,  &command_rm,     &command_gc,
};

enum { COMMANDS = sizeof commands / sizeof commands[0] };

static int print_help(void)
{
    puts("Usage: shmpreload COMMAND [OPTION]… [OPERAND]…\n"
         "Puts a program's memory blocks into named shared segments, and looks at them.\n");
    for (size_t i = 0; i < COMMANDS; i++)
        printf("  %-7s %s\n", commands[i]->name, commands[i]->summary);
    puts("\n"
         "  -h, --help     this text; `shmpreload COMMAND -h` has the details\n"
         "      --version  the version\n"
         "\n"
         "Exit status: 0 done, 1 failed, 2 bad usage; `run` and `record` give that of their program.");
    return STATUS_DONE;
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < COMMANDS; i++)
        if (strcmp(commands[i]->name, name) == 0)
            return commands[i];
    return NULL;
}

static int perform(const struct command *command, int argc, char **argv)
{
    struct options options;
    int status = options_parse(command, argc, argv, &options);
    return status >= 0 ? status : command->perform(&options);
}

static int dispatch(int argc, char **argv)
{
    if (argc < 2) {
        complain("a command is missing; `shmpreload -h` lists them");
        return STATUS_USAGE;
    }
    if (strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "--help") == 0)
        return print_help();
    if (strcmp(argv[1], "--version") == 0) {
        puts("shmpreload " SHM_VERSION);
        return STATUS_DONE;
    }
    const struct command *command = find_command(argv[1]);
    if (!command) {
        complain("unknown command or option '%s'; `shmpreload -h` lists them", argv[1]);
        return STATUS_USAGE;
    }
    return perform(command, argc - 1, argv + 1);
}

/* Output that did not get out is a failure; that nobody wants to read it needs no message. */
static int close_output(int status)
{
    bool failed = ferror(stdout) != 0;
    errno = 0;
    if (fclose(stdout) == 0 && !failed)
        return status;
    if (errno != EPIPE)
        complain("cannot write the output: %s", errno ? strerror(errno) : "an earlier write failed");
    return status == STATUS_DONE ? STATUS_FAILED : status;
}

int main(int argc, char **argv)
{
    setlocale(LC_CTYPE, ""); /* for the width of characters in columns */
    return close_output(dispatch(argc, argv));
}
