/* SPDX-License-Identifier: MIT */
#include "label.h"

#include <string.h>

static size_t digits_of(uint64_t value, char out[20])
{
    char reversed[20];
    size_t count = 0;
    do {
        reversed[count++] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    for (size_t i = 0; i < count; i++)
        out[i] = reversed[count - 1 - i];
    return count;
}

GLANCES size_t label_render(const char *text, size_t length, uint64_t sequence, uint64_t size, char *out,
                            size_t bytes)
{
    size_t written = 0;
    for (size_t i = 0; i < length; i++) {
        char number[20];
        const char *piece = &text[i];
        size_t piece_length = 1;
        if (text[i] == LABEL_HOLE_SEQUENCE || text[i] == LABEL_HOLE_SIZE) {
            piece_length = digits_of(text[i] == LABEL_HOLE_SEQUENCE ? sequence : size, number);
            piece = number;
        }
        for (size_t c = 0; c < piece_length; c++, written++)
            if (written + 1 < bytes)
                out[written] = piece[c];
    }
    if (bytes > 0)
        out[written < bytes ? written : bytes - 1] = '\0';
    return written;
}
