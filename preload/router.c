/* SPDX-License-Identifier: MIT */
#include "router.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "error.h"
#include "label.h"
#include "log.h"
#include "namer.h"
#include "os.h"
#include "real.h"
#include "thread.h"

#define ALIVE_WORD UINT32_C(0x616c6976)

enum attachment_state { ATTACH_NOT_YET, ATTACH_READY, ATTACH_FAILED };

struct attachment {
    _Atomic uint32_t state; /* enum attachment_state */
    shmcore_segment *segment;
};

static struct {
    const struct policy *policy;
    char rank[32], check_file[512]; /* copies: programs write over their environment; "" for none */
    const char *program;
    uint32_t *alive; /* a page that is zero after a fork of any kind */
    uint32_t always_alive;
    pthread_mutex_t lock; /* attaching */
    struct attachment attachment[POLICY_SEGMENTS_MAX];
    _Atomic bool matched[POLICY_RULES_MAX];
    bool child; /* of a fork: leaves the last word to the parent */
} router = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---------------------------------------------------------------- inside and out */

static void enter(void)
{
    thread_self.inside++;
    atomic_signal_fence(memory_order_seq_cst);
}

static COLD void free_deferred(void)
{
    while (thread_self.deferred != NULL) {
        void *pointer = thread_self.deferred;
        memcpy(&thread_self.deferred, pointer, sizeof pointer);
        router_free(pointer, NULL);
    }
}

static void leave(void)
{
    atomic_signal_fence(memory_order_seq_cst);
    thread_self.inside--;
    if (UNLIKELY(thread_self.deferred != NULL && thread_self.inside == 0))
        free_deferred();
}

/* False in a child made by _Fork or a raw clone, which ran none of our handlers. */
static bool is_adopted(void)
{
    return *(volatile uint32_t *)router.alive == ALIVE_WORD;
}

/* ---------------------------------------------------------------- segments */

static shmcore_segment *open_segment(const struct policy_segment *wanted)
{
    shmcore_traits traits = shmcore_default_traits();
    traits.size = wanted->size;
    shmcore_segment *segment = shmcore_open(wanted->name, &traits);
    if (segment == NULL) {
        char cause[160];
        error_format(cause, sizeof cause, "open %s", wanted->name);
        log_say(SETTINGS_LOG_WARN, cause, "%s; the program runs on with its own memory", shmcore_error());
        return NULL;
    }
    if (export_in_window(segment)) {
        log_say(SETTINGS_LOG_INFO, NULL, "attached segment '%s'", wanted->name);
        if (!shmcore_address_stable(segment))
            log_say(SETTINGS_LOG_WARN, "stable",
                    "segment '%s' is not at the address its processes agreed on: pointers inside shared "
                    "blocks are not "
                    "valid in other processes",
                    wanted->name);
        return segment;
    }
    log_say(SETTINGS_LOG_WARN, "window",
            "the addresses where segment '%s' has to lie are taken; the program runs on with its own memory",
            wanted->name);
    shmcore_close(segment);
    return NULL;
}

static COLD shmcore_segment *attach(uint32_t index)
{
    struct attachment *attachment = &router.attachment[index];
    pthread_mutex_lock(&router.lock);
    if (atomic_load(&attachment->state) == ATTACH_NOT_YET) {
        attachment->segment = open_segment(&router.policy->segments[index]);
        atomic_store(&attachment->state, attachment->segment != NULL ? ATTACH_READY : ATTACH_FAILED);
    }
    pthread_mutex_unlock(&router.lock);
    return attachment->segment;
}

static shmcore_segment *segment_for(const struct policy_rule *rule)
{
    struct attachment *attachment = &router.attachment[rule->segment];
    switch (atomic_load_explicit(&attachment->state, memory_order_acquire)) {
    case ATTACH_READY:
        return attachment->segment;
    case ATTACH_NOT_YET:
        return attach(rule->segment);
    default:
        return NULL;
    }
}

/* ---------------------------------------------------------------- names */

static size_t label_for(const struct site *site, const struct policy_rule *rule, char *out, size_t bytes,
                        bool *counts, uint64_t *salt)
{
    const char *template = rule->name != NULL ? rule->name : POLICY_DEFAULT_NAME;
    const struct namer_facts facts = {.module = site->module,
                                      .function = site->function,
                                      .offset = site->function_offset,
                                      .thread = thread_self.number,
                                      .rank = router.rank[0] != '\0' ? router.rank : NULL,
                                      .pid = os_process(),
                                      .exported = rule->verb == POLICY_EXPORT};
    *salt = namer_is_automatic(template) ? site->build : 0;
    return namer_label(template, &facts, out, bytes, counts);
}

