/* SPDX-License-Identifier: MIT
 *
 * An advice for people and as JSON: the ranked places, sums, and what is to be known of the records.
 */
#ifndef SHMPRELOAD_REPORT_H
#define SHMPRELOAD_REPORT_H

#include "advice.h"

/* `rows`: how many places at most. */
void report_print(const struct advice *advice, size_t rows);
void report_print_json(const struct advice *advice, size_t rows);

#endif
