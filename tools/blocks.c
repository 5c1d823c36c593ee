/* SPDX-License-Identifier: MIT
 *
 * The names given here are part of the command's output that scripts rely on.
 */
#include "blocks.h"

#include "tool.h"

#include <inttypes.h>
#include <stdlib.h>

const char *block_kind_name(enum shmcore_block_kind kind)
{
    switch (kind) {
    case SHMCORE_BLOCK_NAMED:
        return "named";
    case SHMCORE_BLOCK_SHARE:
        return "share";
    case SHMCORE_BLOCK_EXPORT:
        return "export";
    }
    return "unknown";
}

struct json_object *block_json(const struct shmcore_block *block)
{
    struct json_object *object = json_new_object();
    char *address = formatted("0x%" PRIxPTR, (uintptr_t)block->address);
    json_put_text(object, "name", block->name);
    json_put_number(object, "bytes", block->bytes);
    json_put_text(object, "kind", block_kind_name(block->kind));
    json_put_number(object, "owner", (uint64_t)block->owner);
    json_put_number(object, "refs", block->refs);
    json_put_text(object, "address", address);
    free(address);
    return object;
}
