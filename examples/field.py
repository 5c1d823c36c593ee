#!/usr/bin/python3
# SPDX-License-Identifier: MIT
#
# An ordinary NumPy program: it knows nothing of shmcore.
#
#     field.py [ROWS COLUMNS]
#
# Computes the waves that three sources send over a plane (default 4096 x 8192 doubles, 256 MiB),
# band by band, so that the field itself is the only large array. Prints its size and the sum of
# its 64-bit words modulo 2^64, and keeps the field until standard input ends.

import sys

import numpy as np

SOURCES = ((0.2, 0.3, 90.0), (0.7, 0.6, 140.0), (0.4, 0.9, 60.0))  # x, y, wave number
BAND = 64  # rows at a time


def waves(y, x):
    total = np.zeros((len(y), len(x)))
    for source_x, source_y, wave_number in SOURCES:
        distance = np.hypot(x[np.newaxis, :] - source_x, y[:, np.newaxis] - source_y)
        total += np.cos(wave_number * distance) / (0.05 + distance)
    return total


def main(rows=4096, columns=8192):
    field = np.empty((rows, columns))
    y = np.linspace(0.0, 1.0, rows)
    x = np.linspace(0.0, 2.0, columns)
    for first in range(0, rows, BAND):
        field[first:first + BAND] = waves(y[first:first + BAND], x)
    checksum = int(field.view(np.uint64).sum(dtype=np.uint64))
    print("bytes    ", field.nbytes)
    print(f"checksum  {checksum:016x}", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
