/* SPDX-License-Identifier: MIT
 *
 * A JSON text must be UTF-8; names from outside need not be, and json-c does not look.
 */
#include "json_output.h"

#include "display.h"
#include "tool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct json_object *json_new_object(void)
{
    return required(json_object_new_object());
}

struct json_object *json_new_array(void)
{
    return required(json_object_new_array());
}

void json_put(struct json_object *object, const char *key, struct json_object *value)
{
    if (json_object_object_add(object, key, value) < 0)
        required(NULL);
}

void json_append(struct json_object *array, struct json_object *value)
{
    if (json_object_array_add(array, value) < 0)
        required(NULL);
}

struct json_object *json_text(const char *text)
{
    char *valid = display_as_utf8(text, strlen(text));
    struct json_object *value = required(json_object_new_string(valid));
    free(valid);
    return value;
}

void json_put_text(struct json_object *object, const char *key, const char *text)
{
    if (text)
        json_put(object, key, json_text(text));
}

void json_put_number(struct json_object *object, const char *key, uint64_t number)
{
    json_put(object, key, required(json_object_new_uint64(number)));
}

void json_put_bool(struct json_object *object, const char *key, int value)
{
    json_put(object, key, required(json_object_new_boolean(value)));
}

void json_finish(struct json_object *value)
{
    const char *text = json_object_to_json_string_ext(
        value, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE);
    if (!text)
        required(NULL);
    bool empty = json_object_is_type(value, json_type_array) && json_object_array_length(value) == 0;
    puts(empty ? "[]" : text); /* json-c would take two lines for it */
    json_object_put(value);
}
