/* SPDX-License-Identifier: MIT
 *
 * Call sites: return address → module, offset, function, and which rules of the policy may match.
 *
 * Everything is found out once for each address and kept as long as its module is loaded. Reading the cache
 * takes no lock and writes nothing: open addressing, an entry's address stored after its site; a table that
 * grows is replaced whole and the old one left to those who still read it.
 *
 * What modules are loaded is asked through dl_iterate_phdr(), never dlsym() or dladdr(): a thread that waited
 * for the loader's lock in malloc could wait for ever.
 */
#ifndef SHM_SITE_H
#define SHM_SITE_H

#include "base.h"
#include "config/policy.h"

struct site {
    uint32_t id; /* dense, from 0 */
    uint32_t rule_count;
    const char *module;        /* base name of the object file */
    const char *function;      /* NULL: unknown */
    uint64_t module_offset;    /* of the return address, from the module's load address */
    uint64_t function_offset;  /* of the call in the function, or module_offset */
    uint64_t build;            /* hash of the module's build-id, or of its path */
    _Atomic uint32_t reported; /* rules noted for `shmpreload check`, as bits of their place in `rules` */
    uint16_t rules[];          /* indices of the rules that the site satisfies, in order */
};

/* Finds the name of the function that holds an address: in shmpreload-symbols.so. Writes it to `name`, the
 * distance from its start to *offset. False: unknown. */
typedef bool site_function_finder(uintptr_t address, char *name, size_t bytes, uint64_t *offset);

/* At bring-up, before any look-up. `program`: the path of the executable. */
void site_begin(const struct policy *policy, const char *program, site_function_finder *finder);

/* Is the address in the cache? Then *site is what site_look_up() would return. The one question that every
 * call asks which a rule might match. */
bool site_known(const void *return_address, struct site **site);

/* The site, or NULL when no rule can match there. Finds it out at the first look-up; may allocate, so the
 * caller is inside the shim. */
struct site *site_look_up(const void *return_address);

/* After a dlclose(): what is loaded next may lie at the same addresses. */
void site_forget_unloaded(void);

/* The call that an address returns to, for a message: "function+0xOFFSET (MODULE!0xOFFSET)", or the part in
 * parentheses alone where functions have no names. Returns the length; cut to fit. */
size_t site_describe(const void *return_address, char *out, size_t bytes);

/* Has a site that no rule can route satisfied this `pass` rule? Such sites are not looked at again, so their
 * requests are not compared with the rule's sizes and calls. */
bool site_was_passed(uint16_t rule);

/* Were there functions that could not be named for want of a descriptor or a mapping? */
bool site_was_blind(void);

/* Around fork(): the child must not inherit the cache in the middle of a change. */
void site_lock(void);
void site_unlock(void);

#endif
