#!/usr/bin/python3
# SPDX-License-Identifier: MIT
#
# Every benchmark runs, and prints figures that can be: a little of each, with no threshold. Peers take part where they
# are installed. Then: what an interrupted run says and leaves.
#
#     bench-smoke.py SOURCE_ROOT BUILD_DIR
#
# Prints TAP. Exit status 1 when anything is wrong.

import glob
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree
from pathlib import Path

count = failed = 0


def verdict(good, what, *details):
    global count, failed
    count += 1
    failed += not good
    print(f"{'ok' if good else 'not ok'} {count} - {what}")
    if not good:
        for line in "\n".join(map(str, details)).splitlines():
            print(f"#   {line}")


def files_of(pid):
    return glob.glob(f"/dev/shm/shmcore.*.bench-{pid}.*") + glob.glob(f"/dev/shm/boost.bench-{pid}")


def start(command):
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True)


def is_sane(values):
    return bool(values) and all(math.isfinite(value) and value > 0 for value in values)


def smoke(command, directory):
    json_file, plot, markdown = (str(directory / name) for name in ("all.json", "all.svg", "all.md"))
    process = start(command + ["--smoke", "--json", json_file, "--plot", plot, "--markdown", markdown])
    out, err = process.communicate()
    verdict(process.returncode == 0, "a smoke run ends well", process.returncode, err)
    other = [line for line in err.splitlines() if not line.startswith("without ")]
    verdict(not other, "nothing on standard error but what is missing", *other)
    verdict(not files_of(process.pid), "no segment is left", *files_of(process.pid))

    measured = json.loads(Path(json_file).read_text(encoding="utf-8"))
    verdict(not measured["failures"], "no contender fails", *measured["failures"])
    verdict(len(measured["rows"]) > 30, "all rows are there", len(measured["rows"]))
    written = Path(markdown).read_text(encoding="utf-8")
    for row in measured["rows"]:
        ours = [name for name in row["contenders"] if name.startswith("ours")]
        wrong = [name for name, found in row["contenders"].items() if not is_sane(found["values"])]
        verdict("ours" in ours and not wrong, f"{row['title']}: {', '.join(row['contenders'])}", row)
        verdict(row["title"] in out and row["title"] in written, f"{row['title']} is in the tables", out)
        verdict(not row["goals"], f"{row['title']}: a smoke run judges nothing", row["goals"])
    drawn = xml.etree.ElementTree.parse(plot).getroot()
    several = sum(len(row["contenders"]) > 1 for row in measured["rows"])
    titles = sum(element.text in {row["title"] for row in measured["rows"]} for element in drawn.iter())
    verdict(titles == several, "the plot has every row with several contenders", titles, several)


def interrupted(command):
    """When there is a segment, glibc has had its turn, and ours is at work."""
    process = start(command + ["--only", "pair", "--rounds", "1000"])
    while not files_of(process.pid) and process.poll() is None:
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    verdict(process.returncode == 130, "an interrupted run says so", process.returncode, err)
    verdict("routed 64 B pair" in out and "glibc" in out, "it shows what there is", out)
    verdict(not files_of(process.pid), "it leaves no segment", *files_of(process.pid))


def refused(command):
    process = start(command + ["--only", "no-such-work"])
    out, err = process.communicate()
    verdict(process.returncode == 1 and "no work of that name" in err, "a work that is not there is refused", out, err)


def main():
    command = [sys.executable, f"{sys.argv[1]}/bench/run", sys.argv[2]]
    os.environ["SHM_POLICY"] = "export size>=0"  # what the caller has set decides nothing
    with tempfile.TemporaryDirectory() as directory:
        smoke(command, Path(directory))
    interrupted(command)
    refused(command)
    print(f"1..{count}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
