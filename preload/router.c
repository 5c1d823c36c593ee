/* SPDX-License-Identifier: MIT */
#include "router.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "advice.h"
#include "code.h"
#include "error.h"
#include "export.h"
#include "handing.h"
#include "log.h"
#include "merger.h"
#include "os.h"
#include "pending.h"
#include "private.h"
#include "real.h"
#include "thread.h"

static struct {
    const struct policy *policy;
    bool checks;  /* for `shmpreload check`: nothing is served */
    bool records; /* every call is to be seen: none takes the short way */
    const char *program;
    bool child;    /* of a fork: leaves the last word to the parent */
    bool adopting; /* the parent has a part in its segments: it is no child of _Fork itself */
} router;

static NEEDED_LATER char check_file[512]; /* a copy: programs write over their environment */

/* ---------------------------------------------------------------- `shmpreload check` */

/* RULE_LINE VERB MODULE!0xOFFSET FUNCTION SIZE PROGRAM, once for each site and rule. */
static void report(struct site *site, uint32_t place, const struct policy_rule *rule, size_t bytes)
{
    static const char *const verbs[] = {"pass", "export", "share", "merge"};
    char line[1024];
    const uint32_t bit = place < 32 ? UINT32_C(1) << place : 0;
    if ((atomic_fetch_or(&site->reported, bit) & bit) != 0)
        return;
    const int kept_errno = errno;
    const size_t length = error_format(line, sizeof line, "%u\t%s\t%s!0x%lx\t%s\t%zu\t%s\n", rule->line,
                                       verbs[rule->verb], site->module, (unsigned long)site->module_offset,
                                       site->function != NULL ? site->function : "?", bytes, router.program);
    const int descriptor = open(check_file, O_WRONLY | O_APPEND | O_CLOEXEC | O_NOCTTY);
    if (descriptor >= 0) {
        const ssize_t written = write(descriptor, line, length);
        (void)written;
        close(descriptor);
    }
    errno = kept_errno;
}

/* ---------------------------------------------------------------- allocating */

/* The first rule that matches; its place in site->rules, or rule_count. */
static uint32_t first_match(const struct site *site, const struct request *request)
{
    uint32_t place = 0;
    while (place < site->rule_count &&
           !policy_rule_matches_request(&router.policy->rules[site->rules[place] & ~SITE_MAYBE],
                                        request->bytes, request->call))
        place++;
    return place;
}

static bool route(struct site *direct, const struct request *request, void **out, bool *created)
{
    struct site *site = direct;
    uint32_t place = first_match(site, request);
    if (place < site->rule_count && UNLIKELY((site->rules[place] & SITE_MAYBE) != 0)) {
        site = site_on_stack(site, request->frame, thread_stacks());
        place = site != NULL ? first_match(site, request) : 0;
    }
    if (site == NULL || place == site->rule_count)
        return false;
    const uint16_t index = site->rules[place];
    const struct policy_rule *rule = &router.policy->rules[index];
    verdict_match(index);
    if (UNLIKELY(router.checks)) {
        report(site, place, rule, request->bytes);
        return false;
    }
    if (rule->verb == POLICY_PASS || !serve_request(site, index, request, out, created))
        return false;
    if (!router.records)
        shortcut_keep(router.policy, direct, site, place, request);
    return true;
}

static COLD struct site *first_look(const void *caller)
{
    const int kept_errno = errno;
    router_enter();
    struct site *site = site_look_up(caller);
    router_leave();
    errno = kept_errno;
    return site;
}

static void inside_of_new(const void *caller)
{
    const int kept_errno = errno;
    router_enter();
    handing_asked(caller);
    router_leave();
    errno = kept_errno;
}

static bool decide(const struct request *request, void **out, bool *created)
{
    struct site *site;
    if (UNLIKELY(thread_self.inside > 0 || router.policy == NULL))
        return false;
    if (UNLIKELY(thread_self.pass_next)) {
        inside_of_new(request->caller);
        return false;
    }
    if (UNLIKELY(!site_known(request->caller, &site)))
        site = first_look(request->caller);
    if (site == NULL || UNLIKELY(!standing_is_adopted()))
        return false;
    router_enter();
    const bool served = route(site, request, out, created);
    router_leave();
    return served;
}

