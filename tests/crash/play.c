/* SPDX-License-Identifier: MIT */
#include "play.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "actors.h"
#include "files.h"
#include "hooks.h"
#include "island.h"

/* A play that computes for so long, or waits for so long, hangs. */
#define COMPUTING_MOST 60u
#define WAITING_MOST   300u
/* Of the states that a memset or memcpy of the C library goes through only each so many is tried. */
#define BORING_EACH    16u
/* The same in scenes where there is much to look at. */
#define FEW_EACH       5u

enum who { SURVIVOR, OTHER, VICTIM, NEWCOMER };

/* One play, in the process that plays it. Sealed before the actors are started, but for what the survivor
 * finds. */
static struct {
    const struct play *play;
    const struct scene *scene;
    struct report *report;
    uint64_t size;       /* of the segment */
    struct stage *stage; /* shared */
    struct actor other, victim, newcomer;
    struct expectation expected;
    struct trial trial;
    struct stepper stepper;
    unsigned boring;
    char directory[64];
} now;

static void give_up(const char *why)
{
    snprintf(now.report->sentence, sizeof now.report->sentence, "%s", why);
    _exit(1);
}

static void directory_of(char out[64], pid_t pid)
{
    snprintf(out, 64, "/dev/shm/shmcore-crash-%d", (int)pid);
}

/* ---------------------------------------------------------------- the actors */

static void open_in_place(enum who who)
{
    scene_open();
    now.stage->row[who] = stage_segment->row;
}

static void be_victim_of(const struct actor *self, const struct scene *scene, unsigned number)
{
    if (!stepper_offer())
        _exit(77);
    actor_wait(self);
    if ((scene->flags & SCENE_OPENS) == 0)
        open_in_place(VICTIM);
    if (scene->prepare != NULL)
        scene->prepare();
    actor_done(self);
    actor_wait(self);
    if (now.play->begin != NULL && number == 0)
        now.play->begin(now.play->argument);
    stepper_here();
    scene->operate();
    now.stage->finished[number] = 1;
    raise(SIGSTOP);
}

static void be_victim(const struct actor *self)
{
    be_victim_of(self, now.play->scene, 0);
}

/* The victim of the scene before, of whose death the other one is to recover. */
static void be_earlier_victim(const struct actor *self)
{
    be_victim_of(self, now.play->before, 1);
}

static void be_other(const struct actor *self)
{
    actor_wait(self);
    open_in_place(OTHER);
    now.scene->other();
    actor_done(self);
}

static void be_newcomer(const struct actor *self)
{
    actor_wait(self);
    if ((now.scene->flags & SCENE_ALONE) != 0) {
        const char *wrong = files_verdict(0);
        if (wrong != NULL)
            snprintf(now.report->sentence, sizeof now.report->sentence, "%s", wrong);
        now.report->unsound += wrong != NULL;
    } else {
        open_in_place(NEWCOMER);
    }
    actor_done(self);
}

static void start(struct actor *actor, void (*body)(const struct actor *), bool traced)
{
    if (!actor_start(actor, body))
        give_up("no process can be started");
    if (traced && !stepper_adopt(actor->pid)) {
        now.report->skipped = true;
        give_up("ptrace is not permitted here");
    }
}

static void must_go(const struct actor *actor, const char *who)
{
    char why[64];
    snprintf(why, sizeof why, "%s ended before its time", who);
    if (!actor_go(actor))
        give_up(why);
}

static void lives(enum who who)
{
    now.expected.living[now.expected.living_count++] = now.stage->row[who];
}

/* ---------------------------------------------------------------- stepping */

static bool lock_matters(const struct stepper *stepper)
{
    return stepper->robust.pending != 0 || stepper->robust.next != stepper->robust_at;
}

extern const char __executable_start[], etext[];

