/* SPDX-License-Identifier: MIT
 *
 * Reading a segment as a whole, for the files of the façade.
 */
#ifndef SHM_VISIT_H
#define SHM_VISIT_H

#include "geometry.h"

/* Adds the number of exported blocks and the bytes they take. */
void visit_sum_exports(const struct view *view, size_t *blocks, size_t *bytes);

#endif
