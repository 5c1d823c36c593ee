/* SPDX-License-Identifier: MIT
 *
 * shmpreload-lines.so: what lines.h promises. For each module that was asked about it keeps the debug
 * information, or the reason why there is none, until the module is unloaded.
 *
 * libdw has tables of a hundred kilobytes on its stack, and whoever calls malloc may stand on a small one: so
 * it runs on a stack of ours. It does not lock: the caller holds a lock.
 */
#include "lines.h"

#include <elfutils/libdw.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "debug_file.h"
#include "inlined.h"
#include "loaded.h"

#define STACK_BYTES ((size_t)2 << 20)
#define GUARD_BYTES ((size_t)64 << 10)

enum { BUILD_ID_MOST = 64, REASON_BYTES = 1024 };

__attribute__((visibility("default"))) unsigned shmpreload_lines_at(const struct lines_module *module,
                                                                    uintptr_t address,
                                                                    struct policy_frame *out, unsigned most,
                                                                    char *text, size_t bytes);

struct object {
    struct object *next;
    char *path;
    uintptr_t load_address;
    unsigned char build_id[BUILD_ID_MOST];
    size_t build_id_bytes;
    struct debug_file file;
    struct inlined *inlined; /* NULL: see `reason` */
    char reason[REASON_BYTES];
};

struct question {
    const struct lines_module *module;
    uintptr_t address;
    struct policy_frame *out;
    unsigned most, count;
    char *text;
    size_t bytes;
};

static struct {
    struct object *first;
    void *stack;
    ucontext_t outside, inside;
    struct question *question; /* that is being answered */
} lines;

/* ---------------------------------------------------------------- modules */

static bool is_module(const struct object *object, const struct lines_module *module)
{
    return object->load_address == module->load_address && object->build_id_bytes == module->build_id_bytes &&
           strcmp(object->path, module->path) == 0 &&
           (module->build_id_bytes == 0 ||
            memcmp(object->build_id, module->build_id, module->build_id_bytes) == 0);
}

static void open_object(struct object *object)
{
    const struct debug_wanted wanted = {.path = object->path,
                                        .root = DEBUG_FILE_ROOT,
                                        .build_id = object->build_id_bytes > 0 ? object->build_id : NULL,
                                        .build_id_bytes = object->build_id_bytes};
    if (debug_file_open(&wanted, &object->file, object->reason, sizeof object->reason))
        object->inlined = inlined_open(object->file.dwarf);
}

static struct object *new_object(const struct lines_module *module)
{
    struct object *object = calloc(1, sizeof *object);
    char *path = strdup(module->path);
    if (object == NULL || path == NULL || module->build_id_bytes > BUILD_ID_MOST) {
        free(object);
        free(path);
        return NULL;
    }
    object->path = path;
    object->load_address = module->load_address;
    object->build_id_bytes = module->build_id_bytes;
    if (module->build_id_bytes > 0)
        memcpy(object->build_id, module->build_id, module->build_id_bytes);
    open_object(object);
    object->next = lines.first;
    lines.first = object;
    return object;
}

static struct object *object_of(const struct lines_module *module)
{
    for (struct object *object = lines.first; object != NULL; object = object->next)
        if (is_module(object, module))
            return object;
    return new_object(module);
}

static void close_object(struct object *object)
{
    inlined_close(object->inlined);
    debug_file_close(&object->file);
    free(object->path);
    free(object);
}

/* By the address alone: what has been loaded there instead has another build-id or path, and stays until it
 * is unloaded itself. */
static void forget_others(const struct loaded *loaded)
{
    for (struct object **place = &lines.first; *place != NULL;) {
        struct object *object = *place;
        if (loaded_has(loaded, object->load_address)) {
            place = &object->next;
            continue;
        }
        *place = object->next;
        close_object(object);
    }
}

/* ---------------------------------------------------------------- answers */

static void answer(struct question *question)
{
    struct object *object = object_of(question->module);
    if (object == NULL)
        return;
    if (object->inlined != NULL)
        question->count = inlined_at(object->inlined, question->address - object->load_address, question->out,
                                     question->most, question->text, question->bytes);
    if (question->count > 0)
        return;
    const size_t length = strnlen(object->reason, question->bytes - 1);
    memcpy(question->text, object->reason, length);
    question->text[length] = '\0';
}

static void answer_there(void)
{
    answer(lines.question);
}

static bool have_stack(void)
{
    if (lines.stack != NULL)
        return true;
    void *stack = mmap(NULL, GUARD_BYTES + STACK_BYTES, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (stack == MAP_FAILED)
        return false;
    mprotect(stack, GUARD_BYTES, PROT_NONE);
    lines.stack = stack;
    return true;
}

static void answer_on_own_stack(struct question *question)
{
    if (!have_stack() || getcontext(&lines.inside) != 0)
        return;
    lines.question = question;
    lines.inside.uc_stack.ss_sp = (unsigned char *)lines.stack + GUARD_BYTES;
    lines.inside.uc_stack.ss_size = STACK_BYTES;
    lines.inside.uc_link = &lines.outside;
    makecontext(&lines.inside, answer_there, 0);
    swapcontext(&lines.outside, &lines.inside);
}

static void have_thread_variables(void)
{
    elf_errno();
    dwarf_errno();
}

unsigned shmpreload_lines_at(const struct lines_module *module, uintptr_t address, struct policy_frame *out,
                             unsigned most, char *text, size_t bytes)
{
    struct question question = {
        .module = module, .address = address, .out = out, .most = most, .text = text, .bytes = bytes};
    const int error = errno;
    if (bytes > 0)
        text[0] = '\0';
    if (module->path != NULL)
        answer_on_own_stack(&question);
    else if (module->loaded != NULL)
        forget_others(module->loaded);
    else
        have_thread_variables();
    errno = error;
    return question.count;
}