void *router_take_further_on(const void *caller, const void *frame, enum policy_call call, size_t bytes)
{
    struct thread_shortcut *shortcut = shortcut_for(caller, call);
    if ((shortcut == NULL || !shortcut_holds(shortcut, bytes)) && frame != NULL)
        shortcut = shortcut_for_stack(caller, frame, call);
    if (shortcut == NULL || !shortcut_holds(shortcut, bytes) || thread_self.occupied != 0 ||
        !standing_is_adopted())
        return NULL;
    router_enter();
    void *pointer = shortcut_take(shortcut, bytes);
    router_leave();
    return pointer;
}

bool router_make(const struct request *request, void **out, bool *created)
{
    *created = true;
    *out = request->alignment == 0 && !request->zero
               ? router_take_further_on(request->caller, request->frame, request->call, request->bytes)
               : NULL;
    return *out != NULL || decide(request, out, created);
}

bool router_allocate(const struct request *request, void **out)
{
    bool created;
    return router_make(request, out, &created);
}

/* ---------------------------------------------------------------- freeing */

/* Once for each place: the same rank after rank, so the cause holds no address. */
static COLD void report_misuse(const void *pointer, const void *caller)
{
    char place[512], cause[544];
    code_describe(caller, place, sizeof place);
    error_format(cause, sizeof cause, "misuse %s", place);
    log_say(SETTINGS_LOG_ERROR, cause,
            "free() or realloc() in %s of %p, which is no live block (freed twice, or not the start of one); "
            "it is ignored",
            place, pointer);
}

/* False: its lock is still not to be had. */
static bool release_pending(void *pointer)
{
    shmcore_segment *segment = export_segment_of(pointer);
    return segment == NULL || shmcore_deallocate(segment, pointer) == 0 || errno != EBUSY;
}

/* False: it is no live block. */
static bool release_shared(shmcore_segment *segment, void *pointer)
{
    if (LIKELY(shmcore_deallocate(segment, pointer) == 0)) {
        pending_drain(release_pending);
        return true;
    }
    if (errno == EINVAL)
        return false;
    const bool later = errno == EBUSY && pending_put(pointer);
    log_say(SETTINGS_LOG_WARN, "free", "a shared block could not be freed and %s: %s",
            later ? "will be later" : "stays", shmcore_error());
    return true;
}

bool router_holds(const void *pointer)
{
    return private_owns(pointer) || export_segment_of(pointer) != NULL;
}

static COLD void release_otherwise(shmcore_segment *segment, enum export_answer answer, void *pointer,
                                   const void *caller)
{
    const int kept_errno = errno;
    if (answer == EXPORT_NOT_LIVE || !release_shared(segment, pointer))
        report_misuse(pointer, caller);
    errno = kept_errno;
}

/* It lies in the segment. */
static void release_in(shmcore_segment *segment, void *pointer, const void *caller)
{
    advice_free_of_protection(pointer);
    const enum export_answer answer = export_free(segment, pointer);
    if (UNLIKELY(answer != EXPORT_DONE))
        release_otherwise(segment, answer, pointer, caller);
}

static void release_private(void *pointer, const void *caller)
{
    const int kept_errno = errno;
    if (!private_free(pointer, &thread_self))
        report_misuse(pointer, caller);
    errno = kept_errno;
}

/* False: the program maps things in the window, too. */
static bool release(void *pointer, const void *caller)
{
    shmcore_segment *segment = export_segment_of(pointer);
    if (segment != NULL)
        release_in(segment, pointer, caller);
    else if (private_owns(pointer))
        release_private(pointer, caller);
    else
        return false;
    return true;
}

/* A signal handler frees while this thread is in the middle of something. Handlers interrupt each other too,
 * so a place is taken before it is filled. Without memory the block stays. */
static COLD void defer(void *pointer, const void *caller)
{
    struct thread_deferred *list = atomic_load(&thread_self.deferred);
    uint32_t place = list != NULL ? atomic_fetch_add(&list->count, 1) : THREAD_DEFERRED_EACH;
    if (place >= THREAD_DEFERRED_EACH) {
        void *memory;
        if (os_map_private(sizeof *list, &memory) != 0)
            return;
        list = memory;
        place = 0;
        atomic_store(&list->count, 1);
        list->older = atomic_load(&thread_self.deferred);
        while (!atomic_compare_exchange_weak(&thread_self.deferred, &list->older, list))
            continue;
    }
    list->entry[place].pointer = pointer;
    list->entry[place].caller = caller;
}

