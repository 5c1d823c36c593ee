/* SPDX-License-Identifier: MIT
 *
 * The policy: text in, an immutable match table out, in memory of the caller's.
 *
 * Pure: no allocation, no file, no environment, no stdio; so it can be fuzzed, and used before
 * the program has a heap. It knows nothing of return addresses or of malloc: the caller says what
 * a site is called and asks.
 *
 * Everything in a `struct policy` points into the memory given to policy_parse() and lives as long
 * as that. After parsing nothing is ever written: any number of threads may read it.
 */
#ifndef SHM_POLICY_H
#define SHM_POLICY_H

#include "config/fault.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum policy_verb { POLICY_PASS, POLICY_EXPORT, POLICY_SHARE, POLICY_MERGE };

/* The entry points that `call=` names, as bits. */
enum policy_call {
    POLICY_CALL_MALLOC = 1,
    POLICY_CALL_CALLOC = 2,
    POLICY_CALL_REALLOC = 4,
    POLICY_CALL_ALIGNED = 8, /* memalign, aligned_alloc, posix_memalign, valloc, pvalloc */
    POLICY_CALL_NEW = 16,
    POLICY_CALL_ANY = 31
};

/* What a forked child sees of exported blocks. */
enum policy_fork { POLICY_FORK_COPY, POLICY_FORK_OVERLAY, POLICY_FORK_SHARE };

/* What makes merge look for equal memory: that it was not written for a while, the program's MPI
 * collectives, or somebody's order only. */
enum policy_when { POLICY_WHEN_QUIET, POLICY_WHEN_BARRIER, POLICY_WHEN_MANUAL };

struct policy_rule {
    enum policy_verb verb;
    unsigned line;           /* where it stands, from 1 */
    const char *text;        /* the directive as written, trimmed, for messages */
    const char *func;        /* glob, NULL: any */
    const char *module;      /* glob, NULL: any; "exe" is the program itself */
    const char *site_module; /* NULL: no site= */
    uint64_t site_offset;
    size_t size_min, size_max;          /* both inclusive; size_max SIZE_MAX: no limit */
    unsigned calls;                     /* enum policy_call bits */
    const char *name;                   /* template, NULL: the default */
    unsigned segment;                   /* index into policy.segments */
    bool full_fails;                    /* full=fail */
    bool reserve_touch;                 /* reserve=touch */
    enum policy_fork fork;              /* export only */
    enum policy_when when;              /* merge only */
    uint64_t quiet;                     /* nanoseconds without a write; 0 unless merge waits for that */
    const char *source;                 /* file, or the end of its path; NULL: any */
    unsigned source_first, source_last; /* lines, both inclusive */
    const char *const *stack; /* globs or MODULE!0xOFFSET, innermost first; NULL: any number of frames */
    unsigned stack_count;     /* 0: any stack */
};

/* Which processes share a segment: all of the node, those of a socket, those of a NUMA domain. */
enum policy_scope { POLICY_SCOPE_NODE, POLICY_SCOPE_SOCKET, POLICY_SCOPE_NUMA };

struct policy_segment {
    const char *name;
    enum policy_scope scope;
    size_t size;     /* 0: the default */
    const char *dir; /* NULL: the default */
    bool interleave; /* pages are spread over NUMA nodes */
    unsigned line;   /* 0: not declared, the default segment */
};

/* A function that allocates for its callers. */
struct policy_wrapper {
    const char *func;   /* glob */
    const char *module; /* glob, NULL: any */
    unsigned line;
};

struct policy {
    const struct policy_rule *rules;
    size_t rule_count;
    const struct policy_segment *segments; /* at least one */
    size_t segment_count;
    const char *const *programs; /* globs; none: every program */
    size_t program_count;
    const struct policy_wrapper *wrappers;
    size_t wrapper_count;
    size_t size_floor;    /* no rule but `pass` matches a smaller request; SIZE_MAX: none ever matches */
    bool needs_functions; /* a match or a name wants the name of a function */
    bool needs_lines;     /* a match wants source lines */
    bool needs_stacks;    /* a match wants more of the stack than the call site */
};

