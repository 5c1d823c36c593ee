/* SPDX-License-Identifier: MIT
 *
 * What every part of the command shares: exit statuses, messages, memory, and the shape of a
 * subcommand. A subcommand is data (its options, operands and help) and one function that gets the
 * options already parsed; only options.c knows getopt.
 *
 * Messages go to standard error as `shmpreload: sentence`; standard output is for results alone.
 */
#ifndef SHMPRELOAD_TOOL_H
#define SHMPRELOAD_TOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum tool_status { STATUS_DONE = 0, STATUS_FAILED = 1, STATUS_USAGE = 2 };

enum tool_sort { SORT_NAME, SORT_SIZE, SORT_OWNER };

struct options {
    const char *dir;    /* NULL: /dev/shm */
    const char *job;    /* NULL: not given */
    const char *policy; /* NULL: not given */
    const char *log;    /* NULL: not given */
    const char *output; /* NULL: not given */
    bool json;
    bool exact; /* sizes in bytes */
    bool force;
    bool all;
    bool unrun; /* --static */
    enum tool_sort sort;
    uint64_t wait;    /* seconds */
    uint64_t seconds; /* 0: not given */
    uint64_t offset;
    uint64_t size; /* with has_size */
    bool has_size;
    uint64_t least_saving; /* UINT64_MAX: not given */
    uint64_t count;        /* UINT64_MAX: to the end */
    char **operands;       /* NULL-terminated */
    int operand_count;
};

/* The options a command accepts are letters of the table in options.c: a lower case letter is a
 * short option and has a long form, a capital stands for one that has only the long form. */
struct command {
    const char *name;
    const char *summary;
    const char *help;
    const char *accepts;
    int operands_least, operands_most;
    bool program_follows; /* the operands are a command line: its options are not ours */
    int (*perform)(const struct options *options);
};

extern const struct command command_run, command_check, command_record, command_advise, command_ls,
    command_show, command_cat, command_merge, command_rm, command_gc;

/* Parses argv (argv[0] is the command's name). Returns -1 to go on, else the exit status: after -h,
 * or after a message on bad usage. */
int options_parse(const struct command *command, int argc, char **argv, struct options *options);

/* Says `shmpreload: sentence` on standard error, after what standard output still holds. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Returns `pointer`; ends the program with a message when it is NULL, which means no memory. */
void *required(void *pointer);

/* A new string, printf-style. */
char *formatted(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Room for one more item at items[count]: grows each time `count` is a power of two, so an array needs
 * no capacity of its own. */
void *room_for_one(void *items, size_t count, size_t item_size);

#endif
