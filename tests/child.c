/* SPDX-License-Identifier: MIT */
#include "child.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

struct child child_start(int (*body)(struct child *self, void *argument), void *argument)
{
    int link[2];
    const pid_t parent = getpid();
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, link) != 0)
        abort();
    const pid_t pid = fork();
    if (pid < 0)
        abort();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(1);
        close(link[0]);
        struct child self = {.pid = getpid(), .link = link[1]};
        _exit(body(&self, argument));
    }
    close(link[1]);
    return (struct child){.pid = pid, .link = link[0]};
}

void child_say(const struct child *child, char word)
{
    if (send(child->link, &word, 1, MSG_NOSIGNAL) != 1)
        return; /* the other side has gone: whoever listens to it will notice */
}

char child_hear(const struct child *child)
{
    char word = '\0';
    return read(child->link, &word, 1) == 1 ? word : '\0';
}

static void await(const struct child *child, int events)
{
    siginfo_t information;
    if (waitid(P_PID, (id_t)child->pid, &information, events) != 0)
        abort();
}

void child_await(const struct child *child)
{
    await(child, WEXITED | WNOWAIT);
}

void child_stop(const struct child *child)
{
    kill(child->pid, SIGSTOP);
    await(child, WSTOPPED | WNOWAIT);
}

int child_end(struct child *child)
{
    int status = 0;
    if (waitpid(child->pid, &status, 0) != child->pid)
        abort();
    close(child->link);
    child->link = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

void child_kill(struct child *child)
{
    kill(child->pid, SIGKILL);
    child_end(child);
}
