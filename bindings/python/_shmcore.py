# SPDX-License-Identifier: MIT
"""libshmcore as ctypes sees it: where it lies, the signatures of shmcore.h, its structures as tuples, its errors.

Nothing here knows how long anything lives: that is what shmcore.py is for, which is the module to import.
"""
from __future__ import annotations

import ctypes
import enum
import errno
import operator
import os
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

NAME_MAX = 255
SEGMENT_NAME_MAX = 95


class Error(OSError):
    """A call of the library failed: `errno`, and its sentence in `strerror`."""


class NotFound(Error, KeyError):
    """There is no such block, or no such segment."""


class Kind(enum.IntEnum):
    """How a block came to be: by name, by a `share` rule, by an `export` rule."""
    NAMED = 0
    SHARE = 1
    EXPORT = 2


class Scope(enum.IntEnum):
    """Which processes a segment is for."""
    NODE = 0
    SOCKET = 1
    NUMA = 2


class Description(NamedTuple):
    """A live block, as it was when it was looked at."""
    segment: str
    name: str
    address: int  # in this process
    bytes: int  # as asked for
    refs: int  # of all processes; 1 for an exported block
    owner: int  # pid of a process that holds it
    kind: Kind


class Merged(NamedTuple):
    """A block of merged memory; those below 2 MiB stand together, with '*' for what tells them apart."""
    segment: str
    name: str
    bytes: int
    ranks: int  # processes that have it
    merged: int  # bytes that are shared, of all processes together
    saved: int  # bytes of memory that would be occupied more without merging


class Statistics(NamedTuple):
    """What a segment holds, in bytes; `blocks` and `processes` are counts."""
    capacity: int
    used: int
    free: int
    reserved: int
    blocks: int
    processes: int


class Traits(NamedTuple):
    """How a segment was made, and how it is open."""
    size: int
    scope: Scope
    read_only: bool
    persist: bool
    dir: str
    job: str
    interleave: bool


class SegmentInfo(NamedTuple):
    """A segment file that was found."""
    name: str
    job: str
    dir: str
    path: str
    uid: int
    capacity: int
    reserved: int
    processes: int
    persist: bool
    usable: bool


class Collected(NamedTuple):
    """What was removed."""
    segments: int
    processes: int
    bytes: int


# ---------------------------------------------------------------- the library's types

class TraitsStructure(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("scope", ctypes.c_int), ("resource", ctypes.c_int),
                ("read_only", ctypes.c_bool), ("persist", ctypes.c_bool), ("interleave", ctypes.c_bool),
                ("dir", ctypes.c_char_p), ("job", ctypes.c_char_p)]


class StatisticsStructure(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in Statistics._fields]


class BlockStructure(ctypes.Structure):
    _fields_ = [("segment", ctypes.c_char * (SEGMENT_NAME_MAX + 1)), ("name", ctypes.c_char * (NAME_MAX + 1)),
                ("address", ctypes.c_void_p), ("bytes", ctypes.c_size_t), ("refs", ctypes.c_uint32),
                ("owner", ctypes.c_int), ("kind", ctypes.c_int)]


class MergedStructure(ctypes.Structure):
    _fields_ = [("segment", ctypes.c_char * (SEGMENT_NAME_MAX + 1)), ("name", ctypes.c_char * (NAME_MAX + 1)),
                ("bytes", ctypes.c_size_t), ("ranks", ctypes.c_uint32), ("merged", ctypes.c_size_t),
                ("saved", ctypes.c_size_t)]


class SegmentInfoStructure(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char * (SEGMENT_NAME_MAX + 1)), ("job", ctypes.c_char * 64),
                ("dir", ctypes.c_char * 256), ("path", ctypes.c_char * 512), ("uid", ctypes.c_uint),
                ("capacity", ctypes.c_size_t), ("reserved", ctypes.c_size_t), ("processes", ctypes.c_size_t),
                ("persist", ctypes.c_bool), ("usable", ctypes.c_bool)]


class CollectedStructure(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in Collected._fields]


def plain(structure: Any) -> Iterator[Any]:
    """The values of a structure's fields, texts as str."""
    for name, _ in structure._fields_:
        value = getattr(structure, name)
        yield decode(value) if isinstance(value, bytes) else value


def description(block: BlockStructure) -> Description:
    found = Description(*plain(block))
    return found._replace(kind=Kind(found.kind))


# ---------------------------------------------------------------- the library

FILE = "libshmcore.so.0"
HANDLE, POINTER, TEXT, SIZE = ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t
VISIT = {kind: ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(kind), ctypes.c_void_p)
         for kind in (BlockStructure, MergedStructure, SegmentInfoStructure)}