/* In the middle of filling or copying block bytes. */
static bool is_boring(const struct stepper *stepper)
{
    const uint64_t program = (uint64_t)(uintptr_t)__executable_start, end = (uint64_t)(uintptr_t)etext;
    const bool ours = stepper->changed_at >= program && stepper->changed_at < end;
    if (ours || stepper->call_changed || stepper->changed_page * PAGE_BYTES < now.trial.live.eager_bytes)
        now.boring = 0;
    else
        now.boring++;
    return now.boring % BORING_EACH > 1;
}

static const char *try_in_order(enum trial_order order)
{
    now.report->tries++;
    trial_copy(&now.trial, &now.stepper);
    return trial_verdict(&now.trial, now.victim.pid, order);
}

/* While a lock is held, all orders are tried. Without one the order makes no difference, but what the victim
 * has published can be looked at only before the dead are looked for. After an earlier death, each in turn.
 */
static const char *try_state(void)
{
    const unsigned long state = now.report->states;
    const char *wrong = NULL;
    if ((now.scene->flags & SCENE_ALONE) != 0) {
        now.report->tries++;
        wrong = files_copy(&now.stepper);
        return wrong != NULL ? wrong : files_verdict(now.victim.pid);
    }
    if (now.play->before != NULL || now.play->orders_in_turn)
        return try_in_order((enum trial_order)(now.report->tries % TRIAL_ORDERS));
    if (!lock_matters(&now.stepper))
        return try_in_order(state % 2 == 0 ? TRIAL_POOL_FIRST : TRIAL_SHARDS_FIRST);
    for (unsigned order = 0; wrong == NULL && order < TRIAL_ORDERS; order++)
        wrong = try_in_order((enum trial_order)order);
    return wrong;
}

static void note_unsound(const char *wrong)
{
    struct report *report = now.report;
    if (report->unsound++ > 0)
        return;
    report->first_unsound = report->states;
    report->where = now.stepper.changed_at - (uint64_t)(uintptr_t)__executable_start;
    snprintf(report->sentence, sizeof report->sentence, "%s", wrong);
}

static void note_state(void)
{
    struct report *report = now.report;
    report->states++;
    if (lock_matters(&now.stepper) && report->locked_count < COUNT_OF(report->locked))
        report->locked[report->locked_count++] = report->states;
}

static void map_when_it_is(void)
{
    struct stepper *stepper = &now.stepper;
    const bool alone = (now.scene->flags & SCENE_ALONE) != 0;
    if (stepper->mapped_bytes != now.size || stepper->bytes != 0)
        return;
    const unsigned char *memory =
        alone ? files_map(stepper->pid, stepper->mapped_bytes) : now.trial.live.base;
    if (memory != NULL && !stepper_map(stepper, stepper->mapped_at, stepper->mapped_bytes, memory))
        give_up("the segment of the victim cannot be followed");
}

/* True: the operation goes on. */
static bool go_on(bool *changed)
{
    const enum step step = stepper_next(&now.stepper);
    *changed = step == STEP_CHANGED;
    if (step == STEP_FAILED) { /* no fault of the play's: the operation itself has gone wrong */
        char why[128];
        snprintf(why, sizeof why, "the victim: %s", now.stepper.trouble);
        note_unsound(why);
        now.report->ended = true;
        _exit(0);
    }
    if (*changed)
        map_when_it_is();
    return step != STEP_ENDED;
}

static bool is_in_turn(const struct play *play)
{
    const unsigned few = (play->scene->flags & SCENE_FEW) != 0 ? FEW_EACH : 1;
    const unsigned each = play->every > few ? play->every : few;
    return now.report->states == 1 || now.report->states % each == play->turn % each;
}

