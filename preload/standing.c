/* SPDX-License-Identifier: MIT */
#include "standing.h"

#include "os.h"

/* Where there is no page for it; then no child is told from its parent. */
static uint32_t unforked = STANDING_NONE;
const volatile uint32_t *standing_word = &unforked;

static struct {
    uint32_t *word;
    bool is_wary;
} standing = {.word = &unforked};

void standing_adopt(void)
{
    __atomic_store_n(standing.word, standing.is_wary ? STANDING_WARY : STANDING_USUAL, __ATOMIC_RELAXED);
}

void standing_begin(void)
{
    uint32_t *page = os_wiped_on_fork();
    if (page != NULL)
        standing.word = page;
    standing_adopt();
    standing_word = standing.word;
}

void standing_be_wary(void)
{
    __atomic_store_n(&standing.is_wary, true, __ATOMIC_RELAXED);
    if (standing_is_adopted())
        standing_adopt();
}
