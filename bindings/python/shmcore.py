# SPDX-License-Identifier: MIT
"""Named blocks of memory that all processes of a node share: the Python face of libshmcore.

    import shmcore

    with shmcore.open("SHARED::node") as segment:
        field = segment.allocate("field", shape=(1000, 1000), dtype="f8")   # makes it, or joins it
        table = segment.array("table", "i4")                                # one that is there already
        for block in segment.blocks():
            print(block.name, block.bytes, block.kind.name, block.owner, block.refs)

What is held, and for how long: an object of Python that can see a block's bytes (a Block, an array, a memoryview,
a slice of one) holds one reference to the block together with the others that were made from it, and the segment is
open as long as one of its objects lives. So closing a segment, or letting go of a block, never takes memory from
under an array: it happens when the last one has gone. A forked child holds its own references, as in C.

Exported blocks of programs under the preload belong to their process and cannot be held, and a segment that is open
for reading only can hold nothing. Such blocks are read-only here; when their owner frees them, an array still has
memory behind it, but it may be another block's or zeros.

Arrays are NumPy's where NumPy is installed and memoryviews where it is not. No byte is copied. This module keeps no
locks and no tables of its own, and does not order what processes or threads write to the same block.
"""
from __future__ import annotations

import ctypes
import errno
import math
import operator
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import _shmcore
from _shmcore import (Collected, Description, Error, Kind, Merged, NotFound, Scope, SegmentInfo, Statistics, Traits)

__version__ = "0.1.0"
__all__ = ["Block", "Collected", "Description", "Error", "Kind", "Merged", "NotFound", "Scope", "Segment",
           "SegmentInfo", "Shim", "Statistics", "Traits", "block_of", "collect", "open", "remove", "segments"]

for _thing in (Collected, Description, Error, Kind, Merged, NotFound, Scope, SegmentInfo, Statistics, Traits):
    _thing.__module__ = __name__  # as users know them


# ---------------------------------------------------------------- what lives how long

class _Opening:
    """One opening of a segment; it is closed with the last object that uses it."""
    __slots__ = ("handle",)

    def __init__(self, handle: int) -> None:
        self.handle = handle

    def __del__(self, close: Any = _shmcore.library.shmcore_close) -> None:
        close(self.handle)


class _Reference:
    """One reference to a block, or one's private memory; it is given back with the last object that uses it."""
    __slots__ = ("opening", "pointer")

    def __init__(self, opening: _Opening, pointer: int) -> None:
        self.opening, self.pointer = opening, pointer

    def __del__(self, deallocate: Any = _shmcore.library.shmcore_deallocate) -> None:
        deallocate(self.opening.handle, self.pointer)  # a child without a part in the segment holds nothing


def _memory(keeper: _Opening | _Reference, pointer: int, size: int) -> memoryview:
    """The bytes at a pointer; every view and array of them has the array of ctypes at its bottom, and so `keeper`."""
    memory = (ctypes.c_ubyte * size).from_address(pointer)
    memory.keeper = keeper  # type: ignore[attr-defined]
    return memoryview(memory).cast("B")


# ---------------------------------------------------------------- arrays

# NumPy's names of the element types that a memoryview has, too.
_CODES = {"f8": "d", "f4": "f", "i8": "q", "i4": "i", "i2": "h", "i1": "b", "u8": "Q", "u4": "I", "u2": "H",
          "u1": "B", "float64": "d", "float32": "f", "int64": "q", "int32": "i", "int16": "h", "int8": "b",
          "uint64": "Q", "uint32": "I", "uint16": "H", "uint8": "B"}


def _numpy() -> Any:
    try:
        import numpy
    except ImportError:
        return None
    return numpy


def _item(dtype: Any) -> tuple[Any, int]:
    """The element type, as NumPy or a memoryview knows it, and its size."""
    numpy = _numpy()
    if numpy is not None:
        kind = numpy.dtype(dtype)
        if kind.hasobject:
            raise ValueError("Python objects cannot be shared")
        return kind, kind.itemsize
    code = _CODES.get(dtype, dtype)
    try:
        return code, memoryview(bytes(8)).cast(code).itemsize
    except (TypeError, ValueError):
        raise ValueError(f"without NumPy there is no element type {dtype!r}") from None


def _extents(shape: int | Iterable[int]) -> tuple[int, ...]:
    extents = tuple(map(operator.index, shape)) if isinstance(shape, Iterable) else (operator.index(shape),)
    if any(extent < 0 for extent in extents):
        raise ValueError("an extent cannot be negative")
    return extents


