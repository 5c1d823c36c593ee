/* SPDX-License-Identifier: MIT
 *
 * What may stand behind a '=' in a policy: sizes, call sites, lists, name templates.
 *
 * Each function reads one value and knows nothing of the rule it belongs to. True: well formed, and
 * the results are set. False: *error says why, and the results mean nothing.
 */
#ifndef SHM_VALUES_H
#define SHM_VALUES_H

#include "config/scan.h"

/* Sizes from `least` to `most`, both inclusive; least > most: none at all. */
struct value_range {
    size_t least, most;
    bool lower, upper; /* which of the bounds the word spoke of */
};

/* 64, 4K, 8G; K, M, G and T are powers of 1024, in either case. */
bool value_bytes(struct piece value, size_t *bytes, struct policy_error *error);
/* 500ms, 2s, 1m, 1h: from 100 ms to one hour, in nanoseconds. */
bool value_duration(struct piece value, uint64_t *nanoseconds, struct policy_error *error);
/* quiet:DURATION, barrier or manual: *when is of enum policy_when; *quiet is 0 unless a duration is given. */
bool value_when(struct piece value, unsigned *when, uint64_t *quiet, struct policy_error *error);
/* size>=N, size>N, size<N, size<=N, size=N, size=A..B; the word's key is not looked at. */
bool value_range(const struct word *word, struct value_range *range, struct policy_error *error);
/* MODULE!0xOFFSET; the last '!' counts. */
bool value_site(struct piece value, struct text *module, uint64_t *offset, struct policy_error *error);
/* FILE, FILE:LINE or FILE:A-B; the last ':' counts, when a digit follows it. */
bool value_source(struct piece value, struct text *file, unsigned *first, unsigned *last,
                  struct policy_error *error);
/* GLOB<-GLOB<-…, of at most `most` frames; one without text stands for "...". */
bool value_stack(struct piece value, struct text *frames, size_t most, size_t *count,
                 struct policy_error *error);
/* malloc,calloc,…: bits of enum policy_call. */
bool value_calls(struct piece value, unsigned *calls, struct policy_error *error);
/* The template of a block's name: known placeholders, and a length and letters that a name may have. */
bool value_template(struct piece value, struct policy_error *error);
bool value_segment_name(struct piece value, struct policy_error *error);
/* One word of a list that ends with NULL; *index is its place there. */
bool value_choice(struct piece value, const char *const *words, const char *expected, size_t *index,
                  struct policy_error *error);

#endif
