/* SPDX-License-Identifier: MIT */
#include "stacks.h"

#include "tool.h"

#include <stdlib.h>
#include <string.h>

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

/* ---------------------------------------------------------------- files */

static bool is_same_image(const struct image *image, const struct record_module *module)
{
    if (strcmp(base_name(image->path), base_name(module->path)) != 0)
        return false; /* rules tell them apart */
    if (image->build_id_bytes > 0 || module->build_id_bytes > 0)
        return image->build_id_bytes == module->build_id_bytes &&
               memcmp(image->build_id, module->build_id, image->build_id_bytes) == 0;
    return strcmp(image->path, module->path) == 0;
}

static struct image *image_of(struct stacks *stacks, const struct record_module *module)
{
    for (size_t i = 0; i < stacks->image_count; i++)
        if (is_same_image(stacks->images[i], module))
            return stacks->images[i];
    struct image *image = required(malloc(sizeof *image));
    *image = (struct image){.path = module->path,
                            .base = module->path[0] != '\0' ? base_name(module->path) : "?",
                            .build_id = module->build_id,
                            .build_id_bytes = module->build_id_bytes};
    stacks->images = room_for_one(stacks->images, stacks->image_count, sizeof(struct image *));
    return stacks->images[stacks->image_count++] = image;
}

/* ---------------------------------------------------------------- spots */

static struct spot **place_of(const struct stacks *stacks, const struct image *image, uint64_t offset)
{
    uint64_t hash = ((uintptr_t)image ^ offset) * UINT64_C(0x9e3779b97f4a7c15);
    for (size_t at = (size_t)(hash >> 20);; at++) {
        struct spot **place = &stacks->spot_table[at & stacks->spot_mask];
        if (*place == NULL || ((*place)->image == image && (*place)->offset == offset))
            return place;
    }
}

static void make_room(struct stacks *stacks)
{
    if (stacks->spot_table != NULL && stacks->spot_count * 2 <= stacks->spot_mask)
        return;
    free(stacks->spot_table);
    stacks->spot_mask = stacks->spot_mask * 2 + (stacks->spot_mask == 0 ? 1023 : 1);
    stacks->spot_table = required(calloc(stacks->spot_mask + 1, sizeof(struct spot *)));
    for (size_t i = 0; i < stacks->spot_count; i++)
        *place_of(stacks, stacks->spots[i]->image, stacks->spots[i]->offset) = stacks->spots[i];
}

struct spot *stacks_add_spot(struct stacks *stacks, const struct image *image, uint64_t offset)
{
    make_room(stacks);
    struct spot **place = place_of(stacks, image, offset);
    if (*place != NULL)
        return *place;
    struct spot *spot = required(calloc(1, sizeof *spot));
    spot->number = stacks->spot_count;
    spot->image = image;
    spot->offset = offset;
    stacks->spots = room_for_one(stacks->spots, stacks->spot_count, sizeof(struct spot *));
    stacks->spots[stacks->spot_count++] = spot;
    return *place = spot;
}

/* ---------------------------------------------------------------- programs and processes */

/* What stands between a user and a program, and allocates for itself. */
static bool is_launcher(const char *name)
{
    static const char *const launchers[] = {"mpirun",
                                            "mpiexec",
                                            "mpiexec.hydra",
                                            "hydra_pmi_proxy",
                                            "hydra_bstrap_proxy",
                                            "orterun",
                                            "orted",
                                            "prterun",
                                            "prted",
                                            "prte",
                                            "srun",
                                            "slurmstepd",
                                            "aprun",
                                            "jsrun",
                                            "sh",
                                            "bash",
                                            "dash",
                                            "zsh",
                                            "ksh",
                                            "csh",
                                            "tcsh",
                                            "busybox",
                                            "ssh",
                                            "sshd",
                                            "env",
                                            "time",
                                            "timeout",
                                            "nice",
                                            "numactl",
                                            "taskset",
                                            "setarch",
                                            "xargs",
                                            "make",
                                            "shmpreload",
                                            NULL};
    for (size_t i = 0; launchers[i] != NULL; i++)
        if (strcmp(name, launchers[i]) == 0)
            return true;
    return false;
}

