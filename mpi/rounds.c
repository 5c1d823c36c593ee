/* SPDX-License-Identifier: MIT */
#include "rounds.h"

#include "shmcore_mpi.h"
#include "verdict.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#define ROUNDS_MOST 64 /* a bit each */

/* What is kept for a communicator of the program's. */
struct kept {
    struct kept *next;
    MPI_Comm comm;
    struct round round[ROUNDS_MOST];
};

static struct {
    pthread_mutex_t lock;
    bool ready;
    int key, end_key; /* of the attributes */
    struct kept *first;
} cache = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---------------------------------------------------------------- dropping */

static void free_communicator(MPI_Comm *comm)
{
    if (*comm != MPI_COMM_NULL)
        MPI_Comm_free(comm);
}

static struct tie *tie_of(const struct round *round, uint64_t identity)
{
    for (size_t i = 0; i < round->count; i++)
        if (round->ties[i].identity == identity)
            return &round->ties[i];
    return NULL;
}

MPI_Comm round_members(const struct round *round, uint64_t identity)
{
    const struct tie *tie = tie_of(round, identity);
    return tie != NULL ? tie->members : MPI_COMM_NULL;
}

static bool is_in_another(const struct kept *kept, const struct round *round, const struct tie *tie)
{
    for (int i = 0; i < ROUNDS_MOST; i++)
        if (kept->round[i].used && &kept->round[i] != round &&
            round_members(&kept->round[i], tie->identity) == tie->members)
            return true;
    return false;
}

/* In an order that is the same in all ranks. */
static void drop_round(const struct kept *kept, struct round *round)
{
    for (size_t i = 0; i < round->count; i++)
        if (!is_in_another(kept, round, &round->ties[i]))
            free_communicator(&round->ties[i].members);
    if (!round->mates_are_members)
        free_communicator(&round->mates);
    free_communicator(&round->leaders);
    free(round->ties);
    *round = (struct round){.used = false};
}

static void unlink_kept(struct kept *kept)
{
    pthread_mutex_lock(&cache.lock);
    for (struct kept **link = &cache.first; *link != NULL; link = &(*link)->next)
        if (*link == kept) {
            *link = kept->next;
            break;
        }
    pthread_mutex_unlock(&cache.lock);
}

/* MPI calls it when the program frees the communicator, or we take the attribute away. */
static int drop_kept(MPI_Comm comm, int key, void *attribute, void *unused)
{
    struct kept *kept = attribute;
    (void)comm, (void)key, (void)unused;
    unlink_kept(kept);
    for (int i = 0; i < ROUNDS_MOST; i++)
        if (kept->round[i].used)
            drop_round(kept, &kept->round[i]);
    free(kept);
    return MPI_SUCCESS;
}

static struct kept *first_kept(void)
{
    pthread_mutex_lock(&cache.lock);
    struct kept *first = cache.first;
    pthread_mutex_unlock(&cache.lock);
    return first;
}

/* In the order in which they came, which is the same in all ranks that two of them have in common. */
void rounds_drop_all(void)
{
    for (struct kept *kept = first_kept(); kept != NULL; kept = first_kept())
        if (MPI_Comm_delete_attr(kept->comm, cache.key) != MPI_SUCCESS)
            return;
}

/* MPI_Finalize() begins with this. */
static int drop_at_end(MPI_Comm comm, int key, void *attribute, void *unused)
{
    (void)comm, (void)key, (void)attribute, (void)unused;
    rounds_drop_all();
    return MPI_SUCCESS;
}

/* ---------------------------------------------------------------- keeping */

/* With the lock. */
static int get_ready(void)
{
    if (cache.ready)
        return 0;
    if (verdict_of_mpi(MPI_Comm_create_keyval(MPI_COMM_NULL_COPY_FN, drop_kept, &cache.key, NULL)) != 0 ||
        verdict_of_mpi(MPI_Comm_create_keyval(MPI_COMM_NULL_COPY_FN, drop_at_end, &cache.end_key, NULL)) !=
            0 ||
        verdict_of_mpi(MPI_Comm_set_attr(MPI_COMM_SELF, cache.end_key, NULL)) != 0)
        return -1;
    cache.ready = true;
    return 0;
}

static int link_kept(struct kept *kept)
{
    pthread_mutex_lock(&cache.lock);
    struct kept **link = &cache.first;
    while (*link != NULL)
        link = &(*link)->next;
    *link = kept;
    pthread_mutex_unlock(&cache.lock);
    return 0;
}

static struct kept *kept_of(MPI_Comm comm)
{
    struct kept *kept;
    int found;
    pthread_mutex_lock(&cache.lock);
    const int ready = get_ready();
    pthread_mutex_unlock(&cache.lock);
    if (ready != 0 || verdict_of_mpi(MPI_Comm_get_attr(comm, cache.key, &kept, &found)) != 0)
        return NULL;
    if (found)
        return kept;
    kept = calloc(1, sizeof *kept);
    if (kept == NULL) {
        verdict_fail(ENOMEM, "no memory for what is kept of a communicator");
        return NULL;
    }
    kept->comm = comm;
    if (verdict_of_mpi(MPI_Comm_set_attr(comm, cache.key, kept)) != 0) {
        free(kept);
        return NULL;
    }
    link_kept(kept);
    return kept;
}

