/* SPDX-License-Identifier: MIT */
#include "park.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>

#include "os.h"

/* Others wait meanwhile, but only those that came already. */
#define PATIENCE     UINT64_C(50000000)
/* What a parked thread may write below its stack pointer, or above. */
#define STACK_MARGIN (64 * KIBI)

/* By its name, for other copies of this library. */
#define OWN_THREAD "shmcore-merge"

/* In the order in which they are taken. */
static const int signals[] = {SIGURG, SIGWINCH};

struct place {
    _Atomic int32_t thread;
    _Atomic uint32_t parked;       /* the moment it is parked for */
    _Atomic uint64_t stack, frame; /* of the program; of the handler, which may have another */
    _Atomic uint64_t blocked;      /* signals */
    struct os_call call;
};

static struct {
    pthread_mutex_t lock; /* from the beginning to the end of a moment */
    int signal;           /* 0: none yet, -1: there is none */
    uint64_t handled; /* signals that the program, or the C library, has handlers for: they wait while threads
                       * stand still */
    _Atomic uint32_t moment;  /* odd: they are to stand still; a futex */
    _Atomic uint32_t arrived; /* a futex */
    _Atomic uint32_t count;
    _Atomic int32_t excepted; /* thread */
    struct place *place;
    uint32_t room;
} lot = {.lock = PTHREAD_MUTEX_INITIALIZER};

static uint64_t bit(int signal)
{
    return UINT64_C(1) << (signal - 1);
}

/* ---------------------------------------------------------------- in the parked threads */

static struct place *own_place(void)
{
    const int32_t self = os_thread();
    const uint32_t count = atomic_load_explicit(&lot.count, memory_order_acquire);
    for (uint32_t i = 0; i < count; i++)
        if (atomic_load_explicit(&lot.place[i].thread, memory_order_relaxed) == self)
            return &lot.place[i];
    return NULL;
}

/* Signals for the process that its first thread will take, if it is among those that stand still; all of them
 * if it is not: then it is the one that merges. */
static uint64_t left_to_first(void)
{
    const int32_t first = os_process();
    const uint32_t count = atomic_load_explicit(&lot.count, memory_order_acquire);
    if (os_thread() == first)
        return 0;
    for (uint32_t i = 0; i < count; i++)
        if (atomic_load_explicit(&lot.place[i].thread, memory_order_relaxed) == first)
            return ~atomic_load_explicit(&lot.place[i].blocked, memory_order_relaxed);
    return ~UINT64_C(0);
}

static void wait_for_the_end(uint32_t moment)
{
    while (atomic_load(&lot.moment) == moment)
        os_wait(&lot.moment, moment, UINT64_C(1000000000));
}

static void stand_still(int signal, siginfo_t *information, void *context)
{
    const int kept_errno = errno;
    struct os_call call = {.number = -1};
    struct os_interruption by = {.signal = signal, .blocked = lot.handled | bit(signal)};
    const uint32_t moment = atomic_load(&lot.moment);
    struct place *place = (moment & 1) != 0 ? own_place() : NULL;
    (void)information;
    if (place != NULL) {
        call = place->call;
        atomic_store_explicit(&place->stack, os_context_stack(context), memory_order_relaxed);
        atomic_store_explicit(&place->frame, (uintptr_t)&call, memory_order_relaxed);
        atomic_store_explicit(&place->blocked, os_context_blocked(context), memory_order_relaxed);
        atomic_store_explicit(&place->parked, moment, memory_order_release);
        atomic_fetch_add(&lot.arrived, 1);
        os_wake(&lot.arrived);
        wait_for_the_end(moment);
        by.left_to_first = left_to_first();
    }
    os_resume_call(context, &call, &by);
    errno = kept_errno;
}

/* ---------------------------------------------------------------- the signal */

static bool is_ours(int signal)
{
    struct sigaction action;
    return sigaction(signal, NULL, &action) == 0 && (action.sa_flags & SA_SIGINFO) != 0 &&
           action.sa_sigaction == stand_still;
}

/* Signals that the program has a handler for. To block others would not keep any code of the program from
 * running, and would be seen: one that is ignored is not even sent, unless a thread blocks it. */
static uint64_t handled_signals(void)
{
    uint64_t handled = bit(32) | bit(33); /* for pthread_cancel() and setuid(): not shown */
    for (int signal = 1; signal <= SIGRTMAX; signal++) {
        struct sigaction action;
        if (sigaction(signal, NULL, &action) == 0 && action.sa_handler != SIG_DFL &&
            action.sa_handler != SIG_IGN && action.sa_sigaction != stand_still)
            handled |= bit(signal);
    }
    return handled;
}

