/* SPDX-License-Identifier: MIT
 *
 * What the shim says to the user: one line, on standard error or in SHM_LOG_FILE.
 *
 * Nothing is said when descriptor 2 is closed or leads elsewhere than at the start: then it belongs to the
 * program. Warnings and errors are said once for each cause, by one process of a job. A line is one
 * write(2): lines of several ranks do not mix.
 */
#ifndef SHM_LOG_H
#define SHM_LOG_H

#include "base.h"
#include "config/settings.h"

/* Remembers where descriptor 2 leads and what the settings say. At bring-up. */
void log_begin(const struct settings *settings);

/* Says the sentence if `level` is wanted. `cause` NULL: every time; else only if nobody else of the job has
 * said something for this cause. */
void log_say(enum settings_log level, const char *cause, const char *format, ...) PRINTF_LIKE(3, 4);

/* The calling thread is the shim's own, with a table of descriptors of its own. */
void log_from_apart(void);

bool log_wants(enum settings_log level);

#endif
