#!/usr/bin/python3
# SPDX-License-Identifier: MIT
#
# What must hold of the module shmcore, one case at a time: python-binding.sh runs them.
#
#     python-facts.py [--without-numpy] CASE
#
# Exit status 0 when all assertions of the case hold. The segment is SHARED::node of the job in SHM_JOB.

import errno
import gc
import os
import subprocess
import sys
import threading

WITHOUT_NUMPY = sys.argv[1] == "--without-numpy"
if WITHOUT_NUMPY:
    sys.modules["numpy"] = None  # an import of it fails from now on
    numpy = None
else:
    import numpy

import shmcore

SIZE = 64 << 20


def fails(kind, code, call, *arguments, **named):
    """The sentence of the error that the call must end with."""
    try:
        call(*arguments, **named)
    except kind as error:
        assert code is None or error.errno == code, error
        return str(error)
    raise AssertionError(f"{call} with {arguments} did not fail")


def refs(name):
    """References to a block of all processes; 0 when there is none."""
    with shmcore.open(read_only=True) as segment:
        return segment.find(name).refs if name in segment else 0


def mapped():
    with open("/proc/self/maps", encoding="ascii", errors="replace") as maps:
        return any("SHARED::node" in line for line in maps)


def other(code, *arguments):
    """What another process prints that runs `code` after this module's import."""
    return subprocess.run([sys.executable, "-c", "import shmcore, sys\n" + code, *arguments], check=True, text=True,
                          stdout=subprocess.PIPE).stdout.strip()


# ---------------------------------------------------------------- blocks and arrays

def case_mapping():
    with shmcore.open(size=SIZE) as segment:
        assert len(segment) == 0 and list(segment) == [] and "one" not in segment
        one, two = segment.allocate("one", 100), segment.allocate("two é", 40000)
        assert sorted(segment) == ["one", "two é"] and len(segment) == 2
        assert "one" in segment and "three" not in segment and 1 not in segment and "" not in segment
        assert segment["one"].address == one.address and segment["two é"].bytes == 40000
        assert {name: block.bytes for name, block in segment.items()} == {"one": 100, "two é": 40000}
        assert segment.get("three") is None
        found = {block.name: block for block in segment.blocks()}["two é"]
        assert found == segment.find("two é") == two.describe() == shmcore.block_of(two)
        assert found == ("SHARED::node", "two é", two.address, 40000, 1, os.getpid(), shmcore.Kind.NAMED)
        assert shmcore.block_of(two.address + 39999) == found
        assert segment == segment and segment != shmcore.open() and hash(segment) == hash(segment)
        statistics = segment.statistics()
        assert statistics.blocks == 2 and statistics.capacity == SIZE and statistics.used == segment.actual_size
        assert statistics.processes == 1 and statistics.used > 40100
        assert segment.name == "SHARED::node" and segment.address_stable is True
        assert segment.traits == (SIZE, shmcore.Scope.NODE, False, False, "/dev/shm", os.environ["SHM_JOB"],
                                  False)
        segment.deallocate(one)
        assert list(segment) == ["two é"]


def case_arrays():
    segment = shmcore.open(size=SIZE)
    field = segment.allocate("field", shape=(3, 4), dtype="f8")
    again = segment.array("field", "f8", (3, 4))
    assert field.shape == again.shape == (3, 4) and field.nbytes == 96
    field[1, 2], again[2, 3] = 1.5, -2
    assert again[1, 2] == 1.5 and field[2, 3] == -2 and again.tolist() == field.tolist()
    assert sum(map(sum, field.tolist())) == -0.5
    flat = segment.array("field", "f8")
    assert flat.shape == (12,) and flat[6] == 1.5
    assert segment.array("field").shape == (96,)
    assert segment.array("field", "f8", 3).shape == (3,)  # shorter than the block
    fails(ValueError, None, segment.array, "field", "f8", 13)
    fails(ValueError, None, segment.array, "field", "f8", (-1, 2))
    fails(ValueError, None, segment.array, "field", "f8", (2**33, 2**33))
    fails(ValueError if WITHOUT_NUMPY else TypeError, None, segment.array, "field", "no such type")
    for code, size in ("f4", 4), ("i8", 8), ("int32", 4), ("uint8", 1), ("d", 8):
        array = segment.allocate("of " + code, shape=5, dtype=code)
        assert array.itemsize == size and array.tolist() == [0] * 5
        array[4] = 7
        assert segment.array("of " + code, code)[4] == 7
    assert segment.allocate("empty", shape=(0,), dtype="i4").nbytes == 0
    assert segment.allocate("no bytes", 0).view().nbytes == 0
    view = segment["field"].view()
    assert view.format == "B" and view.nbytes == 96 and not view.readonly and bytes(view[48:56]) == b"\0\0\0\0\0\0\xf8?"
    fails(TypeError, None, segment.allocate, "neither")
    fails(TypeError, None, segment.allocate, "both", 1, shape=1)


