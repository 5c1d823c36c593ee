/* SPDX-License-Identifier: MIT
 *
 * Text for people: escaping what a terminal must not see, the width of a string in columns, sizes.
 * Pure functions; strings returned are the caller's to free.
 */
#ifndef SHMPRELOAD_DISPLAY_H
#define SHMPRELOAD_DISPLAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* `length` bytes with everything but printable UTF-8 written as \xNN (\t, \n and \r as such). A
 * backslash stays one: names in a segment are printable, and copied from a listing they must work. */
char *display_escape(const char *text, size_t length);

/* The same without touching valid UTF-8: for JSON, which has escapes of its own for the rest. */
char *display_as_utf8(const char *text, size_t length);

/* Columns that an escaped text takes on a terminal. */
size_t display_width(const char *text);

enum { DISPLAY_SIZE_MAX = 24 };

/* 1.5M for people, whole multiples without a fraction, so 8G is exactly that; or exact bytes. */
const char *display_size(uint64_t bytes, bool exact, char buffer[static DISPLAY_SIZE_MAX]);

/* As a policy would say it: 64K, 1500; never rounded. */
const char *display_policy_size(uint64_t bytes, char buffer[static DISPLAY_SIZE_MAX]);

/* Digits and one of K M G T; false when it is anything else or too large. */
bool display_parse_size(const char *text, uint64_t *bytes);

#endif
