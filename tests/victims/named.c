/* SPDX-License-Identifier: MIT
 *
 * A library whose functions lie in a known order, for what names are found in which table. The array says
 * where each begins; 0 ends it.
 */
#include <stdint.h>

__asm__(
    ".text\n"
    ".globl named_first\n .type named_first, @function\n"
    "named_first: nop\n nop\n ret\n .size named_first, .-named_first\n"
    /* bytes that belong to no function */
    "named_gap: nop\n nop\n ret\n"
    ".type named_static, @function\n"
    "named_static: nop\n nop\n ret\n .size named_static, .-named_static\n"
    /* one inside another */
    ".globl named_outer\n .type named_outer, @function\n"
    "named_outer: nop\n nop\n"
    ".type named_inner, @function\n"
    "named_inner: nop\n nop\n ret\n .size named_inner, .-named_inner\n"
    "named_outer_rest: nop\n nop\n ret\n .size named_outer, .-named_outer\n"
    /* several names for one place: the one that all see is the best */
    ".type named_a_local_alias, @function\n .weak named_a_weak_alias\n .type named_a_weak_alias, @function\n"
    ".globl named_shared\n .type named_shared, @function\n"
    "named_a_local_alias: named_a_weak_alias: named_shared: nop\n nop\n ret\n"
    ".size named_a_local_alias, 3\n .size named_a_weak_alias, 3\n .size named_shared, 3\n"
    /* no size: up to the next one */
    ".globl named_sizeless\n .type named_sizeless, @function\n"
    "named_sizeless: nop\n nop\n ret\n"
    ".section .text.elsewhere, \"ax\", @progbits\n"
    ".globl _ZN3sim4Grid4growEi\n .type _ZN3sim4Grid4growEi, @function\n"
    "_ZN3sim4Grid4growEi: nop\n nop\n ret\n .size _ZN3sim4Grid4growEi, .-_ZN3sim4Grid4growEi\n"
    ".text\n");

extern const char named_first[], named_gap[], named_static[], named_outer[], named_inner[],
    named_outer_rest[], named_shared[], named_sizeless[], grown[] __asm__("_ZN3sim4Grid4growEi");

extern const int named_build;
extern const char *const named_places[];
const char *const named_places[] = {named_first,      named_gap,    named_static,   named_outer, named_inner,
                                    named_outer_rest, named_shared, named_sizeless, grown,       0};

const int named_build = NAMED_BUILD; /* so that two builds differ */
