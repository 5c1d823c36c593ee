/* SPDX-License-Identifier: MIT
 *
 * See text.h. Only memcpy, memcmp and strlen are called.
 */
#include "config/text.h"

#include <string.h>

/* What is shown of a piece of text in a one-line message. */
#define QUOTE_LIMIT 48
/* Longer words are never offered as a correction; a segment name is at most 95 bytes. */
#define WORD_LIMIT  96
/* This many changed letters still count as a slip of the finger. */
#define SLIP_LIMIT  2

struct text text_of(const char *string)
{
    return (struct text){string, strlen(string)};
}

bool text_equals(struct text text, const char *string)
{
    return text.length == strlen(string) && memcmp(text.at, string, text.length) == 0;
}

bool text_contains(struct text text, const char *string)
{
    size_t length = strlen(string);
    for (size_t start = 0; start + length <= text.length; start++)
        if (memcmp(text.at + start, string, length) == 0)
            return true;
    return false;
}

/* The bytes of a UTF-8 sequence that begins with `lead`, and the smallest code point that needs as
 * many; anything smaller is an overlong form. */
static size_t sequence_length(unsigned char lead, uint32_t *code, uint32_t *smallest)
{
    if (lead >= 0xc2 && lead <= 0xdf) {
        *code = lead & 0x1fu;
        *smallest = 0xa0; /* below lie the C1 control characters */
        return 2;
    }
    if (lead >= 0xe0 && lead <= 0xef) {
        *code = lead & 0x0fu;
        *smallest = 0x800;
        return 3;
    }
    if (lead >= 0xf0 && lead <= 0xf4) {
        *code = lead & 0x07u;
        *smallest = 0x10000;
        return 4;
    }
    return 0;
}

size_t text_printable(struct text text)
{
    if (text.length == 0)
        return 0;
    unsigned char lead = (unsigned char)text.at[0];
    if (lead < 0x80)
        return lead >= 0x20 && lead < 0x7f ? 1 : 0;

    uint32_t code = 0, smallest = 0;
    size_t length = sequence_length(lead, &code, &smallest);
    if (length == 0 || length > text.length)
        return 0;
    for (size_t i = 1; i < length; i++) {
        unsigned char byte = (unsigned char)text.at[i];
        if ((byte & 0xc0u) != 0x80u)
            return 0;
        code = code << 6 | (byte & 0x3fu);
    }
    bool surrogate = code >= 0xd800 && code <= 0xdfff;
    return code < smallest || code > 0x10ffff || surrogate ? 0 : length;
}

struct message message_begin(char *buffer, size_t capacity)
{
    buffer[0] = '\0';
    return (struct message){buffer, capacity, 0};
}

static void append(struct message *message, struct text text)
{
    size_t room = message->capacity - 1 - message->length;
    size_t length = text.length < room ? text.length : room;
    memcpy(message->buffer + message->length, text.at, length);
    message->length += length;
    message->buffer[message->length] = '\0';
}

void message_add(struct message *message, const char *string)
{
    append(message, text_of(string));
}

void message_number(struct message *message, uint64_t number)
{
    char digits[20];
    size_t first = sizeof digits;
    do {
        digits[--first] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    append(message, (struct text){digits + first, sizeof digits - first});
}

static void append_escaped_byte(struct message *message, char byte)
{
    static const char hex[] = "0123456789abcdef";
    unsigned value = (unsigned char)byte;
    char escape[4] = {'\\', 'x', hex[value >> 4], hex[value & 15]};
    append(message, (struct text){escape, sizeof escape});
}

void message_escape(struct message *message, struct text text, size_t limit)
{
    size_t stop = message->length + limit;
    for (size_t at = 0; at < text.length;) {
        if (message->length >= stop) {
            message_add(message, "...");
            return;
        }
        struct text rest = {text.at + at, text.length - at};
        size_t length = text_printable(rest);
        if (length > 0) {
            append(message, (struct text){rest.at, length});
            at += length;
        } else {
            append_escaped_byte(message, rest.at[0]);
            at++;
        }
    }
}

void message_quote(struct message *message, struct text text)
{
    message_add(message, "'");
    message_escape(message, text, QUOTE_LIMIT);
    message_add(message, "'");
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Levenshtein's distance, upper and lower case taken as the same letter. */
static size_t distance(struct text text, struct text word)
{
    size_t row[WORD_LIMIT + 1]; /* row[j]: from the text read so far to the word's first j letters */
    for (size_t j = 0; j <= word.length; j++)
        row[j] = j;
    for (size_t i = 0; i < text.length; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < word.length; j++) {
            size_t changed = diagonal + (lower(text.at[i]) != lower(word.at[j]));
            diagonal = row[j + 1];
            row[j + 1] = smaller(changed, smaller(row[j], row[j + 1]) + 1);
        }
    }
    return row[word.length];
}

void message_suggest(struct message *message, struct text text, const char *const *words)
{
    const char *best = NULL;
    size_t best_distance = SLIP_LIMIT + 1;
    if (text.length > WORD_LIMIT)
        return;
    for (; *words; words++) {
        struct text word = text_of(*words);
        /* A word of which every letter would have to change is no likely slip. */
        size_t slips = word.length > WORD_LIMIT ? best_distance : distance(text, word);
        if (slips < best_distance && slips < text.length) {
            best = *words;
            best_distance = slips;
        }
    }
    if (best) {
        message_add(message, "; did you mean ");
        message_quote(message, text_of(best));
        message_add(message, "?");
    }
}
