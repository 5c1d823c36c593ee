/* SPDX-License-Identifier: MIT
 *
 * What the actors of a scene of merging do, and how they see that it is well.
 */
#ifndef SHM_TEST_MERGE_ACTORS_H
#define SHM_TEST_MERGE_ACTORS_H

#include <unistd.h>

#include "handle.h"
#include "merge-play.h"
#include "merge_layout.h"

#define MUST(condition)                                                                                      \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            actor_failed(__FILE__, __LINE__, #condition);                                                    \
            _exit(99);                                                                                       \
        }                                                                                                    \
    } while (0)
void actor_failed(const char *file, int line, const char *condition);

extern shmcore_segment *actor_segment;
extern const char *actor_directory;

void actor_open(void);
/* The block, with these contents. */
void actor_have(char contents);
/* Writes what differs. */
void actor_write(char contents);
/* Tries until it shares as much as it can; for how much there is to share, see actor_shares(). */
void actor_merge(void);
size_t actor_merged(void); /* bytes shared after the last actor_merge() */
void actor_free(void);
void actor_close(void);
/* Is the block there? */
bool actor_has(void);

/* NULL, or what is wrong with the contents. */
const char *actor_contents(void);
/* So many bytes are shared by those who have the same. */
size_t actor_shares(char contents);

/* Of this process's row. */
uint32_t actor_row(void);

/* With everybody quiet: the index, the rows and the files in the directory. `living` rows are alive. */
const char *index_verdict(const uint32_t *living, unsigned count);
/* Which copies this process holds; later: are those that it still holds the same? */
void holding_note(void);
const char *holding_verdict(void);
/* Has this process mapped the copies that it is said to hold? */
const char *mapping_verdict(void);
/* The directory, when all have closed. */
const char *directory_verdict(void);

#endif
