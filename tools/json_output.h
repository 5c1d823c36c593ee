/* SPDX-License-Identifier: MIT
 *
 * JSON output through json-c, with its out-of-memory cases taken care of. Values given to
 * json_put() and json_append() belong to the container afterwards.
 */
#ifndef SHMPRELOAD_JSON_OUTPUT_H
#define SHMPRELOAD_JSON_OUTPUT_H

#include <json.h>
#include <stdint.h>

struct json_object *json_new_object(void);
struct json_object *json_new_array(void);

void json_put(struct json_object *object, const char *key, struct json_object *value);
void json_append(struct json_object *array, struct json_object *value);

/* NULL is left out, so a field that does not apply is absent. Bytes that are no UTF-8 are escaped. */
void json_put_text(struct json_object *object, const char *key, const char *text);
void json_put_number(struct json_object *object, const char *key, uint64_t number);
void json_put_bool(struct json_object *object, const char *key, int value);

struct json_object *json_text(const char *text);

/* Prints to standard output and releases. */
void json_finish(struct json_object *value);

#endif
