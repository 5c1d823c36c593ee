/* SPDX-License-Identifier: MIT
 *
 * Messages in every way that MPI libraries treat differently: one at a time, both directions at once, asked
 * for before and after they come, of columns of a table, and of all ranks together.
 */
#include "coexist.h"

#define TAG ((int)(exchange->number % 30000)) /* ranks run ahead of each other */

static void receive_later(const struct exchange *exchange, int from, MPI_Request *request)
{
    MPI_Irecv(incoming[exchange->to] + exchange->in_at, (int)exchange->bytes, MPI_BYTE, from, TAG,
              MPI_COMM_WORLD, request);
}

static const unsigned char *outgoing_at(const struct exchange *exchange)
{
    return outgoing[exchange->from] + exchange->out_at;
}

static unsigned char *incoming_at(const struct exchange *exchange)
{
    return incoming[exchange->to] + exchange->in_at;
}

/* ---------------------------------------------------------------- two ranks */

/* From ranks of one parity to their neighbours; whoever receives nothing finds its ground as it was. */
static bool one_way(const struct exchange *exchange, int parity)
{
    const int other = rank ^ 1;
    bool good;
    if (rank % 2 == parity) {
        MPI_Send(outgoing_at(exchange), (int)exchange->bytes, MPI_BYTE, other, TAG, MPI_COMM_WORLD);
        good = is_ground(exchange);
    } else {
        MPI_Recv(incoming_at(exchange), (int)exchange->bytes, MPI_BYTE, other, TAG, MPI_COMM_WORLD,
                 MPI_STATUS_IGNORE);
        good = message_came(exchange, message_of(exchange, other));
    }
    return good;
}

static bool back_and_forth(const struct exchange *exchange)
{
    const bool good = one_way(exchange, 0);
    return one_way(exchange, 1) && good;
}

static bool at_once(const struct exchange *exchange)
{
    MPI_Request requests[2];
    MPI_Status statuses[2];
    receive_later(exchange, last_rank(), &requests[0]);
    MPI_Isend(outgoing_at(exchange), (int)exchange->bytes, MPI_BYTE, next_rank(), TAG, MPI_COMM_WORLD,
              &requests[1]);
    MPI_Waitall(2, requests, statuses);
    return message_came(exchange, message_of(exchange, last_rank()));
}

/* The message is there, or announced, before there is a place for it. */
static bool unexpected(const struct exchange *exchange)
{
    MPI_Request request;
    MPI_Status status;
    int bytes;
    MPI_Issend(outgoing_at(exchange), (int)exchange->bytes, MPI_BYTE, next_rank(), TAG, MPI_COMM_WORLD,
               &request);
    MPI_Probe(MPI_ANY_SOURCE, TAG, MPI_COMM_WORLD, &status);
    MPI_Get_count(&status, MPI_BYTE, &bytes);
    MPI_Recv(incoming_at(exchange), bytes, MPI_BYTE, status.MPI_SOURCE, TAG, MPI_COMM_WORLD,
             MPI_STATUS_IGNORE);
    MPI_Wait(&request, MPI_STATUS_IGNORE);
    return message_came(exchange, message_of(exchange, last_rank()));
}

static bool exchanged(const struct exchange *exchange)
{
    MPI_Sendrecv(outgoing_at(exchange), (int)exchange->bytes, MPI_BYTE, last_rank(), TAG,
                 incoming_at(exchange), (int)exchange->bytes, MPI_BYTE, next_rank(), TAG, MPI_COMM_WORLD,
                 MPI_STATUS_IGNORE);
    return message_came(exchange, message_of(exchange, next_rank()));
}

/* ---------------------------------------------------------------- columns */

enum { COLUMN = 24, ROW = 40 };

/* What is between the columns is neither sent nor written. */
static bool columns(const struct exchange *exchange)
{
    const size_t rows = exchange->bytes / ROW + 1, whole = (rows - 1) * ROW + COLUMN;
    MPI_Datatype type;
    if (exchange->in_at + whole > BLOCK_BYTES || exchange->out_at + whole > BLOCK_BYTES)
        return exchanged(exchange);
    MPI_Type_vector((int)rows, COLUMN, ROW, MPI_BYTE, &type);
    MPI_Type_commit(&type);
    struct exchange table = *exchange;
    table.bytes = whole;
    message_write(&table);
    MPI_Sendrecv(outgoing_at(&table), 1, type, next_rank(), TAG, incoming_at(&table), 1, type, last_rank(),
                 TAG, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    MPI_Type_free(&type);
    const struct content message = message_of(&table, last_rank());
    unsigned char *expected = expectation();
    content_write(expected, ground_of_incoming(table.to, table.in_at), whole);
    for (size_t row = 0; row < rows; row++)
        content_write(expected + row * ROW, (struct content){message.seed, message.from + row * ROW}, COLUMN);
    return came(&table, expected, whole);
}

/* ---------------------------------------------------------------- all ranks */

static bool all_to_all(const struct exchange *exchange)
{
    const size_t part = exchange->bytes / (size_t)ranks;
    unsigned char *expected = expectation();
    MPI_Alltoall(outgoing_at(exchange), (int)part, MPI_BYTE, incoming_at(exchange), (int)part, MPI_BYTE,
                 MPI_COMM_WORLD);
    for (int of = 0; of < ranks; of++) {
        struct content message = message_of(exchange, of);
        message.from += (size_t)rank * part;
        content_write(expected + (size_t)of * part, message, part);
    }
    return came(exchange, expected, part * (size_t)ranks);
}

/* Within one block in each rank; the root's is written to by the program. */
static bool from_one(const struct exchange *exchange)
{
    const int root = (int)(exchange->number % (uint64_t)ranks);
    if (rank == root)
        content_write(incoming_at(exchange), message_of(exchange, root), exchange->bytes);
    MPI_Bcast(incoming_at(exchange), (int)exchange->bytes, MPI_BYTE, root, MPI_COMM_WORLD);
    return message_came(exchange, message_of(exchange, root));
}

/* The ground, so many times as there are ranks, in place. */
static bool added(const struct exchange *exchange)
{
    const size_t bytes = exchange->bytes / sizeof(uint32_t) * sizeof(uint32_t);
    struct exchange even = *exchange;
    even.in_at = exchange->in_at / sizeof(uint32_t) * sizeof(uint32_t);
    unsigned char *expected = expectation();
    content_write(expected, ground_of_incoming(even.to, even.in_at), bytes);
    for (uint32_t *word = (uint32_t *)(void *)expected; (unsigned char *)word < expected + bytes; word++)
        *word *= (uint32_t)ranks;
    MPI_Allreduce(MPI_IN_PLACE, incoming_at(&even), (int)(bytes / sizeof(uint32_t)), MPI_UINT32_T, MPI_SUM,
                  MPI_COMM_WORLD);
    return came(&even, expected, bytes);
}

/* ---------------------------------------------------------------- */

static const struct {
    const char *name;
    bool (*once)(const struct exchange *);
} ways[TRAFFIC_WAYS] = {
    {"back and forth", back_and_forth},
    {"all to all", all_to_all},
    {"at once", at_once},
    {"columns", columns},
    {"unexpected", unexpected},
    {"from one", from_one},
    {"exchanged", exchanged},
    {"added", added},
};

bool traffic_once(const struct exchange *exchange, unsigned way)
{
    struct exchange named = *exchange;
    named.way = ways[way % TRAFFIC_WAYS].name;
    message_write(&named);
    return ways[way % TRAFFIC_WAYS].once(&named);
}
