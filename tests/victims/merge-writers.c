/* SPDX-License-Identifier: MIT
 *
 * Victim: `merge-writers SECONDS [STEP [RANKS]]`, see merge-writers.h; a step takes so many milliseconds.
 * This file is the launcher: it starts the ranks, each a fresh process, wakes their threads at the start of
 * each step, and says at the end for each kind of thread what it did; a line that begins with "NO" names a
 * kind that lost a write, or saw what it would not have seen in memory that nobody moves.
 *
 * A rank that dies ends the run; the others are killed then.
 */
#include "merge-writers.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

struct control *control;
static int ours[RANKS_MOST][WRITERS_MOST]; /* the launcher's ends, or -1 */
static bool somebody_died;

/* ---------------------------------------------------------------- the beginning */

static struct control *map_control(int descriptor)
{
    void *memory = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    if (memory == MAP_FAILED)
        exit(2);
    return memory;
}

static void prepare_rank(struct rank *rank)
{
    pthread_mutexattr_t mutex;
    pthread_condattr_t condition;
    pthread_mutexattr_init(&mutex);
    pthread_mutexattr_setpshared(&mutex, PTHREAD_PROCESS_SHARED);
    pthread_condattr_init(&condition);
    pthread_condattr_setpshared(&condition, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(&rank->mutex, &mutex);
    pthread_cond_init(&rank->condition, &condition);
    sem_init(&rank->go, 1, 0);
    for (unsigned i = 0; i < kind_count; i++)
        sem_init(&rank->bell[i], 1, 0);
}

static int make_control(void)
{
    const int descriptor = memfd_create("control", MFD_CLOEXEC);
    if (descriptor < 0 || ftruncate(descriptor, sizeof *control) != 0)
        exit(2);
    control = map_control(descriptor);
    sem_init(&control->arrived, 1, 0);
    for (unsigned i = 0; i < RANKS_MOST; i++)
        prepare_rank(&control->rank[i]);
    return descriptor;
}

/* The two ends of what a thread is fed through; -1 when it is something else. */
static void make_ends(enum feed feed, int *here, int *there)
{
    int ends[2] = {-1, -1};
    int answer = 0;
    if (feed == FEED_PIPE || feed == FEED_DRAIN)
        answer = pipe2(ends, O_CLOEXEC);
    else if (feed == FEED_BYTE || feed == FEED_STREAM)
        answer = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends);
    else if (feed == FEED_PACKET)
        answer = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends);
    if (answer != 0)
        exit(2);
    *here = ends[feed != FEED_DRAIN];
    *there = ends[feed == FEED_DRAIN];
}

static void start_rank(unsigned number, int descriptor)
{
    int theirs[WRITERS_MOST];
    char text[16];
    for (unsigned i = 0; i < kind_count; i++)
        make_ends(kinds[i].feed, &ours[number][i], &theirs[i]);
    snprintf(text, sizeof text, "%u", number);
    const pid_t child = fork();
    if (child < 0)
        exit(2);
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(descriptor, CONTROL_DESCRIPTOR);
        for (unsigned i = 0; i < kind_count; i++)
            if (theirs[i] >= 0)
                dup2(theirs[i], (int)(FIRST_DESCRIPTOR + i));
        execl("/proc/self/exe", "merge-writers", "--rank", text, (char *)NULL);
        _exit(2);
    }
    for (unsigned i = 0; i < kind_count; i++)
        if (theirs[i] >= 0)
            close(theirs[i]);
}

/* ---------------------------------------------------------------- waiting for the ranks */

static bool has_died(void)
{
    siginfo_t info = {0};
    return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0;
}

/* Until so many have arrived; false when one has died. */
static bool collect(unsigned count)
{
    while (count > 0 && !somebody_died) {
        const struct timespec soon = timespec_of(now_of(CLOCK_REALTIME) + 100 * MILLISECOND);
        if (sem_timedwait(&control->arrived, &soon) == 0)
            count--;
        else
            somebody_died = has_died();
    }
    return count == 0;
}

static void send_on(void)
{
    for (unsigned i = 0; i < control->ranks; i++)
        sem_post(&control->rank[i].go);
}

