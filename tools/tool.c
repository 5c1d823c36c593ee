/* SPDX-License-Identifier: MIT
 *
 * Messages and memory. A short-lived command has nothing to save when memory runs out, so that is
 * the one error that ends the program on the spot; all others are returned.
 */
#include "tool.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void complain(const char *format, ...)
{
    va_list arguments;
    fflush(stdout);
    va_start(arguments, format);
    flockfile(stderr);
    fputs("shmpreload: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    funlockfile(stderr);
    va_end(arguments);
}

void *required(void *pointer)
{
    if (!pointer) {
        complain("out of memory");
        exit(STATUS_FAILED);
    }
    return pointer;
}

char *formatted(const char *format, ...)
{
    char *text = NULL;
    va_list arguments;
    va_start(arguments, format);
    int length = vasprintf(&text, format, arguments);
    va_end(arguments);
    return required(length < 0 ? NULL : text);
}

void *room_for_one(void *items, size_t count, size_t item_size)
{
    if ((count & (count - 1)) != 0)
        return items;
    return required(reallocarray(items, count ? count * 2 : 1, item_size));
}
