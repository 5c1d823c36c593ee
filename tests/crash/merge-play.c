/* SPDX-License-Identifier: MIT */
#include "merge-play.h"

#include <dirent.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "actors.h"
#include "hooks.h"
#include "merge-actors.h"
#include "merge-marks.h"
#include "private_own.h"
#include "stepper.h"

/* A play that takes so long hangs; it takes some milliseconds. */
#define SECONDS_MOST 100u
#define MERGES_MOST  3u

enum who { SURVIVOR, OTHER, VICTIM, NEWCOMER, ACTORS };

/* What all actors see. */
struct set {
    struct merge_report report;
    uint64_t index; /* where the victim has it */
    uint32_t row[ACTORS];
    size_t merged; /* by the newcomer */
};

static struct {
    const struct merge_play *play;
    const struct merge_scene *scene;
    struct set *set;
    struct actor other, victim, newcomer;
    struct marks marks;
} now;

static void give_up(const char *why)
{
    snprintf(now.set->report.sentence, sizeof now.set->report.sentence, "%s", why);
    _exit(1);
}

static void complain(const char *who, const char *wrong)
{
    struct merge_report *report = &now.set->report;
    if (wrong == NULL || report->unsound)
        return;
    report->unsound = true;
    snprintf(report->sentence, sizeof report->sentence, "%s: %s", who, wrong);
}

/* ---------------------------------------------------------------- the actors */

static void open_in_place(enum who who)
{
    actor_open();
    now.set->row[who] = actor_row();
}

/* Those who have the same share all that there is. */
static void merge_all(char contents, size_t *merged)
{
    for (unsigned i = 0; i < MERGES_MOST; i++) {
        actor_merge();
        *merged = actor_merged();
        if (*merged == actor_shares(contents))
            break;
    }
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
    open_in_place(NEWCOMER);
    actor_have(now.scene->survivors);
    merge_all(now.scene->survivors, &now.set->merged);
    complain("the newcomer, merged", actor_contents());
    actor_done(self);
    actor_wait(self);
    complain("the newcomer, in the end", actor_contents());
    actor_free();
    actor_close();
    actor_done(self);
}

/* Its life after the operation, if it has one. */
static void live_on(const struct actor *self)
{
    actor_wait(self);
    now.set->row[VICTIM] = actor_row();
    complain("the one who stood still", actor_contents());
    actor_done(self);
    actor_wait(self);
    complain("the one who stood still, in the end", actor_contents());
    complain("the one who stood still, in the end", mapping_verdict());
    if (actor_has())
        actor_free();
    actor_close();
    actor_done(self);
}

static void be_victim(const struct actor *self)
{
    if (!stepper_offer())
        _exit(77);
    actor_wait(self);
    if ((now.scene->flags & MERGE_FRESH) == 0)
        open_in_place(VICTIM);
    if (now.scene->prepare != NULL)
        now.scene->prepare();
    const struct private_space *space = actor_segment != NULL ? private_space_for(actor_segment) : NULL;
    now.set->index = space != NULL ? (uint64_t)(uintptr_t)space->index.file : 0;
    actor_done(self);
    actor_wait(self);
    marks_here();
    now.scene->operate();
    raise(SIGSTOP);
    live_on(self);
}

static void start(struct actor *actor, void (*body)(const struct actor *), bool traced)
{
    if (!actor_start(actor, body))
        give_up("no process can be started");
    if (traced && !stepper_adopt(actor->pid)) {
        now.set->report.skipped = true;
        give_up("ptrace is not permitted here");
    }
}

static void must_go(const struct actor *actor, const char *who)
{
    char why[96];
    snprintf(why, sizeof why, "%s ended before its time", who);
    if (!actor_go(actor))
        complain("play", why);
}

/* ---------------------------------------------------------------- the operation */

static bool go_on(enum mark *mark)
{
    *mark = marks_next(&now.marks);
    if (*mark == MARK_FAILED) {
        complain("the victim", now.marks.trouble);
        now.set->report.ended = true;
        _exit(0);
    }
    now.set->report.over = *mark == MARK_ENDED;
    return *mark != MARK_ENDED;
}

/* To its mark; false: it came to its end before. */
static bool operate_to_mark(enum mark *mark)
{
    struct merge_report *report = &now.set->report;
    *mark = MARK_CALL;
    for (report->marks = 0; report->marks < now.play->mark; report->marks++)
        if (!go_on(mark))
            return false;
    report->where = now.marks.at;
    return true;
}

static void be_done_with_nothing(void)
{
    now.set->report.nothing = now.set->report.ended = true;
    _exit(0);
}

static void operate(void)
{
    enum mark mark;
    if (!operate_to_mark(&mark))
        return;
    if (now.scene->meanwhile == NULL) {
        if (mark == MARK_BEFORE_STORE) /* others see what they saw at the mark before */
            be_done_with_nothing();
        actor_kill(&now.victim);
        return;
    }
    const bool with_locks = now.play->with_locks || (now.scene->flags & MERGE_LOCKED) != 0;
    if (now.marks.locks > 0 && (!with_locks || (now.scene->flags & MERGE_NEEDS_LOCK) != 0))
        be_done_with_nothing();
    now.scene->meanwhile();
    complain("the survivor, between", actor_contents());
    if ((now.scene->flags & MERGE_DIES_NEXT) == 0)
        while (go_on(&mark))
            continue;
    else if (go_on(&mark))
        actor_kill(&now.victim);
}

