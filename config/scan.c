/* SPDX-License-Identifier: MIT
 *
 * See scan.h. One pass over the bytes to refuse control bytes, one to cut the words.
 */
#include "config/scan.h"

#include <string.h>

struct message error_begin(struct policy_error *error, struct place place)
{
    error->line = place.line;
    error->column = place.column;
    return message_begin(error->message, sizeof error->message);
}

bool error_expected(struct policy_error *error, const char *what, struct piece found,
                    const char *const *words)
{
    struct message message = error_begin(error, found.place);
    message_add(&message, "expected ");
    message_add(&message, what);
    message_add(&message, ", found ");
    message_quote(&message, found.text);
    if (words)
        message_suggest(&message, found.text, words);
    return false;
}

bool error_about(struct policy_error *error, struct piece piece, const char *says)
{
    struct message message = error_begin(error, piece.place);
    message_quote(&message, piece.text);
    message_add(&message, " ");
    message_add(&message, says);
    return false;
}

bool error_no_value(struct policy_error *error, const struct word *word)
{
    struct message message = error_begin(error, word->whole.place);
    struct text head = word_head(word).text;
    message_add(&message, "a value is missing after ");
    message_escape(&message, head, head.length);
    return false;
}

bool error_too_many(struct policy_error *error, struct place place, size_t limit, const char *things)
{
    struct message message = error_begin(error, place);
    message_add(&message, "there are more than ");
    message_number(&message, limit);
    message_add(&message, " ");
    message_add(&message, things);
    return false;
}

struct piece piece_part(struct piece piece, size_t from, size_t length)
{
    struct place place = {piece.place.line, piece.place.column + (unsigned)from};
    return (struct piece){{piece.text.at + from, length}, place};
}

struct piece word_head(const struct word *word)
{
    return piece_part(word->whole, 0, word->key.text.length + word->relation.text.length);
}

static struct place place_of(const struct scan *scan, const char *at)
{
    return (struct place){scan->line, (unsigned)(at - scan->line_start) + 1};
}

static struct piece piece_between(const struct scan *scan, const char *from, const char *to)
{
    return (struct piece){{from, (size_t)(to - from)}, place_of(scan, from)};
}

/* A carriage return counts as a blank: one that ends no line is refused from the start. */
static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static bool ends_word(char c)
{
    return is_blank(c) || c == '\n' || c == ';';
}

static bool is_quote(char c)
{
    return c == '"' || c == '\'';
}

static void next_line(struct scan *scan)
{
    scan->at++;
    scan->line++;
    scan->line_start = scan->at;
}

static bool is_allowed(const char *at, const char *end)
{
    unsigned char byte = (unsigned char)*at;
    if (byte == '\r')
        return at + 1 == end || at[1] == '\n';
    return byte == '\t' || byte == '\n' || (byte >= 0x20 && byte != 0x7f);
}

static bool refuse_control_bytes(struct scan scan)
{
    while (scan.at < scan.end) {
        if (!is_allowed(scan.at, scan.end))
            return error_expected(scan.error, "printable text", piece_between(&scan, scan.at, scan.at + 1),
                                  NULL);
        if (*scan.at == '\n')
            next_line(&scan);
        else
            scan.at++;
    }
    return true;
}

bool scan_begin(struct scan *scan, struct text text, struct policy_error *error)
{
    static const char mark[3] = {'\xef', '\xbb', '\xbf'}; /* of byte order; an editor does not show it */
    size_t skip = text.length >= sizeof mark && memcmp(text.at, mark, sizeof mark) == 0 ? sizeof mark : 0;
    const char *start = text.at + skip;
    *scan = (struct scan){start, text.at + text.length, start, 1, error};
    return refuse_control_bytes(*scan);
}

static void skip_blanks_and_comment(struct scan *scan)
{
    while (scan->at < scan->end && is_blank(*scan->at))
        scan->at++;
    if (scan->at < scan->end && *scan->at == '#')
        while (scan->at < scan->end && *scan->at != '\n')
            scan->at++;
}

bool scan_directive(struct scan *scan)
{
    while (skip_blanks_and_comment(scan), scan->at < scan->end) {
        if (*scan->at == '\n')
            next_line(scan);
        else if (*scan->at == ';')
            scan->at++;
        else
            return true;
    }
    return false;
}

bool scan_more(struct scan *scan)
{
    skip_blanks_and_comment(scan);
    return scan->at < scan->end && *scan->at != '\n' && *scan->at != ';';
}

static const char *word_end(const struct scan *scan, const char *at)
{
    while (at < scan->end && !ends_word(*at))
        at++;
    return at;
}

static bool scan_quoted_value(struct scan *scan, struct word *word)
{
    const char *open = scan->at, *close = open + 1;
    while (close < scan->end && *close != *open && *close != '\n')
        close++;
    if (close == scan->end || *close == '\n') {
        while (is_blank(close[-1]))
            close--;
        const char *what = *open == '"' ? "a closing \" on this line" : "a closing ' on this line";
        return error_expected(scan->error, what, piece_between(scan, open, close), NULL);
    }
    const char *after = close + 1, *junk_end = word_end(scan, after);
    if (junk_end > after)
        return error_expected(scan->error, "a blank after the closing quote",
                              piece_between(scan, after, junk_end), NULL);
    word->value = piece_between(scan, open + 1, close);
    scan->at = after;
    return true;
}

static bool refuse_stray_quote(const struct scan *scan, const char *quote)
{
    return error_expected(scan->error, "quotes around the whole value",
                          piece_between(scan, quote, word_end(scan, quote)), NULL);
}

static bool scan_value(struct scan *scan, struct word *word)
{
    const char *start = scan->at, *end = word_end(scan, start);
    if (start < end && is_quote(*start))
        return scan_quoted_value(scan, word);
    for (const char *at = start; at < end; at++)
        if (is_quote(*at))
            return refuse_stray_quote(scan, at);
    word->value = piece_between(scan, start, end);
    scan->at = end;
    return true;
}

bool scan_plain(struct scan *scan, struct word *word)
{
    const char *start = scan->at;
    memset(word, 0, sizeof *word);
    if (!scan_value(scan, word))
        return false;
    word->whole = piece_between(scan, start, scan->at);
    return true;
}

static bool is_relation(char c)
{
    return c == '=' || c == '<' || c == '>';
}

static size_t relation_length(const char *at, const char *end)
{
    if (at == end || !is_relation(*at))
        return 0;
    return *at != '=' && at + 1 < end && at[1] == '=' ? 2 : 1;
}

bool scan_match(struct scan *scan, struct word *word)
{
    const char *start = scan->at, *end = word_end(scan, start), *at = start;
    while (at < end && !is_relation(*at) && !is_quote(*at))
        at++;
    if (at < end && is_quote(*at))
        return refuse_stray_quote(scan, at);
    word->key = piece_between(scan, start, at);
    scan->at = at + relation_length(at, end);
    word->relation = piece_between(scan, at, scan->at);
    if (!scan_value(scan, word))
        return false;
    word->whole = piece_between(scan, start, scan->at);
    return true;
}
