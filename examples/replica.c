/* SPDX-License-Identifier: MIT
 *
 * Builds the table the way programs do: fill, sort, patch, and then an index; nothing is known in advance
 * that a program which reads its data from elsewhere would not know.
 */
#include "replica.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE = 4096, RECORDS_EACH = 4, LOOKUPS = 200000 };

struct record {
    uint64_t key;
    double value;
};

struct node {
    struct node *left, *right;
    struct record *records; /* RECORDS_EACH of them */
    uint64_t key;           /* of the first one */
    double total;           /* of their values */
    uint64_t extras;
    uint64_t extra[]; /* 0, 1 or 2: so blocks are of three sizes */
};

struct replica {
    struct record *records;
    struct node **nodes; /* in the order of their keys */
    size_t node_count, node_room;
    struct node *root;
};

enum { EXTRAS_MOST = 2, NODE_BYTES = sizeof(struct node) + sizeof(uint64_t) }; /* on average */
enum { BYTES_EACH = RECORDS_EACH * sizeof(struct record) + NODE_BYTES + sizeof(struct node *) };

/* A number that looks like any other: splitmix64. */
static uint64_t mix(uint64_t number)
{
    number += 0x9e3779b97f4a7c15u;
    number = (number ^ (number >> 30)) * 0xbf58476d1ce4e5b9u;
    number = (number ^ (number >> 27)) * 0x94d049bb133111ebu;
    return number ^ (number >> 31);
}

/* 0 <= … < 1 */
static double fraction(uint64_t number)
{
    return (double)(mix(number) >> 11) * 0x1p-53;
}

/* ---------------------------------------------------------------- build
 *
 * The functions that call malloc are not inlined, so that they have their names in a release build as well.
 */

__attribute__((noinline)) static struct record *make_records(size_t count)
{
    struct record *records = malloc(count * sizeof *records);
    for (size_t i = 0; records != NULL && i < count; i++)
        records[i] = (struct record){.key = mix(i), .value = fraction(~i)};
    return records;
}

static int compare_records(const void *one, const void *other)
{
    const uint64_t a = ((const struct record *)one)->key, b = ((const struct record *)other)->key;
    return (a > b) - (a < b);
}

/* Each value becomes what it is with its neighbours: depends on the order, and changes every page again. */
static void patch_records(struct record *records, size_t count)
{
    for (size_t i = 1; i < count; i++)
        records[i].value += records[i - 1].value / 2;
}

__attribute__((noinline)) static struct node *make_node(struct record *records, uint64_t extras)
{
    struct node *node = malloc(sizeof *node + extras * sizeof node->extra[0]);
    if (node == NULL)
        return NULL;
    *node = (struct node){.records = records, .key = records[0].key, .extras = extras};
    for (size_t i = 0; i < RECORDS_EACH; i++)
        node->total += records[i].value;
    for (uint64_t i = 0; i < extras; i++)
        node->extra[i] = mix(node->key + i);
    return node;
}

/* Room for so many nodes; what is there stays. */
__attribute__((noinline)) static bool make_room(struct replica *replica, size_t room)
{
    struct node **nodes = realloc(replica->nodes, room * sizeof *nodes);
    if (nodes == NULL)
        return false;
    replica->nodes = nodes;
    replica->node_room = room;
    return true;
}

static bool make_nodes(struct replica *replica, size_t count)
{
    while (replica->node_count < count) {
        const size_t number = replica->node_count;
        if (number == replica->node_room && !make_room(replica, 2 * number + 1000))
            return false;
        struct node *node = make_node(&replica->records[number * RECORDS_EACH], number % (EXTRAS_MOST + 1));
        if (node == NULL)
            return false;
        replica->nodes[replica->node_count++] = node;
    }
    return make_room(replica, count);
}

/* The root of a balanced tree of so many nodes. */
static struct node *link_nodes(struct node **nodes, size_t count)
{
    if (count == 0)
        return NULL;
    struct node *root = nodes[count / 2];
    root->left = link_nodes(nodes, count / 2);
    root->right = link_nodes(nodes + count / 2 + 1, count - count / 2 - 1);
    return root;
}