static bool set_handler(int signal, uint64_t blocked)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = stand_still;
    action.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
    memcpy(&action.sa_mask, &blocked, sizeof blocked); /* sigaddset() takes none of the C library's own */
    return sigaction(signal, &action, NULL) == 0;
}

static bool take_signal(int signal)
{
    struct sigaction action;
    return sigaction(signal, NULL, &action) == 0 && (action.sa_flags & SA_SIGINFO) == 0 &&
           action.sa_handler == SIG_DFL && set_handler(signal, lot.handled);
}

/* The program may have taken it away: then the next one. */
static bool have_signal(void)
{
    const uint64_t before = lot.handled;
    lot.handled = handled_signals();
    if (lot.signal > 0 && is_ours(lot.signal))
        return lot.handled == before || set_handler(lot.signal, lot.handled);
    lot.signal = -1;
    for (unsigned i = 0; i < COUNT_OF(signals) && lot.signal < 0 && os_can_resume(); i++)
        if (take_signal(signals[i]))
            lot.signal = signals[i];
    return lot.signal > 0;
}

/* ---------------------------------------------------------------- the moment */

struct round {
    int32_t self;
    uint32_t moment;
    uint32_t signalled;
    enum park_answer answer;
};

static bool is_known(int32_t thread)
{
    const uint32_t count = atomic_load_explicit(&lot.count, memory_order_relaxed);
    for (uint32_t i = 0; i < count; i++)
        if (atomic_load_explicit(&lot.place[i].thread, memory_order_relaxed) == thread)
            return true;
    return false;
}

/* Before the moment: threads may be parked by then, so no memory is asked for later. Twice as many as there
 * are find room. */
static bool make_room(void)
{
    const uint32_t wanted = 2 * os_thread_count() + 64;
    void *memory;
    if (wanted <= lot.room)
        return true;
    const uint64_t bytes = align_up(wanted * sizeof(struct place), PAGE_BYTES);
    if (os_map_private(bytes, &memory) != 0)
        return false;
    lot.place = memory; /* the old one, which a handler may still read, is left */
    lot.room = (uint32_t)(bytes / sizeof(struct place));
    return true;
}

static bool goes_on(int32_t thread, int32_t self)
{
    return thread == self || thread == atomic_load_explicit(&lot.excepted, memory_order_relaxed);
}

/* The own thread of another copy of this library in the process: the shim's, where the program has one, too.
 * It blocks all signals as this copy's does, and writes to nothing of the program's either. */
static bool is_of_another_copy(int32_t thread, enum os_thread_state state)
{
    return state == OS_THREAD_BLOCKS_SIGNAL && os_thread_is_named(thread, OWN_THREAD);
}

static int signal_one(int32_t thread, void *argument)
{
    struct round *round = argument;
    if (goes_on(thread, round->self) || is_known(thread))
        return 0;
    const enum os_thread_state state = os_thread_state(thread, lot.signal);
    if (state == OS_THREAD_ENDED || is_of_another_copy(thread, state))
        return 0;
    const uint32_t index = atomic_load_explicit(&lot.count, memory_order_relaxed);
    if (state == OS_THREAD_BLOCKS_SIGNAL || index == lot.room) {
        round->answer = state == OS_THREAD_BLOCKS_SIGNAL ? PARK_BLOCKED : PARK_LATE;
        return 1;
    }
    struct place *place = &lot.place[index];
    os_thread_call(thread, &place->call);
    atomic_store_explicit(&place->parked, 0, memory_order_relaxed);
    atomic_store_explicit(&place->stack, 0, memory_order_relaxed);
    atomic_store_explicit(&place->frame, 0, memory_order_relaxed);
    atomic_store_explicit(&place->thread, thread, memory_order_relaxed);
    atomic_store_explicit(&lot.count, index + 1, memory_order_release);
    const int error = os_signal_thread(thread, lot.signal);
    if (error == -ESRCH)
        atomic_store_explicit(&place->parked, round->moment,
                              memory_order_relaxed); /* ended: counts as parked */
    else if (error != 0)
        round->answer = PARK_LATE;
    round->signalled++;
    return error != 0 && error != -ESRCH;
}

static bool all_have_come(uint32_t moment)
{
    const uint32_t count = atomic_load_explicit(&lot.count, memory_order_relaxed);
    for (uint32_t i = 0; i < count; i++) {
        struct place *place = &lot.place[i];
        if (atomic_load_explicit(&place->parked, memory_order_acquire) != moment)
            return false;
    }
    return true;
}

