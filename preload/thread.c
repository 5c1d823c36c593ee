/* SPDX-License-Identifier: MIT */
#include "thread.h"

#include <pthread.h>
#include <string.h>

#include "error.h"
#include "os.h"
#include "real.h"

#define CHUNK_BYTES ((size_t)32 << 10)

_Thread_local struct thread thread_self __attribute__((tls_model("initial-exec")));

static struct {
    pthread_key_t key;
    bool has_key;
} threads;

/* ---------------------------------------------------------------- private memory */

struct mapping {
    void *next;
    size_t bytes;
};

static void *map(size_t bytes)
{
    void *memory;
    bytes = align_up(bytes + sizeof(struct mapping), PAGE_BYTES);
    if (os_map_private(bytes, &memory) != 0)
        return NULL;
    struct mapping *mapping = memory;
    mapping->next = thread_self.mappings;
    mapping->bytes = bytes;
    thread_self.mappings = mapping;
    return mapping + 1;
}

static void *carve(size_t bytes)
{
    bytes = align_up(bytes, 16);
    if (bytes > thread_self.chunk_left) {
        unsigned char *chunk = map(CHUNK_BYTES);
        if (chunk == NULL)
            return NULL;
        thread_self.chunk = chunk;
        thread_self.chunk_left = CHUNK_BYTES;
    }
    void *piece = thread_self.chunk;
    thread_self.chunk += bytes;
    thread_self.chunk_left -= bytes;
    return piece;
}

/* Its end is to be seen. */
static void have_cleaned_up(void)
{
    if (threads.has_key)
        pthread_setspecific(threads.key, &thread_self);
}

void *thread_memory(size_t bytes)
{
    void *memory = map(bytes);
    if (memory != NULL)
        have_cleaned_up();
    return memory;
}

struct site_stack *thread_stacks(void)
{
    if (UNLIKELY(thread_self.stacks == NULL))
        thread_self.stacks = thread_memory(SITE_STACKS * sizeof(struct site_stack));
    return thread_self.stacks;
}

static void unmap_all(struct mapping *mapping)
{
    while (mapping != NULL) {
        struct mapping *next = mapping->next;
        os_unmap(mapping, mapping->bytes);
        mapping = next;
    }
}

/* ---------------------------------------------------------------- sources */

static bool grow_sites(uint32_t id)
{
    uint32_t count = thread_self.sites != 0 ? thread_self.sites : 64;
    while (count <= id)
        count *= 2;
    struct thread_source **larger = map(count * sizeof *larger); /* the old array goes with the thread */
    if (larger == NULL)
        return false;
    if (thread_self.sites != 0)
        memcpy(larger, thread_self.by_site, thread_self.sites * sizeof *larger);
    thread_self.by_site = larger;
    thread_self.sites = count;
    return true;
}

static void put_counter(struct thread_counter **buckets, uint32_t count, struct thread_counter *counter)
{
    struct thread_counter **bucket = &buckets[counter->hash % count];
    counter->next_counter = *bucket;
    *bucket = counter;
}

/* Twice as many buckets as before, so that there is always one for each counter: compilers have thousands. */
static bool grow_counters(void)
{
    const uint32_t before = thread_self.counter_buckets, count = before != 0 ? before * 2 : 16;
    const size_t bytes = count * sizeof(struct thread_counter *);
    struct thread_counter **buckets = bytes <= CHUNK_BYTES / 4 ? carve(bytes) : map(bytes);
    if (buckets == NULL)
        return false;
    for (uint32_t i = 0; i < before; i++)
        for (struct thread_counter *c = thread_self.counters[i], *next; c != NULL; c = next) {
            next = c->next_counter;
            put_counter(buckets, count, c);
        }
    thread_self.counters = buckets; /* the old ones go with the thread */
    thread_self.counter_buckets = count;
    return true;
}

static struct thread_counter *counter_for(const char *label, size_t length)
{
    const uint64_t hash = hash_bytes(label, length);
    if (thread_self.counter_count == thread_self.counter_buckets && !grow_counters())
        return NULL;
    struct thread_counter *counter = thread_self.counters[hash % thread_self.counter_buckets];
    while (counter != NULL &&
           (counter->hash != hash || counter->length != length || memcmp(counter->label, label, length) != 0))
        counter = counter->next_counter;
    if (counter != NULL || (counter = carve(sizeof *counter + length)) == NULL)
        return counter;
    *counter = (struct thread_counter){.hash = hash, .length = (uint32_t)length};
    memcpy(counter->label, label, length);
    put_counter(thread_self.counters, thread_self.counter_buckets, counter);
    thread_self.counter_count++;
    return counter;
}

