/* SPDX-License-Identifier: MIT */
#include "demangle.h"

#include <libiberty/demangle.h>
#include <stdlib.h>
#include <string.h>

bool demangle(const char *symbol, char *out, size_t bytes)
{
    if (strncmp(symbol, "_Z", 2) != 0)
        return false;
    char *plain = cplus_demangle_v3(symbol, DMGL_NO_OPTS);
    if (plain == NULL)
        return false;
    const size_t length = strlen(plain);
    if (length < bytes)
        memcpy(out, plain, length + 1);
    free(plain);
    return length < bytes;
}
