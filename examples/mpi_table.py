#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A table in a file that every rank needs: one rank of the whole job reads it, and each node has one copy.

    mpirun -n 4 mpi_table.py FILE

mpi_table.c in Python, with the same output. Needs mpi4py and NumPy. libshmcore-mpi is found by the loader, or is the file
that SHMCORE_MPI_LIBRARY names; it has to be of the MPI that mpi4py uses.
"""
import ctypes
import errno
import os
import sys

try:
    import numpy as np
    from mpi4py import MPI
except ImportError as missing:
    sys.exit(f"mpi_table.py: {missing} (on Debian: apt install python3-mpi4py python3-numpy)")

import shmcore

WORLD = MPI.COMM_WORLD
FILL = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)


def load():
    """libshmcore-mpi: its functions for other languages, which take communicators by the numbers of Fortran."""
    library = ctypes.CDLL(os.environ.get("SHMCORE_MPI_LIBRARY", "libshmcore-mpi.so.0"), use_errno=True)
    library.shmcore_mpi_error.restype = ctypes.c_char_p
    library.shmcore_mpi_leaders_f.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(ctypes.c_int)]
    library.shmcore_mpi_allocate_filled_f.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, FILL,
                                                      ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p)]
    return library


def fail(what, why):
    print(f"mpi_table.py: {what}: {why}", file=sys.stderr, flush=True)
    WORLD.Abort(1)


def read_file(table, name):
    """0, or a value of errno."""
    try:
        with open(name, "rb") as file:
            return 0 if file.readinto(table) == len(table) else errno.ENODATA  # shorter than it was
    except OSError as error:
        return error.errno


def sum_of(table, piece=65536):
    """Each byte added to 31 times what was before, modulo 2**64; NumPy's unsigned words are, too."""
    powers = np.array([pow(31, piece - 1 - i, 2**64) for i in range(piece)], dtype=np.uint64)
    total = 0
    for start in range(0, len(table), piece):
        part = np.frombuffer(table[start:start + piece], dtype=np.uint8).astype(np.uint64)
        total = (total * pow(31, len(part), 2**64) + int((part * powers[piece - len(part):]).sum(dtype=np.uint64))) % 2**64
    return total


def size_of(name):
    """Rank 0 looks, so that all speak of the same size."""
    size = None
    if WORLD.rank == 0:
        try:
            size = os.stat(name).st_size
        except OSError as error:
            fail(name, error.strerror)
    return WORLD.bcast(size)


def with_a_copy_each(name, size):
    WORLD.Barrier()
    start = MPI.Wtime()
    table = memoryview(bytearray(size))
    error = read_file(table, name)
    if error:
        fail(name, os.strerror(error))
    WORLD.Barrier()
    return MPI.Wtime() - start, sum_of(table)


def with_one_copy(library, segment, name, size):
    def fill(block, size, _):
        return read_file((ctypes.c_ubyte * size).from_address(block) if size else b"", name)

    block = ctypes.c_void_p()
    WORLD.Barrier()
    start = MPI.Wtime()
    if library.shmcore_mpi_allocate_filled_f(segment.handle, WORLD.py2f(), b"table", size, FILL(fill), None,
                                             ctypes.byref(block)) != 0:
        fail(name, library.shmcore_mpi_error().decode())
    WORLD.Barrier()
    seconds = MPI.Wtime() - start
    return seconds, sum_of(memoryview((ctypes.c_ubyte * size).from_address(block.value)).cast("B"))


def main(name):
    library = load()
    number = ctypes.c_int()
    with shmcore.open("SHARED::node") as segment:
        if library.shmcore_mpi_leaders_f(segment.handle, WORLD.py2f(), ctypes.byref(number)) != 0:
            fail("leaders", library.shmcore_mpi_error().decode())
        leaders = MPI.Comm.f2py(number.value)
        copies = leaders.size if leaders != MPI.COMM_NULL else 0
        size = size_of(name)
        seconds_each, sum_each = with_a_copy_each(name, size)
        seconds_one, sum_one = with_one_copy(library, segment, name, size)
        wrong = WORLD.allreduce(sum_each != sum_one)
        if WORLD.rank == 0:
            print(f"{WORLD.size} ranks in {copies} segments, a table of {size / 1048576:.1f} MiB")
            print(f"every rank reads:  {seconds_each:.3f} s, {WORLD.size * size / 1048576:.1f} MiB in all")
            print(f"one rank reads:    {seconds_one:.3f} s, {copies * size / 1048576:.1f} MiB in all")
            print(f"checksum {sum_one:016x}{', but not in all ranks' if wrong else ''}", flush=True)
        WORLD.Barrier()  # nobody reads any more
    return 1 if wrong else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        fail("usage", "mpirun -n RANKS mpi_table.py FILE")
    sys.exit(main(sys.argv[1]))
