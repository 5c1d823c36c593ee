/* SPDX-License-Identifier: MIT */
#include "config/parser.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

const char *parser_keep(struct parser *parser, struct text text)
{
    char *copy = parser->free;
    memcpy(copy, text.at, text.length);
    copy[text.length] = '\0';
    parser->free += text.length + 1;
    return copy;
}

void *parser_make(struct parser *parser, size_t bytes)
{
    const size_t each = _Alignof(max_align_t), odd = (uintptr_t)parser->free % each;
    char *made = parser->free + (odd != 0 ? each - odd : 0);
    parser->free = made + bytes;
    return made;
}

bool parser_first_time(struct parser *parser, const struct word *word, unsigned bit)
{
    if (parser->seen & bit)
        return error_about(parser->error, word_head(word), "is given twice");
    parser->seen |= bit;
    return true;
}
