#!/usr/bin/python3
# SPDX-License-Identifier: MIT
#
# The arrows between the rooms of the house, read from the #include lines: they point down only and
# make no circle. A room is what X.c and X.h of one directory are together.
#
#     arch-layers.py SOURCE_ROOT BUILD_DIR
#
# Prints TAP. Exit status 1 when a rule is broken. BUILD_DIR's list of compiled files shows that each
# source file belongs to the program: one that nobody compiles would be under no rule of the compiler.

import json
import re
import sys
from pathlib import Path

FLOORS = ("core", "config", "preload", "mpi", "tools", "examples", "bench")

# Nothing of locks, files and system calls in these, nor in what they include: they work on a plain
# range of bytes.
PURE = {"heap", "slab", "slab_class", "bucket", "directory", "pool", "reference", "geometry", "label", "place", "text", "undo"}
IMPURE = {"core/os.h", "core/file_lock.h", "core/lock.h", "core/segment.h", "core/handle.h"}

# The files of the façade share one header, and nobody else sees it, not even through another.
FACADE_HEADER = "core/handle.h"
FACADE = {"blocks", "collect", "enter", "export", "export_book", "export_extent", "export_label", "export_own", "export_slab", "export_slot", "export_turns", "forked",
          "forked_run", "inherited", "naming", "private", "private_own",
          "private_ground", "private_pass", "private_show", "reap", "regions", "release", "store", "visit", "work"}

PRELOAD_FROM_CORE = {"core/" + name + ".h"
                     for name in ("base", "error", "export", "export_at_once", "forked", "label", "layout", "os", "private",
                               "registry", "shmcore")}

CONDITIONS_ALLOWED = {"core/base.h", "core/os.c"}

# What there is on systems that have MPI.
COMPILED_WITH_MPI = {"examples/table_ranks_mpi.c", "examples/mpi_table.c", "mpi/communicator.c", "mpi/filled.c",
                     "mpi/numbers.c", "mpi/rounds.c", "mpi/verdict.c"}

# And of those that have elfutils.
COMPILED_WITH_LIBDW = {"preload/debug_file.c", "preload/inlined.c", "preload/lines_module.c"}

LINES_MOST = 500
LONGER = {}  # name: the reason

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.MULTILINE)
COMMENT = re.compile(r'"(?:\\.|[^"\\\n])*"|/\*.*?\*/|//[^\n]*', re.DOTALL)
DIRECTIVE = re.compile(r"^[ \t]*#[ \t]*(if|ifdef|ifndef|elif|elifdef|elifndef)\b[ \t]*(.*)$", re.MULTILINE)


def without_comments(text):
    """Strings stay, for they are the names of the files that are included; lines keep their numbers."""
    return COMMENT.sub(lambda m: m[0] if m[0].startswith('"') else "\n" * m[0].count("\n"), text)


class House:
    def __init__(self, root):
        self.root = root
        self.text = {}
        self.includes = {}
        for floor in FLOORS:
            for path in sorted((root / floor).iterdir()):
                if path.suffix in (".c", ".h"):
                    self.text[f"{floor}/{path.name}"] = without_comments(path.read_text(encoding="utf-8"))
        for name, text in self.text.items():
            self.includes[name] = self._resolve_all(name, text)

    def _resolve_all(self, name, text):
        found = []
        for quote, target in INCLUDE.findall(text):
            own = name.split("/")[0]
            candidates = ([f"{own}/{target}"] if quote == '"' else []) + [f"core/{target}", f"mpi/{target}", target]
            known = next((c for c in candidates if c in self.text), None)
            if known is not None:
                found.append(known)
            elif quote == '"':
                found.append(target)  # a file that is not there breaks every rule
        return found

    def arrows(self, floor):
        for name, targets in self.includes.items():
            if floor_of(name) == floor:
                for target in targets:
                    yield name, target

    def reach(self, name):
        """Everything that `name` includes, directly or not."""
        seen, waiting = set(), [name]
        while waiting:
            for target in self.includes.get(waiting.pop(), ()):
                if target not in seen:
                    seen.add(target)
                    waiting.append(target)
        return seen

    def rooms(self):
        graph = {}
        for name, targets in self.includes.items():
            room = room_of(name)
            graph.setdefault(room, set()).update(room_of(t) for t in targets if room_of(t) != room)
        return graph


def floor_of(name):
    return name.split("/")[0]


def room_of(name):
    return name.rsplit(".", 1)[0]


def stem_of(name):
    return room_of(name).split("/")[-1]


def show(arrow):
    return f"{arrow[0]} includes {arrow[1]}"


def wrong_arrows(house, floor, allowed):
    return [show(arrow) for arrow in house.arrows(floor) if not allowed(*arrow)]


def foundation(house):
    wrong = [f"core/base.h includes {t}" for t in house.includes["core/base.h"]]
    wrong += [f"core/shmcore.h includes {t}" for t in house.includes["core/shmcore.h"]]
    wrong += [f"core/layout.h includes {t}" for t in house.includes["core/layout.h"] if t != "core/base.h"]
    return wrong


def impurities(house):
    wrong = []
    for name in house.text:
        if floor_of(name) == "core" and stem_of(name) in PURE:
            wrong += [f"{name} reaches {target}" for target in sorted(house.reach(name) & IMPURE)]
    return wrong


def strangers_in_the_facade(house):
    return [f"{name} reaches {FACADE_HEADER}" for name in house.text
            if FACADE_HEADER in house.reach(name) and not (floor_of(name) == "core" and stem_of(name) in FACADE)]


