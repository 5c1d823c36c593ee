/* SPDX-License-Identifier: MIT
 *
 * The stage of a storm: arguments, board, directory, the environment of preloaded processes, and the one who
 * cleans up behind it.
 */
#include "storm.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "storm-api.h"

#define CAPACITY ((size_t)1 << 30)
#define SHORTER  3u

static char victim[PATH_MAX], log_file[64];

static bool number_after(const char *text, uint64_t *out)
{
    char *end;
    if (text == NULL)
        return false;
    *out = strtoull(text, &end, 0);
    return *end == '\0' && end != text;
}

static bool read_kind(const char *kind)
{
    storm.merge = strncmp(kind, "merge", 5) == 0;
    storm.shim = strcmp(kind, "shim") == 0 || strcmp(kind, "merge-shim") == 0;
    if (storm.merge) /* a table takes longer to make than most lives last in other storms */
        storm.kills = storm.shim ? 100 : 200;
    return storm.shim || strcmp(kind, "merge") == 0 || strcmp(kind, "api") == 0;
}

static void shorten(void)
{
    const char *form = getenv("SHM_TESTS");
    if (form != NULL && strcmp(form, "long") == 0)
        return;
    storm.seconds /= SHORTER;
    storm.kills /= SHORTER;
}

bool storm_read_arguments(int count, char **arguments)
{
    uint64_t seed = storm_clock() & 0xffffff, number = 0;
    bool good = count > 1 && read_kind(arguments[1]);
    for (int i = 2; i < count && good; i++) {
        const char *name = arguments[i];
        if (strcmp(name, "--hold") == 0) {
            storm.hold = true;
            continue;
        }
        if (strcmp(name, "--short") == 0) {
            shorten();
            continue;
        }
        good = number_after(i + 1 < count ? arguments[++i] : NULL, &number);
        if (strcmp(name, "--seconds") == 0)
            storm.seconds = (unsigned)number;
        else if (strcmp(name, "--kills") == 0)
            storm.kills = (unsigned)number;
        else if (strcmp(name, "--seed") == 0)
            seed = number;
        else
            good = false;
    }
    if (!good || storm.seconds == 0) {
        fprintf(stderr, "usage: storm api|shim|merge|merge-shim [--seconds N] [--kills N] [--seed N] "
                        "[--short] [--hold]\n");
        return false;
    }
    storm.dice.state = storm_mix(seed);
    storm.board = storm_make_board(&storm.descriptor);
    if (storm.board == NULL)
        return false;
    storm.board->seed = seed;
    return true;
}

/* ---------------------------------------------------------------- the directory */

static unsigned visit_directory(bool complain, bool remove)
{
    unsigned found = 0;
    DIR *directory = opendir(storm.board->directory);
    for (struct dirent *entry; directory != NULL && (entry = readdir(directory)) != NULL;) {
        char path[512];
        if (entry->d_name[0] == '.')
            continue;
        found++;
        snprintf(path, sizeof path, "%s/%s", storm.board->directory, entry->d_name);
        if (complain)
            storm_complain(storm.board, "%s is left", path);
        if (remove)
            unlink(path);
    }
    if (directory != NULL)
        closedir(directory);
    return found;
}

/* What may be said while some are stopped and others have just died; whatever else is a failure. */
static bool is_excused(const char *line)
{
    static const char *const excuses[] = {
        "locked by a process that does not run",
        "has been locked for too long",
        "still being filled",
        "had no row for this process when it was forked",
        "has no room for", /* until the dead are looked for again, see reap_for_room() */
        ".index: it is in use",
        "of merged memory in segment 'SHARED::storm': it is in use", /* its index, for the same reason */
        "never matched",                                             /* in a process that ended early */
    };
    for (unsigned i = 0; i < sizeof excuses / sizeof excuses[0]; i++)
        if (strstr(line, excuses[i]) != NULL)
            return true;
    return false;
}

/* What the preload said: each cause once for all processes, so it is no measure of how often. */
static void look_at_log(void)
{
    char line[1200];
    FILE *file = fopen(log_file, "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        printf("said: %s", line);
        if (!is_excused(line))
            storm_complain(storm.board, "said: %s", line);
    }
    if (file != NULL)
        fclose(file);
    unlink(log_file);
}

/* Falling back is for moments. */
static void look_at_routes(void)
{
    const uint64_t routed = atomic_load(&storm.board->routed), passed = atomic_load(&storm.board->passed);
    if (passed > routed / 10)
        storm_complain(storm.board, "%lu blocks were not in the segment, %lu were", (unsigned long)passed,
                       (unsigned long)routed);
}

void storm_look_at_directory(void)
{
    if (storm.shim) {
        look_at_log();
        look_at_routes();
    }
    if (storm.merge && atomic_load(&storm.board->merged) == 0)
        storm_complain(storm.board, "no page was ever found to be merged");
    if (atomic_load(&storm.board->failures) == 0)
        visit_directory(true, false);
    visit_directory(false, true);
    if (rmdir(storm.board->directory) != 0)
        storm_complain(storm.board, "%s cannot be removed: %s", storm.board->directory, strerror(errno));
}

