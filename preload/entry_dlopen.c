/* SPDX-License-Identifier: MIT
 *
 * The exported dlopen().
 *
 * The dynamic linker looks for a file where the module says that its call returns to: that must stay the
 * program's. So this function ends in a jump, as compilers make of a last call when they optimise, and is
 * always compiled so.
 */
#include <dlfcn.h>

#include "base.h"
#include "modules.h"
#include "real.h"
#include "runtime.h"

__attribute__((visibility("default"))) void *dlopen(const char *file, int mode)
{
    if (UNLIKELY(real.dlopen == NULL))
        real_resolve();
    if (runtime.active)
        modules_before_loading();
    return real.dlopen(file, mode);
}