static void try_all(void)
{
    const struct play *play = now.play;
    bool changed = true;
    do {
        if (changed)
            note_state();
        const bool wanted = changed && !is_boring(&now.stepper) && is_in_turn(play);
        const char *wrong = wanted ? try_state() : NULL;
        if (wrong != NULL)
            note_unsound(wrong);
        if (now.report->unsound > 0 && play->stop_early)
            return;
    } while (go_on(&changed));
    now.report->boundaries = now.stepper.boundaries;
    now.report->passed_over = now.stepper.passed_over;
    if (stepper_missed_something(&now.stepper))
        give_up("the segment changed and it was not seen");
    const char *wrong = (now.scene->flags & SCENE_ALONE) == 0 ? try_state() : NULL; /* and when all is over */
    if (wrong != NULL)
        note_unsound(wrong);
}

/* Steps to the state of that number. False: the operation ended before. */
static bool step_to(unsigned long state)
{
    unsigned long states = 1;
    for (bool changed; states < state; states += changed)
        if (!go_on(&changed))
            return false;
    return true;
}

/* ---------------------------------------------------------------- a real death */

static void kill_for_real(struct actor *victim)
{
    if (!stepper_unprotect(&now.stepper))
        give_up("the victim cannot be killed as others are");
    actor_kill(victim);
}

static void judge_real_death(void)
{
    const bool alone = (now.scene->flags & SCENE_ALONE) != 0;
    const char *wrong = NULL;
    if (!alone) { /* the first state says what must be there */
        wrong = try_state();
        if (!step_to(now.play->kill_at))
            give_up("it was over before the death");
        trial_copy(&now.trial, &now.stepper);
        kill_for_real(&now.victim);
        if (wrong == NULL)
            wrong = trial_compare(&now.trial);
    } else if (!step_to(now.play->kill_at)) {
        give_up("it was over before the death");
    } else {
        kill_for_real(&now.victim);
    }
    if (alone || now.play->by_newcomer)
        must_go(&now.newcomer, "the newcomer");
    if (!alone && now.play->by_newcomer)
        lives(NEWCOMER);
    if (wrong == NULL && !alone)
        wrong = trial_of_segment(&now.trial, (enum trial_order)(now.play->kill_at % TRIAL_ORDERS));
    now.report->tries++;
    if (wrong != NULL)
        note_unsound(wrong);
}

/* ---------------------------------------------------------------- the play */

static void begin_stepping(struct actor *victim, unsigned number)
{
    const bool mapped = (now.scene->flags & SCENE_OPENS) == 0;
    const bool alone = (now.scene->flags & SCENE_ALONE) != 0;
    const unsigned char *memory = alone && mapped ? files_map(victim->pid, now.size) : now.trial.live.base;
    const uint64_t base = mapped && memory != NULL ? ((const struct header *)(const void *)memory)->base : 0;
    actor_tell(victim);
    if (!stepper_begin(&now.stepper, victim->pid, base, mapped ? now.size : 0, memory,
                       &now.stage->finished[number]))
        give_up("the victim did not come to its operation");
}

/* The victim of an earlier scene dies at one of its states. */
static void let_earlier_victim_die(const struct scene *scene, struct actor *earlier)
{
    must_go(earlier, "the earlier victim");
    if (scene->after != NULL)
        scene->after();
    if (!trial_begin(&now.trial, stage_segment, &now.expected))
        give_up("there is no memory for the trial");
    begin_stepping(earlier, 1);
    if (!step_to(now.play->before_state))
        give_up("the earlier victim was done before its death");
    kill_for_real(earlier);
    stepper_end(&now.stepper);
    trial_end(&now.trial);
}

static void set_the_stage(struct actor *earlier)
{
    const struct scene *scene = now.scene, *first = now.play->before != NULL ? now.play->before : now.scene;
    scene_open();
    now.stage->row[SURVIVOR] = stage_segment->row;
    lives(SURVIVOR);
    first->survivor();
    if (scene->other != NULL)
        must_go(&now.other, "the other");
    if (scene->other != NULL && (scene->flags & SCENE_OTHER_DIES) == 0)
        lives(OTHER);
    must_go(&now.victim, "the victim");
    if (scene->after != NULL)
        scene->after();
    if (now.play->before != NULL)
        let_earlier_victim_die(now.play->before, earlier);
    if (scene->other != NULL && (scene->flags & SCENE_OTHER_DIES) != 0)
        actor_kill(&now.other);
    if (!trial_begin(&now.trial, stage_segment, &now.expected))
        give_up("there is no memory for the trial");
}

