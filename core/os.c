/* SPDX-License-Identifier: MIT
 *
 * Memory, time and the dynamic linker; what differs between systems. See also os_files.c, os_limits.c and
 * os_process.c.
 */
#include "os.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "os_answer.h"
#include "os_context.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000 /* Linux 4.17 */
#endif

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

int os_map_over(int descriptor, uint64_t offset, uint64_t bytes, void *to)
{
    const int64_t got = ANSWER((intptr_t)mmap(to, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED,
                                              descriptor, (off_t)offset));
    return got < 0 && got > -4096 ? (int)got : 0;
}

/* Not madvise(): in the shim that is our own, which answers as for anonymous memory. */
static long advise(void *address, uint64_t bytes, int advice)
{
    return syscall(SYS_madvise, address, bytes, advice);
}

int os_populate(void *address, uint64_t bytes)
{
    int error;
    do
        error = (int)ANSWER(advise(address, bytes, MADV_POPULATE_WRITE));
    while (error == -EINTR || error == -EAGAIN);
    return error == -EFAULT ? -ENOMEM : error; /* EFAULT: a touch would have been SIGBUS */
}

enum { COLLAPSE = 25 }; /* MADV_COLLAPSE, of headers newer than those at hand */

/* The kernel puts together what is there, and there must be something: one page of each. */
int os_populate_huge(void *address, uint64_t bytes)
{
    int error = 0;
    for (uint64_t at = 0; at < bytes && error == 0; at += OS_HUGE_PAGE_BYTES)
        error = os_populate((char *)address + at, PAGE_BYTES);
    return error != 0 ? error : (int)ANSWER(advise(address, bytes, COLLAPSE));
}

int os_huge_page_of_file(int descriptor, uint64_t offset)
{
    void *room;
    int error = os_map_sparse(2 * OS_HUGE_PAGE_BYTES, &room);
    if (error != 0)
        return error;
    void *place = (void *)align_up((uintptr_t)room, OS_HUGE_PAGE_BYTES);
    const int64_t got = ANSWER((intptr_t)mmap(place, OS_HUGE_PAGE_BYTES, PROT_READ | PROT_WRITE,
                                              MAP_SHARED | MAP_FIXED, descriptor, (off_t)offset));
    error = got < 0 && got > -4096 ? (int)got : os_populate_huge(place, OS_HUGE_PAGE_BYTES);
    os_unmap(room, 2 * OS_HUGE_PAGE_BYTES);
    return error;
}

void os_welcome_huge(void *address, uint64_t bytes)
{
    (void)ANSWER(advise(address, bytes, MADV_HUGEPAGE));
}

int os_punch(void *address, uint64_t bytes)
{
    return (int)ANSWER(advise(address, bytes, MADV_REMOVE));
}

int os_map_sparse(uint64_t bytes, void **out)
{
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    const int64_t got = ANSWER((intptr_t)mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, -1, 0));
    if (got < 0 && got > -4096)
        return (int)got;
    *out = (void *)(uintptr_t)got;
    (void)ANSWER(advise(*out, bytes, MADV_NOHUGEPAGE));
    return 0;
}

void *os_wiped_on_fork(void)
{
    void *page;
    if (os_map_private(PAGE_BYTES, &page) != 0)
        return NULL;
    if (ANSWER(advise(page, PAGE_BYTES, MADV_WIPEONFORK)) == 0)
        return page;
    os_unmap(page, PAGE_BYTES);
    return NULL;
}

#if __GLIBC_PREREQ(2, 35)
/* The program's headers as the kernel told them; a library's where its file header, if it is mapped, says. */
static void find_headers(const struct dl_find_object *found, struct os_module *out)
{
    const ElfW(Ehdr) *header = found->dlfo_map_start;
    const uintptr_t mapped = (uintptr_t)found->dlfo_map_end - (uintptr_t)found->dlfo_map_start;
    if (out->path[0] == '\0') {
        out->headers = (const void *)getauxval(AT_PHDR);
        out->header_count = out->headers != NULL ? (unsigned)getauxval(AT_PHNUM) : 0;
    } else if (mapped >= PAGE_BYTES && memcmp(header->e_ident, ELFMAG, SELFMAG) == 0 &&
               header->e_phoff + header->e_phnum * sizeof(ElfW(Phdr)) <= PAGE_BYTES) {
        out->headers = (const char *)header + header->e_phoff;
        out->header_count = header->e_phnum;
    }
}