def case_numpy():
    segment = shmcore.open(size=SIZE)
    columns = segment.allocate("columns", shape=(2, 3), dtype="i4", order="F")
    columns[:] = [[1, 2, 3], [4, 5, 6]]
    assert columns.flags.f_contiguous and segment.array("columns", "i4").tolist() == [1, 4, 2, 5, 3, 6]
    records = segment.allocate("records", shape=4, dtype=[("key", "i8"), ("value", "f4")])
    records["value"][2] = 0.5
    assert records.nbytes == 48 and segment.array("records", records.dtype)[2]["value"] == 0.5
    assert isinstance(columns, numpy.ndarray) and shmcore.block_of(columns).name == "columns"
    fails(ValueError, None, segment.allocate, "objects", shape=1, dtype=object)
    assert "objects" not in segment
    fails(TypeError, None, shmcore.block_of, "columns")
    fails(shmcore.Error, errno.EINVAL, shmcore.block_of, numpy.zeros(3))


def case_bare():
    """Without NumPy."""
    segment = shmcore.open(size=SIZE)
    view = segment.allocate("view", shape=(2, 3), dtype="i4")
    assert isinstance(view, memoryview) and view.format == "i" and view.c_contiguous
    fails(ValueError, None, segment.array, "view", "i4", (2, 3), "F")
    fails(ValueError, None, segment.array, "view", None)


# ---------------------------------------------------------------- how long

def case_lifetime():
    segment = shmcore.open(size=SIZE)
    array = segment.allocate("field", shape=(100, 100), dtype="f8")
    assert refs("field") == 1
    block = segment["field"]
    assert refs("field") == 2 and block.held
    second = block.array("f8", (100, 100))
    block.release()
    assert refs("field") == 2
    fails(ValueError, None, block.view)
    fails(ValueError, None, segment.merge, block)
    part = second[50:] if numpy is None else second[50:, ::2].reshape(-1)[10:]
    del second
    assert refs("field") == 2  # a part of it lives
    del part
    assert refs("field") == 1
    view = memoryview(array)
    del array
    segment.close()
    segment.close()
    assert segment.closed and refs("field") == 1 and mapped()
    fails(ValueError, None, segment.allocate, "field", 1)
    view.cast("B")[5] = 9  # it is memory still
    with shmcore.open() as again:
        assert again["field"].view()[5] == 9
    del view
    fails(shmcore.NotFound, errno.ENOENT, shmcore.open, read_only=True)
    assert not mapped()
    with shmcore.open(size=SIZE) as segment, segment.allocate("with", 10) as block:
        assert refs("with") == 1
    fails(ValueError, None, block.view)
    assert not mapped()


def case_cycle():
    segment = shmcore.open(size=SIZE)

    class Holder:
        pass

    holder = Holder()
    holder.myself, holder.array = holder, segment.allocate("cycle", shape=10)
    assert refs("cycle") == 1
    del holder
    gc.collect()
    assert refs("cycle") == 0


def case_end():
    """Of a process that lets go of nothing."""
    said = other("segment = shmcore.open(size=64 << 20)\n"
                 "array = segment.allocate('left', shape=10)\n"
                 "segment.self = array, segment\n"
                 "print('made', len(segment))")
    assert said == "made 1"
    fails(shmcore.NotFound, errno.ENOENT, shmcore.open, read_only=True)


# ---------------------------------------------------------------- failures

