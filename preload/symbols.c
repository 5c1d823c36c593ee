/* SPDX-License-Identifier: MIT
 *
 * shmpreload-symbols.so: from an address to the name of its function, with libunwind.
 *
 * A module of its own, loaded with RTLD_LOCAL at bring-up and only when a rule or a name wants functions:
 * libunwind exports backtrace() and _Unwind_*, which must not come between the program and its own.
 * libunwind reads the symbol table of the object file, so static functions are found too, and the
 * compressed one of MiniDebugInfo.
 */
#include <libunwind-ptrace.h>

#include <libiberty/demangle.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

/* Through the interface for other processes, with ourselves as the other: nothing is traced, and the one for
 * the own process would open a pipe and keep it, and go on writing to its numbers when the program has closed
 * them. */
bool shmpreload_function_at(uintptr_t address, char *name, size_t bytes, uint64_t *offset)
{
    unw_word_t distance = 0;
    void *process = _UPT_create(getpid());
    if (process == NULL)
        return false;
    const int error = _UPT_get_proc_name(NULL, (unw_word_t)address, name, bytes, &distance, process);
    _UPT_destroy(process);
    if (error != 0 || name[0] == '\0')
        return false;
    *offset = distance;
    demangle(name, bytes);
    return true;
}
