/* SPDX-License-Identifier: MIT
 *
 * Victim: `fork-view copy|overlay|share`: parent and child write pages of the same blocks in turns; what each
 * sees of the other is what that word says.
 */
#include "child.h"

enum { PAGE = 4096, PAGES = 40, SMALL = 200 };
enum { BEFORE = 1, CHILDS, PARENTS, LATE };

static unsigned char *large, *small;
static bool overlay, shared;

static unsigned char *made(size_t bytes)
{
    unsigned char *block = aligned_alloc(bytes > PAGE ? PAGE : 16, bytes);
    return hide(block);
}

static void write_pages(unsigned first, unsigned end, int value)
{
    memset(large + (size_t)first * PAGE, value, (size_t)(end - first) * PAGE);
}

static bool pages_are(unsigned first, unsigned end, int value)
{
    return is_all(large + (size_t)first * PAGE, (size_t)(end - first) * PAGE, value);
}

/* The child writes pages 0 … 9, then the parent 5 … 19, then the child 15 … 24, then the parent frees all. */
static int in_child(const struct turns *turns)
{
    check(pages_are(0, PAGES, BEFORE) && is_all(small, SMALL, BEFORE), "child: everything is as it was");
    write_pages(0, 10, CHILDS);
    memset(small, CHILDS, SMALL);
    pass_on(turns->to_parent);
    wait_for(turns->to_child);
    check(pages_are(0, 5, CHILDS), "child: what only it has written");
    check(pages_are(5, 10, shared ? PARENTS : CHILDS), "child: what it has written and then the parent");
    check(pages_are(10, 20, overlay || shared ? PARENTS : BEFORE), "child: what only the parent has written");
    check(pages_are(20, PAGES, BEFORE), "child: what nobody has written");
    write_pages(15, 25, LATE);
    pass_on(turns->to_parent);
    wait_for(turns->to_child);
    check(shared || (pages_are(0, 10, CHILDS) && pages_are(15, 25, LATE) && is_all(small, SMALL, CHILDS)),
          "child: it keeps what it has written when the parent frees and allocates");
    unsigned char *own = made(PAGES * PAGE), *again = made(SMALL);
    check_routed(own, "child: it allocates");
    fill(own, PAGES * PAGE, 3);
    fill(again, SMALL, 4);
    free(large);
    free(small);
    check(is_filled(own, PAGES * PAGE, 3) && is_filled(again, SMALL, 4), "child: its own blocks");
    fflush(stdout);
    return verdict();
}

static void in_parent(const struct turns *turns)
{
    wait_for(turns->to_parent);
    check(pages_are(0, 10, shared ? CHILDS : BEFORE), "parent: what the child has written");
    check(is_all(small, SMALL, shared ? CHILDS : BEFORE), "parent: what the child has written, small");
    write_pages(5, 20, PARENTS);
    pass_on(turns->to_child);
    wait_for(turns->to_parent);
    check(pages_are(5, 15, PARENTS) && pages_are(15, 20, shared ? LATE : PARENTS) &&
              pages_are(20, 25, shared ? LATE : BEFORE) && pages_are(25, PAGES, BEFORE),
          "parent: what both have written");
}

/* The same room again, with other contents: the child's free() must not reach it. */
static void use_again(const struct turns *turns, pid_t child)
{
    free(large);
    free(small);
    large = made(PAGES * PAGE);
    small = made(SMALL);
    fill(large, PAGES * PAGE, 77);
    fill(small, SMALL, 78);
    fflush(stdout);
    pass_on(turns->to_child);
    check(ends_well(child), "the child is content");
    unsigned char *more = made(SMALL);
    fill(more, SMALL, 79);
    check(is_filled(large, PAGES * PAGE, 77) && is_filled(small, SMALL, 78), "parent: its new blocks");
    free(more);
    free(large);
    free(small);
}

int main(int count, char **arguments)
{
    const struct turns turns = make_turns();
    overlay = count > 1 && strcmp(arguments[1], "overlay") == 0;
    shared = count > 1 && strcmp(arguments[1], "share") == 0;
    large = made(PAGES * PAGE);
    small = made(SMALL);
    check_routed(large, "the block is routed");
    write_pages(0, PAGES, BEFORE);
    memset(small, BEFORE, SMALL);
    const pid_t child = checked_fork();
    if (child == 0)
        _exit(in_child(&turns));
    in_parent(&turns);
    use_again(&turns, child);
    return verdict();
}