/* ---------------------------------------------------------------- afterwards */

static void survivor_merges(size_t *merged)
{
    if (actor_segment == NULL)
        open_in_place(SURVIVOR);
    if (!actor_has())
        actor_have(now.scene->survivors);
    merge_all(now.scene->survivors, merged);
    complain("the survivor, merged", actor_contents());
}

static void judge_sharing(const char *who, size_t merged)
{
    char why[96];
    snprintf(why, sizeof why, "%zu bytes are shared instead of %zu", merged,
             actor_shares(now.scene->survivors));
    if (merged != actor_shares(now.scene->survivors))
        complain(who, why);
}

static void judge(void)
{
    const bool lives_on = now.set->report.over && (now.scene->flags & MERGE_ENDS) == 0;
    uint32_t living[3] = {0};
    unsigned count = 0;
    size_t merged = 0;
    if (actor_segment != NULL) {
        complain("the survivor", actor_contents());
        complain("the survivor", mapping_verdict());
    }
    holding_note();
    if (lives_on) {
        marks_release(&now.marks);
        must_go(&now.victim, "the victim");
    } else {
        actor_kill(&now.victim);
    }
    if (!now.play->newcomer_first)
        survivor_merges(&merged);
    must_go(&now.newcomer, "the newcomer");
    survivor_merges(&merged);
    reap_some(actor_segment, ROWS_MOST);
    if (!lives_on) { /* else it may have published something else */
        judge_sharing("the survivor", merged);
        judge_sharing("the newcomer", now.set->merged);
    }
    living[count++] = actor_row();
    if (!now.set->report.unsound) {
        living[count++] = now.set->row[NEWCOMER];
        if (lives_on)
            living[count++] = now.set->row[VICTIM];
    }
    complain("afterwards", holding_verdict());
    complain("afterwards", index_verdict(living, count));
    must_go(&now.newcomer, "the newcomer");
    if (lives_on)
        must_go(&now.victim, "the victim");
    complain("the survivor, in the end", actor_contents());
    actor_free();
    complain("in the end", index_verdict(living, 1));
    actor_close();
    complain("in the end", directory_verdict());
}

/* ---------------------------------------------------------------- the play */

static void stay_on_one_processor(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)sched_getcpu(), &set);
    sched_setaffinity(0, sizeof set, &set);
}

static void play_it(void)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    alarm(SECONDS_MOST);
    stay_on_one_processor();
    hooks.impatient = true;
    start(&now.victim, be_victim, true);
    if (now.scene->other != NULL)
        start(&now.other, be_other, false);
    start(&now.newcomer, be_newcomer, false);
    if ((now.scene->flags & MERGE_ALONE) == 0) {
        open_in_place(SURVIVOR);
        if (now.scene->survivor != NULL)
            now.scene->survivor();
    }
    if (now.scene->other != NULL)
        must_go(&now.other, "the other");
    must_go(&now.victim, "the victim");
    if ((now.scene->flags & MERGE_OTHER_DIES) != 0)
        actor_kill(&now.other);
    actor_tell(&now.victim);
    now.marks.every_call = now.play->every_call;
    if (!marks_begin(&now.marks, now.victim.pid, now.set->index))
        give_up("the victim did not come to its operation");
    operate();
    judge();
    now.set->report.ended = true;
    _exit(0);
}

static void empty_directory(void)
{
    DIR *directory = opendir(actor_directory);
    for (struct dirent *entry; directory != NULL && (entry = readdir(directory)) != NULL;) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", actor_directory, entry->d_name);
        unlink(path);
    }
    if (directory != NULL)
        closedir(directory);
}

static void note_end(struct merge_report *report, int status)
{
    if (!WIFSIGNALED(status))
        return;
    report->ended = report->unsound = true;
    snprintf(report->sentence, sizeof report->sentence,
             WTERMSIG(status) == SIGALRM ? "the survivor hangs" : "the survivor crashes");
}

void merge_play(const struct merge_play *play, struct merge_report *report)
{
    static char directory[64];
    int status = 0;
    snprintf(directory, sizeof directory, "/dev/shm/shmcore-death-%d", (int)getpid());
    actor_directory = directory;
    memset(&now, 0, sizeof now);
    now.play = play;
    now.scene = play->scene;
    now.set = mmap(NULL, sizeof *now.set, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (now.set == MAP_FAILED || mkdir(directory, 0700) != 0)
        abort();
    fflush(NULL);
    const pid_t pid = fork();
    if (pid == 0)
        play_it();
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        abort();
    note_end(&now.set->report, status);
    *report = now.set->report;
    empty_directory();
    rmdir(directory);
    munmap(now.set, sizeof *now.set);
}
