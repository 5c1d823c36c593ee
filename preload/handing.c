/* SPDX-License-Identifier: MIT */
#include "handing.h"

#include "os.h"
#include "site.h"

/* An operator new is a few instructions and a call. */
#define OPERATOR_BYTES 512u

const void *handing_begin(const void *next)
{
    const void *before = thread_self.handed_to;
    thread_self.handed_to = next;
    thread_self.pass_next = true;
    return before;
}

bool handing_end(const void *next, bool asked, const void *before)
{
    const bool passes = asked && thread_self.handed_to == next && thread_self.inside == 0;
    thread_self.pass_next = false;
    thread_self.handed_to = before;
    return passes;
}

static bool is_jumped_to(const void *caller)
{
    struct os_module theirs, ours;
    return os_find_module((uintptr_t)caller, &theirs) && os_find_module((uintptr_t)is_jumped_to, &ours) &&
           theirs.load_address == ours.load_address;
}

void handing_asked(const void *caller)
{
    thread_self.pass_next = false;
    if (is_jumped_to(caller))
        return;
    if ((uintptr_t)caller - (uintptr_t)thread_self.handed_to > OPERATOR_BYTES || !site_let_pass(caller))
        thread_self.handed_to = NULL;
}