/* ---------------------------------------------------------------- the steps */

static void send_bytes(int descriptor, const void *bytes, size_t count)
{
    for (size_t sent = 0; sent < count && !somebody_died;) {
        const ssize_t some = write(descriptor, (const char *)bytes + sent, count - sent);
        if (some > 0)
            sent += (size_t)some;
        else if (errno != EINTR)
            somebody_died = true;
    }
}

static void take_bytes(int descriptor, size_t count)
{
    static char bytes[WHOLE];
    while (count > 0 && !somebody_died) {
        const ssize_t some = read(descriptor, bytes, count);
        if (some > 0)
            count -= (size_t)some;
        else if (some == 0 || errno != EINTR)
            somebody_died = true;
    }
}

static void signal_thread(struct rank *rank, unsigned writer, int number)
{
    syscall(SYS_tgkill, (pid_t)rank->process, (pid_t)rank->thread[writer], number);
}

static void announce(struct rank *rank, unsigned step)
{
    pthread_mutex_lock(&rank->mutex);
    rank->announced = step + 1;
    pthread_cond_broadcast(&rank->condition);
    pthread_mutex_unlock(&rank->mutex);
}

/* What a thread gets several times in a step. */
static void feed_message(unsigned number, unsigned writer, unsigned step, unsigned nth)
{
    unsigned char message[MESSAGE_BYTES];
    const int descriptor = ours[number][writer];
    const size_t piece = MESSAGE_BYTES / MESSAGES;
    switch (kinds[writer].feed) {
    case FEED_PIPE:
    case FEED_PACKET:
        make_message(message, message_seed(number, writer, step, nth));
        send_bytes(descriptor, message, MESSAGE_BYTES);
        break;
    case FEED_STREAM:
        make_message(message, message_seed(number, writer, step, MESSAGES - 1));
        send_bytes(descriptor, message + nth * piece, piece);
        break;
    case FEED_DRAIN:
        take_bytes(descriptor, WHOLE / MESSAGES);
        break;
    default:
        break;
    }
}

/* What it gets once, at the start. */
static void wake(unsigned number, unsigned writer, unsigned step)
{
    struct rank *rank = &control->rank[number];
    const unsigned char byte = (unsigned char)step;
    switch (kinds[writer].feed) {
    case FEED_BYTE:
        send_bytes(ours[number][writer], &byte, 1);
        break;
    case FEED_SEMAPHORE:
        sem_post(&rank->bell[writer]);
        break;
    case FEED_CONDITION:
        announce(rank, step);
        break;
    case FEED_SIGNAL:
        signal_thread(rank, writer, RING);
        break;
    case FEED_BLOCKED:
        signal_thread(rank, writer, KNOCK);
        break;
    default:
        break;
    }
}

static void feed_step(unsigned step)
{
    for (unsigned nth = 0; nth < MESSAGES; nth++) {
        sleep_until(start_of(step) + nth * MILLISECOND);
        for (unsigned i = 0; i < control->ranks; i++) {
            const unsigned number = (i + step) % control->ranks;
            for (unsigned writer = 0; writer < kind_count; writer++) {
                if (!takes_part(writer, step))
                    continue;
                if (nth == 0)
                    wake(number, writer, step);
                feed_message(number, writer, step, nth);
            }
        }
    }
}

/* ---------------------------------------------------------------- the end */

static const char *const fault_name[FAULTS] = {"lost",  "torn",         "short",       "EFAULT",
                                               "EINTR", "EINTR hidden", "ended early", "else wrong"};

struct sum {
    uint64_t operations, wakes, faults[FAULTS], all_faults;
    bool impossible;
};

static void add(struct sum *sum, const struct tally *tally)
{
    sum->operations += tally->operations;
    sum->wakes += tally->wakes;
    sum->impossible = sum->impossible || tally->impossible;
    for (unsigned i = 0; i < FAULTS; i++) {
        sum->faults[i] += tally->faults[i];
        sum->all_faults += tally->faults[i];
    }
}

