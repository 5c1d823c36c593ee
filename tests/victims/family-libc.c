/* SPDX-License-Identifier: MIT
 *
 * Victim: memory that libc allocates and the program frees.
 */
#include "victim.h"

#include <limits.h>

static void lines(void)
{
    char *line = NULL;
    size_t room = 0, total = 0;
    FILE *file = tmpfile();
    if (file == NULL) {
        check(false, "tmpfile");
        return;
    }
    for (int i = 0; i < 200; i++)
        fprintf(file, "%0*d\n", i * 40 + 1, i);
    rewind(file);
    ssize_t length;
    while ((length = getline(&line, &room, file)) > 0)
        total += (size_t)length;
    check(total == 796400, "getline reads everything");
    check_routed(line, "getline's buffer is routed");
    free(line);
    fclose(file);
}

static void streams(void)
{
    char *text = NULL;
    size_t length = 0;
    FILE *stream = open_memstream(&text, &length);
    for (int i = 0; i < 5000; i++)
        fprintf(stream, "%d,", i);
    fclose(stream);
    check(length == 23890 && strncmp(text, "0,1,2,", 6) == 0, "open_memstream");
    free(text);
}

int main(void)
{
    char *copy = strdup("a string that is copied"), *part = strndup("a string that is copied", 8),
         *made = NULL;
    check(strcmp(copy, "a string that is copied") == 0, "strdup");
    check(strcmp(part, "a string") == 0, "strndup");
    check(asprintf(&made, "%s and %d", part, 12345) == 18 && strcmp(made, "a string and 12345") == 0,
          "asprintf");
    check_routed(copy, "strdup is routed");
    check_routed(made, "asprintf is routed");
    int *numbers = reallocarray(NULL, 100, sizeof *numbers);
    for (int i = 0; i < 100; i++)
        numbers[i] = i;
    numbers = reallocarray(hide(numbers), 10000, sizeof *numbers);
    check(numbers != NULL && numbers[99] == 99, "reallocarray");
    check_routed(numbers, "reallocarray is routed");
    char *path = realpath("/proc/self/../self/..", NULL);
    check(path != NULL && strcmp(path, "/proc") == 0, "realpath");
    free(copy);
    free(part);
    free(made);
    free(numbers);
    free(path);
    lines();
    streams();
    return verdict();
}
