/* SPDX-License-Identifier: MIT
 *
 * See values.h.
 */
#include "config/values.h"

#include <limits.h>
#include <string.h>

/* What a block's name and a segment's name may hold, in bytes. */
#define BLOCK_NAME_MAX   255
#define SEGMENT_NAME_MAX 95

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* The power of two that a unit stands for; 0: no unit. */
static unsigned unit_shift(char unit)
{
    static const char units[] = "KMGTkmgt";
    for (unsigned i = 0; units[i]; i++)
        if (units[i] == unit)
            return 10 * (i % 4 + 1);
    return 0;
}

static bool number_from(struct text digits, unsigned shift, size_t *number)
{
    size_t sum = 0;
    for (size_t i = 0; i < digits.length; i++) {
        size_t digit = (size_t)(digits.at[i] - '0');
        if (sum > (SIZE_MAX - digit) / 10)
            return false;
        sum = sum * 10 + digit;
    }
    *number = sum << shift;
    return sum <= SIZE_MAX >> shift;
}

/* The digits that the text begins with. */
static struct text digits_of(struct text text)
{
    struct text digits = {text.at, 0};
    while (digits.length < text.length && is_digit(digits.at[digits.length]))
        digits.length++;
    return digits;
}

bool value_bytes(struct piece value, size_t *bytes, struct policy_error *error)
{
    struct text digits = digits_of(value.text);
    size_t rest = value.text.length - digits.length;
    unsigned shift = rest == 1 ? unit_shift(digits.at[digits.length]) : 0;
    if (digits.length == 0 || rest > 1 || (rest == 1 && shift == 0))
        return error_expected(error, "a number of bytes such as 64, 4K, 8M, 2G or 1T", value, NULL);
    if (!number_from(digits, shift, bytes))
        return error_expected(error, "a number of bytes below 2^64", value, NULL);
    return true;
}

#define MILLISECOND  UINT64_C(1000000)
#define DURATION_MIN (100 * MILLISECOND)
#define DURATION_MAX (3600 * 1000 * MILLISECOND)

/* In milliseconds what a unit stands for; 0: no unit. */
static uint64_t unit_milliseconds(struct text unit)
{
    static const struct {
        const char *name;
        uint64_t milliseconds;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60 * 1000}, {"h", 3600 * 1000}};
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        if (text_equals(unit, units[i].name))
            return units[i].milliseconds;
    return 0;
}

bool value_duration(struct piece value, uint64_t *nanoseconds, struct policy_error *error)
{
    struct text digits = digits_of(value.text);
    uint64_t unit =
        unit_milliseconds(piece_part(value, digits.length, value.text.length - digits.length).text);
    size_t count;
    if (digits.length == 0 || unit == 0)
        return error_expected(error, "a duration such as 500ms, 2s or 1m", value, NULL);
    unit *= MILLISECOND;
    if (!number_from(digits, 0, &count) || count > DURATION_MAX / unit || count * unit < DURATION_MIN)
        return error_expected(error, "a duration from 100ms to 1h", value, NULL);
    *nanoseconds = count * unit;
    return true;
}

/* Finds the ".." of A..B; false: there is none. */
static bool find_dots(struct text text, size_t *at)
{
    for (size_t i = 0; i + 1 < text.length; i++)
        if (text.at[i] == '.' && text.at[i + 1] == '.') {
            *at = i;
            return true;
        }
    return false;
}

static bool range_between(struct piece value, size_t dots, struct value_range *range,
                          struct policy_error *error)
{
    size_t after = dots + 2, length = value.text.length;
    if (dots == 0 || after == length)
        return error_expected(error, "two sizes as in 64K..4G", value, NULL);
    if (!value_bytes(piece_part(value, 0, dots), &range->least, error) ||
        !value_bytes(piece_part(value, after, length - after), &range->most, error))
        return false;
    if (range->least > range->most)
        return error_expected(error, "the smaller size first", value, NULL);
    range->lower = range->upper = true;
    return true;
}

static const struct value_range nothing = {1, 0, false, false};

