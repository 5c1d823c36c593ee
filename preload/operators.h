/* SPDX-License-Identifier: MIT
 *
 * The next operator new and operator delete: those the program would have without us.
 *
 * libstdc++ may be a library of the program, or come later, privately, with a plug-in (a Python extension is
 * loaded RTLD_LOCAL): then RTLD_NEXT does not see it, and dlsym() must not be called from an allocation. So
 * the loaded modules are walked and their symbol tables read; what is found is kept.
 */
#ifndef SHM_OPERATORS_H
#define SHM_OPERATORS_H

#include "base.h"

/* In the order of `operator_names` in operators.c. */
enum operator_id {
    OPERATOR_NEW,
    OPERATOR_NEW_ARRAY,
    OPERATOR_NEW_NOTHROW,
    OPERATOR_NEW_ARRAY_NOTHROW,
    OPERATOR_NEW_ALIGNED,
    OPERATOR_NEW_ARRAY_ALIGNED,
    OPERATOR_NEW_ALIGNED_NOTHROW,
    OPERATOR_NEW_ARRAY_ALIGNED_NOTHROW,
    OPERATOR_DELETE,
    OPERATOR_DELETE_ARRAY,
    OPERATOR_DELETE_SIZED,
    OPERATOR_DELETE_ARRAY_SIZED,
    OPERATOR_DELETE_NOTHROW,
    OPERATOR_DELETE_ARRAY_NOTHROW,
    OPERATOR_DELETE_ALIGNED,
    OPERATOR_DELETE_ARRAY_ALIGNED,
    OPERATOR_DELETE_SIZED_ALIGNED,
    OPERATOR_DELETE_ARRAY_SIZED_ALIGNED,
    OPERATOR_DELETE_ALIGNED_NOTHROW,
    OPERATOR_DELETE_ARRAY_ALIGNED_NOTHROW,
    OPERATORS
};

/* Those that somebody has asked for; NULL: nobody yet, or there is none. */
extern INTERNAL _Atomic(void *) operator_known[OPERATORS];

/* The next definition, NULL when no loaded module has one. */
void *operator_look(enum operator_id id);
static inline void *operator_next(enum operator_id id)
{
    void *next = atomic_load_explicit(&operator_known[id], memory_order_relaxed);
    return LIKELY(next != NULL) ? next : operator_look(id);
}

/* The same for a function that there may not be, by its name: then dlsym() would make an error of it. */
void *operator_next_named(const char *name);

/* Does the program replace operator new itself? Then the other forms are not ours to route: those of the
 * library end in the program's, and what that one asks of malloc is looked at there. */
bool operator_look_for_another(void);
extern INTERNAL _Atomic int operator_replaced; /* 0: not known yet, 1: no, 2: yes */
/* Does it not, as somebody has found out? */
static inline bool operator_is_the_next(void)
{
    return LIKELY(atomic_load_explicit(&operator_replaced, memory_order_relaxed) == 1);
}
static inline bool operator_is_replaced(void)
{
    const int known = atomic_load_explicit(&operator_replaced, memory_order_relaxed);
    return LIKELY(known != 0) ? known == 2 : operator_look_for_another();
}

#endif
