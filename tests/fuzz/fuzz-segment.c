/* SPDX-License-Identifier: MIT
 *
 * Fuzzes every way into a segment file: opening, reading, attaching, reaping, allocating, collecting, on real
 * segments that were damaged. See script.h for what the input means.
 *
 * What it does not do: it is one thread in one process, and the file does not change behind the core's back.
 *
 * With FUZZ_EXPLAIN in the environment the damage is told in words before it is done.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../island.h"
#include "feeding.h"
#include "operations.h"
#include "os.h"
#include "segment.h"
#include "world.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t most) __attribute__((weak));
__attribute__((visibility("default"))) size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most,
                                                                      unsigned seed);

static struct {
    char directory[64], path[512];
    bool explain;
} place;

static void tidy(void)
{
    unlink(place.path);
    rmdir(place.directory);
}

/* A /dev/shm of our own where that is allowed, so that nothing is left whatever happens; else a directory. */
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    const char *why;
    (void)argc, (void)argv;
    place.explain = getenv("FUZZ_EXPLAIN") != NULL;
    strcpy(place.directory, "/dev/shm");
    if (!island_make(GIBI, &why)) {
        strcpy(place.directory, "/dev/shm/fuzz-XXXXXX");
        if (mkdtemp(place.directory) == NULL)
            world_complain("no directory to work in");
        atexit(tidy);
    }
    segment_path(place.path, place.directory, os_user(), BASE_JOB, BASE_SEGMENT);
    bases_make(place.directory);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct script script;
    script_read(&script, data, size);
    if (place.explain)
        script_explain(&script);
    world_begin();
    const int descriptor = base_put(script.base, place.path);
    script_damage(&script, descriptor);
    close(descriptor);
    operations_run(&script, place.directory);
    unlink(place.path);
    return 0;
}

/* ---------------------------------------------------------------- mutation */

static uint32_t roll(unsigned *seed, uint32_t sides)
{
    *seed = *seed * 1664525u + 1013904223u;
    return (*seed >> 8) % sides;
}

static void random_edit(uint8_t *edit, unsigned *seed)
{
    for (unsigned i = 0; i < SCRIPT_EDIT; i++)
        edit[i] = (uint8_t)roll(seed, 256);
    if (roll(seed, 4) != 0)
        edit[0] &= (uint8_t)~EDIT_LATER;
    if (roll(seed, 2) == 0)
        edit[5] = edit[6] = edit[7] = 0;
    if (roll(seed, 4) == 0)
        memset(edit + 4, 0xff, 4);
}

/* One edit more, one less, or one part of one changed: what bytes flipped at random rarely hit. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed)
{
    unsigned chance = seed;
    const size_t edits = size > SCRIPT_HEAD ? (size - SCRIPT_HEAD) / SCRIPT_EDIT : 0;
    uint8_t *edit = data + SCRIPT_HEAD + (edits != 0 ? roll(&chance, (uint32_t)edits) * SCRIPT_EDIT : 0);
    if (size < SCRIPT_HEAD && most >= SCRIPT_HEAD) {
        memset(data + size, 0, SCRIPT_HEAD - size);
        size = SCRIPT_HEAD;
    }
    const size_t end = SCRIPT_HEAD + edits * SCRIPT_EDIT;
    switch (roll(&chance, 8)) {
    case 0:
    case 1:
        if (end + SCRIPT_EDIT <= most && edits < SCRIPT_EDITS) {
            random_edit(data + end, &chance);
            return end + SCRIPT_EDIT;
        }
        break;
    case 2:
        if (edits > 1) {
            memmove(edit, edit + SCRIPT_EDIT, (size_t)(data + end - edit) - SCRIPT_EDIT);
            return end - SCRIPT_EDIT;
        }
        break;
    case 3:
    case 4:
        if (edits > 0) {
            edit[roll(&chance, SCRIPT_EDIT)] = (uint8_t)roll(&chance, 256);
            return size;
        }
        break;
    case 5:
        data[0] = (uint8_t)roll(&chance, 256);
        return size;
    case 6: {
        const uint32_t at = roll(&chance, SCRIPT_OPERATIONS);
        data[1 + 2 * at] = (uint8_t)roll(&chance, at == 0 ? 22 : 20);
        data[2 + 2 * at] = (uint8_t)roll(&chance, 256);
        return size;
    }
    default:
        break;
    }
    return LLVMFuzzerMutate != NULL ? LLVMFuzzerMutate(data, size, most) : size;
}
