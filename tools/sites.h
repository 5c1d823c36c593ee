/* SPDX-License-Identifier: MIT
 *
 * The report of a dry run: which call sites each rule would match in a real program.
 *
 * The shim appends one line for each site to the file that SHM_POLICY_CHECK names, in every process
 * of the program:  RULE_LINE \t VERB \t MODULE!0xOFFSET \t FUNCTION \t FIRST_SIZE \t PROGRAM \n
 * Equal lines of several processes are one site here, with a count.
 */
#ifndef SHMPRELOAD_SITES_H
#define SHMPRELOAD_SITES_H

#include "config/policy.h"
#include "json_output.h"

#include <stdio.h>

struct site_report {
    size_t rule; /* index into policy->rules */
    char *site, *function, *program;
    uint64_t first_size;
    size_t seen; /* by so many processes */
};

struct site_reports {
    struct site_report *items;
    size_t count;
    size_t unreadable; /* lines that are no report */
};

/* Reads all of `stream`; sorted by rule, program and site. */
void sites_read(FILE *stream, const struct policy *policy, struct site_reports *reports);
void sites_release(struct site_reports *reports);

void sites_print(const struct policy *policy, const struct site_reports *reports);

/* Puts "sites" into each rule of rules_json(); empty where nothing matched. */
void sites_put_json(struct json_object *rules, const struct policy *policy,
                    const struct site_reports *reports);

#endif
