/* SPDX-License-Identifier: MIT */
#include "os.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <linux/futex.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "error.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000 /* Linux 4.17 */
#endif
#ifndef HUGETLBFS_MAGIC
#define HUGETLBFS_MAGIC 0x958458f6
#endif
#ifndef RAMFS_MAGIC
#define RAMFS_MAGIC 0x858458f6
#endif

/* Turns the C convention into ours and leaves errno alone. */
#define ANSWER(call)                                                                                         \
    __extension__({                                                                                          \
        const int kept_errno = errno;                                                                        \
        const int64_t returned = (int64_t)(call);                                                            \
        const int64_t answer_ = returned == -1 ? -errno : returned;                                          \
        errno = kept_errno;                                                                                  \
        answer_;                                                                                             \
    })

/* ---------------------------------------------------------------- files */

/* A program that closed its standard error must not print into our file. */
static int above_standard(int descriptor)
{
    if (descriptor < 0 || descriptor > STDERR_FILENO)
        return descriptor;
    const int higher = (int)ANSWER(fcntl(descriptor, F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
    os_close(descriptor);
    return higher;
}

int os_open_file(const char *path, enum os_open how)
{
    const int flags = (how == OS_READ ? O_RDONLY : O_RDWR) | (how == OS_CREATE ? O_CREAT : 0);
    const int descriptor =
        (int)ANSWER(open(path, flags | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0600));
    return above_standard(descriptor);
}

void os_close(int descriptor)
{
    (void)ANSWER(close(descriptor));
}

static void fill_file(struct os_file *out, const struct stat *status)
{
    *out = (struct os_file){
        .device = status->st_dev,
        .inode = status->st_ino,
        .bytes = (uint64_t)status->st_size,
        .blocks = (uint64_t)status->st_blocks * 512,
        .mode = status->st_mode & 07777,
        .uid = status->st_uid,
        .links = (uint32_t)status->st_nlink,
        .regular = S_ISREG(status->st_mode),
    };
}

int os_stat_file(int descriptor, struct os_file *out)
{
    struct stat status;
    const int error = (int)ANSWER(fstat(descriptor, &status));
    if (error == 0)
        fill_file(out, &status);
    return error;
}

int os_stat_path(const char *path, struct os_file *out)
{
    struct stat status;
    const int error = (int)ANSWER(lstat(path, &status));
    if (error == 0)
        fill_file(out, &status);
    return error;
}

/* Beyond RLIMIT_FSIZE the kernel would not only refuse but send SIGXFSZ, which kills. */
static bool within_file_limit(uint64_t end)
{
    struct rlimit limit;
    return getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY || end <= limit.rlim_cur;
}

int os_resize(int descriptor, uint64_t bytes)
{
    if (!within_file_limit(bytes))
        return -EFBIG;
    return (int)ANSWER(ftruncate(descriptor, (off_t)bytes));
}

int64_t os_read_at(int descriptor, void *out, size_t bytes, uint64_t offset)
{
    int64_t got;
    do
        got = ANSWER(pread(descriptor, out, bytes, (off_t)offset));
    while (got == -EINTR);
    return got;
}

int os_write_at(int descriptor, const void *data, size_t bytes, uint64_t offset)
{
    int64_t put;
    if (!within_file_limit(offset + bytes))
        return -EFBIG;
    do
        put = ANSWER(pwrite(descriptor, data, bytes, (off_t)offset));
    while (put == -EINTR);
    if (put < 0)
        return (int)put;
    return (size_t)put == bytes ? 0 : -ENOSPC;
}

int os_next_data(int descriptor, uint64_t from, uint64_t end, uint64_t *start, uint64_t *stop)
{
    const int64_t data = ANSWER(lseek(descriptor, (off_t)from, SEEK_DATA));
    if (data == -ENXIO || (data >= 0 && (uint64_t)data >= end))
        return 0;
    if (data < 0)
        return (int)data;
    const int64_t hole = ANSWER(lseek(descriptor, (off_t)data, SEEK_HOLE));
    *start = (uint64_t)data;
    *stop = hole < 0 ? end : least((uint64_t)hole, end);
    return 1;
}

int os_unlink(const char *path)
{
    return (int)ANSWER(unlink(path));
}

/* Tries again with growing pauses: a blocking flock() could wait for a stopped process for ever. */
int os_lock_file(int descriptor, uint64_t patience)
{
    const uint64_t end = os_clock() + patience;
    uint64_t pause = 50000;
    for (;;) {
        const int error = (int)ANSWER(flock(descriptor, LOCK_EX | LOCK_NB));
        if (error != -EWOULDBLOCK && error != -EINTR)
            return error;
        if (os_clock() >= end)
            return -EBUSY;
        os_pause(pause);
        pause = least(pause * 2, 5000000);
    }
}

void os_unlock_file(int descriptor)
{
    (void)ANSWER(flock(descriptor, LOCK_UN));
}

int64_t os_read_text(const char *path, char *out, size_t bytes)
{
    const int descriptor = (int)ANSWER(open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
    if (descriptor < 0)
        return descriptor;
    size_t length = 0;
    int64_t got = 0;
    while (length < bytes - 1) {
        got = ANSWER(read(descriptor, out + length, bytes - 1 - length));
        if (got == -EINTR)
            continue;
        if (got <= 0)
            break;
        length += (size_t)got;
    }
    os_close(descriptor);
    out[length] = '\0';
    return got < 0 ? got : (int64_t)length;
}

struct directory_entry { /* what getdents64(2) writes */
    uint64_t inode;
    int64_t next;
    unsigned short bytes;
    unsigned char type;
    char name[];
};

/* Not opendir(): that allocates. */
int os_list(const char *directory, int (*visit)(const char *name, void *argument), void *argument)
{
    _Alignas(8) char buffer[4096];
    const int descriptor = (int)ANSWER(open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK));
    if (descriptor < 0)
        return descriptor;
    int result = 0;
    while (result == 0) {
        const int64_t got = ANSWER(syscall(SYS_getdents64, descriptor, buffer, sizeof buffer));
        if (got <= 0) {
            result = (int)got;
            break;
        }
        for (int64_t at = 0; at < got && result == 0;) {
            const struct directory_entry *entry = (const void *)(buffer + at);
            result = visit(entry->name, argument);
            at += entry->bytes;
        }
    }
    os_close(descriptor);
    return result;
}

int os_file_system(const char *directory, struct os_space *out)
{
    struct statfs status;
    const int error = (int)ANSWER(statfs(directory, &status));
    if (error != 0)
        return error;
    const uint64_t block = (uint64_t)status.f_bsize;
    out->total = (uint64_t)status.f_blocks * block;
    out->free = status.f_blocks == 0 ? UINT64_MAX : (uint64_t)status.f_bavail * block;
    if (status.f_type == TMPFS_MAGIC)
        out->kind = OS_MEMORY_FILES;
    else
        out->kind = status.f_type == HUGETLBFS_MAGIC ? OS_HUGE_PAGES : OS_OTHER_FILES;
    return 0;
}

/* ---------------------------------------------------------------- memory */

int os_map_file_at(uint64_t address, uint64_t bytes, int descriptor, bool writable)
{
    void *wanted = (void *)(uintptr_t)address;
    const int protection = PROT_READ | (writable ? PROT_WRITE : 0);
    const int64_t got =
        ANSWER((intptr_t)mmap(wanted, bytes, protection, MAP_SHARED | MAP_FIXED_NOREPLACE, descriptor, 0));
    if (got < 0 && got > -4096)
        return (int)got;
    if ((uint64_t)got == address)
        return 0;
    os_unmap((void *)(uintptr_t)got, bytes); /* a kernel that ignores the flag */
    return -EEXIST;
}

int os_map_file(int descriptor, uint64_t bytes, bool writable, void **out)
{
    const int protection = PROT_READ | (writable ? PROT_WRITE : 0);
    const int64_t got = ANSWER((intptr_t)mmap(NULL, bytes, protection, MAP_SHARED, descriptor, 0));
    if (got < 0 && got > -4096)
        return (int)got;
    *out = (void *)(uintptr_t)got;
    return 0;
}

int os_map_private(uint64_t bytes, void **out)
{
    const int64_t got =
        ANSWER((intptr_t)mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (got < 0 && got > -4096)
        return (int)got;
    *out = (void *)(uintptr_t)got;
    return 0;
}

int os_unmap(void *address, uint64_t bytes)
{
    return (int)ANSWER(munmap(address, bytes));
}

int os_move_over(void *from, uint64_t bytes, void *to)
{
    const int64_t got = ANSWER((intptr_t)mremap(from, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, to));
    return got < 0 && got > -4096 ? (int)got : 0;
}

int os_populate(void *address, uint64_t bytes)
{
    int error;
    do
        error = (int)ANSWER(madvise(address, bytes, MADV_POPULATE_WRITE));
    while (error == -EINTR || error == -EAGAIN);
    return error == -EFAULT ? -ENOMEM : error; /* EFAULT: a touch would have been SIGBUS */
}

int os_reserve(int descriptor, uint64_t offset, uint64_t bytes)
{
    int error;
    do
        error = (int)ANSWER(fallocate(descriptor, 0, (off_t)offset, (off_t)bytes));
    while (error == -EINTR);
    return error == -ENOSPC ? -ENOMEM : error;
}

int os_punch(void *address, uint64_t bytes)
{
    return (int)ANSWER(madvise(address, bytes, MADV_REMOVE));
}

void *os_wiped_on_fork(void)
{
    void *page;
    if (os_map_private(PAGE_BYTES, &page) != 0)
        return NULL;
    if (ANSWER(madvise(page, PAGE_BYTES, MADV_WIPEONFORK)) == 0)
        return page;
    os_unmap(page, PAGE_BYTES);
    return NULL;
}

/* The number after `key` in a text of "key number" lines; `none` when it is not there or "max". */
static uint64_t number_after(const char *text, const char *key, uint64_t none)
{
    const char *at = strstr(text, key);
    if (at == NULL)
        return none;
    at += strlen(key);
    while (*at == ' ' || *at == '\t' || *at == ':')
        at++;
    if (*at < '0' || *at > '9')
        return none;
    uint64_t value = 0;
    while (*at >= '0' && *at <= '9')
        value = value * 10 + (uint64_t)(*at++ - '0');
    return value;
}

static uint64_t available_memory(void)
{
    char text[2048];
    if (os_read_text("/proc/meminfo", text, sizeof text) > 0)
        return number_after(text, "MemAvailable:", UINT64_MAX / 1024) * 1024;
    struct sysinfo info; /* no descriptor left: what is free without giving up caches */
    if (sysinfo(&info) != 0)
        return UINT64_MAX;
    return ((uint64_t)info.freeram + info.bufferram) * info.mem_unit;
}

/* What one cgroup directory leaves: limit - usage + what the kernel could drop at once. */
static uint64_t room_in(const char *directory, const char *limit_file, const char *usage_file)
{
    char path[600], text[4096];
    error_format(path, sizeof path, "%s/%s", directory, limit_file);
    if (os_read_text(path, text, sizeof text) <= 0)
        return UINT64_MAX;
    const uint64_t limit = number_after(text, "", UINT64_MAX);
    if (limit >= UINT64_MAX / 4)
        return UINT64_MAX;
    error_format(path, sizeof path, "%s/%s", directory, usage_file);
    if (os_read_text(path, text, sizeof text) <= 0)
        return UINT64_MAX;
    const uint64_t usage = number_after(text, "", 0);
    error_format(path, sizeof path, "%s/memory.stat", directory);
    uint64_t droppable = 0;
    if (os_read_text(path, text, sizeof text) > 0)
        droppable = number_after(text, "\ninactive_file ", 0);
    const uint64_t held = usage > droppable ? usage - droppable : 0;
    return limit > held ? limit - held : 0;
}

/* The room of the deepest cgroup that limits us, walking up to the root of the hierarchy. */
static uint64_t room_on_the_way_up(const char *mount, char *group, const char *limit_file,
                                   const char *usage_file)
{
    char directory[512];
    uint64_t room = UINT64_MAX;
    for (;;) {
        error_format(directory, sizeof directory, "%s%s", mount, strcmp(group, "/") == 0 ? "" : group);
        room = least(room, room_in(directory, limit_file, usage_file));
        char *slash = strrchr(group, '/');
        if (slash == NULL || group[1] == '\0')
            return room;
        *(slash == group ? slash + 1 : slash) = '\0';
    }
}

static bool group_after(const char *text, const char *key, char *out, size_t bytes)
{
    const char *at = strstr(text, key);
    if (at == NULL)
        return false;
    at += strlen(key);
    size_t length = strcspn(at, "\n");
    if (length == 0 || length >= bytes)
        return false;
    memcpy(out, at, length);
    out[length] = '\0';
    return true;
}

static uint64_t cgroup_room(void)
{
    char text[2048], group[256];
    if (os_read_text("/proc/self/cgroup", text, sizeof text) <= 0)
        return UINT64_MAX;
    if (group_after(text, ":memory:", group, sizeof group))
        return room_on_the_way_up("/sys/fs/cgroup/memory", group, "memory.limit_in_bytes",
                                  "memory.usage_in_bytes");
    if (group_after(text, "0::", group, sizeof group))
        return room_on_the_way_up("/sys/fs/cgroup", group, "memory.max", "memory.current");
    return UINT64_MAX;
}

uint64_t os_memory_left(const char *directory)
{
    struct os_space space;
    const uint64_t files = os_file_system(directory, &space) == 0 ? space.free : UINT64_MAX;
    return least(files, least(available_memory(), cgroup_room()));
}

#if __GLIBC_PREREQ(2, 35)
bool os_find_module(uintptr_t address, struct os_module *out)
{
    struct dl_find_object found;
    if (_dl_find_object((void *)address, &found) != 0)
        return false;
    const ElfW(Ehdr) *header = found.dlfo_map_start;
    *out = (struct os_module){.load_address = found.dlfo_link_map->l_addr,
                              .path = found.dlfo_link_map->l_name,
                              .headers = (const char *)header + header->e_phoff,
                              .header_count = header->e_phnum};
    return true;
}
#else
struct module_search {
    uintptr_t address;
    struct os_module *out;
};

static int look_at_module(struct dl_phdr_info *info, size_t bytes, void *argument)
{
    const struct module_search *search = argument;
    (void)bytes;
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &info->dlpi_phdr[i];
        if (header->p_type != PT_LOAD ||
            search->address - (info->dlpi_addr + header->p_vaddr) >= header->p_memsz)
            continue;
        *search->out = (struct os_module){.load_address = info->dlpi_addr,
                                          .path = info->dlpi_name != NULL ? info->dlpi_name : "",
                                          .headers = info->dlpi_phdr,
                                          .header_count = info->dlpi_phnum};
        return 1;
    }
    return 0;
}

bool os_find_module(uintptr_t address, struct os_module *out)
{
    struct module_search search = {address, out};
    return dl_iterate_phdr(look_at_module, &search) == 1;
}
#endif

/* ---------------------------------------------------------------- processes */

int32_t os_process(void)
{
    return (int32_t)getpid();
}

int32_t os_session(void)
{
    return (int32_t)getsid(0);
}

uid_t os_user(void)
{
    return geteuid();
}

uint64_t os_clock(void)
{
    struct timespec now = {0};
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t os_random(void)
{
    uint64_t value = 0;
    if (ANSWER(syscall(SYS_getrandom, &value, sizeof value, 1 /* GRND_NONBLOCK */)) != sizeof value)
        value = hash_mix(os_clock() ^ ((uint64_t)os_process() << 40));
    return value;
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
    *start = number_after(at, "", 0);
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

static int file_maps(const char *path, uint64_t device, uint64_t inode)
{
    char buffer[8192];
    size_t kept = 0;
    int found = 0;
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
    if (name[0] == '.')
        return 0;
    error_format(path, sizeof path, "/proc/%d/task/%s/maps", search->pid, name);
    const int answer = file_maps(path, search->device, search->inode);
    if (answer != 0 && answer != -ENOENT && answer != -ESRCH)
        search->answer = answer;
    return search->answer == 1;
}

bool os_mapped_at(uint64_t address, uint64_t device, uint64_t inode)
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
            found = strncmp(line, start, strlen(start)) == 0 && line_names_file(line, device, inode);
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
    const int answer = file_maps(path, device, inode);
    if (answer != 0)
        return answer;
    error_format(path, sizeof path, "/proc/%d/task", pid); /* the leader may be gone */
    const int listed = os_list(path, look_at_maps, &search);
    return listed < 0 ? listed : search.answer;
}

void os_command(char out[16])
{
    memset(out, 0, 16);
    (void)ANSWER(prctl(PR_GET_NAME, out, 0, 0, 0));
}

int64_t os_first_environment(const char *name, char *out, size_t bytes)
{
    char buffer[4096];
    const size_t length = strlen(name);
    if (getauxval(AT_SECURE) != 0)
        return -ENOENT;
    const int descriptor = (int)ANSWER(open("/proc/self/environ", O_RDONLY | O_CLOEXEC));
    if (descriptor < 0)
        return -ENOENT;
    /* Walk the file byte by byte: variables are separated by NULs and may be longer than a buffer. */
    size_t matched = 0, written = 0;
    bool comparing = true, copying = false, found = false;
    int64_t got;
    while (!found && (got = ANSWER(read(descriptor, buffer, sizeof buffer))) > 0) {
        for (int64_t i = 0; i < got && !found; i++) {
            const char c = buffer[i];
            if (c == '\0') {
                found = copying;
                matched = 0;
                comparing = true;
            } else if (copying) {
                if (written < bytes - 1)
                    out[written++] = c;
            } else if (comparing) {
                if (matched == length && c == '=')
                    copying = true;
                else if (matched < length && c == name[matched])
                    matched++;
                else
                    comparing = false;
            }
        }
    }
    os_close(descriptor);
    if (!copying)
        return -ENOENT;
    out[written] = '\0';
    return (int64_t)written;
}

void os_wait(_Atomic uint32_t *word, uint32_t seen, uint64_t patience)
{
    const struct timespec timeout = {.tv_sec = (time_t)(patience / 1000000000u),
                                     .tv_nsec = (long)(patience % 1000000000u)};
    (void)ANSWER(syscall(SYS_futex, word, FUTEX_WAIT, seen, &timeout, NULL, 0));
}

void os_wake(_Atomic uint32_t *word)
{
    (void)ANSWER(syscall(SYS_futex, word, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0));
}

void os_pause(uint64_t nanoseconds)
{
    const struct timespec duration = {.tv_sec = (time_t)(nanoseconds / 1000000000u),
                                      .tv_nsec = (long)(nanoseconds % 1000000000u)};
    (void)ANSWER(nanosleep(&duration, NULL));
}
