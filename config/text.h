/* SPDX-License-Identifier: MIT
 *
 * Pieces of text, and sentences made of them.
 *
 * A `struct text` is a piece of somebody else's bytes: no NUL, no ownership. A `struct message`
 * writes a sentence into a buffer of fixed size: always terminated, cut off at the end when the
 * buffer is full, and never with a byte in it that could disturb a terminal when foreign text goes
 * through message_escape() or message_quote().
 *
 * It exists because the policy is read before the program has a heap, where stdio is out of bounds.
 */
#ifndef SHM_TEXT_H
#define SHM_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct text {
    const char *at;
    size_t length;
};

struct text text_of(const char *string);
bool text_equals(struct text text, const char *string);
bool text_contains(struct text text, const char *string);

/* Bytes of the printable UTF-8 character that the text begins with; 0 when it begins with none. */
size_t text_printable(struct text text);

struct message {
    char *buffer;
    size_t capacity;
    size_t length;
};

struct message message_begin(char *buffer, size_t capacity);
void message_add(struct message *message, const char *string);
void message_number(struct message *message, uint64_t number);

/* Foreign text: what is not printable as \xNN, and "..." after about `limit` bytes. */
void message_escape(struct message *message, struct text text, size_t limit);
/* The same between single quotes, short enough for a one-line message. */
void message_quote(struct message *message, struct text text);

/* Adds "; did you mean 'word'?" when one of the words (the list ends with NULL) differs from the
 * text in no more than two letters. */
void message_suggest(struct message *message, struct text text, const char *const *words);

#endif
