/* SPDX-License-Identifier: MIT
 *
 * Contents that tell a page from every other, fast to write and to compare: a text of random bytes, of a
 * length that is no multiple of anything, over and over; where it begins depends on the seed.
 */
#include "coexist.h"

#define TEXT_BYTES ((size_t)1048573) /* a prime */

/* Made when it is first asked for; the program has one thread that does. */
static const unsigned char *text(void)
{
    static uint64_t words[TEXT_BYTES / sizeof(uint64_t) + 1];
    uint64_t chance = UINT64_C(0x9e3779b97f4a7c15);
    for (size_t i = 0; words[0] == 0 || (i > 0 && i < sizeof words / sizeof words[0]); i++) {
        chance ^= chance << 13;
        chance ^= chance >> 7;
        chance ^= chance << 17;
        words[i] = chance;
    }
    return (const unsigned char *)words;
}

static size_t place_of(struct content content)
{
    return (size_t)((content.seed * 7919 + content.from) % TEXT_BYTES);
}

void content_write(unsigned char *to, struct content content, size_t bytes)
{
    const unsigned char *from = text();
    for (size_t at = place_of(content), done = 0, part; done < bytes; done += part, at = 0) {
        part = bytes - done < TEXT_BYTES - at ? bytes - done : TEXT_BYTES - at;
        memcpy(to + done, from + at, part);
    }
}

bool content_is(const unsigned char *there, struct content content, size_t bytes)
{
    const unsigned char *from = text();
    for (size_t at = place_of(content), done = 0, part; done < bytes; done += part, at = 0) {
        part = bytes - done < TEXT_BYTES - at ? bytes - done : TEXT_BYTES - at;
        if (memcmp(there + done, from + at, part) != 0)
            return false;
    }
    return true;
}

bool kind_merges(enum kind kind)
{
    return kind == KIND_MERGED || kind == KIND_PRIVATE;
}

struct content ground_of_outgoing(enum kind kind, size_t at)
{
    return (struct content){10 + (uint64_t)kind, at};
}

struct content ground_of_incoming(enum kind kind, size_t at)
{
    return (struct content){20 + (uint64_t)kind, at};
}

/* ---------------------------------------------------------------- messages */

struct content message_of(const struct exchange *exchange, int of)
{
    if (kind_merges(exchange->from))
        return ground_of_outgoing(exchange->from, exchange->out_at);
    return (struct content){1000 + exchange->number * 64 + (uint64_t)of, 0};
}

void message_write(const struct exchange *exchange)
{
    if (!kind_merges(exchange->from))
        content_write(outgoing[exchange->from] + exchange->out_at, message_of(exchange, rank),
                      exchange->bytes);
}

unsigned char *expectation(void)
{
    static unsigned char bytes[BLOCK_BYTES];
    return bytes;
}

static bool wrong(const struct exchange *exchange, size_t at)
{
    static unsigned said;
    if (said++ < 5)
        fprintf(stderr, "rank %d: %s, %zu bytes from %s at %zu to %s at %zu: wrong at %zu\n", rank,
                exchange->way, exchange->bytes, kind_names[exchange->from], exchange->out_at,
                kind_names[exchange->to], exchange->in_at, at);
    return false;
}

static size_t first_difference(const unsigned char *one, const unsigned char *other, size_t bytes)
{
    size_t at = 0;
    while (at < bytes && one[at] == other[at])
        at++;
    return at;
}

bool came(const struct exchange *exchange, const unsigned char *expected, size_t bytes)
{
    unsigned char *block = incoming[exchange->to], ground[EDGE_BYTES];
    const size_t start = exchange->in_at, end = start + bytes;
    const size_t before = start < EDGE_BYTES ? start : EDGE_BYTES;
    const size_t after = BLOCK_BYTES - end < EDGE_BYTES ? BLOCK_BYTES - end : EDGE_BYTES;
    bool good = memcmp(block + start, expected, bytes) == 0 ||
                wrong(exchange, start + first_difference(block + start, expected, bytes));
    content_write(ground, ground_of_incoming(exchange->to, start - before), before);
    good = (memcmp(block + start - before, ground, before) == 0 ||
            wrong(exchange, start - before + first_difference(block + start - before, ground, before))) &&
           good;
    content_write(ground, ground_of_incoming(exchange->to, end), after);
    good = (memcmp(block + end, ground, after) == 0 ||
            wrong(exchange, end + first_difference(block + end, ground, after))) &&
           good;
    content_write(block + start, ground_of_incoming(exchange->to, start), bytes);
    return good;
}

bool message_came(const struct exchange *exchange, struct content message)
{
    content_write(expectation(), message, exchange->bytes);
    return came(exchange, expectation(), exchange->bytes);
}

bool is_ground(const struct exchange *exchange)
{
    return content_is(incoming[exchange->to], ground_of_incoming(exchange->to, 0), BLOCK_BYTES) ||
           wrong(exchange, BLOCK_BYTES);
}

int next_rank(void)
{
    return (rank + 1) % ranks;
}

int last_rank(void)
{
    return (rank + ranks - 1) % ranks;
}
