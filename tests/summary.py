#!/usr/bin/python3
# SPDX-License-Identifier: MIT
#
# What became of the tests, from Meson's logs.
#
#     summary.py [--failed WHAT]... TESTLOG.json...
#
# Prints the output of each test that failed and the reason of each that was skipped (the last line
# it printed), also of parts of a test (TAP's "# SKIP reason"), then one line with the numbers of tests. --failed counts something that failed without a log,
# such as a build; a log that is missing or empty counts as a failure too: no tests, no success.
# Exit status 0 when nothing failed.

import argparse
import json
import re
import sys

PASSED = {"OK", "EXPECTEDFAIL"}
SKIPPED = {"SKIP", "IGNORED"}
PART_SKIPPED = re.compile(r"^ok\b *\d* *-? *(.*?) *# *skip\S* *(.*)$", re.IGNORECASE | re.MULTILINE)


def read_log(path):
    try:
        with open(path, encoding="utf-8") as log:
            return [json.loads(line) for line in log if line.strip()]
    except OSError:
        return []


def output_of(test):
    return "".join(test.get(stream) or "" for stream in ("stdout", "stderr"))


def print_failure(test):
    print(f"---- {test['name']}: {test['result']}, exit status {test.get('returncode')}")
    print("     " + " ".join(test.get("command", [])))
    print(output_of(test).rstrip("\n"))


def print_skip(test):
    lines = output_of(test).strip().splitlines() or ["no reason was given"]
    print(f"skipped: {test['name']}: {lines[-1]}")


def print_skipped_parts(test):
    for what, why in PART_SKIPPED.findall(output_of(test)):
        print(f"skipped: {test['name']}: {what}: {why or 'no reason was given'}")


def main():
    parser = argparse.ArgumentParser(description="Sums up Meson's test logs.")
    parser.add_argument("--failed", action="append", default=[], metavar="WHAT")
    parser.add_argument("logs", nargs="*", metavar="TESTLOG.json")
    arguments = parser.parse_args()
    passed, skipped, failed = 0, 0, list(arguments.failed)
    for path in arguments.logs:
        tests = read_log(path)
        if not tests:
            failed.append(f"{path} holds no tests")
        for test in tests:
            if test["result"] in PASSED:
                passed += 1
                print_skipped_parts(test)
            elif test["result"] in SKIPPED:
                skipped += 1
                print_skip(test)
            else:
                failed.append(test["name"])
                print_failure(test)
    for what in failed:
        print(f"failed: {what}")
    print(f"{passed} passed, {len(failed)} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