/* The name of a `share` block; 0 when it is too long. */
static size_t render(const struct thread_source *source, uint64_t sequence, size_t bytes, char out[256])
{
    const struct thread_counter *label = source->counter;
    size_t length = label_render(label->label, label->length, sequence, bytes, out, 256);
    if (!source->counts && sequence > 0 && length < 256)
        length += error_format(out + length, 256 - length, "#%lu", (unsigned long)sequence);
    return length <= SHMCORE_NAME_MAX ? length : 0;
}

/* ---------------------------------------------------------------- the verbs */

static void *serve_export(shmcore_segment *segment, const struct policy_rule *rule,
                          struct thread_source *source, const struct router_request *request)
{
    const unsigned flags =
        (request->zero ? EXPORT_ZERO : 0u) | (rule->reserve_touch ? (unsigned)EXPORT_TOUCH : 0u);
    if (UNLIKELY(source->source.label == 0)) {
        char text[LABEL_TEXT + 8];
        const struct thread_counter *label = source->counter;
        memcpy(text, label->label, label->length);
        size_t length = label->length;
        if (!source->counts && length + 2 < sizeof text) { /* several blocks of one name are told apart */
            text[length++] = '#';
            text[length++] = LABEL_HOLE_SEQUENCE;
        }
        if (!export_label(segment, text, length, source->salt, &source->source.label))
            return NULL;
        source->segment = segment;
    }
    return export_allocate(segment, &source->source, source->counter->next++, request->bytes,
                           request->alignment, flags);
}

/* Named blocks are aligned to 16 bytes, from 64 bytes on to 64, beyond 32 KiB to 16 KiB: a larger alignment
 * is got by asking for more. Every rank does the same, so the sizes agree. 0: impossible. */
static size_t shared_size(const struct router_request *request)
{
    if (request->alignment <= 16)
        return request->bytes;
    if (request->alignment <= 64)
        return (size_t)most(request->bytes, 64);
    if (request->alignment <= QUANTUM_BYTES)
        return (size_t)most(request->bytes, EXPORT_SLOT_MOST + 1);
    return 0;
}

static void *serve_share(shmcore_segment *segment, struct thread_source *source,
                         const struct router_request *request, bool *created)
{
    char name[256];
    const uint64_t sequence = source->counter->next++;
    const size_t bytes = shared_size(request);
    if (bytes == 0 && request->bytes != 0) {
        error_set(ENOMEM, "a `share` block can be aligned to 16 KiB at the most");
        return NULL;
    }
    if (render(source, sequence, request->bytes, name) == 0) {
        error_set(ENAMETOOLONG, "the name of a block at a `share` site is longer than 255 bytes");
        return NULL;
    }
    return export_share(segment, name, source->salt, bytes, created);
}

/* What a rule could not do ends here: a line for the user, then his own malloc or NULL. */
static COLD bool give_up(const struct policy_rule *rule, int kept_errno, void **out)
{
    char cause[160];
    const int error = errno;
    error_format(cause, sizeof cause, "%d %s %u", error, router.policy->segments[rule->segment].name,
                 error == ENOMEM ? 0 : rule->line);
    const bool fails = rule->full_fails && error == ENOMEM;
    log_say(SETTINGS_LOG_WARN, cause, "%s; %s", shmcore_error(),
            fails ? "the allocation fails, as the rule says" : "the program gets its own memory instead");
    *out = NULL;
    errno = fails ? ENOMEM : kept_errno;
    return fails;
}

static bool serve(const struct site *site, uint16_t index, const struct router_request *request, void **out,
                  bool *created)
{
    const struct policy_rule *rule = &router.policy->rules[index];
    const int kept_errno = errno;
    shmcore_segment *segment = segment_for(rule);
    if (UNLIKELY(segment == NULL)) {
        errno = kept_errno;
        return false;
    }
    struct thread_source *source = thread_source_for(site, index, rule, label_for);
    if (UNLIKELY(source == NULL)) {
        errno = kept_errno;
        return false;
    }
    *created = true;
    *out = rule->verb == POLICY_EXPORT ? serve_export(segment, rule, source, request)
                                       : serve_share(segment, source, request, created);
    if (LIKELY(*out != NULL))
        return true;
    return give_up(rule, kept_errno, out);
}

/* ---------------------------------------------------------------- `shmpreload check` */

