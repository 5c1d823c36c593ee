#!/usr/bin/python3
# SPDX-License-Identifier: MIT
#
# Writes a record as the shim would (config/record.h), from a description in JSON.
#
#     record-write.py OUT < DESCRIPTION
#
# {"program": PATH, "process": 1, "parent": 0, "rank": "", "host": "", "began": 1, "ended": 2, "least_bytes": 1,
#  "dropped_calls": 0, "dropped_blocks": 0, "unread_bytes": 0, "magic": …,
#  "modules": [{"path": PATH, "build_id": HEX, "like": PATH, "address": 0}],
#  "sites": [{"frames": [FRAME, …], "calls": 1, "sizes": {"1048576": 1}, "peak_bytes": …, "read_bytes": …,
#             "entry_points": 1, "frees": 0, "lifetimes": {"31": 1}, "marks": [1, 2], "zeros": 0,
#             "short_bytes": 0}]}
#
# A module without "build_id" has that of its file, if there is one. A FRAME is a number (an offset in the
# first module), [MODULE, OFFSET] where MODULE counts from 0 and null is no module, or the text "FUNCTION>CALLED"
# or "FUNCTION>CALLED#N": where the N-th call (from 0) of CALLED in FUNCTION returns to, in the first module, or
# in the file "like" which that has been stripped from.

import json
import re
import struct
import subprocess
import sys

MAGIC = 0x3144524F43455253
FRAMES, SIZES, LIFETIMES, MARKS = 16, 64, 48, 61
MODULES_MAX, SITES_MAX = 1024, 16384
HEADER = struct.Struct("<QQQQiiIIIIQQQ32s64s1024s2896x")
MODULE = struct.Struct("<QI20s480s")
SITE = struct.Struct(f"<II{2 * FRAMES}Q9Q{SIZES}Q{LIFETIMES}QIIQQ32x")
PAGE = struct.Struct(f"<IIQ{MARKS}QQ")
MODULES_AT = HEADER.size
SITES_AT = MODULES_AT + MODULES_MAX * MODULE.size
PAGES_AT = SITES_AT + SITES_MAX * SITE.size
assert (HEADER.size, MODULE.size, SITE.size, PAGE.size) == (4096, 512, 1288, 512)


def build_id_of(path, known={}):
    if path not in known:
        known[path] = read_build_id(path)
    return known[path]


def read_build_id(path):
    found = subprocess.run(["readelf", "-n", path], capture_output=True, text=True, check=False).stdout
    match = re.search(r"Build ID: ([0-9a-f]+)", found)
    return bytes.fromhex(match[1]) if match else b""


def calls_in(path, listings={}):
    """(function, called) → offsets that calls return to."""
    if path not in listings:
        calls, function, called = {}, None, None
        text = subprocess.run(["objdump", "-d", "--no-show-raw-insn", path], capture_output=True, text=True,
                              check=True).stdout
        for line in text.splitlines():
            head = re.match(r"[0-9a-f]+ <(.+)>:$", line)
            code = re.match(r" +([0-9a-f]+):\t(\S+)(?:.*<([^>@]+)(?:@plt)?>)?", line)
            if code and called:
                calls.setdefault((function, called), []).append(int(code[1], 16))
            called = code[3] if code and code[2].startswith("call") else None
            function = head[1] if head else function
        listings[path] = calls
    return listings[path]


def frame_of(frame, modules):
    if isinstance(frame, int):
        return 1, frame
    if isinstance(frame, list):
        return (0 if frame[0] is None else frame[0] + 1), frame[1]
    caller, called = frame.split(">")
    called, _, number = called.partition("#")
    path = modules[0].get("like", modules[0]["path"])
    return 1, calls_in(path)[(caller, called)][int(number or 0)]


def module_bytes(module):
    build_id = bytes.fromhex(module["build_id"]) if "build_id" in module else build_id_of(module["path"])
    return MODULE.pack(module.get("address", 0), len(build_id), build_id, module["path"].encode())


def pages_of(site, pages):
    """Appends the pages of a row; the numbers of the first and the last."""
    marks, zeros, short = site.get("marks", []), site.get("zeros", 0), site.get("short_bytes", 0)
    if not marks and not zeros:
        return 0, 0
    first = len(pages) + 1
    parts = [marks[i:i + MARKS] for i in range(0, len(marks), MARKS)] or [[]]
    for number, part in enumerate(parts):
        following = first + number + 1 if number + 1 < len(parts) else 0
        pages.append(PAGE.pack(following, len(part), zeros, *part, *[0] * (MARKS - len(part)), short))
        zeros = short = 0
    return first, len(pages)


def histogram(counts, length):
    result = [0] * length
    for number, count in counts.items():
        result[number] += count
    return result


def site_bytes(site, modules, pages):
    frames = [frame_of(frame, modules) for frame in site["frames"]]
    sizes = {int(size): count for size, count in site["sizes"].items()}
    calls = site.get("calls", sum(sizes.values()))
    total = sum(size * count for size, count in sizes.items())
    peak, frees = site.get("peak_bytes", total), site.get("frees", 0)
    marks = len(site.get("marks", [])) + site.get("zeros", 0)
    flat = [number for module, offset in frames + [(0, 0)] * (FRAMES - len(frames)) for number in (offset, module)]
    powers = histogram({}, SIZES)
    for size, count in sizes.items():
        powers[max(size, 1).bit_length() - 1] += count
    first, last = pages_of(site, pages)
    return SITE.pack(site.get("frame_count", len(frames)), site.get("entry_points", 1), *flat, calls, total, frees,
                     calls - frees, peak, calls, peak, min(sizes), max(sizes), *powers,
                     *histogram({int(k): v for k, v in site.get("lifetimes", {}).items()}, LIFETIMES),
                     site.get("first_page", first), last, marks,
                     site.get("read_bytes", marks * 65536 - site.get("short_bytes", 0)))


def write(path, what):
    pages = []
    modules = what["modules"]
    sites = [site_bytes(site, modules, pages) for site in what["sites"]]
    header = HEADER.pack(what.get("magic", MAGIC), what.get("began", 1), what.get("ended", 10**10),
                         what.get("least_bytes", 1), what.get("process", 1), what.get("parent", 0), len(modules),
                         what.get("site_count", len(sites)), len(pages), FRAMES, what.get("dropped_calls", 0),
                         what.get("dropped_blocks", 0), what.get("unread_bytes", 0),
                         what.get("rank", "").encode(), what.get("host", "").encode(),
                         what["program"].encode())
    with open(path, "wb") as out:
        out.write(header)
        out.write(b"".join(module_bytes(module) for module in modules))
        out.seek(SITES_AT)
        out.write(b"".join(sites))
        if pages:
            out.seek(PAGES_AT)
            out.write(b"".join(pages))
        out.truncate(max(out.tell(), SITES_AT))


if __name__ == "__main__":
    write(sys.argv[1], json.load(sys.stdin))
