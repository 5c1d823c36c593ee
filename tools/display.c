/* SPDX-License-Identifier: MIT
 *
 * UTF-8 is decoded here and not by mbrtowc(), because what a name holds does not depend on the
 * locale of the person who looks at it; only the width of a character is asked of the locale.
 */
#include "display.h"

#include "tool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

static const char units[] = "KMGT";

/* Length of the well-formed UTF-8 character at `text`, its code point in *point; 0 if there is none. */
static size_t decode(const char *text, size_t length, uint32_t *point)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *byte = (const unsigned char *)text;
    if (length == 0)
        return 0;
    size_t size = byte[0] < 0x80       ? 1
                  : byte[0] >> 5 == 6  ? 2
                  : byte[0] >> 4 == 14 ? 3
                  : byte[0] >> 3 == 30 ? 4
                                       : 0;
    if (size == 0 || size > length)
        return 0;
    uint32_t value = size == 1 ? byte[0] : byte[0] & (0x7Fu >> size);
    for (size_t i = 1; i < size; i++) {
        if (byte[i] >> 6 != 2)
            return 0;
        value = value << 6 | (byte[i] & 0x3Fu);
    }
    if (value < least[size] || value > 0x10FFFF || (value >= 0xD800 && value < 0xE000))
        return 0;
    *point = value;
    return size;
}

/* Controls, and the invisible characters that turn or split a line. */
static bool is_printable(uint32_t point)
{
    bool control = point < 0x20 || (point >= 0x7F && point < 0xA0);
    bool invisible = (point >= 0x200B && point <= 0x200F) || (point >= 0x2028 && point <= 0x202E) ||
                     (point >= 0x2060 && point <= 0x206F) || point == 0xFEFF;
    return !control && !invisible;
}

static char *put_escape(char *out, unsigned char byte)
{
    static const char hexadecimal[] = "0123456789abcdef";
    const char *named = byte == '\t' ? "\\t" : byte == '\n' ? "\\n" : byte == '\r' ? "\\r" : NULL;
    if (named)
        return stpcpy(out, named);
    *out++ = '\\';
    *out++ = 'x';
    *out++ = hexadecimal[byte >> 4];
    *out++ = hexadecimal[byte & 15];
    return out;
}

static char *escape(const char *text, size_t length, bool keep_unprintable)
{
    char *result = required(malloc(4 * length + 1)), *out = result;
    while (length > 0) {
        uint32_t point = 0;
        size_t size = decode(text, length, &point);
        bool keep = size > 0 && (keep_unprintable || is_printable(point));
        if (size == 0)
            size = 1;
        for (size_t i = 0; i < size; i++) {
            if (keep)
                *out++ = text[i];
            else
                out = put_escape(out, (unsigned char)text[i]);
        }
        text += size;
        length -= size;
    }
    *out = '\0';
    return result;
}

char *display_escape(const char *text, size_t length)
{
    return escape(text, length, false);
}

char *display_as_utf8(const char *text, size_t length)
{
    return escape(text, length, true);
}

size_t display_width(const char *text)
{
    size_t columns = 0, length = strlen(text);
    while (length > 0) {
        uint32_t point = 0;
        size_t size = decode(text, length, &point);
        int width = size > 0 ? wcwidth((wchar_t)point) : 1;
        columns += width < 0 ? 1 : (size_t)width; /* -1: the locale does not know it */
        size += size == 0;
        text += size;
        length -= size;
    }
    return columns;
}

const char *display_size(uint64_t bytes, bool exact, char buffer[static DISPLAY_SIZE_MAX])
{
    double value = (double)bytes;
    uint64_t unit = 1;
    char suffix[2] = "";
    for (const char *next = units; *next && !exact && value >= 1023.5; next++) {
        value /= 1024;
        unit *= 1024;
        suffix[0] = *next;
    }
    if (unit == 1)
        snprintf(buffer, DISPLAY_SIZE_MAX, "%ju", (uintmax_t)bytes);
    else
        snprintf(buffer, DISPLAY_SIZE_MAX, "%.*f%s", bytes % unit != 0 && value < 99.95, value, suffix);
    return buffer;
}

const char *display_policy_size(uint64_t bytes, char buffer[static DISPLAY_SIZE_MAX])
{
    char suffix[2] = "";
    for (const char *next = units; *next && bytes > 0 && bytes % 1024 == 0; next++) {
        bytes /= 1024;
        suffix[0] = *next;
    }
    snprintf(buffer, DISPLAY_SIZE_MAX, "%ju%s", (uintmax_t)bytes, suffix);
    return buffer;
}

bool display_parse_size(const char *text, uint64_t *bytes)
{
    uint64_t value = 0;
    size_t digits = strspn(text, "0123456789");
    const char *suffix = text + digits;
    for (size_t i = 0; i < digits; i++) {
        if (__builtin_mul_overflow(value, 10u, &value) ||
            __builtin_add_overflow(value, (unsigned)(text[i] - '0'), &value))
            return false;
    }
    if (*suffix) {
        const char *unit = strchr(units, *suffix++);
        if (!unit)
            return false;
        if (__builtin_mul_overflow(value, UINT64_C(1) << (10 * (unit - units + 1)), &value))
            return false;
    }
    *bytes = value;
    return digits > 0 && *suffix == '\0';
}