PROTOTYPES: dict[str, tuple[Any, ...]] = {  # result, arguments
    "error": (TEXT,),
    "open": (HANDLE, TEXT, ctypes.POINTER(TraitsStructure)),
    "close": (ctypes.c_int, HANDLE),
    "remove": (ctypes.c_int, TEXT, ctypes.POINTER(TraitsStructure)),
    "default_traits": (TraitsStructure,),
    "get_traits": (TraitsStructure, HANDLE),
    "segment_name": (TEXT, HANDLE),
    "address_stable": (ctypes.c_bool, HANDLE),
    "actual_size": (SIZE, HANDLE),
    "stat": (ctypes.c_int, HANDLE, ctypes.POINTER(StatisticsStructure)),
    "allocate": (POINTER, HANDLE, TEXT, SIZE),
    "attach": (POINTER, HANDLE, TEXT, ctypes.POINTER(SIZE)),
    "deallocate": (ctypes.c_int, HANDLE, POINTER),
    "find": (POINTER, HANDLE, TEXT, ctypes.POINTER(SIZE)),
    "block_of": (ctypes.c_int, POINTER, ctypes.POINTER(BlockStructure)),
    "for_each": (ctypes.c_int, HANDLE, VISIT[BlockStructure], ctypes.c_void_p),
    "shim_create": (HANDLE, HANDLE, TEXT),
    "shim_allocate": (POINTER, HANDLE, SIZE),
    "shim_destroy": (None, HANDLE),
    "private": (POINTER, HANDLE, TEXT, SIZE),
    "merge": (ctypes.c_ssize_t, HANDLE, POINTER),
    "ask_merge": (ctypes.c_int, HANDLE, ctypes.c_uint),
    "for_each_merged": (ctypes.c_int, HANDLE, VISIT[MergedStructure], ctypes.c_void_p),
    "for_each_segment": (ctypes.c_int, TEXT, VISIT[SegmentInfoStructure], ctypes.c_void_p),
    "collect": (ctypes.c_int, TEXT, ctypes.POINTER(CollectedStructure)),
}


def places() -> Iterator[str]:
    """Where the library may be: where the environment says; else beside the prefix that this module is installed
    in, and where the loader looks."""
    chosen = os.environ.get("SHMCORE_LIBRARY")
    if chosen:
        yield chosen
        return
    here = Path(__file__).resolve()
    prefixes = [Path(sys.prefix)]
    if here.parent.name in ("site-packages", "dist-packages"):
        prefixes.insert(0, here.parents[3])
    multiarch = sysconfig.get_config_var("MULTIARCH") or ""
    for prefix in prefixes:
        for directory in (Path("lib", multiarch), Path("lib64"), Path("lib")):
            if (prefix / directory / FILE).exists():
                yield str(prefix / directory / FILE)
    yield FILE


def load() -> ctypes.CDLL:
    failures = []
    for place in places():
        try:
            library = ctypes.CDLL(place, use_errno=True)
            for name, (result, *arguments) in PROTOTYPES.items():
                function = getattr(library, "shmcore_" + name)
                function.restype, function.argtypes = result, arguments
            return library
        except (OSError, AttributeError) as error:
            failures.append(str(error))
    raise ImportError(f"{FILE} cannot be used: {'; '.join(failures)}. Install shmcore, or name the file in"
                      " SHMCORE_LIBRARY")


library = load()


def call(name: str, *arguments: Any) -> Any:
    """The result of a function that says NULL or a negative number when it fails."""
    function = getattr(library, "shmcore_" + name)
    result = function(*arguments)
    if result is None or result < 0:
        code = ctypes.get_errno()
        raise (NotFound if code == errno.ENOENT else Error)(code, decode(library.shmcore_error()))
    return result


def encode(text: str | None) -> bytes | None:
    """A NUL would hide what comes after it."""
    if text is not None and "\0" in text:
        raise ValueError(f"a NUL in {text!r}")
    return None if text is None else text.encode("utf-8", "surrogateescape")


def decode(text: bytes) -> str:
    return text.decode("utf-8", "surrogateescape")


def count(bytes: int) -> int:
    """A size as the library takes it: ctypes would cut off what does not fit."""
    number = operator.index(bytes)
    if number < 0:
        raise ValueError("a size cannot be negative")
    return min(number, sys.maxsize)


def collect_all(name: str, what: Any, kind: Any, make: Any) -> list[Any]:
    """What a function that visits has found. Nothing is done during the visit but to copy."""
    found: list[Any] = []

    def visit(item: Any, _: object) -> int:
        found.append(make(item.contents))
        return 0

    call(name, what, VISIT[kind](visit), None)
    return found