def _array(view: memoryview, dtype: Any, shape: int | Iterable[int] | None, order: str) -> Any:
    kind, size = _item(dtype)
    extents = (len(view) // size,) if shape is None else _extents(shape)
    needed = math.prod(extents) * size
    if needed > len(view):
        raise ValueError(f"an array of {needed} bytes in a block of {len(view)}")
    numpy = _numpy()
    if numpy is not None:
        return numpy.ndarray(extents, kind, view[:needed], order=order)
    if order != "C":
        raise ValueError("without NumPy arrays have the order of C")
    return view[:needed].cast(kind, extents) if needed > 0 else view[:0].cast(kind)


# ---------------------------------------------------------------- blocks and segments

class Block:
    """A block's memory. It is held (see the top of this file) while this object, or an array or view of it, lives."""
    name: str
    bytes: int
    address: int
    held: bool  # False: it can be read here, and its owner may free it

    def __init__(self, opening: _Opening, name: str, pointer: int, size: int, held: bool) -> None:
        """For this module: takes over the reference that the caller has just got, if it is `held`."""
        self.name, self.bytes, self.address, self.held = name, size, pointer, held
        view = _memory(_Reference(opening, pointer) if held else opening, pointer, size)
        self._bytes: memoryview | None = view if held else view.toreadonly()

    def view(self) -> memoryview:
        """Its bytes."""
        if self._bytes is None:
            raise ValueError(f"block '{self.name}' has been released")
        return self._bytes

    def array(self, dtype: Any = "u1", shape: int | Iterable[int] | None = None, order: str = "C") -> Any:
        """Its memory as an array; without `shape` of one dimension, and as many elements as there are. It may be
        shorter than the block, never longer."""
        return _array(self.view(), dtype, shape, order)

    def describe(self) -> Description:
        """What the library knows of it now. Private memory has no description."""
        self.view()
        return block_of(self.address)

    def release(self) -> None:
        """Lets go of the block: at once, or with the last array or view of it."""
        self._bytes = None

    def __len__(self) -> int:
        return self.bytes

    def __enter__(self) -> Block:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def __repr__(self) -> str:
        state = "released" if self._bytes is None else "held" if self.held else "seen"
        return f"<shmcore.Block '{self.name}', {self.bytes} bytes, {state}>"


class Shim:
    """A source of blocks named PREFIX_alloc_0, PREFIX_alloc_1, … in the order of calls."""
    def __init__(self, opening: _Opening, prefix: str) -> None:
        self._opening, self._shim = opening, None
        self._shim = _shmcore.call("shim_create", opening.handle, _shmcore.encode(prefix))

    def allocate(self, bytes: int) -> Block:
        """The next block."""
        pointer = _shmcore.call("shim_allocate", self._shim, _shmcore.count(bytes))
        return Block(self._opening, block_of(pointer).name, pointer, operator.index(bytes), True)

    def __del__(self, destroy: Any = _shmcore.library.shmcore_shim_destroy) -> None:
        destroy(self._shim)


class Segment(Mapping):  # type: ignore[type-arg]
    """An open segment: a mapping of names to blocks. Taking a block from it attaches to it, so it raises NotFound, a
    KeyError, for one that has gone since its name was listed; blocks() lists without attaching."""
    __hash__ = object.__hash__  # one segment is not another, whatever is in them
    __eq__ = object.__eq__

    def __init__(self, name: str, traits: _shmcore.TraitsStructure) -> None:
        self._opening: _Opening | None = None
        self._opening = _Opening(_shmcore.call("open", _shmcore.encode(name), ctypes.byref(traits)))

    def _use(self) -> _Opening:
        opening = self._opening  # the caller's own, so it stays open if another thread closes the segment
        if opening is None:
            raise ValueError("the segment has been closed")
        return opening

    # ---- blocks

    def allocate(self, name: str, bytes: int | None = None, *, shape: int | Iterable[int] | None = None,
                 dtype: Any = "f8", order: str = "C") -> Any:
        """The block `name`, made of zeros or joined: with `bytes` a Block, with `shape` an array of just that size.
        One that exists with another size is an Error with EEXIST."""
        if (bytes is None) == (shape is None):
            raise TypeError("allocate() takes either bytes or a shape")
        extents = None if shape is None else _extents(shape)
        size = _shmcore.count(bytes or 0 if extents is None else math.prod(extents) * _item(dtype)[1])
        opening = self._use()
        pointer = _shmcore.call("allocate", opening.handle, _shmcore.encode(name), size)
        block = Block(opening, name, pointer, size, True)
        return block if extents is None else block.array(dtype, extents, order)

    def attach(self, name: str) -> Block:
        """The block `name`, if there is one: held, or where that cannot be (see the top) read-only."""
        opening = self._use()
        key, size = _shmcore.encode(name), ctypes.c_size_t()
        read_only = self.traits.read_only
        while True:
            if not read_only:
                try:
                    pointer = _shmcore.call("attach", opening.handle, key, ctypes.byref(size))
                    return Block(opening, name, pointer, size.value, True)
                except NotFound:
                    pass  # unless it is exported
            found = self.find(name)
            if read_only or found.kind == Kind.EXPORT:
                return Block(opening, name, found.address, found.bytes, False)

    def array(self, name: str, dtype: Any = "u1", shape: int | Iterable[int] | None = None,
              order: str = "C") -> Any:
        """An array of a block that is there: attach(name).array(…)."""
        return self.attach(name).array(dtype, shape, order)

    def find(self, name: str) -> Description:
        """What there is of that name. Nothing is held."""
        pointer = _shmcore.call("find", self._use().handle, _shmcore.encode(name), None)
        try:
            return block_of(pointer)
        except Error as error:  # freed in this moment
            raise NotFound(errno.ENOENT, error.strerror) from None

    def deallocate(self, block: Block) -> None:
        """The same as block.release()."""
        block.release()

    def blocks(self) -> Iterator[Description]:
        """All live blocks, in no order. Those that come or go meanwhile may be seen or missed."""
        yield from _shmcore.collect_all("for_each", self._use().handle, _shmcore.BlockStructure, _shmcore.description)

    def shim(self, prefix: str) -> Shim:
        """A source of blocks with automatic names."""
        return Shim(self._use(), prefix)

    def __getitem__(self, name: str) -> Block:
        return self.attach(name)

    def __contains__(self, name: object) -> bool:
        try:
            return isinstance(name, str) and bool(self.find(name))
        except Error as error:
            if error.errno in (errno.ENOENT, errno.EINVAL):
                return False
            raise

    def __iter__(self) -> Iterator[str]:
        return (block.name for block in self.blocks())

    def __len__(self) -> int:
        return self.statistics().blocks

    # ---- merged memory

    def private(self, name: str, bytes: int) -> Block:
        """Memory of this process alone, at an address that is the same in every process that asks for it."""
        opening = self._use()
        pointer = _shmcore.call("private", opening.handle, _shmcore.encode(name), _shmcore.count(bytes))
        return Block(opening, name, pointer, operator.index(bytes), True)

    def merge(self, block: Block | None = None) -> int:
        """Makes one copy of what is equal in several processes now, of all private memory or one block. Returns how
        many bytes of it are shared."""
        if block is not None:
            block.view()  # else it has been released, and the address may be another's
        return _shmcore.call("merge", self._use().handle, None if block is None else block.address)

    def ask_merge(self, patience: float) -> int:
        """Asks all processes under `merge` rules to merge, and waits for them, at most so many seconds. Returns how
        many have."""
        return _shmcore.call("ask_merge", self._use().handle, round(patience * 1000))

    def merged(self) -> Iterator[Merged]:
        """All private memory that can be merged."""
        yield from _shmcore.collect_all("for_each_merged", self._use().handle, _shmcore.MergedStructure,
                                lambda merged: Merged(*_shmcore.plain(merged)))

    # ---- facts

    @property
    def name(self) -> str:
        return _shmcore.decode(_shmcore.library.shmcore_segment_name(self._use().handle))

    @property
    def traits(self) -> Traits:
        traits = _shmcore.library.shmcore_get_traits(self._use().handle)
        return Traits(traits.size, Scope(traits.scope), traits.read_only, traits.persist, _shmcore.decode(traits.dir),
                      _shmcore.decode(traits.job), traits.interleave)

    @property
    def handle(self) -> int:
        """What C functions, as those of libshmcore-mpi, know the segment by, while it is open."""
        return self._use().handle

    @property
    def address_stable(self) -> bool:
        """Whether pointers that are stored inside blocks are valid here, too."""
        return _shmcore.library.shmcore_address_stable(self._use().handle)

    @property
    def actual_size(self) -> int:
        """Bytes of live blocks, with rounding, and of the segment's own tables."""
        return _shmcore.library.shmcore_actual_size(self._use().handle)

    def statistics(self) -> Statistics:
        statistics = _shmcore.StatisticsStructure()
        _shmcore.call("stat", self._use().handle, ctypes.byref(statistics))
        return Statistics(*_shmcore.plain(statistics))

    # ---- its end

    @property
    def closed(self) -> bool:
        return self._opening is None

    def close(self) -> None:
        """Closes the segment: at once, or with the last of its blocks and arrays."""
        self._opening = None

    def __enter__(self) -> Segment:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return "<shmcore.Segment, closed>" if self.closed else f"<shmcore.Segment '{self.name}'>"


# ---------------------------------------------------------------- functions

def _make_traits(size: int = 0, scope: Scope = Scope.NODE, read_only: bool = False, persist: bool = False,
                 dir: str | None = None, job: str | None = None, interleave: bool = False) -> _shmcore.TraitsStructure:
    traits = _shmcore.library.shmcore_default_traits()
    traits.interleave = interleave
    traits.size, traits.scope, traits.read_only, traits.persist = _shmcore.count(size), scope, read_only, persist
    traits.dir, traits.job = _shmcore.encode(dir), _shmcore.encode(job)
    return traits


def open(name: str = "SHARED::node", *, size: int = 0, scope: Scope = Scope.NODE, read_only: bool = False,
         persist: bool = False, dir: str | None = None, job: str | None = None, interleave: bool = False) -> Segment:
    """Opens a segment, and makes it where there is none, but not with `read_only`. `size` 0: that of the one there,
    or half of the file system. `dir` is on a tmpfs, /dev/shm if not given; `job` keeps jobs apart;
    with `interleave` whoever makes it spreads its pages over the NUMA nodes."""
    return Segment(name, _make_traits(size, scope, read_only, persist, dir, job, interleave))


def remove(name: str, *, dir: str | None = None, job: str | None = None) -> None:
    """Removes a segment: the name is free at once, and processes that have it keep it."""
    _shmcore.call("remove", _shmcore.encode(name), ctypes.byref(_make_traits(dir=dir, job=job)))


def block_of(thing: Any) -> Description:
    """The block that an address points into, or the start of an array or a buffer, in any segment that is open."""
    if isinstance(thing, Block):
        thing = thing.address
    elif hasattr(thing, "__array_interface__"):
        thing = thing.__array_interface__["data"][0]
    elif not isinstance(thing, int):
        raise TypeError("block_of() takes an address, a Block or an array of NumPy's")
    block = _shmcore.BlockStructure()
    _shmcore.call("block_of", thing, ctypes.byref(block))
    return _shmcore.description(block)


def segments(dir: str | None = None) -> list[SegmentInfo]:
    """All segments of this user; as root, of all users."""
    return _shmcore.collect_all("for_each_segment", _shmcore.encode(dir), _shmcore.SegmentInfoStructure, lambda info: SegmentInfo(*_shmcore.plain(info)))


def collect(dir: str | None = None) -> Collected:
    """Removes what dead processes left."""
    collected = _shmcore.CollectedStructure()
    _shmcore.call("collect", _shmcore.encode(dir), ctypes.byref(collected))
    return Collected(*_shmcore.plain(collected))


# ---------------------------------------------------------------- python3 -m shmcore

def _table(headings: Iterable[str], rows: list[tuple[object, ...]]) -> None:
    """The first column to the left, the others to the right."""
    texts = [tuple(headings)] + [tuple(map(str, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts)]
    for first, *rest in texts:
        print(first.ljust(widths[0]), *(text.rjust(width) for text, width in zip(rest, widths[1:])), sep="  ")


def _main() -> int:
    import argparse
    parser = argparse.ArgumentParser(prog="python3 -m shmcore", description="Looks at segments of shared memory.")
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("ls", help="the segments, or the blocks of one")
    listing.add_argument("segment", nargs="?")
    listing.add_argument("--job", help="of which job; else of the environment's")
    listing.add_argument("--dir", help="where segments lie, else /dev/shm")
    chosen = parser.parse_args()
    try:
        if chosen.segment is None:
            _table(("NAME", "JOB", "SIZE", "USED", "PROCESSES"),
                   [(info.name, info.job, info.capacity, info.reserved, info.processes)
                    for info in sorted(segments(chosen.dir)) if chosen.job in (None, info.job)])
        else:
            with open(chosen.segment, read_only=True, job=chosen.job, dir=chosen.dir) as segment:
                _table(("NAME", "BYTES", "KIND", "OWNER", "REFS"),
                       [(block.name, block.bytes, block.kind.name.lower(), block.owner, block.refs)
                        for block in sorted(segment.blocks(), key=lambda block: block.name)])
    except Error as error:
        print(f"shmcore: {error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main())