/* ---------------------------------------------------------------- does a round still hold? */

static bool is_open(uint64_t identity)
{
    return shmcore_of_identity(identity) != NULL;
}

/* Has this rank the segment open, as it had then? */
static bool holds(const struct tie *tie)
{
    return (tie->members != MPI_COMM_NULL) == is_open(tie->identity);
}

static bool serves(const struct round *round, uint64_t asked, enum rounds_use use)
{
    if (use == ROUNDS_FOR_MATES)
        return round->asked == asked;
    for (size_t i = 0; i < round->count; i++)
        if (!holds(&round->ties[i]))
            return false;
    return asked == 0 || tie_of(round, asked) != NULL;
}

static bool is_over(const struct round *round)
{
    for (size_t i = 0; i < round->count; i++)
        if (round->ties[i].members != MPI_COMM_NULL && is_open(round->ties[i].identity))
            return false;
    return true;
}

/* ---------------------------------------------------------------- a new round */

static int compare(const void *a, const void *b)
{
    const uint64_t one = *(const uint64_t *)a, other = *(const uint64_t *)b;
    return (one > other) - (one < other);
}

/* From what each rank has asked for to the ties, without members still. */
static void make_ties(struct round *round, uint64_t *asked, size_t ranks)
{
    qsort(asked, ranks, sizeof *asked, compare);
    for (size_t i = 0; i < ranks; i++)
        if (asked[i] != 0 && (i == 0 || asked[i] != asked[i - 1]))
            round->ties[round->count++] = (struct tie){.identity = asked[i], .members = MPI_COMM_NULL};
}

static int no_memory(void)
{
    verdict_fail(ENOMEM, "there is no memory for what the ranks say of their segments");
    return ENOMEM;
}

/* All ranks know what each has asked for. Collective. */
static int gather(struct round *round, MPI_Comm comm, int **known)
{
    int ranks;
    if (verdict_of_mpi(MPI_Comm_size(comm, &ranks)) != 0)
        return -1;
    const size_t most = (size_t)ranks;
    uint64_t *asked = malloc(most * sizeof *asked);
    round->ties = malloc(most * sizeof *round->ties);
    *known = malloc(most * sizeof **known);
    const bool memory = asked != NULL && round->ties != NULL && *known != NULL;
    int result = verdict_agree(comm, memory ? 0 : no_memory());
    if (result == 0)
        result = verdict_of_mpi(MPI_Allgather(&round->asked, 1, MPI_UINT64_T, asked, 1, MPI_UINT64_T, comm));
    if (result == 0)
        make_ties(round, asked, most);
    free(asked);
    return result;
}

/* Keeps the order of `comm`. */
static int split(MPI_Comm comm, int colour, MPI_Comm *out)
{
    return verdict_of_mpi(MPI_Comm_split(comm, colour, 0, out));
}

/* Which members are known from rounds of before: the round, ROUNDS_MOST for none. Collective. */
static int find_known(const struct kept *kept, const struct round *round, MPI_Comm comm, int *known)
{
    uint64_t *rounds = calloc(round->count + 1, sizeof *rounds);
    if (verdict_agree(comm, rounds != NULL ? 0 : no_memory()) != 0) {
        free(rounds);
        return -1;
    }
    for (size_t i = 0; i < round->count; i++)
        for (int r = 0; r < ROUNDS_MOST; r++) {
            const struct round *other = &kept->round[r];
            const struct tie *tie =
                other->used && other != round ? tie_of(other, round->ties[i].identity) : NULL;
            if (tie != NULL && holds(tie))
                rounds[i] |= (uint64_t)1 << r;
        }
    const int result =
        verdict_of_mpi(MPI_Allreduce(MPI_IN_PLACE, rounds, (int)round->count, MPI_UINT64_T, MPI_BAND, comm));
    for (size_t i = 0; i < round->count; i++)
        known[i] = rounds[i] != 0 ? __builtin_ctzll(rounds[i]) : ROUNDS_MOST;
    free(rounds);
    return result;
}

/* How the ranks stand to the segments, the largest of each in any rank. */
struct standing {
    int fresh; /* segments that it has open, of which the members are not known */
    int other; /* 1: those that it has open are not just the one that it has asked for */
};

static struct standing standing_of(const struct round *round, const int *known, int *fresh)
{
    struct standing standing = {0, 0};
    int open = 0;
    for (size_t i = 0; i < round->count; i++)
        if (is_open(round->ties[i].identity)) {
            open++;
            if (known[i] == ROUNDS_MOST) {
                *fresh = (int)i;
                standing.fresh++;
            }
        }
    standing.other = open != (round->asked != 0);
    return standing;
}

