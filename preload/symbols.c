/* SPDX-License-Identifier: MIT
 *
 * shmpreload-symbols.so: from an address to the name of its function, with libunwind.
 *
 * A module of its own, loaded with RTLD_LOCAL at bring-up and only when a rule or a name wants functions:
 * libunwind exports backtrace() and _Unwind_*, which must not come between the program and its own.
 * libunwind reads the symbol table of the object file, so static functions are found too, and the
 * compressed one of MiniDebugInfo.
 */
#define UNW_LOCAL_ONLY
#include <libunwind.h>

#include <libiberty/demangle.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

__attribute__((visibility("default"))) bool shmpreload_function_at(uintptr_t address, char *name,
                                                                   size_t bytes, uint64_t *offset);

/* C++ names as a person writes them, without the parameters: ns::Table<double>::grow. */
static void demangle(char *name, size_t bytes)
{
    if (strncmp(name, "_Z", 2) != 0)
        return;
    char *plain = cplus_demangle_v3(name, DMGL_NO_OPTS);
    if (plain == NULL)
        return;
    const size_t length = strlen(plain);
    if (length < bytes)
        memcpy(name, plain, length + 1);
    free(plain);
}

bool shmpreload_function_at(uintptr_t address, char *name, size_t bytes, uint64_t *offset)
{
    unw_word_t distance = 0;
    unw_accessors_t *accessors = unw_get_accessors(unw_local_addr_space);
    if (accessors == NULL || accessors->get_proc_name == NULL)
        return false;
    const int error =
        accessors->get_proc_name(unw_local_addr_space, (unw_word_t)address, name, bytes, &distance, NULL);
    if (error != 0 || name[0] == '\0')
        return false;
    *offset = distance;
    demangle(name, bytes);
    return true;
}
