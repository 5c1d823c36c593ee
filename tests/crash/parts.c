/* SPDX-License-Identifier: MIT */
#include "parts.h"

#include <stdio.h>
#include <string.h>

shmcore_segment *stage_segment;
struct expectation *stage_expectation;

void *kept[64];
struct export_source source;

static char place[256];
static uint64_t place_size;

void part_failed(const char *file, int line, const char *condition)
{
    dprintf(STDERR_FILENO, "%s:%d: not so: %s (%s)\n", file, line, condition, shmcore_error());
}

const struct scene *scene_at(unsigned index)
{
    if (index < scenes_of_blocks_count)
        return &scenes_of_blocks[index];
    index -= scenes_of_blocks_count;
    if (index < scenes_of_names_count)
        return &scenes_of_names[index];
    index -= scenes_of_names_count;
    return index < scenes_of_processes_count ? &scenes_of_processes[index] : NULL;
}

void scene_place(const char *directory, uint64_t size)
{
    snprintf(place, sizeof place, "%s", directory);
    place_size = size;
}

void scene_open(void)
{
    shmcore_traits traits = shmcore_default_traits();
    traits.dir = place;
    traits.job = "crash";
    traits.size = place_size;
    stage_segment = shmcore_open(SCENE_SEGMENT, &traits);
    MUST(stage_segment != NULL);
}

void *make(const char *name, size_t bytes)
{
    void *pointer = join(name, bytes);
    pattern_fill(name, pointer, bytes);
    return pointer;
}

void *join(const char *name, size_t bytes)
{
    void *pointer = shmcore_allocate(stage_segment, name, bytes);
    MUST(pointer != NULL);
    return pointer;
}

void drop(void *pointer)
{
    MUST(shmcore_deallocate(stage_segment, pointer) == 0);
}

void hold(const char *name, size_t bytes)
{
    struct expectation *expected = stage_expectation;
    size_t found;
    if (shmcore_find(stage_segment, name, &found) != NULL)
        join(name, bytes);
    else
        make(name, bytes);
    for (uint32_t i = 0; i < expected->held_count; i++)
        if (strcmp(expected->held[i].name, name) == 0) {
            expected->held[i].times++;
            return;
        }
    MUST(expected->held_count < HELD_MOST);
    expected->held[expected->held_count++] = (struct held){name, bytes, 1};
}

void label_them(void)
{
    static const char text[] = "scene#\x01";
    MUST(export_label(stage_segment, text, sizeof text - 1, 7, &source.label));
}

void *export_one(uint64_t sequence, size_t bytes)
{
    unsigned char *pointer = export_allocate(stage_segment, &source, sequence, bytes, 16, 0);
    MUST(pointer != NULL);
    memset(pointer, (int)sequence, bytes);
    return pointer;
}

/* ---------------------------------------------------------------- parts */

void hold_nothing(void)
{
}

void hold_small(void)
{
    hold("f/small", 100);
}

void hold_several(void)
{
    static const char *const names[] = {"f/one",  "f/two", "f/three", "f/four",
                                        "f/five", "f/six", "f/seven", "f/eight"};
    for (size_t i = 0; i < COUNT_OF(names); i++)
        hold(names[i], 100 + 3000 * i);
}

void hold_exports(void)
{
    hold_small();
    label_them();
    for (uint64_t i = 0; i < 20; i++)
        export_one(i, 1000);
    export_one(20, 50000);
}

void have_own(void)
{
    kept[0] = make("f/own", 100);
}

void have_joined(void)
{
    kept[0] = join("f/small", 100);
}

void have_one_export(void)
{
    label_them();
    kept[0] = export_one(0, 4000);
}

void label_only(void)
{
    label_them();
}
