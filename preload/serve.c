/* SPDX-License-Identifier: MIT */
#include "serve.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "error.h"
#include "forked.h"
#include "label.h"
#include "log.h"
#include "merger.h"
#include "namer.h"
#include "os.h"
#include "private.h"
#include "thread.h"

enum attachment_state { ATTACH_NOT_YET, ATTACH_READY, ATTACH_FAILED };

struct attachment {
    _Atomic uint32_t state; /* enum attachment_state */
    shmcore_segment *segment;
    bool full; /* FAILED, because there was no memory for it */
};

static struct {
    const struct policy *policy;
    char rank[32];        /* a copy: programs write over their environment; "" outside MPI */
    pthread_mutex_t lock; /* attaching */
    struct attachment attachment[POLICY_SEGMENTS_MAX];
} server = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---------------------------------------------------------------- segments */

/* What becomes of the program without this segment. */
static const char *without(uint32_t index)
{
    for (size_t i = 0; i < server.policy->rule_count; i++) {
        const struct policy_rule *rule = &server.policy->rules[i];
        if (rule->segment == index && rule->full_fails && server.attachment[index].full)
            return "what its rules with full=fail match fails, the rest gets the program's own memory";
    }
    return "the program runs on with its own memory";
}

static shmcore_segment *open_segment(uint32_t index)
{
    static const enum shmcore_scope scopes[] = {[POLICY_SCOPE_NODE] = SHMCORE_SCOPE_NODE,
                                                [POLICY_SCOPE_SOCKET] = SHMCORE_SCOPE_SOCKET,
                                                [POLICY_SCOPE_NUMA] = SHMCORE_SCOPE_NUMA};
    const struct policy_segment *wanted = &server.policy->segments[index];
    shmcore_traits traits = shmcore_default_traits();
    traits.size = wanted->size;
    traits.dir = wanted->dir;
    traits.scope = scopes[wanted->scope];
    traits.interleave = wanted->interleave;
    shmcore_segment *segment = shmcore_open(wanted->name, &traits);
    if (segment == NULL) {
        char cause[160];
        server.attachment[index].full = errno == ENOMEM;
        error_format(cause, sizeof cause, "open %s", wanted->name);
        log_say(SETTINGS_LOG_WARN, cause, "%s; %s", shmcore_error(), without(index));
        return NULL;
    }
    if (export_in_window(segment)) {
        log_say(SETTINGS_LOG_INFO, NULL, "attached segment '%s'", shmcore_segment_name(segment));
        if (wanted->interleave && !shmcore_get_traits(segment).interleave)
            log_say(SETTINGS_LOG_WARN, "numa",
                    "segment '%s' is not spread over NUMA nodes, for it was made without numa=interleave, or "
                    "mbind() "
                    "is not allowed (in a container: --cap-add SYS_NICE); its pages lie where they are used "
                    "first",
                    wanted->name);
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
    struct attachment *attachment = &server.attachment[index];
    pthread_mutex_lock(&server.lock);
    if (atomic_load(&attachment->state) == ATTACH_NOT_YET) {
        attachment->segment = open_segment(index);
        atomic_store(&attachment->state, attachment->segment != NULL ? ATTACH_READY : ATTACH_FAILED);
    }
    pthread_mutex_unlock(&server.lock);
    return attachment->segment;
}

static shmcore_segment *segment_for(const struct policy_rule *rule)
{
    struct attachment *attachment = &server.attachment[rule->segment];
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
                                      .rank = server.rank[0] != '\0' ? server.rank : NULL,
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

static COLD bool set_label(shmcore_segment *segment, struct thread_source *source, bool numbered)
{
    char text[LABEL_TEXT + 8];
    const struct thread_counter *label = source->counter;
    size_t length = label->length;
    memcpy(text, label->label, length);
    if (numbered) {
        text[length++] = '#';
        text[length++] = LABEL_HOLE_SEQUENCE;
    }
    if (source->segment != NULL)
        export_retire(segment, &source->source); /* what was made under the other label stays there */
    source->segment = NULL;
    if (!export_label(segment, text, length, source->salt, &source->source.label))
        return false;
    source->segment = segment;
    source->numbered = numbered;
    return true;
}

unsigned serve_export_flags(const struct policy_rule *rule, bool zero)
{
    static const unsigned fork_flags[] = {
        [POLICY_FORK_OVERLAY] = EXPORT_FORK_OVERLAY, [POLICY_FORK_SHARE] = EXPORT_FORK_SHARED};
    return (zero ? EXPORT_ZERO : 0u) | (rule->reserve_touch ? (unsigned)EXPORT_TOUCH : 0u) |
           fork_flags[rule->fork];
}

static void *serve_export(shmcore_segment *segment, const struct policy_rule *rule,
                          struct thread_source *source, const struct request *request)
{
    const unsigned flags = serve_export_flags(rule, request->zero);
    /* the first block of a name without {seq} has it plainly */
    const bool numbered = !source->counts && source->counter->next > 0;
    if (UNLIKELY(source->segment == NULL || source->numbered != numbered) &&
        !set_label(segment, source, numbered))
        return NULL;
    return export_allocate(segment, &source->source, source->counter->next++, request->bytes,
                           request->alignment, flags);
}

/* Named blocks are aligned to 16 bytes, from 64 bytes on to 64, beyond 32 KiB to 16 KiB: a larger alignment
 * is got by asking for more. Every rank does the same, so the sizes agree. 0: impossible. */
static size_t shared_size(const struct request *request)
{
    if (request->alignment <= 16)
        return request->bytes;
    if (request->alignment <= 64)
        return (size_t)most(request->bytes, 64);
    if (request->alignment <= QUANTUM_BYTES)
        return (size_t)most(request->bytes, SLOT_BYTES_END);
    return 0;
}

static void *serve_share(shmcore_segment *segment, struct thread_source *source,
                         const struct request *request, bool *created)
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

/* The label's holes stay: it names the arena that all blocks of this site and thread come from. */
static COLD struct arena *make_arena(shmcore_segment *segment, const struct policy_rule *rule,
                                     const struct thread_source *source)
{
    static const enum private_when whens[] = {[POLICY_WHEN_QUIET] = PRIVATE_QUIET,
                                              [POLICY_WHEN_BARRIER] = PRIVATE_BARRIER,
                                              [POLICY_WHEN_MANUAL] = PRIVATE_MANUAL};
    const struct private_rule how = {.when = whens[rule->when], .quiet = rule->quiet, .owner = &thread_self};
    struct arena *arena =
        private_arena(segment, source->counter->label, source->counter->length, source->salt, &how);
    if (arena != NULL)
        merger_start();
    return arena;
}

static void *serve_merge(shmcore_segment *segment, const struct policy_rule *rule,
                         struct thread_source *source, const struct request *request)
{
    if (UNLIKELY(source->arena == NULL) && (source->arena = make_arena(segment, rule, source)) == NULL)
        return NULL;
    return private_allocate(source->arena, request->bytes, request->alignment, request->zero);
}

/* What a rule could not do ends here: a line for the user, then his own malloc or NULL. */
static COLD bool give_up(const struct policy_rule *rule, int kept_errno, void **out)
{
    char cause[160];
    const int error = errno;
    error_format(cause, sizeof cause, "%d %s %u", error, server.policy->segments[rule->segment].name,
                 error == ENOMEM ? 0 : rule->line);
    const bool fails = rule->full_fails && error == ENOMEM;
    log_say(SETTINGS_LOG_WARN, cause, "%s; %s", shmcore_error(),
            fails ? "the allocation fails, as the rule says" : "the program gets its own memory instead");
    *out = NULL;
    errno = fails ? ENOMEM : kept_errno;
    return fails;
}

bool serve_request(const struct site *site, uint16_t index, const struct request *request, void **out,
                   bool *created)
{
    const struct policy_rule *rule = &server.policy->rules[index];
    const int kept_errno = errno;
    shmcore_segment *segment = segment_for(rule);
    if (UNLIKELY(segment == NULL)) {
        const bool fails = rule->full_fails && server.attachment[rule->segment].full;
        errno = fails ? ENOMEM : kept_errno;
        return fails;
    }
    struct thread_source *source = thread_source_for(site, index, rule, label_for);
    if (UNLIKELY(source == NULL)) {
        errno = kept_errno;
        return false;
    }
    *created = true;
    switch (rule->verb) {
    case POLICY_EXPORT:
        *out = serve_export(segment, rule, source, request);
        break;
    case POLICY_MERGE:
        *out = serve_merge(segment, rule, source, request);
        break;
    default:
        *out = serve_share(segment, source, request, created);
    }
    if (LIKELY(*out != NULL)) {
        errno = kept_errno;
        return true;
    }
    return give_up(rule, kept_errno, out);
}

/* ---------------------------------------------------------------- beginning, fork */

void serve_begin(const struct policy *policy, const char *rank)
{
    server.policy = policy;
    if (rank != NULL)
        error_format(server.rank, sizeof server.rank, "%s", rank);
    forked_take_over();
    export_learn_job((const char *const *)environ);
}

void serve_fork_prepare(void)
{
    pthread_mutex_lock(&server.lock);
    forked_prepare();
}

/* Said by the parent of what it got ready, by the child of what it could not lay over. */
static void report_lapse(void)
{
    if (forked_worst() == FORKED_OVERLAID)
        log_say(
            SETTINGS_LOG_WARN, "fork",
            "no memory for a copy of the exported blocks at a fork: the child sees what its parent writes "
            "later to pages that it has not touched itself; free memory, or say fork=overlay to accept it");
    else if (forked_worst() == FORKED_SHARED)
        log_say(
            SETTINGS_LOG_WARN, "fork",
            "no memory or no mappings for a copy of the exported blocks at a fork, nor a way to their file: "
            "parent and child share them; free memory, raise vm.max_map_count, or say fork=share to accept "
            "it");
}

void serve_fork_parent(void)
{
    forked_parent();
    pthread_mutex_unlock(&server.lock);
    report_lapse();
}

void serve_fork_child(void)
{
    forked_child();
    for (uint32_t i = 0; i < POLICY_SEGMENTS_MAX; i++) {
        struct attachment *attachment = &server.attachment[i];
        if (atomic_load(&attachment->state) == ATTACH_READY && !export_is_member(attachment->segment))
            atomic_store(&attachment->state, ATTACH_FAILED);
    }
    pthread_mutex_unlock(&server.lock);
    report_lapse();
}