/* Zero, as all new memory is. NULL: there is none, and all of the thread's empty slabs stay. */
static struct export_kept *kept_slabs(void)
{
    if (thread_self.kept == NULL)
        thread_self.kept = carve(sizeof *thread_self.kept);
    return thread_self.kept;
}

static COLD struct thread_source *make_source(const struct site *site, uint16_t rule,
                                              const struct policy_rule *text, thread_labeller *make_label)
{
    char label[LABEL_TEXT + 1];
    bool counts = false;
    uint64_t salt = 0;
    if (site->id >= thread_self.sites && !grow_sites(site->id))
        return NULL;
    const size_t length = make_label(site, text, label, sizeof label, &counts, &salt);
    struct thread_counter *counter = length != 0 ? counter_for(label, length) : NULL;
    struct thread_source *source = counter != NULL ? carve(sizeof *source) : NULL;
    if (source == NULL)
        return NULL;
    *source = (struct thread_source){.next_source = thread_self.by_site[site->id],
                                     .counter = counter,
                                     .source.kept = kept_slabs(),
                                     .salt = salt,
                                     .rule = rule,
                                     .counts = counts};
    thread_self.by_site[site->id] = source;
    have_cleaned_up();
    return source;
}

struct thread_source *thread_source_for(const struct site *site, uint16_t rule,
                                        const struct policy_rule *text, thread_labeller *make_label)
{
    if (LIKELY(site->id < thread_self.sites)) {
        struct thread_source *source = thread_self.by_site[site->id];
        while (source != NULL && source->rule != rule)
            source = source->next_source;
        if (LIKELY(source != NULL))
            return source;
    }
    return make_source(site, rule, text, make_label);
}

/* ---------------------------------------------------------------- the end of a thread, a fork */

static void retire_all(void)
{
    for (uint32_t id = 0; id < thread_self.sites; id++)
        for (struct thread_source *s = thread_self.by_site[id]; s != NULL; s = s->next_source)
            if (s->segment != NULL)
                export_retire(s->segment, &s->source);
}

static void forget_sources(void)
{
    thread_self.by_site = NULL;
    thread_self.sites = 0;
    thread_self.kept = NULL;
    thread_self.shortcuts = NULL;
}

/* Runs among the destructors of thread-specific data: others may still allocate after it, and then it runs
 * again. */
static void end_thread(void *self)
{
    (void)self;
    thread_self.inside++;
    retire_all();
    struct mapping *mappings = thread_self.mappings;
    forget_sources();
    thread_self.counters = NULL;
    thread_self.counter_buckets = thread_self.counter_count = 0;
    thread_self.chunk = NULL;
    thread_self.chunk_left = 0;
    thread_self.mappings = NULL;
    thread_self.record = NULL;
    thread_self.stacks = NULL;
    atomic_signal_fence(memory_order_seq_cst); /* a handler may look at some of that before anything else */
    unmap_all(mappings);
    thread_self.inside--;
}

void thread_begin(void)
{
    threads.has_key = pthread_key_create(&threads.key, end_thread) == 0;
}

void thread_after_fork(void)
{
    /* Labels hold the parent's pid, so their text is made anew. Counters of labels without it go on. */
    forget_sources();
}

/* ---------------------------------------------------------------- numbers */

struct beginning {
    void *(*start)(void *);
    void *argument;
    char number[THREAD_NUMBER_BYTES];
};

static void *begin_thread(void *argument)
{
    struct beginning beginning = *(struct beginning *)argument;
    real.free(argument);
    memcpy(thread_self.number, beginning.number, sizeof thread_self.number);
    return beginning.start(beginning.argument);
}

int thread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument)
{
    struct beginning *beginning = real.malloc(sizeof *beginning);
    if (beginning == NULL)
        return real.pthread_create(thread, attributes, start, argument);
    *beginning = (struct beginning){.start = start, .argument = argument};
    const uint32_t child = ++thread_self.children;
    error_format(beginning->number, sizeof beginning->number, "%s%s%u", thread_self.number,
                 thread_self.number[0] != '\0' ? "." : "", child);
    thread_self.inside++; /* what pthread_create allocates is the library's, not the program's */
    const int error = real.pthread_create(thread, attributes, begin_thread, beginning);
    thread_self.inside--;
    if (error != 0)
        real.free(beginning);
    return error;
}
