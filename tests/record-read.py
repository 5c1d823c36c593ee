#!/usr/bin/python3
# SPDX-License-Identifier: MIT
#
# A record as JSON, for tests: every field, sites with their frames as [module, offset], lists without the zeros at
# their end, and the fingerprints.
#
#     record-read.py FILE [EXPRESSION]…
#
# With expressions: prints what each of them is, `r` being the record and `at(NAME)` the site whose innermost
# frames have that function name (of the program's symbol table, asked of nm).

import bisect
import json
import os
import struct
import subprocess
import sys

MODULES, SITES = 1024, 16384
MODULES_AT = 4096
SITES_AT = MODULES_AT + MODULES * 512
PAGES_AT = SITES_AT + SITES * 1288


def text(raw):
    return raw.split(b"\0")[0].decode(errors="replace")


def module(raw):
    address, length, build = struct.unpack_from("<QI20s", raw)
    return {"address": address, "build": build[:length].hex(), "path": text(raw[32:512])}


def site(raw, pages):
    frame_count, entry_points = struct.unpack_from("<II", raw)
    frames = [struct.unpack_from("<QII", raw, 8 + 16 * i)[1::-1] for i in range(frame_count)]
    names = ("calls", "bytes", "frees", "live_blocks", "live_bytes", "peak_blocks", "peak_bytes", "least_size",
             "most_size")
    found = dict(zip(names, struct.unpack_from("<9Q", raw, 264)))
    found["frames"], found["entry_points"] = frames, entry_points
    found["sizes"] = {i: n for i, n in enumerate(struct.unpack_from("<64Q", raw, 336)) if n}
    found["lifetimes"] = {i: n for i, n in enumerate(struct.unpack_from("<48Q", raw, 848)) if n}
    first, last, found["marks"], found["read_bytes"] = struct.unpack_from("<IIQQ", raw, 1232)
    found["mark"], found["zeros"], found["short_bytes"] = [], 0, 0
    while first:
        page = pages[(first - 1) * 512:first * 512]
        first, count, zeros = struct.unpack_from("<IIQ", page)
        found["mark"] += struct.unpack_from(f"<{count}Q", page, 16)
        found["zeros"] += zeros
        found["short_bytes"] += struct.unpack_from("<Q", page, 504)[0]
    assert len(found["mark"]) == found["marks"], f"{len(found['mark'])} marks in pages, {found['marks']} in the row"
    return found


def read(path):
    raw = open(path, "rb").read()
    r = dict(zip(("magic", "began", "ended", "least_bytes"), struct.unpack_from("<4Q", raw)))
    assert r["magic"] == 0x3144524f43455253, "no record"
    r.update(zip(("process", "parent"), struct.unpack_from("<ii", raw, 32)))
    modules, sites, pages, r["frames"] = struct.unpack_from("<4I", raw, 40)
    r.update(zip(("dropped_calls", "dropped_blocks", "unread_bytes"), struct.unpack_from("<3Q", raw, 56)))
    r["rank"], r["host"], r["program"] = text(raw[80:112]), text(raw[112:176]), text(raw[176:1200])
    r["modules"] = [module(raw[MODULES_AT + 512 * i:MODULES_AT + 512 * (i + 1)]) for i in range(modules)]
    r["sites"] = [site(raw[SITES_AT + 1288 * i:SITES_AT + 1288 * (i + 1)], raw[PAGES_AT:PAGES_AT + 512 * pages])
                  for i in range(sites)]
    return r


class Names:
    """Functions of modules, by nm."""

    def __init__(self, record):
        self.modules, self.tables = record["modules"], {}

    def table(self, path):
        if path.startswith(("/usr/", "/lib/")):
            return ([], [])
        if path not in self.tables:
            lines = subprocess.run(["nm", "-n", "--defined-only", path], capture_output=True, text=True).stdout
            rows = [line.split() for line in lines.splitlines()]
            rows = [(int(row[0], 16), row[2]) for row in rows if len(row) == 3 and row[1] in "tTwW"]
            self.tables[path] = ([row[0] for row in rows], [row[1] for row in rows])
        return self.tables[path]

    def of(self, frame):
        if not frame[0]:
            return "?"
        starts, names = self.table(self.modules[frame[0] - 1]["path"])
        at = bisect.bisect_right(starts, frame[1] - 1) - 1
        return names[at] if at >= 0 else "?"


def main():
    record = read(sys.argv[1])
    names = Names(record)
    for s in record["sites"]:
        s["functions"] = [names.of(frame) for frame in s["frames"]]
        s["module"] = os.path.basename(record["modules"][s["frames"][0][0] - 1]["path"]) if s["frames"][0][0] else "?"

    def every(*functions):
        return [s for s in record["sites"] if s["functions"][:len(functions)] == list(functions)]

    def at(*functions):
        found = every(*functions)
        assert len(found) == 1, f"{len(found)} sites of {functions}"
        return found[0]

    for expression in sys.argv[2:]:
        print(eval(expression, {"r": record, "at": at, "every": every}))
    if len(sys.argv) == 2:
        json.dump(record, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
