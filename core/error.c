/* SPDX-License-Identifier: MIT */
#include "error.h"

#include <errno.h>
#include <string.h>

static _Thread_local char last_sentence[ERROR_BYTES] __attribute__((tls_model("initial-exec")));

struct sink {
    char *next, *end; /* end: where the NUL goes at the latest */
};

static void put_text(struct sink *sink, const char *text)
{
    while (*text != '\0' && sink->next < sink->end)
        *sink->next++ = *text++;
}

static void put_number(struct sink *sink, uint64_t value, unsigned base)
{
    char digits[24];
    char *first = digits + sizeof digits - 1;
    *first = '\0';
    do {
        *--first = "0123456789abcdef"[value % base];
        value /= base;
    } while (value != 0);
    put_text(sink, first);
}

static void put_signed(struct sink *sink, int64_t value)
{
    if (value < 0)
        put_text(sink, "-");
    put_number(sink, value < 0 ? 0 - (uint64_t)value : (uint64_t)value, 10);
}

/* How wide the integer argument is: 0 int, 1 long or size_t, 2 long long (all 64 bits but int). */
static int take_width(const char **format)
{
    int width = 0;
    while (**format == 'l' || **format == 'z') {
        width++;
        (*format)++;
    }
    return width;
}

static void put_argument(struct sink *sink, char conversion, int width, va_list *arguments)
{
    switch (conversion) {
    case 's': {
        const char *text = va_arg(*arguments, const char *);
        put_text(sink, text != NULL ? text : "(null)");
        break;
    }
    case 'c': {
        const char text[2] = {(char)va_arg(*arguments, int), '\0'};
        put_text(sink, text);
        break;
    }
    case 'd':
    case 'i':
        put_signed(sink, width == 0 ? va_arg(*arguments, int) : va_arg(*arguments, long));
        break;
    case 'u':
    case 'x':
        put_number(sink, width == 0 ? va_arg(*arguments, unsigned) : va_arg(*arguments, unsigned long),
                   conversion == 'x' ? 16 : 10);
        break;
    case 'p':
        put_text(sink, "0x");
        put_number(sink, (uint64_t)(uintptr_t)va_arg(*arguments, void *), 16);
        break;
    default:
        put_text(sink, "%");
        break;
    }
}

size_t error_format_list(char *out, size_t bytes, const char *format, va_list list)
{
    if (bytes == 0)
        return 0;
    struct sink sink = {.next = out, .end = out + bytes - 1};
    va_list arguments;
    va_copy(arguments, list);
    for (; *format != '\0'; format++) {
        if (*format != '%') {
            const char text[2] = {*format, '\0'};
            put_text(&sink, text);
            continue;
        }
        format++;
        const int width = take_width(&format);
        if (*format == '\0')
            break;
        put_argument(&sink, *format, width, &arguments);
    }
    va_end(arguments);
    *sink.next = '\0';
    return (size_t)(sink.next - out);
}

size_t error_format(char *out, size_t bytes, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    const size_t length = error_format_list(out, bytes, format, arguments);
    va_end(arguments);
    return length;
}

int error_set(int code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    error_format_list(last_sentence, sizeof last_sentence, format, arguments);
    va_end(arguments);
    errno = code;
    return -1;
}

const char *error_last(void)
{
    return last_sentence;
}

const char *error_size(char out[ERROR_SIZE_BYTES], uint64_t bytes)
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    unsigned unit = 0;
    uint64_t scale = 1;
    while (unit + 1 < COUNT_OF(units) && bytes / scale >= 1024) {
        scale *= 1024;
        unit++;
    }
    const uint64_t whole = bytes / scale;
    const uint64_t tenth = bytes % scale * 10 / scale;
    if (unit == 0 || tenth == 0)
        error_format(out, ERROR_SIZE_BYTES, "%lu %s", (unsigned long)whole, units[unit]);
    else
        error_format(out, ERROR_SIZE_BYTES, "%lu.%lu %s", (unsigned long)whole, (unsigned long)tenth,
                     units[unit]);
    return out;
}

const char *error_words(int code)
{
    static const struct {
        int code;
        const char *words;
    } table[] = {
        {EACCES, "permission denied"},
        {EPERM, "not permitted"},
        {ENOENT, "no such file or directory"},
        {ENOMEM, "out of memory or address space"},
        {ENOSPC, "no space left on the file system"},
        {EMFILE, "this process has no descriptor left (ulimit -n)"},
        {ENFILE, "the system has no descriptor left"},
        {ELOOP, "it is a symbolic link"},
        {EISDIR, "it is a directory"},
        {ENOTDIR, "a part of the path is no directory"},
        {EROFS, "the file system is read-only"},
        {EEXIST, "it exists or the address is taken"},
        {EBUSY, "it is in use"},
        {EAGAIN, "it is locked"},
        {EFBIG, "larger than the file size limit (ulimit -f)"},
        {ENXIO, "it is not a regular file"},
        {EINVAL, "not supported there"},
        {EFAULT, "the file system or the memory is full"},
    };
    for (size_t i = 0; i < COUNT_OF(table); i++)
        if (table[i].code == code)
            return table[i].words;
    return "the system refused it";
}