/* RULE_LINE VERB MODULE!0xOFFSET FUNCTION SIZE PROGRAM, once for each site and rule. */
static void report(struct site *site, uint32_t place, const struct policy_rule *rule, size_t bytes)
{
    static const char *const verbs[] = {"pass", "export", "share"};
    char line[1024];
    const uint32_t bit = place < 32 ? UINT32_C(1) << place : 0;
    if ((atomic_fetch_or(&site->reported, bit) & bit) != 0)
        return;
    const int kept_errno = errno;
    const size_t length = error_format(line, sizeof line, "%u\t%s\t%s!0x%lx\t%s\t%zu\t%s\n", rule->line,
                                       verbs[rule->verb], site->module, (unsigned long)site->module_offset,
                                       site->function != NULL ? site->function : "?", bytes, router.program);
    const int descriptor = open(router.check_file, O_WRONLY | O_APPEND | O_CLOEXEC | O_NOCTTY);
    if (descriptor >= 0) {
        const ssize_t written = write(descriptor, line, length);
        (void)written;
        close(descriptor);
    }
    errno = kept_errno;
}

/* ---------------------------------------------------------------- allocating */

/* The first rule that matches; its place in site->rules, or rule_count. */
static uint32_t first_match(const struct site *site, const struct router_request *request)
{
    uint32_t place = 0;
    while (place < site->rule_count && !policy_rule_matches_request(&router.policy->rules[site->rules[place]],
                                                                    request->bytes, request->call))
        place++;
    return place;
}

static bool route(struct site *site, const struct router_request *request, void **out, bool *created)
{
    const uint32_t place = first_match(site, request);
    if (place == site->rule_count)
        return false;
    const uint16_t index = site->rules[place];
    const struct policy_rule *rule = &router.policy->rules[index];
    if (!atomic_load_explicit(&router.matched[index], memory_order_relaxed))
        atomic_store_explicit(&router.matched[index], true, memory_order_relaxed);
    if (UNLIKELY(router.check_file[0] != '\0')) {
        report(site, place, rule, request->bytes);
        return false;
    }
    return rule->verb != POLICY_PASS && serve(site, index, request, out, created);
}

static COLD struct site *first_look(const void *caller)
{
    enter();
    struct site *site = site_look_up(caller);
    leave();
    return site;
}

static bool allocate(const struct router_request *request, void **out, bool *created)
{
    struct site *site;
    if (UNLIKELY(thread_self.inside > 0 || router.policy == NULL))
        return false;
    if (UNLIKELY(thread_self.pass_next)) {
        thread_self.pass_next = false;
        return false;
    }
    if (UNLIKELY(!site_known(request->caller, &site)))
        site = first_look(request->caller);
    if (site == NULL || UNLIKELY(!is_adopted()))
        return false;
    enter();
    const bool served = route(site, request, out, created);
    leave();
    return served;
}

bool router_allocate(const struct router_request *request, void **out)
{
    bool created;
    return allocate(request, out, &created);
}

void router_pass_next(bool pass)
{
    thread_self.pass_next = pass;
}

/* ---------------------------------------------------------------- freeing */

static COLD void report_misuse(const void *pointer, const void *caller)
{
    char cause[64];
    error_format(cause, sizeof cause, "misuse %p", caller);
    log_say(SETTINGS_LOG_ERROR, cause,
            "free() or realloc() of %p, which is no live block (freed twice, or not the start of one), "
            "called from "
            "%p; it is ignored",
            pointer, caller);
}

static void release(shmcore_segment *segment, void *pointer, const void *caller)
{
    switch (export_free(segment, pointer)) {
    case EXPORT_DONE:
        return;
    case EXPORT_NOT_OURS:
        if (shmcore_deallocate(segment, pointer) == 0)
            return;
        if (errno == EINVAL)
            break;
        log_say(SETTINGS_LOG_WARN, "free", "a shared block could not be freed and stays: %s",
                shmcore_error());
        return;
    case EXPORT_NOT_LIVE:
        break;
    }
    report_misuse(pointer, caller);
}

void router_free(void *pointer, const void *caller)
{
    if (UNLIKELY(thread_self.inside >
                 0)) { /* a signal handler, while this thread was in the middle of something */
        memcpy(pointer, &thread_self.deferred, sizeof pointer);
        thread_self.deferred = pointer;
        return;
    }
    const int kept_errno = errno;
    enter();
    shmcore_segment *segment = export_segment_of(pointer);
    if (LIKELY(segment != NULL && is_adopted()))
        release(segment, pointer, caller);
    leave();
    errno = kept_errno;
    if (UNLIKELY(segment == NULL))
        real.free(pointer);
}

size_t router_usable_size(const void *pointer)
{
    const int kept_errno = errno;
    enter();
    shmcore_segment *segment = export_segment_of(pointer);
    size_t bytes = segment != NULL ? export_usable(segment, pointer) : 0;
    if (segment != NULL && bytes == 0)
        bytes = export_share_size(pointer);
    leave();
    errno = kept_errno;
    return segment != NULL ? bytes : real.malloc_usable_size((void *)(uintptr_t)pointer);
}

