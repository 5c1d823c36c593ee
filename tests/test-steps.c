/* SPDX-License-Identifier: MIT
 *
 * preload/steps against libunwind: at every address that a call may return to, in all that this process has
 * loaded (the C and C++ libraries among them), both know the same step, or neither knows one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <dlfcn.h>
#include <link.h>

#include "real.h"
#include "steps-libunwind.h"
#include "steps.h"

struct real_allocator real;

enum { CALL = 0xe8, CALL_BYTES = 5 }; /* the most frequent form; the last byte of its distance is asked for */

struct count {
    unsigned asked, known;
};

static void compare(uintptr_t address, struct count *count)
{
    struct stack_step ours = {0}, theirs = {0};
    const bool known = steps_at(address, &ours);
    count->asked++;
    count->known += known;
    if (steps_by_libunwind(address, &theirs) != known)
        fail_msg("%#lx: %s knows no step", (unsigned long)address, known ? "libunwind" : "steps_at()");
    if (known && (ours.from_frame != theirs.from_frame || ours.end != theirs.end ||
                  ours.saves != theirs.saves || (ours.saves && ours.saved != theirs.saved)))
        fail_msg("%#lx: %d %ld %d %ld, by libunwind %d %ld %d %ld", (unsigned long)address, ours.from_frame,
                 (long)ours.end, ours.saves, (long)ours.saved, theirs.from_frame, (long)theirs.end,
                 theirs.saves, (long)theirs.saved);
}

/* Does what may be a call lead to code of the same segment? Else it is the inside of another instruction. */
static bool is_call(const unsigned char *code, size_t at, size_t bytes)
{
    int32_t distance;
    if (code[at] != CALL)
        return false;
    memcpy(&distance, code + at + 1, sizeof distance);
    return (uint64_t)((int64_t)(at + CALL_BYTES) + distance) < bytes;
}

static int compare_module(struct dl_phdr_info *info, size_t size, void *argument)
{
    struct count *count = argument;
    (void)size;
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &info->dlpi_phdr[i];
        const unsigned char *code = (const unsigned char *)(info->dlpi_addr + header->p_vaddr);
        if (header->p_type != PT_LOAD || (header->p_flags & (PF_X | PF_R)) != (PF_X | PF_R))
            continue;
        for (size_t at = 0; at + CALL_BYTES <= header->p_filesz; at++)
            if (is_call(code, at, header->p_filesz))
                compare((uintptr_t)code + at + CALL_BYTES - 1, count);
    }
    return 0;
}

static void every_call(void **state)
{
    (void)state;
    struct count count = {0};
    assert_non_null(dlopen("libstdc++.so.6", RTLD_NOW));
    dl_iterate_phdr(compare_module, &count);
    assert_true(count.asked > 10000);
    assert_true(count.known > count.asked / 10 * 8);
    print_message("%u addresses, a step is known at %u\n", count.asked, count.known);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_call)};
    return cmocka_run_group_tests_name("steps", tests, NULL, NULL);
}