/* What is deferred while this goes on is met in the next round. */
COLD void router_free_deferred(void)
{
    struct thread_deferred *list;
    const int kept_errno = errno;
    while ((list = atomic_exchange(&thread_self.deferred, NULL)) != NULL) {
        router_enter();
        while (list != NULL) {
            struct thread_deferred *older = list->older;
            const uint32_t count = (uint32_t)least(atomic_load(&list->count), THREAD_DEFERRED_EACH);
            for (uint32_t i = 0; i < count && standing_is_adopted(); i++)
                release(list->entry[i].pointer, list->entry[i].caller);
            os_unmap(list, sizeof *list);
            list = older;
        }
        atomic_signal_fence(memory_order_seq_cst);
        thread_self.inside--;
    }
    errno = kept_errno;
}

void router_free(void *pointer, const void *caller)
{
    if (UNLIKELY(thread_self.inside > 0)) {
        if (router_holds(pointer))
            defer(pointer, caller);
        else
            real.free(pointer);
        return;
    }
    router_enter();
    /* of an inherited block of one who is not adopted nothing is known here */
    const bool done = standing_is_adopted() ? release(pointer, caller) : router_holds(pointer);
    router_leave();
    if (UNLIKELY(!done))
        real.free(pointer);
}

COLD void *router_settle(void *pointer)
{
    if (thread_self.inside == 0)
        router_free_deferred();
    return pointer;
}

/* As router_give(), in slabs of other threads'. */
static enum export_given give_to_another(const void *pointer)
{
    if (UNLIKELY(thread_self.occupied != 0 || !standing_is_usual()))
        return EXPORT_REFUSED;
    router_enter_first();
    const enum export_given given = export_give_to_another(pointer);
    router_leave_last();
    return given;
}

bool router_finish_giving(enum export_given given, const void *pointer)
{
    if (given == EXPORT_REFUSED)
        given = give_to_another(pointer);
    if (given == EXPORT_GIVEN_LAST) {
        router_enter();
        if (LIKELY(standing_is_adopted()))
            export_emptied(pointer);
        router_leave();
    }
    if (router_has_deferred())
        router_settle(NULL);
    return given != EXPORT_REFUSED;
}

size_t router_usable_size(const void *pointer)
{
    const int kept_errno = errno;
    router_enter();
    shmcore_segment *segment = export_segment_of(pointer);
    size_t bytes = segment != NULL ? export_usable(segment, pointer) : 0;
    if (segment != NULL && bytes == 0)
        bytes = export_share_size(pointer);
    const bool private = segment == NULL && private_owns(pointer);
    if (private)
        bytes = private_usable(pointer);
    router_leave();
    errno = kept_errno;
    return segment != NULL || private ? bytes : real.malloc_usable_size((void *)(uintptr_t)pointer);
}

/* ---------------------------------------------------------------- beginning, fork, end */

void router_begin(const struct policy *policy, const struct settings *settings, const char *program)
{
    router.checks = settings->check_file != NULL;
    if (router.checks)
        error_format(check_file, sizeof check_file, "%s", settings->check_file);
    serve_begin(policy, settings->rank);
    verdict_begin(policy, settings->rank);
    private_set_hold((unsigned)settings->hold);
    router.program = program;
    router.records = settings->record_file != NULL;
    standing_begin();
    router.policy = policy;
}

void router_fork_prepare(void)
{
    router_enter();
    router.adopting = standing_is_adopted();
    site_lock();
    serve_fork_prepare();
}

void router_fork_parent(void)
{
    serve_fork_parent();
    site_unlock();
    router_leave();
}

void router_fork_child(void)
{
    serve_fork_child();
    thread_after_fork();
    merger_after_fork();
    if (router.adopting)
        standing_adopt();
    router.child = true;
    site_unlock_in_child();
    router_leave();
}

enum verdict_left router_end(void)
{
    if (router.policy == NULL || !standing_is_adopted())
        return VERDICT_NOTHING;
    router_enter();
    pending_drain(release_pending);
    const bool is_last = !router.child && !router.checks; /* who has the last word */
    const bool was_blind = code_was_blind(); /* and said so: a rule without a match need not be wrong */
    const enum verdict_left left = verdict_end(is_last && !was_blind);
    router_leave();
    if (!is_last)
        return VERDICT_NOTHING;
    return was_blind ? VERDICT_SOMETHING : left;
}
