/* SPDX-License-Identifier: MIT
 *
 * The rows of several records, joined: what allocated, in which processes.
 *
 * Addresses differ from process to process, so a frame is a file and an offset in it, and a file is its
 * name and build-id, or its path where it has none. Rows with the same frames in the same program are one
 * stack. Of code that belongs to no file nothing is known but that it is there.
 *
 * Stacks are sorted by program and frames, innermost first, so all that have their inner frames in common
 * stand together. Everything here points into the records, which must live as long.
 */
#ifndef SHMPRELOAD_STACKS_H
#define SHMPRELOAD_STACKS_H

#include "config/policy.h"
#include "records.h"

struct image {
    const char *path; /* "": no file */
    const char *base; /* its name, as policies have it; "?": no file */
    const unsigned char *build_id;
    size_t build_id_bytes;
    bool any_build; /* whatever the file holds now is right */
};

/* Where a call returns to. Names are filled in by symbols.h. */
struct spot {
    size_t number; /* in the order in which they were met */
    const struct image *image;
    uint64_t offset;
    char *function; /* as the shim names it; NULL: unknown */
    char *debug;    /* what debug information calls it; NULL: unknown */
    char *file;     /* NULL: unknown */
    unsigned line;
    struct policy_frame *inlined; /* what was inlined here, innermost first, then the function */
    size_t inlined_count;
};

struct program {
    const struct image *image;
    const char *path;
    size_t processes;
    bool launches; /* only starts others: mpirun, a shell */
    bool ignored;
};

struct process {
    const struct record *record;
    size_t program;
    size_t host; /* a number for its name */
};

/* What one process did by one stack. */
struct stack_row {
    size_t process;
    const struct record_site *site;
    const struct record_marks *marks;
    struct spot *frame[RECORD_FRAMES];
    size_t frame_count;
};

struct stack {
    size_t program;
    struct spot *const *frame;
    size_t frame_count;
    const struct stack_row *rows; /* sorted by process */
    size_t row_count;
};

struct stacks {
    struct image **images;
    struct spot **spots;
    struct program *programs;
    struct process *processes;
    struct stack_row *rows;
    struct stack *items;
    size_t image_count, spot_count, program_count, process_count, row_count, count;
    struct spot **spot_table; /* by image and offset; a power of two, half full at most */
    size_t spot_mask;
};

void stacks_join(struct stacks *stacks, const struct record *records, size_t count);
/* A file and places in it that no record speaks of; `stacks` may be all zeros. `path` must live as long. */
const struct image *stacks_add_image(struct stacks *stacks, const char *path);
struct spot *stacks_add_spot(struct stacks *stacks, const struct image *image, uint64_t offset);

void stacks_release(struct stacks *stacks);

/* The frames as a policy wants to know them; `with_inlined`: with what was inlined, too. Returns how many. */
size_t stack_sites(const struct stacks *stacks, const struct stack *stack, bool with_inlined,
                   struct policy_site sites[RECORD_FRAMES]);

#endif