/* The sizes that stand in this relation to `bytes`. */
static struct value_range range_from(struct text relation, size_t bytes)
{
    struct value_range range = {0, SIZE_MAX, false, false};
    if (text_equals(relation, ">="))
        range.least = bytes;
    else if (text_equals(relation, "<="))
        range.most = bytes;
    else if (text_equals(relation, "="))
        range.least = range.most = bytes;
    else if (text_equals(relation, ">"))
        range = bytes < SIZE_MAX ? (struct value_range){bytes + 1, SIZE_MAX, false, false} : nothing;
    else
        range = bytes > 0 ? (struct value_range){0, bytes - 1, false, false} : nothing;
    range.lower = relation.at[0] != '<';
    range.upper = relation.at[0] != '>';
    return range;
}

bool value_range(const struct word *word, struct value_range *range, struct policy_error *error)
{
    size_t dots, bytes;
    if (text_equals(word->relation.text, "=") && find_dots(word->value.text, &dots))
        return range_between(word->value, dots, range, error);
    if (!value_bytes(word->value, &bytes, error))
        return false;
    *range = range_from(word->relation.text, bytes);
    return true;
}

/* The last `mark` in the text; its length if there is none. */
static size_t last_of(struct text text, char mark)
{
    for (size_t at = text.length; at > 0; at--)
        if (text.at[at - 1] == mark)
            return at - 1;
    return text.length;
}

