/* SPDX-License-Identifier: MIT */
#include "handing.h"

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

void handing_asked(const void *caller)
{
    thread_self.pass_next = false;
    if ((uintptr_t)caller - (uintptr_t)thread_self.handed_to > OPERATOR_BYTES || !site_let_pass(caller))
        thread_self.handed_to = NULL;
}
