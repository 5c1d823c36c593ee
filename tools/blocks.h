/* SPDX-License-Identifier: MIT
 *
 * How one block is described, wherever it is shown.
 */
#ifndef SHMPRELOAD_BLOCKS_H
#define SHMPRELOAD_BLOCKS_H

#include "json_output.h"
#include "shmcore.h"

const char *block_kind_name(enum shmcore_block_kind kind);
struct json_object *block_json(const struct shmcore_block *block);

#endif
