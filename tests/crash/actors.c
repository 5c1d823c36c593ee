/* SPDX-License-Identifier: MIT */
#include "actors.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

bool actor_start(struct actor *self, void (*body)(const struct actor *self))
{
    int down[2], up[2];
    if (pipe2(down, O_CLOEXEC) != 0 || pipe2(up, O_CLOEXEC) != 0)
        return false;
    const pid_t starter = getpid(), pid = fork();
    if (pid < 0)
        return false;
    if (pid == 0) {
        const struct actor me = {getpid(), up[1], down[0]};
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != starter)
            _exit(1);
        close(down[1]);
        close(up[0]);
        body(&me);
        for (;;)
            pause();
    }
    close(down[0]);
    close(up[1]);
    *self = (struct actor){pid, down[1], up[0]};
    return true;
}

static void say(const struct actor *actor)
{
    const char word = '.';
    if (write(actor->tell, &word, 1) != 1)
        _exit(98);
}

static bool listen_to(const struct actor *actor)
{
    char word;
    return read(actor->hear, &word, 1) == 1;
}

void actor_tell(const struct actor *actor)
{
    say(actor);
}

bool actor_go(const struct actor *actor)
{
    say(actor);
    return listen_to(actor);
}

void actor_wait(const struct actor *self)
{
    if (!listen_to(self))
        _exit(98);
}

void actor_done(const struct actor *self)
{
    say(self);
}

void actor_kill(struct actor *actor)
{
    if (actor->pid <= 0 || waitpid(actor->pid, NULL, WNOHANG | __WALL) < 0)
        return; /* it has ended by itself and is buried */
    kill(actor->pid, SIGKILL);
    while (waitpid(actor->pid, NULL, __WALL) == actor->pid)
        continue; /* a traced one is reported more than once */
    actor->pid = 0;
}