/* What a debugger would show as one frame of the stack: also a function that the compiler has inlined. */
struct policy_frame {
    const char *function; /* NULL: unknown */
    const char *file;     /* path as the compiler wrote it, NULL: unknown */
    unsigned line;        /* 0: unknown */
};

/* One frame of a stack. `module` NULL: unknown. */
struct policy_step {
    const char *function; /* NULL: unknown (matches only *) */
    const char *module;   /* base name of the object file */
    bool module_is_program;
    uint64_t offset; /* of the return address, from the module's load address */
};

/* A call site, as far as it is known. `function` NULL: unknown (matches only func=*). */
struct policy_site {
    const char *module; /* base name of the object file */
    bool module_is_program;
    uint64_t offset; /* of the return address, from the module's load address */
    const char *function;
    const struct policy_frame
        *frames;        /* from DWARF: what was inlined here, innermost first, then the function */
    size_t frame_count; /* 0: there is no DWARF */
};

/* The most text policy_parse() takes, and the memory that is enough for any such text. */
#define POLICY_TEXT_MAX        ((size_t)64 << 10)
#define POLICY_MEMORY          ((size_t)1 << 20)
#define POLICY_RULES_MAX       256
#define POLICY_SEGMENTS_MAX    8
#define POLICY_PROGRAMS_MAX    64
#define POLICY_WRAPPERS_MAX    64
#define POLICY_STACK_MAX       16
#define POLICY_DEFAULT_SEGMENT "SHARED::node"
#define POLICY_DEFAULT_NAME    "{module}:{func}+{offset}#{seq}"
#define POLICY_DEFAULT_QUIET   UINT64_C(2000000000)

/* Bytes of memory that are enough for this text; POLICY_MEMORY for one that is too long to be parsed. */
size_t policy_memory(const char *text, size_t length);

/* Parses `length` bytes of `text` (no NUL needed) into `memory`, `bytes` >= policy_memory() of it, aligned
 * to 16. Returns the policy, which lies in `memory`, or NULL with *error filled in. Empty text, or
 * comments only, is a policy without rules. Linear in the text. */
const struct policy *policy_parse(const char *text, size_t length, void *memory, size_t bytes,
                                  struct policy_error *error);

/* Do the rules hold for the program at `path` (argv[0] or /proc/self/exe)? A glob with a '/' is
 * compared with the whole path or a suffix of it that begins at a '/', one without with the base
 * name; a leading "./" of the glob is dropped and means suffix. */
bool policy_applies_to(const struct policy *policy, const char *path);

/* Does what the rule says of the site hold (all but stack=); does what it says of the request? func= and src=
 * hold for any of the frames there. */
bool policy_rule_matches_site(const struct policy_rule *rule, const struct policy_site *site);
bool policy_rule_matches_request(const struct policy_rule *rule, size_t bytes, enum policy_call call);

/* Narrows *least … *most, which hold `bytes`, to requests of which the rule says the same as of that one. */
void policy_rule_narrow(const struct policy_rule *rule, size_t bytes, enum policy_call call, size_t *least,
                        size_t *most);

/* Does stack= hold? `steps`: the stack, innermost first. The innermost glob, or MODULE!0xOFFSET, stands for
 * one of the first `starts`, each further one for the next frame, or for a later one behind
 * `...`; what lies further out than the last is of no matter. A rule without stack= holds for every stack. */
bool policy_rule_matches_stack(const struct policy_rule *rule, const struct policy_step *steps, size_t count,
                               size_t starts);

/* Does the function allocate for its callers: by a `wrapper` directive, or known from the start? */
bool policy_is_wrapper(const struct policy *policy, const char *function, const char *module,
                       bool module_is_program);

/* Is `path` the file, or does it end in it behind a '/'? */
bool policy_source_matches(const char *wanted, const char *path);

/* Shell glob: *, ?, [set], [!set], \x. No recursion: O(|pattern| × |text|) at the worst. */
bool policy_glob(const char *pattern, const char *text);

#endif
