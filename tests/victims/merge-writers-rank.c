/* SPDX-License-Identifier: MIT
 *
 * A rank of the victim merge-writers: its block, the words that its threads own in it, the threads, and the
 * proof at the end that all of the block is as it was written.
 */
#include "merge-writers.h"
#include "merged.h"

#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

static struct writer writers[WRITERS_MOST];
static struct rank *own;
static unsigned own_number;
static _Thread_local struct writer *self;

/* ---------------------------------------------------------------- what is counted */

void count_wake(struct writer *writer)
{
    atomic_fetch_add(&writer->tally->wakes, 1);
}

void count_operations(struct writer *writer, uint64_t count)
{
    atomic_fetch_add(&writer->tally->operations, count);
}

void report(struct writer *writer, enum fault fault, const char *what)
{
    if (atomic_fetch_add(&writer->tally->faults[fault], 1) < 2)
        dprintf(STDOUT_FILENO, "NO  rank %u, %s, step %u: %s\n", writer->rank, writer->kind->name,
                writer->step, what);
}

void failed(struct writer *writer, const char *what)
{
    char text[160];
    const int error = errno;
    snprintf(text, sizeof text, "%s: %s", what, strerror(error));
    report(writer, error == EINTR ? FAULT_EINTR : error == EFAULT ? FAULT_EFAULT : FAULT_OTHER, text);
}

uint64_t next_random(struct writer *writer)
{
    return mix(writer->random += UINT64_C(0x9e3779b97f4a7c15));
}

void sleep_until(uint64_t time)
{
    const struct timespec until = timespec_of(time);
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
        continue;
}

/* ---------------------------------------------------------------- words */

/* May lie across two pages. */
struct word {
    uint64_t value;
} __attribute__((packed));

/* Different for each word of each writer: words of one writer lie on different pages, those of different
 * writers at different places of a page. */
static size_t word_offset(unsigned writer, unsigned word)
{
    const struct kind *kind = &kinds[writer];
    if (kind->zeros)
        return (size_t)(WORD_PAGES + word) * PAGE + 64 * (writer + 1);
    const size_t page = (writer * 7 + word * 17) % WORD_PAGES;
    return page * PAGE + (kind->straddles ? PAGE - 4 : 64 * (writer + 1));
}

static volatile struct word *word_at(unsigned writer, unsigned part, unsigned word)
{
    return (volatile struct word *)(own->base + (size_t)part * PART_BYTES + word_offset(writer, word));
}

static size_t shared_offset(unsigned number)
{
    return (size_t)(number * 16 + 5) * PAGE + 4000; /* where no word is */
}

_Atomic uint64_t *shared_word(unsigned rank, unsigned part, unsigned number)
{
    return (_Atomic uint64_t *)(control->rank[rank].base + (size_t)part * PART_BYTES + shared_offset(number));
}

static size_t message_offset(unsigned writer)
{
    unsigned place = 0;
    for (unsigned i = 0; i < writer; i++)
        place += kinds[i].messages;
    return (size_t)(WORD_PAGES + ZERO_PAGES + 3 * place) * PAGE + 123;
}

unsigned char *message_place(unsigned rank, unsigned part, unsigned writer)
{
    return control->rank[rank].base + (size_t)part * PART_BYTES + message_offset(writer);
}

static void look_at(struct writer *writer, unsigned part, unsigned word)
{
    const uint64_t found = word_at(writer->number, part, word)->value;
    uint64_t *expected = &writer->expected[part][word];
    if (found == *expected)
        return;
    char text[120];
    snprintf(text, sizeof text, "word %u of part %u holds %#llx, not %#llx", word, part,
             (unsigned long long)found, (unsigned long long)*expected);
    report(writer, FAULT_LOST, text);
    *expected = found;
}

void put(struct writer *writer, unsigned part, unsigned word, uint64_t value)
{
    look_at(writer, part, word);
    word_at(writer->number, part, word)->value = value;
    writer->expected[part][word] = value;
}

bool words_are_whole(struct writer *writer)
{
    bool good = true;
    for (unsigned part = 0; part < PARTS; part++)
        for (unsigned word = 0; word < WORDS; word++)
            good = good && word_at(writer->number, part, word)->value == writer->expected[part][word];
    return good;
}

/* The same in all ranks. */
uint64_t last_value(const struct writer *writer, unsigned step, unsigned word)
{
    return writer->kind->zeros ? 0 : mix((uint64_t)step << 32 | writer->number << 16 | word);
}

void write_some_words(struct writer *writer, unsigned step, unsigned from, unsigned to)
{
    const unsigned part = part_of(step);
    for (unsigned word = from; word < to; word++)
        put(writer, part, word, next_random(writer));
    for (unsigned word = from; word < to; word++)
        put(writer, part, word, last_value(writer, step, word));
}