bool os_find_module(uintptr_t address, struct os_module *out)
{
    struct dl_find_object found;
    if (_dl_find_object((void *)address, &found) != 0)
        return false;
    *out =
        (struct os_module){.load_address = found.dlfo_link_map->l_addr, .path = found.dlfo_link_map->l_name};
    find_headers(&found, out);
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

static int read_unloaded(struct dl_phdr_info *info, size_t bytes, void *argument)
{
    (void)bytes;
    *(uint64_t *)argument = info->dlpi_subs;
    return 1;
}

uint64_t os_modules_unloaded(void)
{
    uint64_t unloaded = 0;
    dl_iterate_phdr(read_unloaded, &unloaded);
    return unloaded;
}

/* By a system call: a process's first look at the clock without one costs two page faults, and most look
 * once. */
uint64_t os_clock(void)
{
    struct timespec now = {0};
    syscall(SYS_clock_gettime, CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t os_date(void)
{
    struct timespec now = {0};
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t os_random(void)
{
    uint64_t value = 0;
    if (ANSWER(syscall(SYS_getrandom, &value, sizeof value, 1 /* GRND_NONBLOCK */)) != sizeof value)
        value = hash_mix(os_clock() ^ ((uint64_t)os_process() << 40));
    return value;
}

int os_wait(_Atomic uint32_t *word, uint32_t seen, uint64_t patience)
{
    const struct timespec timeout = {.tv_sec = (time_t)(patience / 1000000000u),
                                     .tv_nsec = (long)(patience % 1000000000u)};
    return (int)ANSWER(syscall(SYS_futex, word, FUTEX_WAIT, seen, &timeout, NULL, 0));
}

void os_wake(_Atomic uint32_t *word)
{
    (void)ANSWER(syscall(SYS_futex, word, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0));
}

bool os_wake_one(_Atomic uint32_t *word)
{
    return ANSWER(syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0)) > 0;
}

void os_pause(uint64_t nanoseconds)
{
    const struct timespec duration = {.tv_sec = (time_t)(nanoseconds / 1000000000u),
                                      .tv_nsec = (long)(nanoseconds % 1000000000u)};
    (void)ANSWER(nanosleep(&duration, NULL));
}

/* ---------------------------------------------------------------- kinds of machines */

#if defined(__x86_64__)
/* That of a function that asks for its frame begins with the caller's %rbp and the address to return to. */
bool os_frame_of(const void *frame_address, struct os_frame *out)
{
    const uintptr_t *frame = frame_address;
    *out = (struct os_frame){
        .place = frame[OS_FRAME_WORDS - 1], .stack = (uintptr_t)(frame + OS_FRAME_WORDS), .frame = frame[0]};
    return true;
}

NEVER_INLINE bool os_frame_here(struct os_frame *out)
{
    return os_frame_of(__builtin_frame_address(0), out);
}

uint64_t os_beat(void)
{
    return __builtin_ia32_rdtsc();
}

bool os_registers_of(void *context, struct os_registers *out)
{
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    static const int arguments[6] = {REG_RDI, REG_RSI, REG_RDX, REG_R10, REG_R8, REG_R9};
    *out = (struct os_registers){.result = (int64_t *)&registers[REG_RAX],
                                 .place = (int64_t *)&registers[REG_RIP],
                                 .stack = (uint64_t)registers[REG_RSP]};
    for (unsigned i = 0; i < 6; i++)
        out->argument[i] = (uint64_t)registers[arguments[i]];
    return true;
}

bool os_is_call(const unsigned char code[OS_CALL_BYTES])
{
    return code[0] == 0x0f && code[1] == 0x05; /* syscall */
}

/* One copy of the instruction, behind a name. */
int64_t os_call_instruction(int64_t number, const uint64_t *argument);
extern const char os_call_end[] __attribute__((visibility("hidden")));
__asm__(".text\n"
        ".type os_call_instruction, @function\n"
        ".globl os_call_instruction\n"
        ".hidden os_call_instruction\n"
        "os_call_instruction:\n"
        ".cfi_startproc\n"
        "    mov %rdi, %rax\n"
        "    mov %rsi, %r11\n"
        "    mov 0(%r11), %rdi\n"
        "    mov 8(%r11), %rsi\n"
        "    mov 16(%r11), %rdx\n"
        "    mov 24(%r11), %r10\n"
        "    mov 32(%r11), %r8\n"
        "    mov 40(%r11), %r9\n"
        "    syscall\n"
        ".globl os_call_end\n"
        ".hidden os_call_end\n"
        "os_call_end:\n"
        "    ret\n"
        ".cfi_endproc\n"
        ".size os_call_instruction, . - os_call_instruction\n");

int64_t os_call_again(int64_t number, const uint64_t argument[6])
{
    return os_call_instruction(number, argument);
}

bool os_in_call_again(uint64_t place)
{
    return place == (uintptr_t)os_call_end;
}
#else
bool os_frame_of(const void *frame_address, struct os_frame *out)
{
    (void)frame_address, (void)out;
    return false;
}

bool os_frame_here(struct os_frame *out)
{
    (void)out;
    return false;
}

uint64_t os_beat(void)
{
    return os_clock();
}

bool os_registers_of(void *context, struct os_registers *out)
{
    (void)context, (void)out;
    return false;
}

bool os_is_call(const unsigned char code[OS_CALL_BYTES])
{
    (void)code;
    return false;
}

int64_t os_call_again(int64_t number, const uint64_t argument[6])
{
    (void)number, (void)argument;
    return -ENOSYS;
}

bool os_in_call_again(uint64_t place)
{
    (void)place;
    return false;
}
#endif