/* ---------------------------------------------------------------- realloc */

static void *new_block(const struct router_request *request, bool *fresh)
{
    void *pointer = NULL;
    *fresh = true;
    if (allocate(request, &pointer, fresh))
        return pointer;
    return real.malloc(request->bytes);
}

/* From anywhere to anywhere: the old block is kept until the new one is whole. Of a shared block that another
 * process made, the contents are that process's business. */
static void *move(void *pointer, size_t old_bytes, const struct router_request *request)
{
    bool fresh;
    void *moved = new_block(request, &fresh);
    if (moved == NULL)
        return NULL;
    if (fresh)
        memcpy(moved, pointer, least(old_bytes, request->bytes));
    if (router_owns(pointer))
        router_free(pointer, request->caller);
    else
        real.free(pointer);
    return moved;
}

static bool resize_in_place(void *pointer, size_t bytes)
{
    enter();
    shmcore_segment *segment = export_segment_of(pointer);
    const bool resized = segment != NULL && is_adopted() && export_resize(segment, pointer, bytes);
    leave();
    return resized;
}

void *router_reallocate(void *pointer, size_t bytes, const void *caller)
{
    const struct router_request request = {.call = POLICY_CALL_REALLOC, .bytes = bytes, .caller = caller};
    if (router_owns(pointer) && export_segment_of(pointer) != NULL) {
        if (bytes == 0) { /* as glibc does */
            router_free(pointer, caller);
            return NULL;
        }
        const int kept_errno = errno;
        if (thread_self.inside == 0 && resize_in_place(pointer, bytes))
            return pointer;
        const size_t old_bytes = router_usable_size(pointer);
        if (old_bytes == 0) {
            void *fresh = real.malloc(bytes); /* a zero-sized block, or a freed one: nothing to copy */
            router_free(pointer, caller);
            return fresh;
        }
        errno = kept_errno;
        return move(pointer, old_bytes, &request);
    }
    void *moved = NULL;
    bool fresh;
    if (bytes == 0 || !allocate(&request, &moved, &fresh))
        return real.realloc(pointer, bytes);
    if (moved == NULL)
        return NULL;
    if (fresh)
        memcpy(moved, pointer, least(real.malloc_usable_size(pointer), bytes));
    real.free(pointer);
    return moved;
}

/* The pages keep their memory: giving it back would let a later touch fail on a full file system. */
int router_forget(void *address, size_t bytes)
{
    if ((uintptr_t)address % PAGE_BYTES != 0) {
        errno = EINVAL;
        return -1;
    }
    memset(address, 0, align_up(bytes, PAGE_BYTES));
    return 0;
}

/* ---------------------------------------------------------------- beginning, fork, end */

static void copy_setting(char *out, size_t bytes, const char *setting)
{
    error_format(out, bytes, "%s", setting != NULL ? setting : "");
}

void router_begin(const struct policy *policy, const struct settings *settings, const char *program)
{
    copy_setting(router.rank, sizeof router.rank, settings->rank);
    copy_setting(router.check_file, sizeof router.check_file, settings->check_file);
    router.program = program;
    export_take_over_forks();
    router.alive = os_wiped_on_fork();
    if (router.alive == NULL)
        router.alive = &router.always_alive;
    *router.alive = ALIVE_WORD;
    router.policy = policy;
}

void router_fork_prepare(void)
{
    enter();
    site_lock();
    pthread_mutex_lock(&router.lock);
    export_fork_prepare();
}

void router_fork_parent(void)
{
    export_fork_parent();
    pthread_mutex_unlock(&router.lock);
    site_unlock();
    leave();
}

void router_fork_child(void)
{
    export_fork_child();
    thread_after_fork();
    for (uint32_t i = 0; i < POLICY_SEGMENTS_MAX; i++) {
        struct attachment *attachment = &router.attachment[i];
        if (atomic_load(&attachment->state) == ATTACH_READY && !export_is_member(attachment->segment))
            atomic_store(&attachment->state, ATTACH_FAILED);
    }
    *router.alive = ALIVE_WORD;
    router.child = true;
    pthread_mutex_unlock(&router.lock);
    site_unlock();
    leave();
}

void router_end(void)
{
    if (router.policy == NULL || router.child || router.check_file[0] != '\0' || !is_adopted())
        return;
    enter();
    for (size_t i = 0; i < router.policy->rule_count; i++) {
        const struct policy_rule *rule = &router.policy->rules[i];
        char cause[64];
        if (atomic_load(&router.matched[i]))
            continue;
        error_format(cause, sizeof cause, "never %u", rule->line);
        log_say(SETTINGS_LOG_WARN, cause, "the rule in line %u of the policy never matched: %s", rule->line,
                rule->text);
    }
    leave();
}
