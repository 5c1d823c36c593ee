/* SPDX-License-Identifier: MIT */
#include "namer.h"

#include <string.h>

#include "error.h"
#include "layout.h"

/* Longer names of functions are cut, and told apart by a hash: those of templates have no end. */
#define FUNCTION_MOST 120u
#define FUNCTION_KEPT (FUNCTION_MOST - 17u)

struct writer {
    char *out;
    size_t length, bytes;
    bool overflow;
};

static void put_char(struct writer *writer, char c)
{
    if (writer->length + 1 >= writer->bytes) {
        writer->overflow = true;
        return;
    }
    writer->out[writer->length++] = c;
}

/* What comes from outside (function and file names) may hold control bytes, which would be taken for holes.
 */
static void put_text(struct writer *writer, const char *text)
{
    for (; *text != '\0'; text++)
        put_char(writer, (unsigned char)*text < 0x20 || *text == 0x7f ? '?' : *text);
}

static void put_number(struct writer *writer, const char *format, uint64_t number)
{
    char digits[32];
    error_format(digits, sizeof digits, format, (unsigned long)number);
    put_text(writer, digits);
}

/* Where the process is told apart from others: its rank, or its pid. */
static void put_process(struct writer *writer, const struct namer_facts *facts)
{
    if (facts->rank != NULL) {
        put_text(writer, facts->rank);
        return;
    }
    put_char(writer, 'p');
    put_number(writer, "%lu", (uint64_t)(uint32_t)facts->pid);
}

/* Not in the middle of a character. */
static void put_function(struct writer *writer, const char *function)
{
    char kept[FUNCTION_MOST + 1];
    size_t length = strlen(function), cut = FUNCTION_KEPT;
    if (length <= FUNCTION_MOST) {
        put_text(writer, function);
        return;
    }
    while (((unsigned char)function[cut] & 0xc0) == 0x80)
        cut--;
    memcpy(kept, function, cut);
    kept[cut] = '\0';
    put_text(writer, kept);
    put_number(writer, "~%lx", hash_bytes(function, length));
}

struct mentioned {
    bool sequence, thread, process;
};

static void put_placeholder(struct writer *writer, const char *word, size_t length,
                            const struct namer_facts *facts, struct mentioned *mentioned)
{
#define IS(text) (length == sizeof(text) - 1 && memcmp(word, text, length) == 0)
    if (IS("module")) {
        put_text(writer, facts->module);
    } else if (IS("func")) {
        put_function(writer, facts->function != NULL ? facts->function : "?");
    } else if (IS("offset")) {
        put_number(writer, "0x%lx", facts->offset);
    } else if (IS("seq")) {
        put_char(writer, LABEL_HOLE_SEQUENCE);
        mentioned->sequence = true;
    } else if (IS("size")) {
        put_char(writer, LABEL_HOLE_SIZE);
    } else if (IS("thread")) {
        put_text(writer, facts->thread[0] != '\0' ? facts->thread : "0");
        mentioned->thread = true;
    } else if (IS("rank")) {
        put_process(writer, facts);
        mentioned->process = true;
    } else if (IS("pid")) {
        put_number(writer, "%lu", (uint64_t)(uint32_t)facts->pid);
        mentioned->process = true;
    }
#undef IS
}

size_t namer_label(const char *template, const struct namer_facts *facts, char *out, size_t bytes,
                   bool *counts)
{
    struct writer writer = {.out = out, .bytes = bytes};
    struct mentioned mentioned = {false, false, false};
    for (const char *at = template; *at != '\0'; at++) {
        const char *end = *at == '{' ? strchr(at, '}') : NULL;
        if (end == NULL) {
            put_char(&writer, *at);
            continue;
        }
        put_placeholder(&writer, at + 1, (size_t)(end - at - 1), facts, &mentioned);
        at = end;
    }
    if (!mentioned.thread && facts->thread[0] != '\0') {
        put_text(&writer, ".t");
        put_text(&writer, facts->thread);
    }
    if (facts->exported && !mentioned.process) {
        put_char(&writer, '@');
        put_process(&writer, facts);
    }
    *counts = mentioned.sequence;
    out[writer.length] = '\0';
    return writer.overflow ? 0 : writer.length;
}

bool namer_is_automatic(const char *template)
{
    return strstr(template, "{module}") != NULL;
}