static struct image *add_image(struct stacks *stacks, const char *path)
{
    struct image *image = required(calloc(1, sizeof *image));
    image->path = path;
    image->base = base_name(path);
    stacks->images = room_for_one(stacks->images, stacks->image_count, sizeof(struct image *));
    return stacks->images[stacks->image_count++] = image;
}

const struct image *stacks_add_image(struct stacks *stacks, const char *path)
{
    struct image *image = add_image(stacks, path);
    image->any_build = true;
    return image;
}

/* The module that is the program itself, or one made of its path. */
static const struct image *program_image(struct stacks *stacks, const struct record *record)
{
    for (size_t i = 0; i < record->module_count; i++)
        if (strcmp(record->modules[i].path, record->header.program) == 0)
            return image_of(stacks, &record->modules[i]);
    for (size_t i = 0; i < stacks->program_count; i++)
        if (strcmp(stacks->programs[i].path, record->header.program) == 0)
            return stacks->programs[i].image;
    return add_image(stacks, record->header.program);
}

static size_t program_of(struct stacks *stacks, const struct record *record)
{
    const struct image *image = program_image(stacks, record);
    for (size_t i = 0; i < stacks->program_count; i++)
        if (stacks->programs[i].image == image)
            return i;
    stacks->programs = room_for_one(stacks->programs, stacks->program_count, sizeof *stacks->programs);
    stacks->programs[stacks->program_count] =
        (struct program){.image = image,
                         .path = record->header.program,
                         .launches = is_launcher(base_name(record->header.program))};
    return stacks->program_count++;
}

static size_t host_of(const struct stacks *stacks, const struct record *record)
{
    for (size_t i = 0; i < stacks->process_count; i++)
        if (strcmp(stacks->processes[i].record->header.host, record->header.host) == 0)
            return stacks->processes[i].host;
    return stacks->process_count;
}

static size_t add_process(struct stacks *stacks, const struct record *record)
{
    const struct process process = {record, program_of(stacks, record), host_of(stacks, record)};
    stacks->processes = room_for_one(stacks->processes, stacks->process_count, sizeof process);
    stacks->processes[stacks->process_count] = process;
    stacks->programs[process.program].processes++;
    return stacks->process_count++;
}

/* Launchers are of no interest, unless there is nothing else. */
static void ignore_launchers(struct stacks *stacks)
{
    bool others = false;
    for (size_t i = 0; i < stacks->program_count; i++)
        others |= !stacks->programs[i].launches;
    for (size_t i = 0; i < stacks->program_count; i++)
        stacks->programs[i].ignored = others && stacks->programs[i].launches;
}

/* ---------------------------------------------------------------- rows */

static void add_row(struct stacks *stacks, size_t process, size_t index, struct image *const *images)
{
    const struct record *record = stacks->processes[process].record;
    struct stack_row row = {.process = process,
                            .site = &record->sites[index],
                            .marks = &record->marks[index],
                            .frame_count = record->sites[index].frame_count};
    for (size_t i = 0; i < row.frame_count; i++) {
        const struct record_frame *frame = &row.site->frame[i];
        const struct image *image = images[frame->module];
        row.frame[i] = stacks_add_spot(stacks, image, image->path[0] != '\0' ? frame->offset : 0);
    }
    stacks->rows = room_for_one(stacks->rows, stacks->row_count, sizeof row);
    stacks->rows[stacks->row_count++] = row;
}

