/* SPDX-License-Identifier: MIT
 *
 * check: is a policy good, and what would it match?
 *
 * With a program, that program runs with the shim in its dry mode: SHM_POLICY_CHECK names a file to
 * which the shim appends the call sites it sees matched, and nothing is routed. So the program does
 * its ordinary work, with its ordinary effects. The file is removed however the run ends, short of a
 * SIGKILL to this command. With records of earlier runs nothing is run.
 */
#include "launch.h"
#include "recorded.h"
#include "rules.h"
#include "sites.h"
#include "source.h"
#include "static_check.h"
#include "tool.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void print_error_json(const struct source *source)
{
    struct json_object *object = json_new_object(), *error = json_new_object();
    json_put_number(error, "line", source->error.line);
    json_put_number(error, "column", source->error.column);
    json_put_text(error, "message", source->error.message);
    json_put_bool(object, "valid", false);
    json_put(object, "error", error);
    json_finish(object);
}

static struct json_object *valid_json(const struct policy *policy)
{
    struct json_object *object = rules_json(policy);
    json_put_bool(object, "valid", true);
    return object;
}

/* Makes the file for the report; a new string, or NULL after a message. */
static char *make_report_file(void)
{
    const char *wanted = getenv("TMPDIR");
    char *directory = realpath(wanted && *wanted ? wanted : "/tmp", NULL);
    char *path = formatted("%s/shmpreload-check-XXXXXX", directory ? directory : "/tmp");
    free(directory);
    int descriptor = mkstemp(path);
    if (descriptor >= 0) {
        close(descriptor);
        return path;
    }
    complain("cannot create the file for the report, %s: %s", path, strerror(errno));
    free(path);
    return NULL;
}

static int read_report_file(const char *path, const struct policy *policy, struct site_reports *reports)
{
    FILE *stream = fopen(path, "re");
    if (!stream) {
        complain("cannot read the report: %s", strerror(errno));
        return -1;
    }
    sites_read(stream, policy, reports);
    fclose(stream);
    return 0;
}

static void say_end(const char *program, int status)
{
    if (WIFSIGNALED(status))
        complain("'%s' was ended by signal %d (%s)", program, WTERMSIG(status), strsignal(WTERMSIG(status)));
    else if (WEXITSTATUS(status) != 0)
        complain("'%s' ended with exit status %d", program, WEXITSTATUS(status));
}

static void print_reports(const struct options *options, const struct policy *policy,
                          const struct site_reports *reports)
{
    if (reports->unreadable > 0)
        complain("%zu line%s of the report could not be understood", reports->unreadable,
                 reports->unreadable == 1 ? "" : "s");
    if (options->json) {
        struct json_object *object = valid_json(policy);
        sites_put_json(json_object_object_get(object, "rules"), policy, reports);
        json_finish(object);
    } else {
        sites_print(policy, reports);
    }
}

/* Runs the program and reads what was reported to `path`; the signals are held. */
static int run_dry(const struct options *options, const struct policy *policy, const char *path,
                   const struct launch_hold *hold, struct site_reports *reports, struct launch_end *end)
{
    char **program = options->operands + 1;
    if (setenv("SHM_POLICY_CHECK", path, 1) < 0)
        required(NULL);
    if (launch_and_wait(program, options->json, (unsigned)options->seconds, hold, end) < 0)
        return -1;
    if (!end->late)
        say_end(program[0], end->status);
    return read_report_file(path, policy, reports);
}

static int check_program(const struct options *options, const struct source *source)
{
    struct launch_hold hold;
    struct launch_end end = {0};
    struct site_reports reports = {0};
    if (launch_environment(source->setting, NULL) < 0)
        return STATUS_FAILED;
    launch_hold_signals(&hold);
    char *path = make_report_file();
    int result = path ? run_dry(options, source->policy, path, &hold, &reports, &end) : -1;
    if (path)
        unlink(path);
    free(path);
    launch_release_signals(&hold);
    if (result == 0)
        print_reports(options, source->policy, &reports);
    sites_release(&reports);
    if (end.signal != 0) {
        fflush(stdout);
        raise(end.signal); /* what was seen is told; now end as we were asked to */
    }
    return result < 0 ? STATUS_FAILED : STATUS_DONE;
}

static void print_recorded(const struct options *options, const struct policy *policy,
                           const struct recorded *recorded)
{
    if (!options->json) {
        recorded_print(policy, recorded);
        return;
    }
    struct json_object *object = valid_json(policy);
    recorded_put_json(json_object_object_get(object, "rules"), policy, recorded);
    json_finish(object);
}

static int check_records(const struct options *options, const struct policy *policy)
{
    struct advice advice;
    struct recorded recorded = {0};
    if (advice_read_records(&advice, options->operands + 1, (size_t)options->operand_count - 1) == 0) {
        advice_name_stacks(&advice);
        symbols_complain(advice.symbols);
        recorded_find(&recorded, policy, &advice.stacks);
        print_recorded(options, policy, &recorded);
    }
    const bool any = advice.record_count > 0;
    recorded_release(&recorded);
    advice_release(&advice);
    return any ? STATUS_DONE : STATUS_FAILED;
}

/* By what the first file holds, or is called: a damaged one is no program. */
static bool are_records(const struct options *options)
{
    const char *first = options->operands[1], *suffix = strrchr(first, '.');
    return record_is_one(first) || (suffix != NULL && strcmp(suffix, ".rec") == 0);
}

static int check_source(const struct options *options, const struct source *source)
{
    if (!source->policy) {
        source_print_error(source, stderr);
        if (options->json)
            print_error_json(source);
        return STATUS_FAILED;
    }
    if (options->operand_count > 1 && are_records(options))
        return check_records(options, source->policy);
    if (options->operand_count > 1 && options->unrun)
        return static_check(source->policy, options->operands[1], options->json) < 0 ? STATUS_FAILED
                                                                                     : STATUS_DONE;
    if (options->operand_count > 1)
        return check_program(options, source);
    if (options->json)
        json_finish(valid_json(source->policy));
    else
        rules_print(source->policy);
    return STATUS_DONE;
}

static int perform(const struct options *options)
{
    struct source source;
    int status =
        source_read(&source, options->operands[0], true) < 0 ? STATUS_FAILED : check_source(options, &source);
    source_release(&source);
    return status;
}

const struct command command_check = {
    .name = "check",
    .summary = "check a policy, or see what it would match in a program",
    .help =
        "Usage: shmpreload check [--json] [--static | --seconds N] POLICY [-- PROGRAM [ARGUMENT]… | "
        "RECORD…]\n"
        "Shows how POLICY (its text, @FILE, or the path of an existing file) is understood, or the\n"
        "line and column of its first error. With PROGRAM, runs that with the shim looking on and\n"
        "taking no allocation over, then shows the call sites that each rule would match. With RECORDs,\n"
        "which `shmpreload record` has written, shows that without running anything.\n"
        "\n"
        "      --seconds N     asks PROGRAM to end, with SIGTERM, after that time\n"
        "      --static        does not run PROGRAM: looks for calls of malloc and its like in its file and\n"
        "                      its libraries. Of rules that ask for the stack, and of wrappers, it tells\n"
        "                      which calls may match\n"
        "      --json          a JSON object; the output of PROGRAM goes to standard error\n"
        "  -h, --help          this text\n"
        "\n"
        "FIRST SIZE is that of the first matching call, PROCESSES the number that made one. The exit\n"
        "status is 0 if PROGRAM could be run, whatever its own is: that is told on standard error.\n",
    .accepts = "NUT",
    .operands_least = 1,
    .operands_most = INT_MAX,
    .perform = perform,
};
