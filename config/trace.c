/* SPDX-License-Identifier: MIT */
#include "config/trace.h"

#define INLINED_MOST 12u /* at one address; further ones are not looked at */

size_t trace_site(const struct policy *policy, const struct policy_site *frames, size_t count)
{
    size_t site = 0;
    while (site + 1 < count && policy_is_wrapper(policy, frames[site].function, frames[site].module,
                                                 frames[site].module_is_program))
        site++;
    return site;
}

/* A stack, with what was inlined or without. */
struct view {
    struct policy_step step[TRACE_FRAMES * INLINED_MOST];
    size_t count, starts;
};

static void add_frame(struct view *view, const struct policy_site *frame, bool inlined)
{
    size_t most = frame->frame_count < INLINED_MOST ? frame->frame_count : INLINED_MOST;
    struct policy_step step = {frame->function, frame->module, frame->module_is_program, frame->offset};
    for (size_t i = 0; inlined && i < most; i++) {
        step.function = frame->frames[i].function;
        view->step[view->count++] = step;
    }
    if (!inlined || most == 0)
        view->step[view->count++] = step;
}

static bool holds_for_stack(const struct policy_rule *rule, const struct policy_site *frames, size_t count,
                            size_t site, bool inlined)
{
    struct view view;
    view.count = 0;
    view.starts = 0;
    for (size_t i = 0; i < count && i < TRACE_FRAMES; i++) {
        add_frame(&view, &frames[i], inlined);
        if (i <= site)
            view.starts = view.count;
    }
    return policy_rule_matches_stack(rule, view.step, view.count, view.starts);
}

static bool holds_for_site(const struct policy_rule *rule, const struct policy_site *frames, size_t site)
{
    for (size_t i = 0; i <= site; i++)
        if (policy_rule_matches_site(rule, &frames[i]))
            return true;
    return false;
}

bool trace_matches(const struct policy_rule *rule, const struct policy_site *frames, size_t count,
                   size_t site)
{
    return holds_for_site(rule, frames, site) && (holds_for_stack(rule, frames, count, site, false) ||
                                                  holds_for_stack(rule, frames, count, site, true));
}
