# SPDX-License-Identifier: MIT
#
# The works and the rows: what is compared, with which policy, and what is to be reached.
#
# `size(full, smoke)` is how much of it is done: a smoke run is to show that everything runs, not what it costs, so it
# has no goals.

import subprocess
from dataclasses import replace

from .model import OURS, SECONDS, Contender, Goal, MeanRow, Row, Work

NO_SUCH_FUNCTIONS = "export func=no_such_function; export func=no_such_*; share func=no_other_function size<4K; " \
    "export func=*_no_such_function size>=1M"
FIVE_RULES = "export func=no_such_*; share func=no_other_function; export func=grid_* size>=1M; " \
    "export stack=xmalloc<-no_such_function; export module=libno_such.so"


class Plan:
    def __init__(self, peers, source, work_directory, huge_directory, smoke):
        self.peers = peers
        self.source = source
        self.directory = work_directory
        self.huge = huge_directory
        self.smoke = smoke
        self.works, self.rows = [], []
        for add in (self._programs, self._starts, self._blocks, self._names, self._memory, self._large, self._attach,
                    self._forks):
            add()
        if smoke:
            self.rows = [replace(row, goals=()) for row in self.rows]

    def size(self, full, smoke):
        return str(smoke if self.smoke else full)

    # ------------------------------------------------------------ contenders

    def _preloaded(self, library, **environment):
        return {"LD_PRELOAD": library, **environment}

    def _ours(self, policy):
        return self._preloaded(self.peers.shim(), SHM_POLICY=policy)

    def _allocators(self, command, policy):
        """glibc's, two others where they are, and a rule that takes all."""
        yield Contender("glibc", command)
        if self.peers.mimalloc:
            yield Contender("mimalloc", command, self._preloaded(self.peers.mimalloc))
        if self.peers.jemalloc:
            yield Contender("jemalloc", command, self._preloaded(self.peers.jemalloc))
        yield Contender(OURS, command, self._ours(policy))

    def _work(self, name, contenders, **more):
        self.works.append(Work(name, tuple(contenders), **more))

    def _row(self, *words, **more):
        self.rows.append(Row(*words, **more))

    # ------------------------------------------------------------ programs

    def _program(self, name, kinds, title, command, environment):
        self._work(name, [Contender(kind, command, {**environment, **more}) for kind, more in kinds.items()],
                   turns=1 if self.smoke else 4)
        self._row(name, SECONDS, title, "s", typical=True)

    def _unrouted(self, stack):
        yield "plain", {}
        yield "pass-through", self._preloaded(self.peers.passthrough())
        yield "ours", self._ours(NO_SUCH_FUNCTIONS)
        yield "ours (stack)", self._ours(f"export stack={stack}<-no_such_function")
        yield "ours (size)", self._ours("export size>=1G")
        if self.peers.heaptrack:
            yield "heaptrack", self._preloaded(self.peers.heaptrack, DUMP_HEAPTRACK_OUTPUT="/dev/null")

    def _routed(self):
        yield "plain", {}
        if self.peers.mimalloc:
            yield "mimalloc", self._preloaded(self.peers.mimalloc)
        yield "ours", self._ours("export size>=0")
        yield "ours (merge)", self._ours("merge size>=0")

    def _programs(self):
        bench = self.peers.bench
        programs = [("handed_on", "take", (bench("handed_on"), self.size(40, 2)), {}),
                    ("factor", "take", (bench("factor"), self.size(400, 10)), {}),
                    ("mix", "take", (bench("mix"), self.size(1500000, 30000)), {})]
        if self.peers.containers:
            programs.append(("containers", "*", (bench("containers"), self.size(40, 1)), {}))
        if self.peers.python:
            programs.append(("python3", "*", (self.peers.python, f"{self.source}/bench/programs/objects.py",
                                              self.size(20000, 500)), {"PYTHONMALLOC": "malloc"}))
        if self.peers.gcc:
            programs.append(("gcc", "*", self._compilation(self.size("core/merge.c", "bench/start.c")), {}))
        for name, stack, command, environment in programs:
            self._program(name, dict(self._unrouted(stack)), f"program {name}: no routed call", command, environment)
        self.rows.append(MeanRow(tuple(name for name, *_ in programs), SECONDS,
                                 "programs with no routed call: geometric mean", "plain", (
            Goal(1.03, "plain"), Goal(1.01, "pass-through"), Goal(1.5, "plain", ours="ours (stack)"),
            Goal(1.01, "plain", ours="ours (size)"))))
        for name, _, command, environment in programs:
            self._program(f"{name} routed", dict(self._routed()), f"program {name}: every call routed", command,
                          environment)
        self.rows.append(MeanRow(tuple(f"{name} routed" for name, *_ in programs), SECONDS,
                                 "programs with every call routed: geometric mean", "plain"))

    def _compilation(self, file):
        """The compiler itself, since heaptrack does not go with what a program starts."""
        text, assembly = f"{self.directory}/compiled.i", f"{self.directory}/compiled.s"
        gcc = self.peers.gcc
        subprocess.run((gcc, "-E", "-D_GNU_SOURCE", f"-I{self.source}", f"-I{self.source}/core", "-o", text,
                        f"{self.source}/{file}"), check=True)
        compiler = subprocess.run((gcc, "-print-prog-name=cc1"), stdout=subprocess.PIPE, text=True, check=True)
        return (compiler.stdout.strip(), "-quiet", "-fpreprocessed", "-O2", text, "-o", assembly)

    def _starts(self):
        command = (self.peers.bench("start"), self.size(40, 5), "/bin/true")
        self._work("start", (Contender("plain", command), Contender(OURS, command, self._ours(FIVE_RULES))))
        self._row("start", "", "start and end of /bin/true, policy of five rules", "µs",
                  goals=(Goal(1, "plain", plus=500),))

    # ------------------------------------------------------------ routed blocks

    def _blocks(self):
        policy = "export func=make_block"

        def work(name, *words, beside={}):
            command = (self.peers.bench("blocks"), *words)
            self._work(name, list(self._allocators(command, policy))
                       + [Contender(title, command, environment) for title, environment in beside.items()])

        goals = (Goal(0.6, "glibc"), Goal(1.0, "mimalloc"))
        rounds, short = self.size(1000000, 20000), self.size(100000, 2000)
        work("pair", "pair", rounds, beside={"no allocator": self._preloaded(self.peers.nothing())})
        work("replace", "replace", rounds)
        work("threads", "threads", short)
        work("handoff", "handoff", short)
        self._row("pair", "pair", "routed 64 B pair", "ns", goals=goals)
        self._row("replace", "replace", "random replace of 64 B, 10 000 live", "ns", goals=goals)
        for what, title in ("pair", "64 B pair"), ("replace", "random replace"):
            self._row("threads", what, f"{title} in two threads", "ns", goals=(Goal(1.0, "glibc"),))
            self._row("threads", f"{what}-scaling", f"{title}: two threads to one", "×", more=True,
                      goals=(Goal(plus=1.8),))
        self._row("handoff", "handoff", "64 B freed by another thread", "ns", goals=(Goal(1.0, "glibc"),))
        shared = (self.peers.bench("blocks"), "pair", self.size(100000, 1000))
        self._work("shared", (Contender("glibc", shared), Contender(OURS, shared, self._ours("share func=make_block"))))
        self._row("shared", "pair", "64 B pair under share", "ns")

    # ------------------------------------------------------------ blocks by name

    def _named(self, name, *words, boost=True, **more):
        contenders = [Contender("Boost.Interprocess", (self.peers.boost, *words))] if self.peers.boost and boost else []
        self._work(name, contenders + [Contender(OURS, (self.peers.bench("names"), *words))], **more)

    def _names(self):
        rounds = self.size(500000, 1000)
        lives = (10, 1000, 100000, 1000000) if not self.smoke else (10, 100, 1000, 10000)
        for full, live in zip((10, 1000, 100000, 1000000), lives):
            work, among = f"names-{full}", f"{full:,} live".replace(",", " ")
            self._named(work, "live", str(live), rounds, boost=full < 1000000, rounds_most=5)
            reached = (Goal(plus=200, misses=0 if full <= 1000 else 2),)
            self._row(work, "pair", f"named 64 B pair, {among}", "ns", goals=reached)
            if full in (1000, 1000000):
                reached = (Goal(plus=120),) if full == 1000 else (Goal(misses=2),)
                for what in "find", "attach":
                    self._row(work, what, f"{what} by name, {among}", "ns", goals=reached)
            self._row(work, "miss", f"one dependent cache miss, as much memory as {among}", "ns")
        self._named("together", "together", self.size(1000, 100), rounds)
        self._row("together", "scaling", "two processes to one, named pairs, names of their own", "×", more=True,
                  goals=(Goal(plus=1.7),))

    # ------------------------------------------------------------ memory

    def _memory(self):
        command = (self.peers.bench("memory"), self.size(1000000, 30000))
        counted = command + ("/dev/shm/shmcore.*.{job}.*",)
        ours = Contender(OURS, counted, self._ours("export func=make_block"))
        self._work("memory", (Contender("glibc", command), ours), rounds_most=3)
        self._row("memory", "bytes", "memory for a routed object of 64 B", "B", goals=(Goal(plus=68),))
        self._named("named-memory", "memory", self.size(1000000, 20000), rounds_most=3)
        self._row("named-memory", "bytes", "memory for a named block of 64 B", "B", goals=(Goal(plus=112),))

    def _large(self):
        policy, touch, mib = "export func=make_block", self.peers.bench("touch"), self.size(1024, 16)
        command = (touch, "first", mib)
        contenders = [Contender("glibc", command), Contender(OURS, command, self._ours(policy))]
        goals = [Goal(1.2, "glibc")]
        if self.huge:
            huge = f"segment SHARED::node dir={self.huge}; {policy}"
            contenders.append(Contender("ours (huge)", command, self._ours(huge)))
            goals.append(Goal(5, "glibc", ours="ours (huge)"))
        self._work("first-touch", contenders, rounds_most=3)
        self._row("first-touch", "first", f"first touch of a routed block of {mib} MiB", "GiB/s", more=True,
                  goals=tuple(goals))
        for mib, rounds in ("1", self.size(50, 5)), (self.size(64, 4), "1"):
            self._work(f"again-{mib}", self._allocators((touch, "again", mib, rounds), policy), rounds_most=5)
            self._row(f"again-{mib}", "again", f"allocate, touch, free {mib} MiB again", "µs",
                      goals=(Goal(1.0, "glibc"),))

        grown = f"{policy}; export func=grow_block"
        self._work("grow", self._allocators((touch, "grow", self.size(64, 4), self.size(256, 16)), grown), rounds_most=5)
        self._row("grow", "grow", "a step of realloc() of 256 up to 64 MiB, touched", "µs")

    def _attach(self):
        mib, second = self.size(1024, 16), self.peers.bench("second")
        environment = {"TMPDIR": self.directory}
        self._work("second", (Contender("read()", (second, "copy", mib), environment),
                              Contender(OURS, (second, "attach", mib), environment)), rounds_most=3)
        self._row("second", "read", f"second process gets {mib} MiB and reads it once", "GiB/s", more=True,
                  goals=(Goal(2, "read()"),))
        for full, attached in zip((1, 16, 128), (1, 16, 128) if not self.smoke else (1, 4, 16)):
            work = f"attached-{full}"
            self._work(work, (Contender(OURS, (self.peers.bench("attach"), str(attached), self.size(50, 5))),))
            for figure, words in ("turn", "in turn"), ("at-once", "at once"):
                self._row(work, figure, f"attach and first allocate, {full} attached, {words}", "µs",
                          goals=(Goal(plus=300),))
            if full == 1:
                self._row(work, "fault", "one page fault in shared memory, of which an attach is a few dozen", "µs")

    # ------------------------------------------------------------ fork

    def _forks(self):
        fork = self.peers.bench("fork")
        command = (fork, self.size(64, 16), self.size(200, 5))
        self._work("fork", (Contender("plain", command), Contender(OURS, command, self._ours("export size>=1G"))))
        self._row("fork", "parent", "fork() with 64 MiB, nothing exported", "µs")
        command = (fork, self.size(256, 16), self.size(5, 2))
        views = {OURS: "copy", "ours (overlay)": "overlay", "ours (share)": "share"}
        ours = [Contender(name, command, self._ours(f"export size>=16M fork={view}")) for name, view in views.items()]
        self._work("fork-exported", [Contender("plain", command)] + ours, rounds_most=2)
        self._row("fork-exported", "child", "fork() with 256 MiB exported, until the child runs", "µs")
