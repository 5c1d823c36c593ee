/* SPDX-License-Identifier: MIT
 *
 * What is known of the code that a call returns to: its module, its function, and where DWARF tells it, its
 * source lines and what was inlined there.
 *
 * Names are asked for through functions of others (names.h, lines.h), one thread at a time. What
 * modules are loaded is asked through dl_iterate_phdr() or _dl_find_object(), never dlsym() or dladdr(): a
 * thread that waited for the loader's lock in malloc could wait for ever.
 */
#ifndef SHM_CODE_H
#define SHM_CODE_H

#include "base.h"
#include "config/policy.h"
#include "lines.h"
#include "os.h"

#define CODE_FRAMES     12u
#define CODE_NAME_BYTES 1024u
#define CODE_TEXT_BYTES 3072u

struct code {
    const char *module; /* base name of the object file; "?" for code made at run time */
    bool is_program;
    uint64_t offset;          /* of the return address, from the module's load address */
    uint64_t build;           /* hash of the module's build-id, or of its path */
    const char *function;     /* NULL: unknown */
    uint64_t function_offset; /* of the return address in the function, else the module's */
    unsigned frame_count;     /* 0: there is no DWARF */
    struct policy_frame frame[CODE_FRAMES];
    char name[CODE_NAME_BYTES], text[CODE_TEXT_BYTES]; /* what the pointers point to */
};

/* Finds the name of the function that holds an address: names.h. Writes it to `name`, the
 * distance from its start to *offset. False: unknown; with errno EMFILE, ENFILE or ENOMEM because something
 * could not be opened or mapped. */
typedef bool code_function_finder(uintptr_t address, char *name, size_t bytes, uint64_t *offset);

/* At bring-up. `program`: the path of the executable. The others may be NULL. */
void code_begin(const struct policy *policy, const char *program, code_function_finder *function);

/* Could a rule make use of a module's source lines, or of what was inlined there? */
bool code_wants_lines(const struct os_module *module);

/* From now on they are known. At bring-up, or at any time after. */
void code_set_lines(lines_finder *lines);

/* Before a thread takes a lock with which it asks for code: from then on it waits for no lock of the
 * loader's. */
void code_be_ready(void);

/* Where a call returns to. The text lives as long as *out and the module. */
void code_at(uintptr_t return_address, struct code *out);

/* The frames alone, for one whose module is known. */
void code_frames_at(uintptr_t return_address, struct code *out);

/* After modules were unloaded: nothing is kept of others than these. */
void code_forget(const struct loaded *loaded);

/* The same without names: fills in no more than module, is_program, offset and build. */
void code_module_at(uintptr_t return_address, struct code *out);

/* The `build` of a module. */
uint64_t code_build_of(const struct os_module *module);

/* As a policy wants to know it. */
struct policy_site code_facts(const struct code *code);

/* The call that an address returns to, for a message: "function+0xOFFSET (MODULE!0xOFFSET)", or the part in
 * parentheses alone where functions have no names. Returns the length; cut to fit. */
size_t code_describe(const void *return_address, char *out, size_t bytes);

/* Around fork(). */
void code_lock(void);
void code_unlock(void);

/* Were there functions that could not be named for want of a descriptor or a mapping? */
bool code_was_blind(void);

#endif
