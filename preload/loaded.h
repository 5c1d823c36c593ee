/* SPDX-License-Identifier: MIT
 *
 * Which modules are loaded, at one moment.
 *
 * The dynamic linker holds its lock while the list is made, so no other thread unloads a module while its
 * notes are read. It is not held while the list is used: whoever malloc() lets in with that lock held, from a
 * callback of dl_iterate_phdr(), may wait for the lock of whoever uses it.
 */
#ifndef SHM_LOADED_H
#define SHM_LOADED_H

#include "base.h"

struct loaded_module {
    uintptr_t load_address, start, end;
    uint64_t build; /* code_build_of() */
};

struct loaded {
    uint64_t unloaded; /* os_modules_unloaded() then */
    uint32_t count;
    bool complete; /* false: there was no memory for the list, which is empty */
    struct loaded_module *module;
    size_t bytes;
};

/* Maps memory for the list, which loaded_drop() gives back. */
void loaded_look(struct loaded *out);
void loaded_drop(struct loaded *loaded);

/* The build of what lies at an address; 0: nothing that was loaded. */
uint64_t loaded_build_at(const struct loaded *loaded, uintptr_t address);

static inline bool loaded_has(const struct loaded *loaded, uintptr_t load_address)
{
    bool has = !loaded->complete;
    for (uint32_t i = 0; i < loaded->count && !has; i++)
        has = loaded->module[i].load_address == load_address;
    return has;
}

#endif