struct replica *replica_build(size_t bytes)
{
    const size_t nodes = bytes / BYTES_EACH > 0 ? bytes / BYTES_EACH : 1, records = nodes * RECORDS_EACH;
    struct replica *replica = calloc(1, sizeof *replica);
    if (replica == NULL || (replica->records = make_records(records)) == NULL) {
        free(replica);
        return NULL;
    }
    qsort(replica->records, records, sizeof replica->records[0], compare_records);
    patch_records(replica->records, records);
    if (!make_nodes(replica, nodes)) {
        replica_free(replica);
        return NULL;
    }
    replica->root = link_nodes(replica->nodes, nodes);
    return replica;
}

void replica_free(struct replica *replica)
{
    for (size_t i = 0; i < replica->node_count; i++)
        free(replica->nodes[i]);
    free(replica->nodes);
    free(replica->records);
    free(replica);
}

size_t replica_bytes(const struct replica *replica)
{
    return replica->node_count * BYTES_EACH;
}

/* ---------------------------------------------------------------- write */

/* Which of `count` things to write to, one to a page, is told one after the other: the place of number `i`
 * when there are `each` to a page. `count` or more: no further one. */
static size_t place_of(size_t i, size_t each, uint64_t seed, double percent)
{
    const uint64_t chance = mix((seed << 40) + i);
    const double page = ((double)i + fraction(chance)) * 100 / percent;
    return (size_t)page * each + chance % each;
}

size_t replica_write(struct replica *replica, uint64_t seed, double percent)
{
    const size_t records = replica->node_count * RECORDS_EACH, record_each = PAGE / sizeof(struct record),
                 node_each = PAGE / NODE_BYTES + 1;
    size_t pages = 0, place;
    if (percent <= 0)
        return 0;
    for (size_t i = 0; (place = place_of(i, record_each, seed, percent)) < records; i++, pages++)
        replica->records[place].value = -fraction(seed + (uint64_t)place);
    for (size_t i = 0; (place = place_of(i, node_each, seed, percent)) < replica->node_count; i++, pages++)
        replica->nodes[place]->total = -fraction(seed + (uint64_t)place);
    return pages;
}

/* ---------------------------------------------------------------- read */

void replica_touch(const struct replica *replica)
{
    const volatile struct record *records = replica->records;
    struct node *const volatile *nodes = replica->nodes;
    for (size_t i = 0; i < replica->node_count * RECORDS_EACH; i += PAGE / sizeof *records)
        (void)records[i].key;
    for (size_t i = 0; i < replica->node_count; i += PAGE / NODE_BYTES / 2)
        (void)((const volatile struct node *)nodes[i])->key;
}

static uint64_t add(uint64_t sum, uint64_t number)
{
    return (sum << 7 | sum >> 57) * 0x9e3779b97f4a7c15u ^ number;
}

static uint64_t add_value(uint64_t sum, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return add(sum, bits);
}

static uint64_t add_records(uint64_t sum, const struct replica *replica)
{
    for (size_t i = 0; i < replica->node_count * RECORDS_EACH; i++)
        sum = add_value(add(sum, replica->records[i].key), replica->records[i].value);
    return sum;
}

/* Through the pointers, left to right. */
static uint64_t add_tree(uint64_t sum, const struct replica *replica, const struct node *node)
{
    if (node == NULL)
        return add(sum, 0);
    sum = add_tree(sum, replica, node->left);
    sum = add(add(sum, node->key), (uint64_t)(node->records - replica->records));
    sum = add_value(sum, node->total);
    for (uint64_t i = 0; i < node->extras && i < EXTRAS_MOST; i++)
        sum = add(sum, node->extra[i]);
    return add_tree(sum, replica, node->right);
}

/* The node whose records are the last ones that are not above the key. */
static const struct node *find(const struct replica *replica, uint64_t key)
{
    const struct node *found = NULL, *node = replica->root;
    while (node != NULL) {
        if (node->key <= key)
            found = node;
        node = node->key <= key ? node->right : node->left;
    }
    return found;
}

static uint64_t add_found(uint64_t sum, const struct replica *replica)
{
    for (uint64_t i = 0; i < LOOKUPS; i++) {
        const struct node *node = find(replica, mix(~i));
        if (node != NULL)
            sum = add_value(sum, node->records[i % RECORDS_EACH].value);
    }
    return sum;
}

uint64_t replica_checksum(const struct replica *replica)
{
    return add_found(add_tree(add_records(1, replica), replica, replica->root), replica);
}
