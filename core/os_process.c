/* SPDX-License-Identifier: MIT
 *
 * This process and others, as /proc tells of them.
 */
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "error.h"
#include "os_answer.h"

int32_t os_process(void)
{
    return (int32_t)getpid();
}

int32_t os_parent(void)
{
    return (int32_t)getppid();
}

int32_t os_session(void)
{
    return (int32_t)getsid(0);
}

uid_t os_user(void)
{
    return geteuid();
}

uint64_t os_pid_namespace(void)
{
    struct stat status;
    return ANSWER(stat("/proc/self/ns/pid", &status)) == 0 ? status.st_ino : 0;
}

/* Field 22 of /proc/PID/stat, counted after the last ')': the name may hold anything. */
static bool parse_stat(const char *text, char *state, uint64_t *start)
{
    const char *at = strrchr(text, ')');
    if (at == NULL || at[1] != ' ')
        return false;
    at += 2;
    *state = *at;
    for (int field = 3; field < 22; field++) {
        at = strchr(at, ' ');
        if (at == NULL)
            return false;
        at++;
    }
    *start = os_number_after(at, "", 0);
    return true;
}

struct task_search {
    int32_t pid;
    bool living;
};

static int look_at_task(const char *name, void *argument)
{
    struct task_search *search = argument;
    char path[96], text[1024], state = 'Z';
    uint64_t start;
    if (name[0] == '.')
        return 0;
    error_format(path, sizeof path, "/proc/%d/task/%s/stat", search->pid, name);
    if (os_read_text(path, text, sizeof text) <= 0 || !parse_stat(text, &state, &start))
        return 0;
    search->living = state != 'Z' && state != 'X';
    return search->living;
}

int os_process_start(int32_t pid, uint64_t *start, bool *ended)
{
    char path[64], text[1024], state;
    error_format(path, sizeof path, "/proc/%d/stat", pid);
    const int64_t got = os_read_text(path, text, sizeof text);
    if (got == -ENOENT || got == -ESRCH)
        return ANSWER(syscall(SYS_kill, pid, 0)) == -ESRCH ? -ESRCH : -EACCES;
    if (got <= 0)
        return got == 0 ? -EIO : (int)got;
    if (!parse_stat(text, &state, start))
        return -EIO;
    *ended = false;
    if (state == 'Z' || state == 'X') {
        struct task_search search = {.pid = pid};
        error_format(path, sizeof path, "/proc/%d/task", pid);
        const int listed = os_list(path, look_at_task, &search);
        *ended = listed >= 0 && !search.living;
    }
    return 0;
}

/* One line of maps: "from-to perms offset major:minor inode path". */
static bool line_names_file(const char *line, uint64_t device, uint64_t inode)
{
    char wanted[64];
    const unsigned major = (unsigned)(((device >> 8) & 0xfff) | ((device >> 32) & ~0xfffu));
    const unsigned minor = (unsigned)((device & 0xff) | ((device >> 12) & ~0xffu));
    error_format(wanted, sizeof wanted, "%s%x:%s%x %lu ", major < 16 ? "0" : "", major, minor < 16 ? "0" : "",
                 minor, (unsigned long)inode);
    const size_t length = strlen(wanted);
    for (int field = 0; field < 3; field++) {
        line = strchr(line, ' ');
        if (line == NULL)
            return false;
        line++;
    }
    return strncmp(line, wanted, length) == 0;
}

/* *empty: nothing is mapped at all, as of a kernel thread or a leader that has ended. */
static int file_maps(const char *path, uint64_t device, uint64_t inode, bool *empty)
{
    char buffer[8192];
    size_t kept = 0;
    int found = 0;
    *empty = true;
    const int descriptor = (int)ANSWER(open(path, O_RDONLY | O_CLOEXEC));
    if (descriptor < 0)
        return descriptor;
    for (;;) {
        const int64_t got = ANSWER(read(descriptor, buffer + kept, sizeof buffer - 1 - kept));
        if (got == -EINTR)
            continue;
        if (got <= 0) {
            found = (int)got;
            break;
        }
        const size_t length = kept + (size_t)got;
        *empty = false;
        buffer[length] = '\0';
        char *line = buffer, *end;
        while ((end = strchr(line, '\n')) != NULL) {
            *end = '\0';
            if (line_names_file(line, device, inode)) {
                os_close(descriptor);
                return 1;
            }
            line = end + 1;
        }
        kept = length - (size_t)(line - buffer);
        if (kept >= sizeof buffer - 1)
            kept = 0; /* a line longer than any path: not ours */
        memmove(buffer, line, kept);
    }
    os_close(descriptor);
    return found;
}

