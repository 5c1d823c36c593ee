/* SPDX-License-Identifier: MIT
 *
 * Finds what lies where in a sound segment.
 */
#ifndef SHM_FUZZ_PLACES_H
#define SHM_FUZZ_PLACES_H

#include "bases.h"

/* Fills base->place from base->image. */
void places_find(struct base *base);

#endif
