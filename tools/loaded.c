/* SPDX-License-Identifier: MIT */
#include "loaded.h"

#include "tool.h"

#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void add(struct loaded *loaded, char *path)
{
    loaded->paths = room_for_one(loaded->paths, loaded->count, sizeof *loaded->paths);
    loaded->paths[loaded->count++] = path;
}

void loaded_release(struct loaded *loaded)
{
    for (size_t i = 0; i < loaded->count; i++)
        free(loaded->paths[i]);
    free(loaded->paths);
    *loaded = (struct loaded){0};
}

static bool is_program(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 && S_ISREG(status.st_mode) && access(path, X_OK) == 0;
}

/* As execvp(3) would find it; NULL: nowhere. */
static char *find_program(const char *name)
{
    if (strchr(name, '/') != NULL)
        return is_program(name) ? realpath(name, NULL) : NULL;
    char *all = formatted("%s", getenv("PATH") != NULL ? getenv("PATH") : "/bin:/usr/bin"), *rest = all;
    char *found = NULL;
    for (const char *directory; found == NULL && (directory = strsep(&rest, ":")) != NULL;) {
        char *path = formatted("%s/%s", *directory != '\0' ? directory : ".", name);
        found = is_program(path) ? realpath(path, NULL) : NULL;
        free(path);
    }
    free(all);
    return found;
}

/* The program's loader; "" for one without; NULL: it is no object file. */
static char *interpreter_of(const char *path)
{
    char *found = NULL;
    elf_version(EV_CURRENT);
    const int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    Elf *elf = descriptor >= 0 ? elf_begin(descriptor, ELF_C_READ_MMAP, NULL) : NULL;
    size_t headers = 0, bytes = 0;
    const char *whole = elf != NULL && elf_kind(elf) == ELF_K_ELF ? elf_rawfile(elf, &bytes) : NULL;
    if (whole != NULL && elf_getphdrnum(elf, &headers) == 0)
        found = formatted("%s", "");
    for (size_t i = 0; found != NULL && i < headers; i++) {
        GElf_Phdr header;
        if (gelf_getphdr(elf, (int)i, &header) == NULL || header.p_type != PT_INTERP ||
            header.p_filesz == 0 || header.p_filesz > PATH_MAX || header.p_offset > bytes ||
            header.p_filesz > bytes - header.p_offset)
            continue;
        free(found);
        found = formatted("%.*s", (int)header.p_filesz, whole + header.p_offset);
    }
    if (elf != NULL)
        elf_end(elf);
    if (descriptor >= 0)
        close(descriptor);
    return found;
}

/* "\tlibm.so.6 => /lib/libm.so.6 (0x7f…)"; the loader itself has no arrow. */
static void read_line(struct loaded *loaded, char *line)
{
    char *path = strstr(line, " => "), *end = strrchr(line, '(');
    path = path != NULL ? path + 4 : strchr(line, '/');
    if (path == NULL || end == NULL || end <= path || *path != '/')
        return;
    end[-1] = '\0';
    char *real = realpath(path, NULL);
    if (real != NULL)
        add(loaded, real);
}

static void read_list(struct loaded *loaded, int descriptor)
{
    char *line = NULL;
    size_t capacity = 0;
    FILE *stream = required(fdopen(descriptor, "r"));
    while (getline(&line, &capacity, stream) > 0)
        read_line(loaded, line);
    free(line);
    fclose(stream);
}

/* LOADER --list PROGRAM, with what it prints in a pipe. */
static int ask_loader(struct loaded *loaded, char *loader)
{
    extern char **environ;
    char list[] = "--list", *argv[] = {loader, list, loaded->paths[0], NULL};
    int ends[2], status;
    pid_t pid;
    posix_spawn_file_actions_t actions;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -1;
    required(posix_spawn_file_actions_init(&actions) == 0 ? &actions : NULL);
    int error = posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    if (error == 0)
        error = posix_spawn(&pid, loader, &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    if (error != 0) {
        close(ends[0]);
        errno = error;
        return -1;
    }
    read_list(loaded, ends[0]);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    return 0;
}

int loaded_find(struct loaded *loaded, const char *program)
{
    *loaded = (struct loaded){0};
    char *path = find_program(program);
    if (path == NULL) {
        complain("cannot find the program '%s'", program);
        return -1;
    }
    add(loaded, path);
    char *loader = interpreter_of(path);
    int result = -1;
    if (loader == NULL)
        complain("'%s' is no object file: name the program that it runs", path);
    else if (*loader == '\0')
        complain("'%s' has no loader: the shim is not loaded into it", path);
    else if ((result = ask_loader(loaded, loader)) < 0)
        complain("cannot run the loader '%s': %s", loader, strerror(errno));
    free(loader);
    if (result < 0)
        loaded_release(loaded);
    return result;
}
