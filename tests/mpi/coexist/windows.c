/* SPDX-License-Identifier: MIT
 *
 * One-sided traffic: into and out of windows on blocks of every kind, on MPI's own memory, and on memory that
 * MPI shares.
 *
 * Whoever is written to takes no part in it, so transports that write to another process's memory do it here.
 */
#include "coexist.h"

bool pieces_are_right;

static void put(const struct exchange *exchange, MPI_Win window, int to)
{
    MPI_Put(outgoing[exchange->from] + exchange->out_at, (int)exchange->bytes, MPI_BYTE, to,
            (MPI_Aint)exchange->in_at, (int)exchange->bytes, MPI_BYTE, window);
}

/* When all have wiped off what was before. */
static void open_epoch(MPI_Win window)
{
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_Win_fence(MPI_MODE_NOPRECEDE, window);
}

static void close_epoch(MPI_Win window)
{
    MPI_Win_fence(MPI_MODE_NOSUCCEED, window);
}

static bool put_within_fences(struct exchange *exchange, MPI_Win window)
{
    exchange->way = "put";
    message_write(exchange);
    open_epoch(window);
    put(exchange, window, next_rank());
    close_epoch(window);
    return message_came(exchange, message_of(exchange, last_rank()));
}

/* Everybody has locked everybody. */
static bool put_and_flush(struct exchange *exchange, MPI_Win window)
{
    exchange->way = "put and flush";
    exchange->number++;
    message_write(exchange);
    MPI_Barrier(MPI_COMM_WORLD); /* nobody wipes off what was before */
    MPI_Win_lock_all(0, window);
    put(exchange, window, last_rank());
    MPI_Win_flush(last_rank(), window);
    MPI_Barrier(MPI_COMM_WORLD); /* all have flushed */
    MPI_Win_sync(window);
    MPI_Win_unlock_all(window);
    return message_came(exchange, message_of(exchange, next_rank()));
}

/* Another rank's ground, into a block of the kind that was sent from before. */
static bool get(struct exchange *exchange, const struct exchange *target, MPI_Win window)
{
    open_epoch(window);
    MPI_Get(incoming[exchange->to] + exchange->in_at, (int)exchange->bytes, MPI_BYTE, next_rank(),
            (MPI_Aint)target->in_at, (int)exchange->bytes, MPI_BYTE, window);
    close_epoch(window);
    return message_came(exchange, ground_of_incoming(target->to, target->in_at));
}

/* The ground of all ranks, added up in one of them by all at once; it sees no half of a word. */
static bool accumulate(struct exchange *exchange, MPI_Win window)
{
    const int target = (int)(exchange->number % (uint64_t)ranks),
              count = (int)(exchange->bytes / sizeof(uint32_t));
    unsigned char *expected = expectation();
    uint32_t *sum = (uint32_t *)(void *)expected;
    const struct content ground = ground_of_incoming(exchange->to, exchange->in_at);
    uint32_t *mine = (uint32_t *)(void *)(outgoing[KIND_OWN] + exchange->out_at);
    exchange->way = "accumulate";
    exchange->from = KIND_OWN;
    exchange->number++;
    message_write(exchange);
    open_epoch(window);
    MPI_Accumulate(mine, count, MPI_UINT32_T, target, (MPI_Aint)exchange->in_at, count, MPI_UINT32_T, MPI_SUM,
                   window);
    close_epoch(window);
    content_write(expected, ground, exchange->bytes);
    for (int of = 0; of < ranks && rank == target; of++) {
        content_write((unsigned char *)mine, message_of(exchange, of), exchange->bytes);
        for (int i = 0; i < count; i++)
            sum[i] += mine[i];
    }
    return came(exchange, expected, exchange->bytes);
}

/* From blocks of every other kind, the rest in the next round, to the window and back; `on` is the kind of
 * the window's blocks, and its incoming block is that. */
static bool all_kinds(MPI_Win window, enum kind on, unsigned round)
{
    const size_t sizes[] = {8, 4000, 70000, pieces_are_right ? 1200000 : 120000};
    bool good = true;
    for (enum kind from = (on + round) % 2; from < KINDS; from += 2) {
        struct exchange exchange = {
            .from = from,
            .to = on,
            .bytes = sizes[(round + from) % 4],
            .out_at = ((size_t)round * 4104 + from * 80) % MIB,
            .in_at = ((size_t)round * 12296 + from * 4096) % MIB,
            .number = 1000000 + (round * KINDS + from) * 16,
        };
        struct exchange back = exchange;
        back.to = from;
        back.way = "get";
        good = put_within_fences(&exchange, window) && good;
        good = put_and_flush(&exchange, window) && good;
        if (from != on && pieces_are_right)
            good = get(&back, &exchange, window) && good;
        good = accumulate(&exchange, window) && good;
    }
    return good;
}

static int make_window(enum window which, void *on, unsigned char **memory, MPI_Win *window)
{
    const MPI_Aint bytes = (MPI_Aint)BLOCK_BYTES;
    switch (which) {
    case WINDOW_ON_BLOCK:
        *memory = on;
        return MPI_Win_create(on, bytes, 1, MPI_INFO_NULL, MPI_COMM_WORLD, window);
    case WINDOW_OF_MPI:
        return MPI_Win_allocate(bytes, 1, MPI_INFO_NULL, MPI_COMM_WORLD, memory, window);
    default:
        return MPI_Win_allocate_shared(bytes, 1, MPI_INFO_NULL, MPI_COMM_WORLD, memory, window);
    }
}

bool windows_are_there(enum window which)
{
    MPI_Win window = MPI_WIN_NULL;
    unsigned char *memory;
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    const bool made = make_window(which, incoming[KIND_OWN], &memory, &window) == MPI_SUCCESS;
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_ARE_FATAL);
    if (made)
        MPI_Win_free(&window);
    return made;
}

/* The window's memory is in the place of the block of that kind. */
bool windows_once(enum window which, enum kind of, unsigned round)
{
    MPI_Win window;
    unsigned char *kept = incoming[of], *memory;
    make_window(which, kept, &memory, &window);
    if (memory != kept)
        content_write(memory, ground_of_incoming(of, 0), BLOCK_BYTES);
    incoming[of] = memory;
    const bool good = all_kinds(window, of, round);
    incoming[of] = kept;
    MPI_Win_free(&window);
    return good;
}