/* One that ended instead of coming does not keep the others waiting. */
static void excuse_the_ended(uint32_t moment)
{
    const uint32_t count = atomic_load_explicit(&lot.count, memory_order_relaxed);
    for (uint32_t i = 0; i < count; i++) {
        struct place *place = &lot.place[i];
        if (atomic_load_explicit(&place->parked, memory_order_acquire) != moment &&
            os_thread_state(atomic_load_explicit(&place->thread, memory_order_relaxed), lot.signal) ==
                OS_THREAD_ENDED)
            atomic_store_explicit(&place->parked, moment, memory_order_relaxed);
    }
}

static bool wait_for_all(uint32_t moment, uint64_t until)
{
    for (unsigned i = 0;; i++) {
        const uint32_t arrived = atomic_load(&lot.arrived);
        if (all_have_come(moment))
            return true;
        if (os_clock() >= until)
            return false;
        if (i % 8 == 7)
            excuse_the_ended(moment);
        os_wait(&lot.arrived, arrived, UINT64_C(500000));
    }
}

static bool lies_elsewhere(uint64_t stack, uint64_t start, uint64_t end)
{
    return stack + STACK_MARGIN <= start || stack >= end + STACK_MARGIN;
}

static bool stacks_lie_elsewhere(const void *address, uint64_t bytes)
{
    const uint64_t start = (uintptr_t)address, end = start + bytes;
    const uint32_t count = atomic_load_explicit(&lot.count, memory_order_relaxed);
    bool elsewhere = lies_elsewhere((uintptr_t)&start, start, end);
    for (uint32_t i = 0; i < count; i++)
        elsewhere &=
            lies_elsewhere(atomic_load_explicit(&lot.place[i].stack, memory_order_relaxed), start, end) &&
            lies_elsewhere(atomic_load_explicit(&lot.place[i].frame, memory_order_relaxed), start, end);
    return elsewhere;
}

static int find_blocked(int32_t thread, void *argument)
{
    if (goes_on(thread, *(const int32_t *)argument))
        return 0;
    const enum os_thread_state state = os_thread_state(thread, lot.signal);
    return state == OS_THREAD_BLOCKS_SIGNAL && !is_of_another_copy(thread, state);
}

static void end(void)
{
    atomic_fetch_add(&lot.moment, 1);
    os_wake(&lot.moment);
}

static enum park_answer begin(const void *address, uint64_t bytes)
{
    if (!have_signal())
        return PARK_NEVER;
    if (!make_room())
        return PARK_LATE;
    struct round round = {.self = os_thread(), .answer = PARKED};
    if (os_each_thread(find_blocked, &round.self) != 0) /* disturbs nobody, as signal_one() would */
        return PARK_BLOCKED;
    const uint64_t until = os_clock() + PATIENCE;
    atomic_store_explicit(&lot.count, 0, memory_order_relaxed);
    round.moment = atomic_fetch_add(&lot.moment, 1) + 1;
    do {
        round.signalled = 0;
        os_each_thread(signal_one, &round);
        if (round.answer == PARKED && !wait_for_all(round.moment, until))
            round.answer = PARK_LATE;
    } while (round.answer == PARKED && round.signalled > 0);
    if (round.answer == PARKED && handled_signals() != lot.handled)
        round.answer = PARK_LATE; /* a handler was set up meanwhile */
    if (round.answer == PARKED && !stacks_lie_elsewhere(address, bytes))
        round.answer = PARK_IN_USE;
    if (round.answer != PARKED)
        end();
    return round.answer;
}

/* Whoever waits for the lock can be parked meanwhile. */
enum park_answer park_begin(const void *address, uint64_t bytes)
{
    pthread_mutex_lock(&lot.lock);
    const enum park_answer answer = begin(address, bytes);
    if (answer != PARKED)
        pthread_mutex_unlock(&lot.lock);
    return answer;
}

void park_end(void)
{
    end();
    pthread_mutex_unlock(&lot.lock);
}

void park_except_this(void)
{
    if (atomic_exchange(&lot.excepted, os_thread()) != os_thread())
        os_name_thread(OWN_THREAD);
}

void park_after_fork(void)
{
    pthread_mutex_init(&lot.lock, NULL); /* whoever had it is not here */
    atomic_store(&lot.excepted, 0);
    const uint32_t moment = atomic_load(&lot.moment);
    atomic_store(&lot.moment, moment + (moment & 1));
    atomic_store(&lot.count, 0);
}
