/* SPDX-License-Identifier: MIT
 *
 * Options and operands of every command, in one table: a command names the letters it accepts, and
 * an option means the same wherever it is accepted; but for -o, which is the short form of --output where
 * that is accepted, as everywhere in the world.
 */
#include "display.h"
#include "tool.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

static const struct option all_options[] = {
    {"help", no_argument, NULL, 'h'},
    {"dir", required_argument, NULL, 'D'},
    {"job", required_argument, NULL, 'J'},
    {"json", no_argument, NULL, 'N'},
    {"bytes", no_argument, NULL, 'b'},
    {"sort", required_argument, NULL, 'S'},
    {"offset", required_argument, NULL, 'o'},
    {"count", required_argument, NULL, 'n'},
    {"force", no_argument, NULL, 'f'},
    {"policy", required_argument, NULL, 'p'},
    {"log", required_argument, NULL, 'L'},
    {"wait", required_argument, NULL, 'W'},
    {"output", required_argument, NULL, 'O'},
    {"all", no_argument, NULL, 'A'},
    {"min-saving", required_argument, NULL, 'M'},
    {"static", no_argument, NULL, 'U'},
    {"seconds", required_argument, NULL, 'T'},
    {"size", required_argument, NULL, 's'},
};

enum { OPTIONS = sizeof all_options / sizeof all_options[0] };

/* The two tables getopt_long() wants, holding what one command accepts. */
struct getopt_tables {
    struct option long_options[OPTIONS + 1];
    char short_options[2 * OPTIONS + 2];
};

static void build_tables(const struct command *command, struct getopt_tables *tables)
{
    char *letter = tables->short_options;
    struct option *accepted = tables->long_options;
    if (command->program_follows)
        *letter++ = '+'; /* stop at the first operand */
    for (size_t i = 0; i < OPTIONS; i++) {
        int value = all_options[i].val;
        if (value != 'h' && !strchr(command->accepts, value))
            continue;
        *accepted++ = all_options[i];
        if (value < 'a' && value != 'O')
            continue;
        *letter++ = value == 'O' ? 'o' : (char)value;
        if (all_options[i].has_arg == required_argument)
            *letter++ = ':';
    }
    *letter = '\0';
    *accepted = (struct option){0};
}

static int bad_usage(const struct command *command)
{
    fprintf(stderr, "Try `shmpreload %s -h`.\n", command->name);
    return STATUS_USAGE;
}

static int set_sort(const char *order, struct options *options)
{
    static const char *const orders[] = {[SORT_NAME] = "name", [SORT_SIZE] = "size", [SORT_OWNER] = "owner"};
    for (unsigned i = 0; i < sizeof orders / sizeof orders[0]; i++) {
        if (strcmp(order, orders[i]) == 0) {
            options->sort = (enum tool_sort)i;
            return 0;
        }
    }
    complain("--sort is name, size or owner, not '%s'", order);
    return -1;
}

static int set_number(const char *text, const char *option, uint64_t *number)
{
    if (display_parse_size(text, number))
        return 0;
    complain("%s takes a number of bytes such as 4096 or 64K, not '%s'", option, text);
    return -1;
}

static int set_seconds(const char *text, const char *option, uint64_t *seconds)
{
    enum { DAY = 24 * 60 * 60 };
    bool digits = text[strspn(text, "0123456789")] == '\0';
    if (digits && display_parse_size(text, seconds) && *seconds >= 1 && *seconds <= DAY)
        return 0;
    complain("%s takes a number of seconds from 1 to %d, not '%s'", option, DAY, text);
    return -1;
}

static int set_log(const char *level, struct options *options)
{
    static const char *const levels[] = {"error", "warn", "info", "debug"};
    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++) {
        if (strcmp(level, levels[i]) == 0) {
            options->log = level;
            return 0;
        }
    }
    complain("--log is error, warn, info or debug, not '%s'", level);
    return -1;
}

/* 0, or -1 on bad usage, after the message. */
static int set_option(int option, struct options *options)
{
    switch (option) {
    case 'D':
        options->dir = optarg;
        return 0;
    case 'J':
        options->job = optarg;
        return 0;
    case 'N':
        options->json = true;
        return 0;
    case 'b':
        options->exact = true;
        return 0;
    case 'f':
        options->force = true;
        return 0;
    case 'p':
        options->policy = optarg;
        return 0;
    case 'O':
        options->output = optarg;
        return 0;
    case 'A':
        options->all = true;
        return 0;
    case 'T':
        return set_seconds(optarg, "--seconds", &options->seconds);
    case 'U':
        options->unrun = true;
        return 0;
    case 'M':
        return set_number(optarg, "--min-saving", &options->least_saving);
    case 's':
        options->has_size = true;
        return set_number(optarg, "--size", &options->size);
    case 'S':
        return set_sort(optarg, options);
    case 'L':
        return set_log(optarg, options);
    case 'W':
        return set_seconds(optarg, "--wait", &options->wait);
    case 'o':
        return set_number(optarg, "-o", &options->offset);
    case 'n':
        return set_number(optarg, "-n", &options->count);
    default:
        return -1; /* getopt has spoken */
    }
}

static int check_operands(const struct command *command, const struct options *options)
{
    if (options->operand_count < command->operands_least) {
        complain("%s needs %s", command->name,
                 options->operand_count == 0 ? "an operand" : "one more operand");
        return bad_usage(command);
    }
    if (options->operand_count > command->operands_most) {
        complain("%s has no use for the operand '%s'", command->name,
                 options->operands[command->operands_most]);
        return bad_usage(command);
    }
    return -1;
}

int options_parse(const struct command *command, int argc, char **argv, struct options *options)
{
    static char prefix[] = "shmpreload";
    struct getopt_tables tables;
    int option;

    build_tables(command, &tables);
    *options = (struct options){.count = UINT64_MAX, .least_saving = UINT64_MAX, .wait = 10};
    argv[0] = prefix; /* for getopt's own messages */
    while ((option = getopt_long(argc, argv, tables.short_options, tables.long_options, NULL)) != -1) {
        if (option == 'h') {
            fputs(command->help, stdout);
            return STATUS_DONE;
        }
        if (option == 'o' && strchr(command->accepts, 'O'))
            option = 'O';
        if (set_option(option, options) < 0)
            return bad_usage(command);
    }
    options->operands = argv + optind;
    options->operand_count = argc - optind;
    return check_operands(command, options);
}
