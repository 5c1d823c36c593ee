#!/usr/bin/python3
# SPDX-License-Identifier: MIT
#
# Faults that are put into one file of the core each, for tests that must notice them.
#
#     faults.py CORE_DIR DIRECTORY      writes DIRECTORY/fault-NAME.c for each
#     faults.py --list                  NAME, file of the core, scene that must notice it: a line each
#
# Each fault is one text for another. The text must be there exactly once: a fault that no longer fits the core is
# an error, not a test that passes.

import sys
from pathlib import Path

# name: (file, part of the names of the scenes to play, [(text, text instead)…])
FAULTS = {
    "ready-before-memory": ("blocks.c", "extent from the pool", [
        ("    space_zero_old(work->view, offset, bytes);\n"
         "    if (space_reserve(&segment->space, offset, bytes) == 0) {\n",
         "    {\n"),
        ("        os_wake(&record->status);\n",
         "        space_zero_old(work->view, offset, bytes);\n"
         "        space_reserve(&segment->space, offset, bytes);\n"
         "        os_wake(&record->status);\n"),
    ]),
    "ready-before-zero": ("blocks.c", "extent over old memory", [
        ("    space_zero_old(work->view, offset, bytes);\n", ""),
        ("        os_wake(&record->status);\n",
         "        space_zero_old(work->view, offset, bytes);\n"
         "        os_wake(&record->status);\n"),
    ]),
    "commit-before-zero": ("blocks.c", "slot with old bytes", [
        ("    memset(pointer, 0, rounded); /* a free slot's bytes need no log */\n"
         "    if (transaction_end(&work->guarded, &transaction))\n",
         "    const bool ended = transaction_end(&work->guarded, &transaction);\n"
         "    memset(pointer, 0, rounded);\n"
         "    if (ended)\n"),
    ]),
    "extent-before-record": ("blocks.c", "extent from the pool", [
        ("    const uint32_t first = heap_take(&heap, count, 1, QUANTUM_NAMED);\n",
         "    const uint32_t first = heap_take(&heap, count, 1, QUANTUM_NAMED);\n"
         "    transaction_end(&work->guarded, &transaction);\n"
         "    transaction = transaction_begin(&work->guarded);\n"),
    ]),
    "release-before-commit": ("regions.c", "extent, regions go", [
        ("    pool_give(view, &transaction, run);\n",
         "    pool_give(view, &transaction, run);\n"
         "    pool_leave(&pool);\n"),
        ("        pool_forget(view, run);\n"
         "    pool_leave(&pool);\n",
         "        pool_forget(view, run);\n"),
    ]),
    "forgotten-before-given": ("regions.c", "extent, regions go", [
        ("    pool_give(view, &transaction, run);\n",
         "    pool_forget(view, run);\n"
         "    pool_give(view, &transaction, run);\n"),
    ]),
    "shed-not-written-down": ("regions.c", "regions go", [
        ("    UNDO_SET(&transaction, &shard->loose.first, run.first);\n"
         "    UNDO_SET(&transaction, &shard->loose.count, run.count);\n", ""),
    ]),
    "refill-not-written-down": ("regions.c", "extent from the pool", [
        ("        take_run(segment, &pool, regions, alignment, OWNER_SHARD + number, low, &shard->loose);\n",
         "        take_run(segment, &pool, regions, alignment, OWNER_SHARD + number, low, NULL);\n"),
    ]),
    "shed-not-handed-over": ("regions.c", "regions go", [
        ("    note_regions(segment);\n"
         "    pool_hand(view, run, OWNER_RETURNING + segment->row);\n", ""),
    ]),
    "freed-before-released": ("release.c", "last: slab stays", [
        ("    const bool dropped = reference_drop(&heap, work->shard, work->number, record, row, all, &empty[2]);\n",
         "    const bool dropped = reference_drop(&heap, work->shard, work->number, record, row, all, &empty[2]);\n"
         "    transaction_end(&work->guarded, &transaction);\n"
         "    transaction = transaction_begin(&work->guarded);\n"),
    ]),
    "look-before-entering": ("release.c", "last: slab stays", [
        ("        lock_is_free(&segment->file.view.shards[number].lock); /* and then",
         "        true; /* and then"),
    ]),
    "entered-unsaid": ("enter.c", "last: slab stays", [
        ("        process_note_shard(&segment->file.view, segment->row, shard);\n", "        (void)shard;\n"),
    ]),
    "entered-unsaid-for-the-child": ("release.c", "fork: the parent", [
        ("        process_note_shard(view, to, number);\n", ""),
    ]),
    "slab-begun-later": ("work.c", "slab from the pool", [
        ("        piece->begin(&heap, work->shard, first, piece->slab_class);\n",
         "        transaction_end(&work->guarded, &transaction);\n"
         "        transaction = transaction_begin(&work->guarded);\n"
         "        piece->begin(&heap, work->shard, first, piece->slab_class);\n"),
    ]),
    "drop-without-held": ("reference.c", "slot counts down", [
        ("    UNDO_SET(heap->transaction, held, *held - dropped);\n", "    (void)held;\n"),
    ]),
    "slot-without-used": ("slab.c", "a slab has room", [
        ("    UNDO_SET(heap->transaction, &slab->used, slab->used + 1);\n",
         "    slab->used++;\n"),
    ]),
    "loose-not-returned": ("enter.c", "extent, regions go", [
        ("    if (loose->count != 0 && ", "    if (false && "),
    ]),
    "sequence-stays-odd": ("lock.c", "a slab has room", [
        ("sequence + (sequence & 1)", "sequence"),
    ]),
    "regions-noted-in-the-log": ("regions.c", "extent, regions go", [
        ("    note_regions(segment);\n    pool_hand(", "    UNDO_SET(&handing, &view->rows[segment->row].had_regions, 1);\n"
                                                     "    pool_hand("),
    ]),
    "regions-not-noted": ("regions.c", "export: extent", [
        ("    if (owner >= OWNER_PROCESS)\n        note_regions(segment);\n", ""),
    ]),
    "kinds-stay": ("reap.c", "export: extent", [
        ("        memset(&view->quanta[run.first * each], 0, (size_t)run.count * each * sizeof(struct quantum));\n",
         "        (void)each;\n"),
    ]),
    "row-freed-first": ("reap.c", "reap", [
        ("    const bool freed = !kept && !process_has_children(view, index) &&\n",
         "    struct transaction early = transaction_begin(&pool);\n"
         "    process_set_state(view, &early, index, ROW_FREE);\n"
         "    transaction_end(&pool, &early);\n"
         "    const bool freed = !kept && !process_has_children(view, index) &&\n"),
    ]),
    "ready-first": ("segment.c", "as creator", [
        ("    pool_make(&segment->view);\n"
         "    write_header(segment, request, base, interleaved);\n",
         "    write_header(segment, request, base, interleaved);\n"
         "    pool_make(&segment->view);\n"),
    ]),
    "removed-by-name": ("segment.c", "as creator", [
        ("        return header->ready == LAYOUT_READY ? STAGE_READY : STAGE_UNBORN;\n",
         "        return header->ready == LAYOUT_READY ? STAGE_READY : STAGE_FOREIGN;\n"),
    ]),
    # of merging: the scenes are those of merge-scenes.c
    "hold-after-looking": ("merge_copies.c", "join, the last holder lets go", [
        ("    if (before < HELD_SHARED)\n"
         "        set_held(index, row, chunk, HELD_SHARED);\n"
         "    const int descriptor = open_copy(index, chunk, number, zero);\n",
         "    const int descriptor = open_copy(index, chunk, number, zero);\n"
         "    if (before < HELD_SHARED)\n"
         "        set_held(index, row, chunk, HELD_SHARED);\n"),
    ]),
    "close-without-looking-again": ("merge_copies.c", "free as the last holder, the other joins", [
        ("    const bool last = !has_holder(index, chunk);\n", "    const bool last = true;\n"),
    ]),
    "close-before-the-last": ("merge_copies.c", "free, not the last holder", [
        ("    if ((ready & CHUNK_STATE_MASK) != CHUNK_READY || has_holder(index, chunk))\n",
         "    if ((ready & CHUNK_STATE_MASK) != CHUNK_READY)\n"),
        ("    const bool last = !has_holder(index, chunk);\n", "    const bool last = true;\n"),
    ]),
    "new-holder-forgotten": ("merge_copies.c", "the other joins, then it dies", [
        ("    const bool kept = (word & CHUNK_STATE_MASK) == CHUNK_CLOSING && has_holder(index, chunk);\n",
         "    const bool kept = false;\n"),
    ]),
    "ready-before-copy": ("merge.c", "publish, the other has something else", [
        ("    const int error = copy_out(work, descriptor, zero, &pages);\n",
         "    merge_index_publish(pass->index, pass->row, work->chunk, number, 0, zero);\n"
         "    const int error = copy_out(work, descriptor, zero, &pages);\n"),
    ]),
    "ready-before-zero-pages": ("merge_copies.c", "publish anew", [
        ("    memcpy(this->zero, zero, sizeof this->zero);\n"
         "    atomic_compare_exchange_strong(&this->state, &word, pack(index, CHUNK_READY, number, row));\n",
         "    atomic_compare_exchange_strong(&this->state, &word, pack(index, CHUNK_READY, number, row));\n"
         "    memcpy(this->zero, zero, sizeof this->zero);\n"),
    ]),
    "dead-publisher-awaited": ("merge_copies.c", "one who was publishing", [
        ("    return owner_is_dead(index, word) &&\n", "    return false &&\n"),
    ]),
    "copies-of-the-dead-stay": ("merge_copies.c", "publish", [
        ("    clear_up(index, row);\n", "    if (false)\n        clear_up(index, row);\n"),
    ]),
    "files-of-the-dead-stay": ("merge_copies.c", "free, the last holder", [
        ("        if (atomic_load(&index->file->sheets[sheet]) != 0)\n", "        if (false)\n"),
    ]),
    "the-dead-hold": ("merge_copies.c", "reap a holder", [
        ("                set_held(index, row, chunk, HELD_NOTHING);\n", "                continue;\n"),
    ]),
}


def faulty_text(name, core):
    file, _, changes = FAULTS[name]
    text = (core / file).read_text(encoding="utf-8")
    for old, new in changes:
        if text.count(old) != 1:
            sys.exit(f"{name}: this is {text.count(old)} times in {file}:\n{old}")
        text = text.replace(old, new)
    return f'#line 1 "{file} with the fault {name}"\n' + text


def main():
    if sys.argv[1:] == ["--list"]:
        for name, (file, scene, _) in FAULTS.items():
            print(name, file, scene, sep="|")
        return
    core, directory = map(Path, sys.argv[1:])
    for name in FAULTS:
        out, text = directory / f"fault-{name}.c", faulty_text(name, core)
        # A text that has stayed the same keeps its time, so that it is not compiled again.
        if not out.exists() or out.read_text(encoding="utf-8") != text:
            out.write_text(text, encoding="utf-8")


main()