/* Alone: the victim and the newcomer share an island, this process has another one. */
static void set_the_stage_for_one(void)
{
    const char *why;
    must_go(&now.victim, "the victim");
    if (!island_make(64 * MEBI, &why))
        give_up(why);
    view_make(&now.trial.live, NULL, now.size); /* only its geometry is looked at */
}

static void stay_on_one_processor(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)sched_getcpu(), &set);
    sched_setaffinity(0, sizeof set, &set); /* steps are three times as fast */
}

/* On an island nothing is in the way and nothing is left; without one it must be a directory. */
static const char *find_place(bool alone)
{
    const char *why;
    if (island_make(64 * MEBI, &why))
        return "/dev/shm";
    if (alone) {
        now.report->skipped = true;
        give_up(why);
    }
    directory_of(now.directory, getpid());
    if (mkdir(now.directory, 0700) != 0)
        give_up("there is no place for a segment");
    return now.directory;
}

static void start_all(struct actor *earlier)
{
    start(&now.victim, be_victim, true);
    if (now.scene->other != NULL)
        start(&now.other, be_other, false);
    if (now.play->kill_at != 0)
        start(&now.newcomer, be_newcomer, false);
    if (now.play->before != NULL)
        start(earlier, be_earlier_victim, true);
}

static void play_it(void)
{
    const bool alone = (now.scene->flags & SCENE_ALONE) != 0;
    const struct rlimit limit = {COMPUTING_MOST, COMPUTING_MOST};
    struct actor earlier = {0};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setrlimit(RLIMIT_CPU, &limit);
    alarm(WAITING_MOST);
    stay_on_one_processor();
    stage_expectation = &now.expected;
    now.expected.fresh = now.scene->fresh;
    now.expected.fresh_bytes = now.scene->fresh_bytes;
    scene_place(find_place(alone), now.size);
    start_all(&earlier);
    if (alone)
        set_the_stage_for_one();
    else
        set_the_stage(&earlier);
    begin_stepping(&now.victim, 0);
    if (now.play->kill_at != 0)
        judge_real_death();
    else
        try_all();
    now.report->ended = true;
    _exit(0);
}

/* ---------------------------------------------------------------- from outside */

static void *shared_memory(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        abort();
    return memory;
}

static void remove_directory(pid_t pid)
{
    char directory[64], path[512];
    directory_of(directory, pid);
    segment_path(path, directory, geteuid(), "crash", SCENE_SEGMENT);
    unlink(path);
    rmdir(directory);
}

/* A survivor that crashes or hangs has met something that is not sound. */
static void note_end(struct report *report, int status)
{
    if (!WIFSIGNALED(status))
        return;
    const bool hangs = WTERMSIG(status) == SIGALRM || WTERMSIG(status) == SIGXCPU;
    report->ended = true;
    report->unsound++;
    snprintf(report->sentence, sizeof report->sentence,
             hangs ? "whoever recovers it hangs" : "whoever recovers it crashes");
}

void play(const struct play *play, struct report *report)
{
    struct report *shared = shared_memory(sizeof *shared);
    int status = 0;
    memset(&now, 0, sizeof now);
    now.play = play;
    now.scene = play->scene;
    now.size = play->before != NULL ? play->before->size : play->scene->size;
    now.report = shared;
    now.stage = shared_memory(sizeof *now.stage);
    fflush(NULL);
    const pid_t pid = fork();
    if (pid == 0)
        play_it();
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        abort();
    note_end(shared, status);
    *report = *shared;
    remove_directory(pid);
    munmap(now.stage, sizeof *now.stage);
    munmap(shared, sizeof *shared);
}
