/* SPDX-License-Identifier: MIT */
#include "text.h"

/* Decodes one character; returns its length, 0 when it is malformed. */
static size_t decode(const unsigned char *text, size_t left, uint32_t *code)
{
    static const uint32_t least_of_length[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char first = text[0];
    size_t length;
    if (first < 0x80) {
        *code = first;
        return 1;
    }
    if (first >= 0xc2 && first <= 0xdf)
        length = 2;
    else if (first >= 0xe0 && first <= 0xef)
        length = 3;
    else if (first >= 0xf0 && first <= 0xf4)
        length = 4;
    else
        return 0;
    if (length > left)
        return 0;
    *code = first & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if ((text[i] & 0xc0) != 0x80)
            return 0;
        *code = *code << 6 | (text[i] & 0x3fu);
    }
    const bool surrogate = *code >= 0xd800 && *code <= 0xdfff;
    return *code < least_of_length[length] || *code > 0x10ffff || surrogate ? 0 : length;
}

bool text_is_printable(const char *text, size_t length)
{
    const unsigned char *at = (const unsigned char *)text;
    while (length > 0) {
        uint32_t code;
        const size_t used = decode(at, length, &code);
        if (used == 0 || code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0x2028 || code == 0x2029)
            return false;
        at += used;
        length -= used;
    }
    return true;
}