/* One split for all segments where no rank is in two, which is nearly always so. */
static int make_members(const struct kept *kept, struct round *round, MPI_Comm comm, const int *known,
                        struct standing most, int fresh)
{
    MPI_Comm made;
    for (size_t i = 0; i < round->count; i++)
        if (known[i] != ROUNDS_MOST)
            round->ties[i].members = round_members(&kept->round[known[i]], round->ties[i].identity);
    if (most.fresh == 1) {
        if (split(comm, fresh, &made) != 0)
            return -1;
        if (fresh != MPI_UNDEFINED)
            round->ties[fresh].members = made;
    }
    for (size_t i = 0; most.fresh > 1 && i < round->count; i++) {
        const bool member = is_open(round->ties[i].identity);
        if (known[i] == ROUNDS_MOST && split(comm, member ? 0 : MPI_UNDEFINED, &round->ties[i].members) != 0)
            return -1;
    }
    return 0;
}

static int make_mates(struct round *round, MPI_Comm comm, struct standing most)
{
    int rank = -1;
    if (most.other == 0) {
        round->mates_are_members = true;
        round->mates = round_members(round, round->asked);
    } else {
        const struct tie *tie = tie_of(round, round->asked);
        if (split(comm, tie != NULL ? (int)(tie - round->ties) : MPI_UNDEFINED, &round->mates) != 0)
            return -1;
    }
    if (round->mates != MPI_COMM_NULL && verdict_of_mpi(MPI_Comm_rank(round->mates, &rank)) != 0)
        return -1;
    return split(comm, rank == 0 ? 0 : MPI_UNDEFINED, &round->leaders);
}

static int hold_round(const struct kept *kept, struct round *round, int *known)
{
    struct standing most;
    int fresh = MPI_UNDEFINED;
    if (find_known(kept, round, kept->comm, known) != 0)
        return -1;
    const struct standing mine = standing_of(round, known, &fresh);
    if (verdict_of_mpi(MPI_Allreduce(&mine, &most, 2, MPI_INT, MPI_MAX, kept->comm)) != 0 ||
        make_members(kept, round, kept->comm, known, most, fresh) != 0)
        return -1;
    return make_mates(round, kept->comm, most);
}

/* ---------------------------------------------------------------- */

/* A free place; where there is none, that of a round whose ranks do not all have open still what they asked
 * for. `whole`: the rounds of which they have. ROUNDS_MOST: there is none. */
static int find_place(struct kept *kept, uint64_t whole)
{
    for (int i = 0; i < ROUNDS_MOST; i++)
        if (!kept->round[i].used)
            return i;
    if (whole == UINT64_MAX)
        return ROUNDS_MOST;
    const int first = __builtin_ctzll(~whole);
    drop_round(kept, &kept->round[first]);
    return first;
}

static const struct round *new_round(struct kept *kept, uint64_t asked, uint64_t whole)
{
    const int i = find_place(kept, whole);
    if (i == ROUNDS_MOST) {
        verdict_fail(ENOSPC,
                     "a communicator has been used with %d combinations of segments, all of them open",
                     ROUNDS_MOST);
        return NULL;
    }
    struct round *round = &kept->round[i];
    int *known = NULL;
    *round = (struct round){.used = true, .asked = asked, .mates = MPI_COMM_NULL, .leaders = MPI_COMM_NULL};
    const bool held = gather(round, kept->comm, &known) == 0 && hold_round(kept, round, known) == 0;
    free(known);
    if (held)
        return round;
    drop_round(kept, round);
    return NULL;
}

/* What each rank says of the rounds, a bit each, and what all say. */
struct saying {
    uint64_t serve, over, whole;
    uint64_t content;
};

static struct saying saying_of(const struct kept *kept, uint64_t asked, enum rounds_use use)
{
    struct saying saying = {.content = 1};
    for (int i = 0; i < ROUNDS_MOST; i++) {
        const struct round *round = &kept->round[i];
        if (!round->used)
            continue;
        saying.serve |= (uint64_t)serves(round, asked, use) << i;
        saying.over |= (uint64_t)is_over(round) << i;
        saying.whole |= (uint64_t)(round->asked == 0 || is_open(round->asked)) << i;
    }
    return saying;
}

const struct round *rounds_find(MPI_Comm comm, uint64_t asked, enum rounds_use use, int code)
{
    struct saying mine = {.content = 0}, all;
    struct kept *kept = code == 0 ? kept_of(comm) : NULL;
    if (kept != NULL)
        mine = saying_of(kept, asked, use);
    else if (code == 0)
        code = errno;
    if (verdict_of_mpi(MPI_Allreduce(&mine, &all, 4, MPI_UINT64_T, MPI_BAND, comm)) != 0)
        return NULL;
    if (all.content == 0) {
        verdict_agree(comm, code);
        return NULL;
    }
    for (int i = 0; i < ROUNDS_MOST; i++)
        if ((all.over >> i & 1) != 0)
            drop_round(kept, &kept->round[i]);
    all.serve &= ~all.over;
    return all.serve != 0 ? &kept->round[__builtin_ctzll(all.serve)] : new_round(kept, asked, all.whole);
}