def moved_away(house):
    """A rule about something that is gone holds for nothing."""
    rooms = {stem_of(name) for name in house.text if floor_of(name) == "core"}
    files = IMPURE | PRELOAD_FROM_CORE | CONDITIONS_ALLOWED | COMPILED_WITH_MPI | COMPILED_WITH_LIBDW | {FACADE_HEADER, "config/policy.h"}
    return ([f"core/{stem} is in a rule and does not exist" for stem in sorted((PURE | FACADE) - rooms)]
            + [f"{name} is in a rule and does not exist" for name in sorted(files - set(house.text))])


def circle_from(graph, start):
    """The shortest way from a room back to itself, or None."""
    ways, seen = [[start]], set()
    for way in ways:
        for target in sorted(graph.get(way[-1], ())):
            if target == start:
                return way + [start]
            if target not in seen:
                seen.add(target)
                ways.append(way + [target])
    return None


def circles(house):
    graph, found = house.rooms(), {}
    for room in sorted(graph):
        circle = circle_from(graph, room)
        if circle is not None:
            found.setdefault(frozenset(circle), " → ".join(circle))
    return list(found.values())


def is_guard(name, text, match):
    """The first line of a header that is not a comment, and the #define of the same word after it."""
    return (name.endswith(".h") and match[1] == "ifndef" and text[:match.start()].strip() == ""
            and re.match(rf"\s*#\s*define\s+{re.escape(match[2].strip())}\s*\n", text[match.end():]) is not None)


def conditions(house):
    wrong = []
    for name, text in house.text.items():
        for match in DIRECTIVE.finditer(text):
            if name in CONDITIONS_ALLOWED or is_guard(name, text, match) or match[2].strip() == "__cplusplus":
                continue
            line = text.count("\n", 0, match.start()) + 1
            wrong.append(f"{name}:{line}: {match[0].strip()}")
    return wrong


def unguarded(house):
    return [name for name, text in house.text.items() if name.endswith(".h")
            and not any(is_guard(name, text, match) for match in DIRECTIVE.finditer(text))]


def lengths(house):
    wrong = []
    for name in house.text:
        lines = len((house.root / name).read_text(encoding="utf-8").splitlines())
        if lines > LINES_MOST and name not in LONGER:
            wrong.append(f"{name} has {lines} lines")
        if lines <= LINES_MOST and name in LONGER:
            wrong.append(f"{name} has {lines} lines: it needs no exception any more")
    return wrong + [f"{name} is an exception and does not exist" for name in LONGER if name not in house.text]


def not_compiled(house, build):
    listing = build / "compile_commands.json"
    compiled = set()
    for entry in json.loads(listing.read_text(encoding="utf-8")):
        compiled.add((Path(entry["directory"]) / entry["file"]).resolve())
    return [name for name in set(house.text) - COMPILED_WITH_MPI - COMPILED_WITH_LIBDW
            if name.endswith(".c") and (house.root / name).resolve() not in compiled]


def checks(house, build):
    def tools_may(name, target):
        return floor_of(target) == "tools" or target in ("core/shmcore.h", "config/policy.h", "config/record.h",
                                                         "config/trace.h")

    def preload_may(name, target):
        return floor_of(target) in ("preload", "config") or target in PRELOAD_FROM_CORE

    def core_may(name, target):
        return floor_of(target) == "core"

    def config_may(name, target):
        return floor_of(target) == "config"

    def mpi_may(name, target):
        return floor_of(target) == "mpi" or target == "core/shmcore.h"

    def examples_may(name, target):
        return floor_of(target) == "examples" or target in ("core/shmcore.h", "mpi/shmcore_mpi.h")

    def bench_may(name, target):
        return floor_of(target) == "bench" or target == "core/shmcore.h"

    missing = sorted({show(a) for floor in FLOORS for a in house.arrows(floor) if a[1] not in house.text})
    yield "every file included by name exists", missing
    yield "everything that a rule speaks of exists", moved_away(house)
    yield "core/ includes only core/", wrong_arrows(house, "core", core_may)
    yield "base.h and shmcore.h include nothing of ours, layout.h only base.h", foundation(house)
    yield "pure rooms reach neither system calls nor locks, segments, the façade", impurities(house)
    yield "handle.h is seen by the façade's files alone", strangers_in_the_facade(house)
    yield "config/ includes only config/", wrong_arrows(house, "config", config_may)
    yield "preload/ includes config/ and the chosen headers of core/", wrong_arrows(house, "preload", preload_may)
    yield "tools/ includes only shmcore.h and the headers of policies and records", wrong_arrows(house, "tools", tools_may)
    yield "mpi/ includes only shmcore.h and its own", wrong_arrows(house, "mpi", mpi_may)
    yield "examples/ include only the public headers and each other", wrong_arrows(house, "examples", examples_may)
    yield "bench/ includes only shmcore.h and its own", wrong_arrows(house, "bench", bench_may)
    yield "no circles among the rooms", circles(house)
    yield "#if only where systems and compilers are told apart", conditions(house)
    yield "every header has a guard", unguarded(house)
    yield f"files of at most {LINES_MOST} lines, but for those with a reason", lengths(house)
    yield "every source file is compiled", not_compiled(house, build)


def main():
    house, build = House(Path(sys.argv[1])), Path(sys.argv[2])
    number = failures = 0
    for number, (what, wrong) in enumerate(checks(house, build), 1):
        failures += bool(wrong)
        print(f"{'not ok' if wrong else 'ok'} {number} - {what}")
        for line in wrong:
            print(f"#   {line}")
    print(f"1..{number}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