def case_errors():
    segment = shmcore.open(size=SIZE)
    segment.allocate("size", 10)
    kept = segment.allocate("kept", 10)
    assert "10 bytes and 11" in fails(shmcore.Error, errno.EEXIST, segment.allocate, "kept", 11)
    assert "'none'" in fails(KeyError, errno.ENOENT, segment.__getitem__, "none")
    fails(shmcore.NotFound, errno.ENOENT, segment.find, "none")
    fails(shmcore.NotFound, errno.ENOENT, segment.__getitem__, "size")  # nobody held it
    fails(OSError, errno.EINVAL, segment.allocate, "", 1)
    fails(OSError, errno.EINVAL, segment.allocate, "a\nb", 1)
    fails(OSError, errno.EINVAL, segment.allocate, "\udcff", 1)
    fails(OSError, errno.ENAMETOOLONG, segment.allocate, "x" * 256, 1)
    fails(ValueError, None, segment.allocate, "kept\0more", 10)
    for bytes in SIZE, 2**63 - 1, 2**63, 2**64 - 1, 2**64 + 10:  # the last one's lower half is what is there
        fails(OSError, errno.ENOMEM, segment.allocate, "more", bytes)
    fails(ValueError, None, segment.allocate, "less", -1)
    fails(TypeError, None, segment.allocate, "half", 0.5)
    fails(shmcore.Error, errno.EINVAL, shmcore.block_of, 4096)
    fails(shmcore.Error, errno.EINVAL, shmcore.open, "node")
    fails(shmcore.Error, errno.EINVAL, shmcore.open, size=2 * SIZE)
    fails(shmcore.NotFound, errno.ENOENT, shmcore.open, "SHARED::none", read_only=True)
    fails(shmcore.NotFound, errno.ENOENT, shmcore.remove, "SHARED::none")
    fails(shmcore.Error, errno.ENOTSUP, shmcore.open, dir="/proc")
    assert [block.name for block in segment.blocks()] == ["kept"] and kept.describe().refs == 1
    assert str(shmcore.Error) == "<class 'shmcore.Error'>" and issubclass(shmcore.NotFound, KeyError)


def case_read_only():
    segment = shmcore.open(size=SIZE)
    field = segment.allocate("field", shape=10, dtype="i4")
    field[3] = 42
    reader = shmcore.open(read_only=True)
    seen = reader["field"].array("i4")
    assert seen[3] == 42 and not reader["field"].held and reader.traits.read_only
    fails(TypeError if numpy is None else ValueError, None, seen.__setitem__, 0, 1)
    fails(shmcore.Error, errno.EROFS, reader.allocate, "field", 40)
    fails(shmcore.Error, errno.EROFS, reader.shim, "x")
    fails(shmcore.Error, errno.EROFS, reader.private, "x", 10)
    assert segment.find("field").refs == 1
    field[3] = 43
    assert seen[3] == 43
    reader.close()
    del field
    assert "field" not in segment
    assert len(seen) == 10 and sum(seen) >= 0  # the mapping is still there
    fails(shmcore.NotFound, errno.ENOENT, shmcore.open().attach, "field")


# ---------------------------------------------------------------- others

def case_second_process():
    segment = shmcore.open(size=SIZE)
    field = segment.allocate("field", shape=1000, dtype="i8")
    field[7] = 70
    said = other("segment = shmcore.open()\n"
                 "view = segment['field'].view().cast('q')\n"
                 "view[8] = view[7] + 1\n"
                 "print(list(segment), segment.find('field').refs, segment.find('field').owner, view.nbytes)")
    assert said == f"['field'] 2 {os.getpid()} 8000"
    assert field[8] == 71 and refs("field") == 1


def case_fork():
    segment = shmcore.open(size=SIZE)
    field = segment.allocate("field", shape=1000, dtype="i8")
    from_child, to_parent = os.pipe()
    from_parent, to_child = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(to_child)
            field[1] = 11
            os.write(to_parent, b"h")
            assert os.read(from_parent, 1) == b"x"
            assert field[2] == 22
            del field  # its own reference
            own = segment.allocate("child's", shape=10)
            own[0] = segment["field"].describe().refs
            assert own[0] == 2
            del own
            segment.close()
            status = 0
        finally:
            os._exit(status)
    assert os.read(from_child, 1) == b"h"
    assert field[1] == 11 and segment.find("field").refs == 2
    field[2] = 22
    os.write(to_child, b"x")
    assert os.waitpid(pid, 0)[1] == 0
    assert segment.find("field").refs == 1 and list(segment) == ["field"]
    del field
    assert len(segment) == 0


def case_threads():
    segment = shmcore.open(size=SIZE)
    failures = []
    start = threading.Barrier(8)

    def work(number):
        try:
            start.wait()
            for turn in range(300):
                mine = segment.allocate(f"of {number}", shape=100 + turn, dtype="i4")
                common = segment.allocate(f"common {turn % 7}", shape=5000, dtype="i8")
                mine[turn % 100] = number
                common[number] += 1
                assert mine[turn % 100] == number and f"of {number}" in segment
                if turn % 50 == 0:
                    assert any(block.name == f"of {number}" for block in segment.blocks())
                fails(shmcore.NotFound, errno.ENOENT, segment.find, f"none {number}")
                del mine
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures
    assert len(segment) == 0, list(segment)