static void add_record(struct stacks *stacks, const struct record *record)
{
    static const struct record_module nowhere;
    const size_t process = add_process(stacks, record);
    struct image **images = required(calloc(record->module_count + 1, sizeof(struct image *)));
    images[0] = image_of(stacks, &nowhere);
    for (size_t i = 0; i < record->module_count; i++)
        images[i + 1] = image_of(stacks, &record->modules[i]);
    for (size_t i = 0; i < record->site_count; i++)
        if (record->sites[i].calls > 0)
            add_row(stacks, process, i, images);
    free(images);
}

static int compare_frames(const struct stack_row *left, const struct stack_row *right)
{
    for (size_t i = 0; i < left->frame_count && i < right->frame_count; i++) {
        const size_t a = left->frame[i]->number, b = right->frame[i]->number;
        if (a != b)
            return a < b ? -1 : 1;
    }
    return (left->frame_count > right->frame_count) - (left->frame_count < right->frame_count);
}

/* qsort() has no place for an argument. */
static const struct process *sorted_processes;

static int compare_stacks(const struct stack_row *left, const struct stack_row *right)
{
    const size_t a = sorted_processes[left->process].program, b = sorted_processes[right->process].program;
    return a != b ? (a < b ? -1 : 1) : compare_frames(left, right);
}

static int compare_rows(const void *left, const void *right)
{
    const struct stack_row *a = left, *b = right;
    const int result = compare_stacks(a, b);
    return result != 0 ? result : (a->process > b->process) - (a->process < b->process);
}

static void unite(struct stacks *stacks)
{
    for (size_t i = 0; i < stacks->row_count; i++) {
        const struct stack_row *row = &stacks->rows[i];
        if (i > 0 && compare_stacks(row - 1, row) == 0) {
            stacks->items[stacks->count - 1].row_count++;
            continue;
        }
        stacks->items = room_for_one(stacks->items, stacks->count, sizeof *stacks->items);
        stacks->items[stacks->count++] = (struct stack){.program = stacks->processes[row->process].program,
                                                        .frame = row->frame,
                                                        .frame_count = row->frame_count,
                                                        .rows = row,
                                                        .row_count = 1};
    }
}

void stacks_join(struct stacks *stacks, const struct record *records, size_t count)
{
    *stacks = (struct stacks){0};
    for (size_t i = 0; i < count; i++)
        add_record(stacks, &records[i]);
    ignore_launchers(stacks);
    sorted_processes = stacks->processes;
    if (stacks->row_count > 1)
        qsort(stacks->rows, stacks->row_count, sizeof *stacks->rows, compare_rows);
    unite(stacks);
}

static void release_spot(struct spot *spot)
{
    for (size_t i = 0; i < spot->inlined_count; i++) {
        free((char *)(uintptr_t)spot->inlined[i].function);
        free((char *)(uintptr_t)spot->inlined[i].file);
    }
    free(spot->inlined);
    free(spot->function);
    free(spot->debug);
    free(spot->file);
    free(spot);
}

void stacks_release(struct stacks *stacks)
{
    for (size_t i = 0; i < stacks->spot_count; i++)
        release_spot(stacks->spots[i]);
    for (size_t i = 0; i < stacks->image_count; i++)
        free(stacks->images[i]);
    free(stacks->spot_table);
    free(stacks->spots);
    free(stacks->images);
    free(stacks->programs);
    free(stacks->processes);
    free(stacks->items);
    free(stacks->rows);
    *stacks = (struct stacks){0};
}

size_t stack_sites(const struct stacks *stacks, const struct stack *stack, bool with_inlined,
                   struct policy_site sites[RECORD_FRAMES])
{
    for (size_t i = 0; i < stack->frame_count; i++) {
        const struct spot *spot = stack->frame[i];
        sites[i] =
            (struct policy_site){.module = spot->image->base,
                                 .module_is_program = spot->image == stacks->programs[stack->program].image,
                                 .offset = spot->offset,
                                 .function = spot->function,
                                 .frames = with_inlined ? spot->inlined : NULL,
                                 .frame_count = with_inlined ? spot->inlined_count : 0};
    }
    return stack->frame_count;
}
