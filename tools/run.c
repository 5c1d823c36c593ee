/* SPDX-License-Identifier: MIT
 *
 * run: becomes a program under the shim. It is exec'ed in place, so the process id, the standard
 * streams and the exit status are the program's own, and a launcher such as mpirun sees no one
 * between. Only this program is preloaded, not the launcher.
 *
 * The shim would run a program with a bad policy all the same; somebody who types `run` wants the
 * policy, so here a bad one is bad usage.
 */
#include "launch.h"
#include "source.h"
#include "tool.h"

#include <limits.h>
#include <stdlib.h>

static int run_with(const struct source *source, const struct options *options)
{
    if (!source->policy) {
        source_print_error(source, stderr);
        complain("'%s' was not run", options->operands[0]);
        return STATUS_USAGE;
    }
    if (launch_environment(source->setting, options->log) < 0)
        return STATUS_FAILED;
    return launch_become(options->operands);
}

static int perform(const struct options *options)
{
    const char *given = options->policy ? options->policy : getenv("SHM_POLICY");
    if (!given || (!options->policy && !*given)) {
        complain("no policy: give one with -p or in SHM_POLICY");
        return STATUS_USAGE;
    }
    struct source source;
    int status =
        source_read(&source, given, options->policy != NULL) < 0 ? STATUS_USAGE : run_with(&source, options);
    source_release(&source);
    return status;
}

const struct command command_run = {
    .name = "run",
    .summary = "run a program with the shim preloaded",
    .help = "Usage: shmpreload run [-p POLICY] [--log LEVEL] [--] PROGRAM [ARGUMENT]…\n"
            "Runs PROGRAM with the shim preloaded, before what LD_PRELOAD already holds.\n"
            "\n"
            "  -p, --policy POLICY  the policy: its text, @FILE, or the path of an existing file;\n"
            "                       without it, SHM_POLICY of the environment\n"
            "      --log LEVEL      error, warn, info or debug\n"
            "  -h, --help           this text\n"
            "\n"
            "Under MPI, preload the ranks and not the launcher:\n"
            "    mpirun -n 4 shmpreload run -p POLICY -- ./app\n"
            "\n"
            "The exit status is that of PROGRAM; 127 if it is not found, 126 if it cannot be run, 2 if the\n"
            "policy is bad.\n",
    .accepts = "pL",
    .operands_least = 1,
    .operands_most = INT_MAX,
    .program_follows = true,
    .perform = perform,
};