/* Waits for the end of the supervisor, and ends what he may have left, the stopped ones too. */
static void clean_up_afterwards(int when_closed, pid_t group)
{
    char nothing;
    setsid();
    for (int descriptor = 0; descriptor < 64; descriptor++)
        if (descriptor != when_closed)
            close(descriptor);
    while (read(when_closed, &nothing, 1) < 0 && errno == EINTR)
        continue;
    kill(-group, SIGKILL);
    if (visit_directory(false, true) > 0) /* whoever was about to make a file is dead now */
        visit_directory(false, true);
    rmdir(storm.board->directory);
    unlink(log_file);
    _exit(0);
}

/* No child of the supervisor's: he waits until he has none. */
static bool appoint_cleaner(void)
{
    int ends[2], status;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return false;
    const pid_t group = getpid(), between = fork();
    if (between == 0) {
        close(ends[1]);
        if (fork() == 0)
            clean_up_afterwards(ends[0], group);
        _exit(0);
    }
    close(ends[0]); /* the other end is open as long as we are */
    return between > 0 && waitpid(between, &status, 0) == between;
}

/* ---------------------------------------------------------------- the environment */

static bool beside_me(char out[PATH_MAX], const char *name)
{
    char path[PATH_MAX];
    const ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    if (length <= 0)
        return false;
    path[length] = '\0';
    *strrchr(path, '/') = '\0';
    if (snprintf(out, PATH_MAX, "%s/%s", path, name) >= PATH_MAX || access(out, R_OK) != 0) {
        fprintf(stderr, "storm: %s is not there\n", name);
        return false;
    }
    return true;
}

static bool set_environment(void)
{
    char shim[PATH_MAX], policy[512];
    const char *rules = storm.merge ? "merge size>=64K when=quiet:100ms"
                                    : "share func=common name=common/{size}; export size>=0";
    if (!beside_me(shim, "../../preload/libshmpreload.so"))
        return false;
    snprintf(log_file, sizeof log_file, "/tmp/storm-%d.log", (int)getpid());
    snprintf(policy, sizeof policy, "segment %s size=%zuM dir=%s; %s", STORM_SEGMENT,
             storm.board->capacity >> 20, storm.board->directory, rules);
    return setenv("STORM_SHIM", shim, 1) == 0 && setenv("SHM_POLICY", policy, 1) == 0 &&
           setenv("SHM_JOB", STORM_JOB, 1) == 0 && setenv("SHM_LOG", "warn", 1) == 0 &&
           setenv("SHM_LOG_FILE", log_file, 1) == 0;
}

static bool find_victim(void)
{
    if (!storm.shim && !storm.merge)
        return true;
    return beside_me(victim, !storm.merge ? "storm-victim"
                             : storm.shim ? "storm-merge-malloc"
                                          : "storm-merge-api");
}

static void ignore(int signal)
{
    (void)signal;
}

bool storm_prepare(const char *kind)
{
    struct storm_board *board = storm.board;
    sigset_t blocked;
    board->supervisor = getpid();
    board->capacity = CAPACITY;
    snprintf(board->directory, sizeof board->directory, "/dev/shm/shmcore-storm-%s-%d", kind, (int)getpid());
    setpgid(0, 0);
    if (mkdir(board->directory, 0700) != 0 || !appoint_cleaner() || !find_victim() ||
        (storm.shim && !set_environment())) {
        perror(board->directory);
        return false;
    }
    signal(SIGCHLD, ignore); /* one that is ignored is not waited for */
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGCHLD);
    sigprocmask(SIG_BLOCK, &blocked, NULL);
    return prctl(PR_SET_CHILD_SUBREAPER, 1) == 0;
}

/* ---------------------------------------------------------------- processes */

void storm_become_worker(unsigned place)
{
    static const char *const holds[] = {"userfaultfd", "scan", "compare"};
    char descriptor[16], number[16];
    char *const arguments[] = {
        (char[]){"storm"}, (char[]){"worker"}, descriptor, number, (char[]){"0"}, NULL};
    snprintf(descriptor, sizeof descriptor, "%d", storm.descriptor);
    snprintf(number, sizeof number, "%u", place);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (storm.shim) {
        setenv("LD_PRELOAD", getenv("STORM_SHIM"), 1);
        setenv("SHM_MERGE_HOLD", holds[place % (sizeof holds / sizeof holds[0])], 1);
    }
    execv(storm.shim || storm.merge ? victim : "/proc/self/exe", arguments);
    storm_complain(storm.board, "exec: %s", strerror(errno));
    _exit(1);
}

void storm_continue_as_worker(int count, char **arguments)
{
    struct storm_board *board = count == 5 ? storm_join_board(atoi(arguments[2])) : NULL;
    if (board == NULL)
        _exit(2);
    storm_api_worker(board, atoi(arguments[2]), (unsigned)atoi(arguments[3]), (unsigned)atoi(arguments[4]));
}

bool storm_run_apart(void (*body)(void))
{
    int status = -1;
    const pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        alarm(120);
        body();
        exit(0);
    }
    if (pid > 0 && waitpid(pid, &status, 0) == pid && status == 0)
        return true;
    storm_complain(storm.board, "a fresh process did not end well: status %x", (unsigned)status);
    return false;
}

void storm_measure(void)
{
    storm_measure_fresh(storm.board);
}

void storm_look(void)
{
    storm_look_at_the_end(storm.board);
}
