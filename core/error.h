/* SPDX-License-Identifier: MIT
 *
 * The calling thread's last error as a sentence, and the small formatter that writes it.
 *
 * The formatter knows %s %c %d %i %u %x %ld %lu %lx %lld %llu %llx %zd %zu %zx %p %% and nothing else (no
 * width, no precision): no stdio, no locale, no allocation, so it serves inside malloc too. Sentences are cut
 * at ERROR_BYTES.
 */
#ifndef SHM_ERROR_H
#define SHM_ERROR_H

#include <stdarg.h>

#include "base.h"

#define ERROR_BYTES 768u

/* Writes at most `bytes` - 1 characters and a NUL; returns how many were written. */
size_t error_format(char *out, size_t bytes, const char *format, ...) PRINTF_LIKE(3, 4);
size_t error_format_list(char *out, size_t bytes, const char *format, va_list arguments);

/* Keeps the sentence for this thread, sets errno to `code`, returns -1. */
int error_set(int code, const char *format, ...) PRINTF_LIKE(2, 3);

/* The thread's last sentence, "" at first. */
const char *error_last(void);

/* A number of bytes as people say it: "12.5 MiB". In `out`, which it returns. */
#define ERROR_SIZE_BYTES 24u
const char *error_size(char out[ERROR_SIZE_BYTES], uint64_t bytes);

/* What errno `code` means, in a few words, without the locale. */
const char *error_words(int code);

#endif
