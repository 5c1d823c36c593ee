#!/usr/bin/python3
# SPDX-License-Identifier: MIT
#
# Objects that come and go: rows are made, written as JSON, read back, sorted and grouped.
#
#     objects.py ROWS

import json
import sys


def main():
    rows = int(sys.argv[1])
    made = [{"key": i * 7919 % 100003, "words": [str(j) for j in range(i % 20)], "at": {"x": i * 1.5}}
            for i in range(rows)]
    read = json.loads(json.dumps(made))
    groups = {}
    for row in sorted(read, key=lambda row: row["key"]):
        groups.setdefault(row["key"] % 97, []).append(":".join(row["words"]))
    print("length", sum(len("".join(group)) for group in groups.values()))


if __name__ == "__main__":
    main()