static struct sum sum_of_kind(const char *name)
{
    struct sum sum = {0};
    for (unsigned i = 0; i < kind_count; i++)
        for (unsigned rank = 0; rank < control->ranks && strcmp(kinds[i].name, name) == 0; rank++)
            add(&sum, &control->rank[rank].tally[i]);
    return sum;
}

static void tell_kind(const struct kind *kind)
{
    const struct sum sum = sum_of_kind(kind->name);
    const bool idle = sum.operations == 0 || (kind->sleeps && sum.wakes == 0);
    if (sum.impossible) {
        printf("yes %s: not possible here\n", kind->name);
        return;
    }
    if (sum.all_faults > 0 || idle)
        victim_failures++;
    printf("%s %s: %llu operations", sum.all_faults > 0 || idle ? "NO " : "yes", kind->name,
           (unsigned long long)sum.operations);
    if (kind->sleeps)
        printf(", %llu wakes", (unsigned long long)sum.wakes);
    for (unsigned i = 0; i < FAULTS; i++)
        if (sum.faults[i] > 0)
            printf(", %llu %s", (unsigned long long)sum.faults[i], fault_name[i]);
    printf("\n");
}

static void tell(void)
{
    uint64_t bursts = 0, in_merged = 0, pages = 0;
    for (unsigned i = 0; i < control->ranks; i++) {
        bursts += control->rank[i].bursts;
        in_merged += control->rank[i].bursts_in_merged;
        pages += control->rank[i].merged_pages;
    }
    for (unsigned i = 0; i < kind_count; i++)
        if (i == 0 || strcmp(kinds[i].name, kinds[i - 1].name) != 0)
            tell_kind(&kinds[i]);
    printf("%u ranks, %llu bursts, %llu of them into parts that had been merged again (%llu pages)\n",
           control->ranks, (unsigned long long)bursts, (unsigned long long)in_merged,
           (unsigned long long)pages);
}

/* All ranks end well, or all are killed. */
static void reap(void)
{
    int status;
    pid_t child;
    while ((child = wait(&status)) > 0) {
        for (unsigned i = 0; i < control->ranks; i++) {
            if (control->rank[i].process == child)
                control->rank[i].process = 0;
            else if (status != 0 && control->rank[i].process > 0)
                kill(control->rank[i].process, SIGKILL);
        }
        if (status == 0)
            continue;
        printf("NO  a rank ended with status %#x\n", (unsigned)status);
        victim_failures++;
    }
}

static void conduct(void)
{
    if (!collect(control->ranks * (kind_count + 1)))
        return;
    control->start = now() + 20 * MILLISECOND;
    send_on();
    printf("started\n");
    fflush(stdout);
    for (unsigned step = 0; step < control->steps && !somebody_died; step++)
        feed_step(step);
    for (unsigned i = 0; i < 2 && collect(control->ranks); i++)
        send_on();
}

int main(int count, char **arguments)
{
    if (count == 3 && strcmp(arguments[1], "--rank") == 0) {
        control = map_control(CONTROL_DESCRIPTOR);
        close(CONTROL_DESCRIPTOR);
        return rank_main((unsigned)atoi(arguments[2]));
    }
    if (count < 2 || atoi(arguments[1]) < 1)
        return 2;
    const int descriptor = make_control();
    const int ranks = count > 3 ? atoi(arguments[3]) : 3, step = count > 2 ? atoi(arguments[2]) : 25;
    control->ranks = ranks < 1 || ranks > RANKS_MOST ? 1 : (unsigned)ranks;
    control->step = (uint64_t)(step < 10 ? 10 : step) * MILLISECOND;
    control->steps = (unsigned)((uint64_t)atoi(arguments[1]) * SECOND / control->step);
    control->semaphores = semget(IPC_PRIVATE, 1, 0600);
    for (unsigned i = 0; i < control->ranks; i++)
        start_rank(i, descriptor);
    signal(SIGPIPE, SIG_IGN);
    conduct();
    if (somebody_died)
        printf("NO  a rank died\n");
    reap();
    if (control->semaphores >= 0)
        semctl(control->semaphores, 0, IPC_RMID);
    tell();
    return verdict();
}
