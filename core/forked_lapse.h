/* SPDX-License-Identifier: MIT
 *
 * How well a fork went.
 */
#ifndef SHM_FORKED_LAPSE_H
#define SHM_FORKED_LAPSE_H

/* Could the child not be given what the rules say? From good to bad. */
enum forked_lapse {
    FORKED_AS_ASKED,
    FORKED_OVERLAID, /* no memory for a copy: it sees later writes of the parent to pages it has not touched
                      */
    FORKED_SHARED,   /* nor could the file be mapped: it shares the pages with the parent */
};

#endif