static int hex_digit(char c)
{
    if (is_digit(c))
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* 0xOFFSET, nothing before it and nothing after. */
static bool offset_from(struct text text, uint64_t *offset)
{
    if (text.length < 3 || text.at[0] != '0' || (text.at[1] != 'x' && text.at[1] != 'X'))
        return false;
    *offset = 0;
    for (size_t i = 2; i < text.length; i++) {
        int digit = hex_digit(text.at[i]);
        if (digit < 0 || *offset > UINT64_MAX >> 4)
            return false;
        *offset = *offset << 4 | (uint64_t)digit;
    }
    return true;
}

bool value_site(struct piece value, struct text *module, uint64_t *offset, struct policy_error *error)
{
    struct text text = value.text;
    size_t mark = last_of(text, '!');
    *module = (struct text){text.at, mark};
    if (mark == 0 || mark == text.length ||
        !offset_from((struct text){text.at + mark + 1, text.length - mark - 1}, offset))
        return error_expected(error, "a call site as in libsolver.so!0x1a2b or exe!0x4f0", value, NULL);
    return true;
}

/* Digits only, from 1 on. */
static bool line_from(struct text text, unsigned *line)
{
    uint64_t number = 0;
    for (size_t i = 0; i < text.length && number <= UINT_MAX; i++) {
        if (!is_digit(text.at[i]))
            return false;
        number = number * 10 + (uint64_t)(text.at[i] - '0');
    }
    *line = (unsigned)number;
    return text.length > 0 && number >= 1 && number <= UINT_MAX;
}

bool value_source(struct piece value, struct text *file, unsigned *first, unsigned *last,
                  struct policy_error *error)
{
    const struct text text = value.text;
    const size_t mark = last_of(text, ':');
    *file = (struct text){text.at, mark};
    *first = 1;
    *last = UINT_MAX;
    if (mark == text.length)
        return true;
    const struct text lines = {text.at + mark + 1, text.length - mark - 1};
    const size_t dash = last_of(lines, '-');
    const bool both = dash < lines.length;
    const struct text to = both ? (struct text){lines.at + dash + 1, lines.length - dash - 1} : lines;
    if (mark > 0 && line_from((struct text){lines.at, both ? dash : lines.length}, first) &&
        line_from(to, last) && *first <= *last)
        return true;
    return error_expected(error, "a source line as in mesh.c:120 or mesh.c:100-140", value, NULL);
}

/* Where the next "<-" stands; the end of the text if there is none. */
static size_t arrow_in(struct text text, size_t from)
{
    while (from < text.length &&
           !(text.at[from] == '<' && from + 1 < text.length && text.at[from + 1] == '-'))
        from++;
    return from;
}

bool value_stack(struct piece value, struct text *frames, size_t most, size_t *count,
                 struct policy_error *error)
{
    static const char form[] = "functions as in grid_init<-main or alloc*<-...<-solve, innermost first";
    bool named = false;
    struct text module;
    uint64_t offset;
    *count = 0;
    for (size_t start = 0; start <= value.text.length;) {
        const size_t end = arrow_in(value.text, start);
        const struct piece frame = piece_part(value, start, end - start);
        if (frame.text.length == 0)
            return error_expected(error, form, value, NULL);
        if (*count == most)
            return error_too_many(error, frame.place, most, "frames");
        if (text_contains(frame.text, "!0") && !value_site(frame, &module, &offset, error))
            return false;
        named = !text_equals(frame.text, "...");
        frames[(*count)++] = named ? frame.text : (struct text){NULL, 0};
        start = end + 2;
    }
    return named || error_expected(error, "a function behind the last ...", value, NULL);
}

bool value_choice(struct piece value, const char *const *words, const char *expected, size_t *index,
                  struct policy_error *error)
{
    for (*index = 0; words[*index]; ++*index)
        if (text_equals(value.text, words[*index]))
            return true;
    return error_expected(error, expected, value, words);
}

bool value_calls(struct piece value, unsigned *calls, struct policy_error *error)
{
    static const char *const words[] = {"malloc", "calloc", "realloc", "aligned", "new", NULL};
    *calls = 0;
    for (size_t start = 0; start <= value.text.length;) {
        size_t end = start, index;
        while (end < value.text.length && value.text.at[end] != ',')
            end++;
        struct piece item = piece_part(value, start, end - start);
        if (!value_choice(item, words, "malloc, calloc, realloc, aligned or new", &index, error))
            return false;
        *calls |= 1u << index; /* the words stand in the order of enum policy_call */
        start = end + 1;
    }
    return true;
}

/* Reads the placeholder at `at`, where a '{' stands; *length is that of the placeholder. */
static bool placeholder(struct piece value, size_t at, size_t *length, struct policy_error *error)
{
    static const char *const words[] = {"{module}", "{func}", "{offset}", "{seq}", "{thread}",
                                        "{rank}",   "{pid}",  "{size}",   NULL};
    size_t end = at, index;
    while (end < value.text.length && value.text.at[end] != '}')
        end++;
    struct piece rest = piece_part(value, at, end - at);
    if (end == value.text.length)
        return error_expected(error, "a closing } after the placeholder", rest, NULL);
    *length = ++rest.text.length;
    return value_choice(rest, words, "{module}, {func}, {offset}, {seq}, {thread}, {rank}, {pid} or {size}",
                        &index, error);
}

/* Reads one printable character, or a brace that closes nothing, which is an error. */
static bool literal(struct piece value, size_t at, size_t *length, struct policy_error *error)
{
    struct piece rest = piece_part(value, at, value.text.length - at);
    *length = text_printable(rest.text);
    if (*length == 0)
        return error_expected(error, "printable UTF-8", rest, NULL);
    if (rest.text.at[0] == '}')
        return error_expected(error, "a { before the }", rest, NULL);
    return true;
}

bool value_template(struct piece value, struct policy_error *error)
{
    size_t literals = 0;
    for (size_t at = 0, length; at < value.text.length; at += length) {
        bool opens = value.text.at[at] == '{';
        if (!(opens ? placeholder : literal)(value, at, &length, error))
            return false;
        literals += opens ? 0 : length;
    }
    if (literals > BLOCK_NAME_MAX)
        return error_expected(error, "a name of at most 255 bytes", value, NULL);
    return true;
}

bool value_segment_name(struct piece value, struct policy_error *error)
{
    const char *expected = NULL;
    for (size_t at = 0, length; at < value.text.length && !expected; at += length) {
        length = text_printable((struct text){value.text.at + at, value.text.length - at});
        if (length == 0)
            expected = "a segment name in printable UTF-8";
    }
    if (value.text.length > SEGMENT_NAME_MAX)
        expected = "a segment name of at most 95 bytes";
    else if (text_contains(value.text, "/"))
        expected = "a segment name without a /";
    else if (!text_contains(value.text, "SHARED"))
        expected = "a segment name that contains SHARED, such as SHARED::node";
    return expected ? error_expected(error, expected, value, NULL) : true;
}

bool value_when(struct piece value, unsigned *when, uint64_t *quiet, struct policy_error *error)
{
    static const char *const words[] = {"quiet:2s", "barrier", "manual", NULL};
    static const char mark[] = "quiet:";
    size_t length = sizeof mark - 1, index = 0;
    bool waits = value.text.length >= length && memcmp(value.text.at, mark, length) == 0;
    *quiet = 0;
    if (waits ? !value_duration(piece_part(value, length, value.text.length - length), quiet, error)
              : !value_choice(value, words, "when=quiet:2s, when=barrier or when=manual", &index, error))
        return false;
    *when = (unsigned)index; /* the words stand in the order of enum policy_when */
    return true;
}