void write_words(struct writer *writer, unsigned step)
{
    write_some_words(writer, step, 0, WORDS);
    count_operations(writer, 2 * WORDS);
}

/* ---------------------------------------------------------------- the block */

static void fill_part(unsigned char *part, unsigned number)
{
    for (size_t offset = 0; offset < PART_BYTES; offset += sizeof(uint64_t)) {
        const uint64_t value = filler(own_number, number, offset);
        memcpy(part + offset, &value, sizeof value);
    }
}

/* The call site. */
static unsigned char *hammered_block(size_t bytes)
{
    void *block = malloc(bytes);
    return hide(block);
}

static void make_block(void)
{
    unsigned char *block = hammered_block((PARTS + 1) * (size_t)PART_BYTES);
    if (block == NULL)
        exit(2);
    check_routed(block, "the block is routed");
    own->base = block + (-(uintptr_t)block & (PART_BYTES - 1));
    for (unsigned part = 0; part < PARTS; part++)
        fill_part(own->base + (size_t)part * PART_BYTES, part);
    for (unsigned i = 0; i < kind_count; i++)
        for (unsigned part = 0; part < PARTS; part++)
            for (unsigned word = 0; word < WORDS; word++)
                writers[i].expected[part][word] = word_at(i, part, word)->value;
}

/* What a part is to hold, and whose each byte is. */
struct image {
    unsigned char bytes[PART_BYTES], owner[PART_BYTES];
};

static void draw(struct image *image, unsigned owner, size_t offset, const void *bytes, size_t count)
{
    memcpy(image->bytes + offset, bytes, count);
    memset(image->owner + offset, (int)owner, count);
}

static void draw_writer(struct image *image, const struct writer *writer, unsigned part)
{
    unsigned char message[MESSAGE_BYTES];
    for (unsigned word = 0; word < WORDS; word++)
        draw(image, writer->number, word_offset(writer->number, word), &writer->expected[part][word],
             sizeof(uint64_t));
    if (!writer->kind->messages)
        return;
    const size_t offset = message_offset(writer->number);
    if (writer->message[part] != 0)
        make_message(message, writer->message[part]);
    else
        memcpy(message, image->bytes + offset, MESSAGE_BYTES);
    draw(image, writer->number, offset, message, MESSAGE_BYTES);
}

static void look_at_part(unsigned part)
{
    static struct image image;
    const unsigned char *found = own->base + (size_t)part * PART_BYTES;
    fill_part(image.bytes, part);
    for (unsigned i = 0; i < kind_count; i++) /* what is nobody's is those' who read it */
        if (kinds[i].work == work_load)
            memset(image.owner, (int)i, PART_BYTES);
    for (unsigned i = 0; i < kind_count; i++)
        if (kinds[i].work == work_atomic)
            for (unsigned number = 0; number < SHARED_WORDS; number++)
                memset(image.owner + shared_offset(number), (int)i, sizeof(uint64_t));
    for (unsigned i = 0; i < kind_count; i++)
        draw_writer(&image, &writers[i], part);
    for (size_t at = 0; at < PART_BYTES; at++) {
        if (found[at] == image.bytes[at])
            continue;
        char text[120];
        snprintf(text, sizeof text, "at the end byte %zu of part %u is %#x, not %#x", at, part, found[at],
                 image.bytes[at]);
        report(&writers[image.owner[at]], FAULT_LOST, text);
    }
}

/* ---------------------------------------------------------------- merging, seen from inside */

/* How much of the part that a burst will hit has been merged. */
static void observe(void)
{
    for (unsigned step = 0; step < control->steps; step++) {
        sleep_until(start_of(step) - MILLISECOND);
        const size_t merged = merged_pages(own->base + (size_t)part_of(step) * PART_BYTES, PART_BYTES);
        own->bursts++;
        own->bursts_in_merged += merged > PART_PAGES / 2;
        own->merged_pages += merged;
    }
}

/* ---------------------------------------------------------------- the threads */

/* The program's own signals; they write too. An alarm that comes so often has been hidden from the call
 * that it should have ended. */
static void handle_alarm(int number)
{
    const int error = errno;
    struct writer *writer = self;
    (void)number;
    writer->alarms = writer->alarms + 1;
    put(writer, part_of(writer->step), 0, next_random(writer));
    errno = error;
    if (writer->alarms_most != 0 && writer->alarms > writer->alarms_most)
        siglongjmp(writer->out, 1);
}

