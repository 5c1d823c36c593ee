/* SPDX-License-Identifier: MIT
 *
 * C++ names as a person writes them, without the parameters: ns::Table<double>::grow. It
 * allocates, as libiberty does.
 */
#ifndef SHM_DEMANGLE_H
#define SHM_DEMANGLE_H

#include <stdbool.h>
#include <stddef.h>

/* Writes the plain name of a mangled one to `out`, which may be `symbol` itself. False: it is no C++ name, or
 * does not fit; then `out` is as it was. */
bool demangle(const char *symbol, char *out, size_t bytes);

#endif