def case_close_while_used():
    """Another thread closes the segment: who is inside goes on, who comes later is told."""
    for _ in range(100):
        segment = shmcore.open(size=SIZE)
        ready, told = threading.Event(), []

        def use():
            try:
                while True:
                    segment.allocate("block", shape=10)[0] = 1
                    ready.set()
            except ValueError as error:
                told.append(str(error))

        thread = threading.Thread(target=use)
        thread.start()
        ready.wait()
        segment.close()
        thread.join()
        assert told == ["the segment has been closed"]
    assert not mapped()


# ---------------------------------------------------------------- the rest of the API

def case_shim():
    segment = shmcore.open(size=SIZE)
    shim = segment.shim("rank")
    blocks = [shim.allocate(100) for _ in range(3)]
    assert [block.name for block in blocks] == ["rank_alloc_0", "rank_alloc_1", "rank_alloc_2"]
    assert segment.shim("rank").allocate(100).address == blocks[0].address
    array = blocks[0].array()
    del blocks
    segment.close()
    fourth = shim.allocate(8)  # the segment is open as long as its shim
    assert fourth.name == "rank_alloc_3" and refs("rank_alloc_0") == 1
    del array, shim
    assert refs("rank_alloc_0") == 0 and refs("rank_alloc_3") == 1
    fails(shmcore.Error, errno.EINVAL, shmcore.open().shim, "")


MERGER = """
segment = shmcore.open()
table = segment.private("table", 4 << 20)
table.view()[:] = bytes(range(256)) * (1 << 14)
shared = segment.merge()
print(shared, table.address, flush=True)
sys.stdin.read()
"""


def case_merge():
    segment = shmcore.open(size=SIZE)
    table = segment.private("table", 4 << 20)
    words = table.array("i8")
    assert words.tolist().count(0) == len(words) and table.held
    fails(shmcore.Error, errno.EINVAL, segment.private, "", 10)
    table.view()[:] = bytes(range(256)) * (1 << 14)
    segment.merge(table)
    with subprocess.Popen([sys.executable, "-c", "import shmcore, sys" + MERGER], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as second:
        shared, address = map(int, second.stdout.readline().split())
        assert address == table.address and shared == 4 << 20, (shared, address, table.address)
        merged = list(segment.merged())
        assert [(m.segment, m.name, m.bytes, m.ranks) for m in merged] == [("SHARED::node", "table", 4 << 20, 2)]
        assert merged[0].merged == 8 << 20 and merged[0].saved == 4 << 20, merged
        words[0] = 5
        assert segment.ask_merge(0.1) == 0  # nobody is under a rule
        second.stdin.close()
        assert second.wait() == 0
    table.release()
    del words
    assert list(segment.merged()) == []


def case_tools():
    with shmcore.open(size=SIZE, persist=True) as segment:
        segment.allocate("field", 100)
        mine = [info for info in shmcore.segments() if info.job == os.environ["SHM_JOB"]]
        assert [(info.name, info.capacity, info.processes, info.persist, info.usable) for info in mine] == [
            ("SHARED::node", SIZE, 1, True, True)]
        assert os.path.exists(mine[0].path) and mine[0].uid == os.getuid() and mine[0].dir == "/dev/shm"
    assert os.path.exists(mine[0].path)
    shmcore.remove("SHARED::node")
    assert not os.path.exists(mine[0].path)
    directory = os.environ["FACTS_DIRECTORY"]
    with shmcore.open("SHARED::dead", dir=directory, job="facts") as segment:
        pid = os.fork()
        if pid == 0:
            os.kill(os.getpid(), 9)
        os.waitpid(pid, 0)
        assert segment.traits.dir == directory and segment.traits.job == "facts"
        assert shmcore.collect(directory) == (0, 1, 0)
    assert other("import os\n"
                 "segment = shmcore.open('SHARED::dead', dir=sys.argv[1], job='facts')\n"
                 "sys.stdout.write('open'); sys.stdout.flush(); os._exit(0)", directory) == "open"
    collected = shmcore.collect(directory)
    assert collected.segments == 1 and collected.bytes > 0 and shmcore.segments(directory) == []
    fails(shmcore.NotFound, errno.ENOENT, shmcore.segments, directory + "/none")


if __name__ == "__main__":
    globals()["case_" + sys.argv[-1]]()