static void handle_ring(int number)
{
    const int error = errno;
    (void)number;
    self->rings = self->rings + 1;
    put(self, part_of(self->step), 1, next_random(self));
    errno = error;
}

static void prepare_signals(void)
{
    sigset_t blocked;
    const struct sigaction alarm = {.sa_handler = handle_alarm};
    const struct sigaction restarting = {.sa_handler = handle_alarm, .sa_flags = SA_RESTART};
    const struct sigaction ring = {.sa_handler = handle_ring};
    sigaction(SIGALRM, &alarm, NULL);
    sigaction(SIGUSR1, &restarting, NULL);
    sigaction(RING, &ring, NULL);
    sigemptyset(&blocked);
    sigaddset(&blocked, RING);
    sigaddset(&blocked, KNOCK);
    pthread_sigmask(SIG_BLOCK, &blocked, NULL);
}

static void must(bool good, const char *what)
{
    if (good)
        return;
    printf("NO  %s: %s\n", what, strerror(errno));
    fflush(stdout);
    exit(2);
}

/* A socket that takes nothing more. */
static int make_stuffed(void)
{
    static const char bytes[4096];
    int ends[2];
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0, "socketpair");
    while (send(ends[0], bytes, sizeof bytes, MSG_DONTWAIT) > 0)
        continue;
    return ends[0];
}

static void prepare(struct writer *writer, unsigned number)
{
    struct epoll_event event = {.events = EPOLLIN};
    writer->number = number;
    writer->rank = own_number;
    writer->kind = &kinds[number];
    writer->tally = &own->tally[number];
    writer->random = mix(number + 1) ^ mix(own_number + 1000);
    writer->fed = (int)(FIRST_DESCRIPTOR + number);
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, writer->silent) == 0, "socketpair");
    writer->stuffed = make_stuffed();
    must((writer->epoll = epoll_create1(EPOLL_CLOEXEC)) >= 0, "epoll_create1");
    const int watched = writer->kind->feed == FEED_BYTE ? writer->fed : writer->silent[0];
    must(epoll_ctl(writer->epoll, EPOLL_CTL_ADD, watched, &event) == 0, "epoll_ctl");
}

static void take_byte(struct writer *writer, unsigned step)
{
    unsigned char byte = 0;
    const ssize_t taken = read(writer->fed, &byte, 1);
    if (taken < 0)
        failed(writer, "read of the byte that woke it");
    else if (taken != 1 || byte != (unsigned char)step)
        report(writer, FAULT_TORN, "not the byte that was sent");
}

static void *run(void *argument)
{
    struct writer *writer = self = argument;
    own->thread[writer->number] = (pid_t)syscall(SYS_gettid);
    sem_post(&control->arrived);
    while (sem_wait(&own->bell[writer->number]) != 0)
        continue;
    if (writer->kind->possible != NULL && !writer->kind->possible(writer)) {
        writer->tally->impossible = true;
        return NULL;
    }
    for (unsigned step = 0; step < control->steps; step++) {
        if (!takes_part(writer->number, step))
            continue;
        writer->step = step;
        if (writer->kind->wait != NULL)
            writer->kind->wait(writer, start_of(step));
        else
            sleep_until(start_of(step));
        if (writer->kind->work != NULL)
            writer->kind->work(writer, step);
        else
            write_words(writer, step);
        if (writer->kind->feed == FEED_BYTE)
            take_byte(writer, step);
    }
    return NULL;
}

static void await_go_ahead(void)
{
    sem_post(&control->arrived);
    while (sem_wait(&own->go) != 0)
        continue;
}

int rank_main(unsigned number)
{
    own_number = number;
    own = &control->rank[number];
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0L, 0L, 0L); /* for process_vm_writev, where Yama forbids it */
    own->process = getpid();
    prepare_signals();
    for (unsigned i = 0; i < kind_count; i++)
        prepare(&writers[i], i);
    make_block();
    for (unsigned i = 0; i < kind_count; i++)
        must(pthread_create(&writers[i].thread, NULL, run, &writers[i]) == 0, "pthread_create");
    await_go_ahead();
    for (unsigned i = 0; i < kind_count; i++)
        sem_post(&own->bell[i]);
    observe();
    for (unsigned i = 0; i < kind_count; i++)
        pthread_join(writers[i].thread, NULL);
    await_go_ahead(); /* all threads of all ranks are done */
    for (unsigned part = 0; part < PARTS; part++)
        look_at_part(part);
    for (unsigned i = 0; i < kind_count; i++)
        if (kinds[i].over != NULL && !writers[i].tally->impossible)
            kinds[i].over(&writers[i]);
    await_go_ahead(); /* nobody looks into this process any more */
    return verdict();
}