struct maps_search {
    int32_t pid;
    uint64_t device, inode;
    int answer;
};

static int look_at_maps(const char *name, void *argument)
{
    struct maps_search *search = argument;
    char path[96];
    bool empty;
    if (name[0] == '.')
        return 0;
    error_format(path, sizeof path, "/proc/%d/task/%s/maps", search->pid, name);
    const int answer = file_maps(path, search->device, search->inode, &empty);
    if (answer != 0 && answer != -ENOENT && answer != -ESRCH)
        search->answer = answer;
    return search->answer == 1;
}

uint64_t os_ticks(uint64_t nanoseconds)
{
    const long per_second = sysconf(_SC_CLK_TCK);
    return nanoseconds / (1000000000u / (per_second > 0 ? (uint64_t)per_second : 100));
}

struct process_visit {
    int (*visit)(int32_t pid, void *argument);
    void *argument;
};

static int visit_process(const char *name, void *argument)
{
    const struct process_visit *each = argument;
    const uint64_t pid = os_number_after(name, "", 0);
    return pid > 0 && pid <= INT32_MAX ? each->visit((int32_t)pid, each->argument) : 0;
}

int os_each_process(int (*visit)(int32_t pid, void *argument), void *argument)
{
    struct process_visit each = {visit, argument};
    return os_list("/proc", visit_process, &each);
}

uid_t os_process_user(int32_t pid)
{
    char path[64], text[2048];
    error_format(path, sizeof path, "/proc/%d/status", pid);
    return os_read_text(path, text, sizeof text) > 0 ? (uid_t)os_number_after(text, "\nUid:", UINT32_MAX)
                                                     : UINT32_MAX;
}

bool os_process_exists(int32_t pid)
{
    return ANSWER(syscall(SYS_kill, pid, 0)) != -ESRCH;
}

bool os_mapped_writable_at(uint64_t address, uint64_t device, uint64_t inode)
{
    char start[32], buffer[16384];
    error_format(start, sizeof start, "%lx-", (unsigned long)address);
    const int descriptor = (int)ANSWER(open("/proc/self/maps", O_RDONLY | O_CLOEXEC));
    if (descriptor < 0)
        return false;
    bool found = false;
    size_t kept = 0;
    int64_t got;
    while (!found && (got = ANSWER(read(descriptor, buffer + kept, sizeof buffer - 1 - kept))) > 0) {
        buffer[kept + (size_t)got] = '\0';
        char *line = buffer, *end;
        for (; !found && (end = strchr(line, '\n')) != NULL; line = end + 1) {
            *end = '\0';
            found = strncmp(line, start, strlen(start)) == 0 && strstr(line, " rw-s ") != NULL &&
                    line_names_file(line, device, inode);
        }
        kept = strlen(line);
        memmove(buffer, line, kept);
    }
    os_close(descriptor);
    return found;
}

int os_process_maps(int32_t pid, uint64_t device, uint64_t inode)
{
    char path[64];
    struct maps_search search = {.pid = pid, .device = device, .inode = inode};
    error_format(path, sizeof path, "/proc/%d/maps", pid);
    bool empty;
    const int answer = file_maps(path, device, inode, &empty);
    if (answer != 0 || !empty)
        return answer;
    error_format(path, sizeof path, "/proc/%d/task", pid); /* the leader may be gone */
    const int listed = os_list(path, look_at_maps, &search);
    return listed < 0 ? listed : search.answer;
}

void os_host(char *out, size_t bytes)
{
    out[0] = '\0';
    (void)ANSWER(gethostname(out, bytes));
    out[bytes - 1] = '\0';
}

