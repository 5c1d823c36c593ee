/* SPDX-License-Identifier: MIT
 *
 * Only functions whose whole purpose it is to allocate for others: one that fills what it has got is a call
 * site, whoever called it.
 */
#include "config/wrappers.h"

#include <stddef.h>

#include "config/policy.h"

static const char *const known[] = {
    /* C++: what containers ask for memory, where it is not inlined */
    "operator new*",
    "std::allocator*::allocate",
    "std::__new_allocator*::allocate",
    "__gnu_cxx::new_allocator*::allocate",
    "std::allocator_traits*::allocate",
    "std::__cxx11::basic_string*::_M_create",
    "std::_Vector_base*::_M_allocate",
    "std::_Deque_base*::_M_allocate_*",
    "std::_Rb_tree*::_M_get_node",
    "std::_List_base*::_M_get_node",
    "std::__detail::_Hashtable_alloc*::_M_allocate_*",
    "std::get_temporary_buffer*",
    /* Rust: its allocator, and what makes room for a vector that grows */
    "__rust_*alloc*",
    "__rdl_*alloc*",
    "alloc::raw_vec::*",
    "alloc::alloc::*",
    "<alloc::alloc::Global as *",
    /* libgfortran */
    "_gfortrani_xmalloc",
    "_gfortrani_xmallocarray",
    "_gfortrani_xcalloc",
    "_gfortrani_xrealloc",
    "xmallocarray",
    /* libpython and NumPy */
    "PyMem_*alloc",
    "PyMem_Raw*alloc",
    "PyObject_*alloc",
    "_PyMem_*alloc",
    "_PyObject_*alloc",
    "PyDataMem_NEW*",
    "PyDataMem_RENEW",
    "PyDataMem_UserNEW*",
    "PyDataMem_UserRENEW",
    /* what many programs call theirs */
    "xmalloc",
    "xcalloc",
    "xrealloc",
    "xzalloc",
    "g_malloc*",
    "g_realloc*",
    "g_try_malloc*",
    NULL,
};

bool wrapper_is_known(const char *function)
{
    for (size_t i = 0; known[i] != NULL; i++)
        if (known[i][0] == function[0] && policy_glob(known[i], function)) /* none begins with a wildcard */
            return true;
    return false;
}
