/* SPDX-License-Identifier: MIT
 *
 * Handing a request that was looked at on to the next operator new: what that one asks of malloc for it must
 * not be looked at again. So it is said before; and once it is known from where the operator asks, it need
 * not be said any more, because that caller is let pass (site.h).
 *
 * A caller is let pass when it lies in the operator itself: what is called from there may be called by others
 * as well. Calls of that operator that do not come by here, as in a library that binds its own names first,
 * pass then, too.
 *
 * Some operators jump to others, new[] to new: the call seems to come from here then. There is nobody to let
 * pass, for who has called the first one is seen to call the other as soon as that is jumped to as well.
 */
#ifndef SHM_HANDING_H
#define SHM_HANDING_H

#include "thread.h"

/* The next malloc of this thread is the inside of the operator `next`. Returns what the end wants to know:
 * they nest. */
const void *handing_begin(const void *next);

/* True: from now on nothing has to be said around `next`. `asked`: it must have asked for something that a
 * rule might match. */
bool handing_end(const void *next, bool asked, const void *before);

/* Is it such a malloc that is being looked at? */
static inline bool handing_is_on(void)
{
    return thread_self.pass_next;
}

/* It has come, from there. The thread is inside the shim. */
void handing_asked(const void *caller);

#endif