void os_command(char out[16])
{
    memset(out, 0, 16);
    (void)ANSWER(prctl(PR_GET_NAME, out, 0, 0, 0));
}

/* What glibc's pthread_atfork() is made of. */
extern int __register_atfork(void (*)(void), void (*)(void), void (*)(void), void *library);

int os_on_fork(void (*prepare)(void), void (*parent)(void), void (*child)(void))
{
    return -__register_atfork(prepare, parent, child, NULL);
}

/* The one that a name belongs to, when it was not met before. */
static struct os_variable *wanted_of(struct os_variable *wanted, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (wanted[i].length == -ENOENT && strcmp(wanted[i].name, name) == 0)
            return &wanted[i];
    return NULL;
}

/* Where the reading of the environment is: variables may be longer than what is read at once. */
struct environment_reader {
    char name[OS_VARIABLE_NAME + 1]; /* so far, while `in_name`; longer ones are nobody's */
    size_t length;
    bool in_name;
    struct os_variable *now; /* whose value this is; NULL: nobody's */
};

static void read_environment(struct environment_reader *reader, const char *bytes, size_t count,
                             struct os_variable *wanted, size_t wanted_count)
{
    for (size_t i = 0; i < count; i++) {
        const char c = bytes[i];
        if (c == '\0') {
            *reader = (struct environment_reader){.in_name = true};
        } else if (reader->in_name && c == '=') {
            reader->in_name = false;
            reader->now =
                reader->length < sizeof reader->name ? wanted_of(wanted, wanted_count, reader->name) : NULL;
            if (reader->now != NULL)
                reader->now->length = 0;
        } else if (reader->in_name) {
            if (reader->length < OS_VARIABLE_NAME)
                reader->name[reader->length] = c;
            reader->length += reader->length < sizeof reader->name;
        } else if (reader->now != NULL && (size_t)reader->now->length < reader->now->bytes - 1) {
            reader->now->out[reader->now->length++] = c;
        }
    }
}

/* False: nothing is to be found. */
static bool begin_reading(struct os_variable *wanted, size_t count)
{
    for (size_t i = 0; i < count; i++)
        wanted[i].length = -ENOENT;
    return getauxval(AT_SECURE) == 0;
}

static void end_reading(struct os_variable *wanted, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (wanted[i].length >= 0)
            wanted[i].out[wanted[i].length] = '\0';
}

void os_look_up(const char *const *environment, struct os_variable *wanted, size_t count)
{
    if (!begin_reading(wanted, count))
        return;
    for (; environment != NULL && *environment != NULL; environment++) {
        struct environment_reader reader = {.in_name = true};
        read_environment(&reader, *environment, strlen(*environment), wanted, count);
    }
    end_reading(wanted, count);
}

int os_first_environment(struct os_variable *wanted, size_t count)
{
    char buffer[1024]; /* a page more of the stack would cost more than a few more calls */
    struct environment_reader reader = {.in_name = true};
    int64_t got;
    if (!begin_reading(wanted, count))
        return 0;
    const int descriptor = (int)ANSWER(open("/proc/self/environ", O_RDONLY | O_CLOEXEC));
    if (descriptor < 0)
        return descriptor == -ENOENT ? -ESRCH : descriptor; /* no /proc */
    do {
        got = ANSWER(read(descriptor, buffer, sizeof buffer));
        read_environment(&reader, buffer, got > 0 ? (size_t)got : 0, wanted, count);
    } while (got == sizeof buffer); /* less is the end */
    os_close(descriptor);
    end_reading(wanted, count);
    return 0;
}

int32_t os_socket_maker(int descriptor)
{
    struct ucred made_by;
    socklen_t bytes = sizeof made_by;
    const int error = (int)ANSWER(getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &made_by, &bytes));
    return error == 0 ? (int32_t)made_by.pid : error;
}

int os_processors(uint64_t *bits, size_t bytes)
{
    memset(bits, 0, bytes);
    const int64_t written = ANSWER(syscall(SYS_sched_getaffinity, os_process(), bytes, bits));
    return written < 0 ? (int)written : 0;
}
