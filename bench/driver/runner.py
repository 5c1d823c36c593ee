# SPDX-License-Identifier: MIT
#
# Runs the works: all contenders of all works, then the next round. Each command is a job of its own, of which nothing
# is left afterwards; what it prints are figures. Interrupted, it keeps what there is.

import contextlib
import glob
import math
import os
import resource
import signal
import subprocess
import sys
import time

from .model import OURS, SECONDS, Results

SECONDS_MOST = 300  # for one command

# A job, a policy or an allocator of the caller's must not decide anything here.
FOREIGN = ("LD_PRELOAD", "SHM_POLICY", "SHM_LOG_FILE", "SHM_RECORD", "PMIX_NAMESPACE", "SLURM_JOB_ID", "SLURM_JOBID",
           "SLURM_STEP_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID", "OAR_JOB_ID", "COBALT_JOBID", "PMIX_RANK",
           "OMPI_COMM_WORLD_RANK", "PMI_RANK", "MV2_COMM_WORLD_RANK", "SLURM_PROCID")


class Failure(Exception):
    pass


def parse(text):
    """`NAME VALUE` a line; a lone number has no name. Nothing that is measured here can be nothing, or less."""
    figures = {}
    for line in text.splitlines():
        words = line.split()
        try:
            value = float(words[-1])
        except (ValueError, IndexError):
            raise Failure(f"printed no figure but '{line}'") from None
        if not (math.isfinite(value) and value > 0):
            raise Failure(f"printed what cannot be: '{line}'")
        figures["" if len(words) == 1 else words[0]] = value
    return figures


def used_by_children():
    """Seconds of processor time of those that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


class Runner:
    def __init__(self, huge_directory, progress):
        self.job = f"bench-{os.getpid()}"
        self.huge = huge_directory
        self.progress = progress
        self.results = Results()
        self.interrupted = False

    def run(self, works, rounds, seconds):
        """So many rounds, or, with `seconds`, as many as begin within that time; one at least."""
        end = None if seconds is None else time.monotonic() + seconds
        try:
            for number in range(rounds):
                if number > 0 and end is not None and time.monotonic() >= end:
                    break
                self._round(works, number, rounds)
        except KeyboardInterrupt:
            self.interrupted = True
        finally:
            self._tell("")
            self.clean_up()

    def clean_up(self):
        for directory in filter(None, ("/dev/shm", self.huge)):
            for path in glob.glob(f"{directory}/shmcore.*.{self.job}.*"):
                os.unlink(path)
        for path in glob.glob(f"/dev/shm/boost.{self.job}"):
            os.unlink(path)

    def _round(self, works, number, rounds):
        due = [(w, c) for w in works if number < w.rounds_most for _ in range(w.turns) for c in w.contenders]
        for done, (work, contender) in enumerate(due):
            if (work.name, contender.name) in self.results.failures:
                continue
            self._tell(f"round {number + 1} of {rounds}, {done * 100 // len(due)} %: {work.name}, {contender.name}")
            try:
                figures = self._command(contender)
            except Failure as why:
                self.results.add_failure(work.name, contender.name, str(why))
            else:
                self.results.add(work.name, contender.name, figures)

    def _command(self, contender):
        environment = {name: value for name, value in os.environ.items() if name not in FOREIGN}
        environment.update(SHM_JOB=self.job, SHM_LOG="error", **contender.environment)
        command = [word.replace("{job}", self.job) for word in contender.command]
        before = used_by_children()
        # A group of its own: when it takes too long, all that it has started ends with it.
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True, start_new_session=True)
        try:
            out, err = process.communicate(timeout=SECONDS_MOST)
        except (subprocess.TimeoutExpired, KeyboardInterrupt) as reason:
            with contextlib.suppress(ProcessLookupError):  # it may just have ended
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            self.clean_up()
            if isinstance(reason, KeyboardInterrupt):
                raise
            raise Failure(f"took more than {SECONDS_MOST} s") from None
        if process.returncode != 0:
            raise Failure(f"exit status {process.returncode}: {(err.strip().splitlines() or ['no message'])[-1]}")
        figures = parse(out)
        figures[SECONDS] = used_by_children() - before
        return figures

    def _tell(self, words):
        if self.progress:
            sys.stderr.write(f"\r\033[K{words[:100]}")
            sys.stderr.flush()


def failures_of_ours(results):
    return {key: why for key, why in results.failures.items() if key[1].startswith(OURS)}
