/* SPDX-License-Identifier: MIT
 *
 * core/merge_index: the index file (made once, refused when it is not what it should be) and the
 * agreement of processes on places.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "test-merge.h"
#include <sys/mman.h>

static const uint64_t key_a[2] = {1, 2}, key_b[2] = {2, 1};

static void path_of_index(char out[400])
{
    snprintf(out, 400, "%s.index", merged.prefix);
}

/* ---------------------------------------------------------------- the file */

static int opens_too(struct child *self, void *argument)
{
    const struct merge_index *parents = argument;
    struct merge_index own;
    (void)self;
    return merge_index_open(&own, &segment, true) == 0 && own.base == parents->base &&
                   own.inode == parents->inode && own.file != parents->file &&
                   own.file->header.nonce == segment.view.header->nonce
               ? 0
               : 1;
}

static void all_have_the_same(void **state)
{
    (void)state;
    ON_ISLAND();
    struct stat status;
    char name[400];
    path_of_index(name);
    assert_int_equal(stat(name, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    assert_true(merge_index_is_there(&segment));
    assert_true(merged.base >= WINDOW_BASE && merged.base + MERGE_SPACE <= WINDOW_END);
    assert_int_equal(merged.base % MERGE_GRAIN, 0);
    struct child child = child_start(opens_too, &merged);
    assert_int_equal(child_end(&child), 0);
}

static void it_lies_elsewhere_than_the_segment(void **state)
{
    (void)state;
    ON_ISLAND();
    const uint64_t start = segment.view.header->base, end = start + segment.view.capacity;
    assert_true(end <= merged.base || start >= merged.base + MERGE_SPACE);
}

static void nobody_makes_it_who_only_looks(void **state)
{
    (void)state;
    ON_ISLAND();
    struct merge_index other;
    merge_index_remove_files(&segment);
    assert_false(merge_index_is_there(&segment));
    errno = 0;
    assert_int_equal(merge_index_open(&other, &segment, false), -1);
    assert_int_equal(errno, ENOENT);
    assert_non_null(strstr(error_last(), other.prefix));
    assert_false(merge_index_is_there(&segment));
}

static void who_may_only_read_sees_it(void **state)
{
    (void)state;
    ON_ISLAND();
    struct merge_index other;
    struct segment viewer = segment;
    uint32_t first;
    assert_int_equal(merge_index_agree(&merged, key_a, "label", 5, 1, &first), 0);
    viewer.read_only = true;
    assert_int_equal(merge_index_open(&other, &viewer, false), 0);
    assert_int_equal(other.file->header.spans, 1);
    assert_string_equal(other.file->spans[0].label, "label");
    merge_index_close(&other);
}

struct meeting {
    _Atomic uint32_t begun; /* a futex: all at once */
    uint64_t base[8], inode[8];
    uint32_t first[8][64];
};

static struct meeting *meet(void)
{
    struct meeting *meeting =
        mmap(NULL, sizeof *meeting, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(meeting != MAP_FAILED);
    return meeting;
}

struct guest {
    struct meeting *meeting;
    unsigned number;
};

static int opens_at_once(struct child *self, void *argument)
{
    const struct guest *guest = argument;
    struct merge_index own;
    child_say(self, 'h');
    os_wait(&guest->meeting->begun, 0, UINT64_C(60000000000));
    if (merge_index_open(&own, &segment, true) != 0)
        return 1;
    guest->meeting->base[guest->number] = own.base;
    guest->meeting->inode[guest->number] = own.inode;
    return 0;
}

static void start_all(struct meeting *meeting, int (*body)(struct child *, void *), unsigned count)
{
    struct child child[8];
    struct guest guest[8];
    for (unsigned i = 0; i < count; i++) {
        guest[i] = (struct guest){meeting, i};
        child[i] = child_start(body, &guest[i]);
        assert_int_equal(child_hear(&child[i]), 'h');
    }
    atomic_store(&meeting->begun, 1);
    os_wake(&meeting->begun);
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(child_end(&child[i]), 0);
}

static void many_at_once_make_one(void **state)
{
    (void)state;
    ON_ISLAND();
    for (unsigned round = 0; round < 20; round++) {
        struct meeting *meeting = meet();
        merge_index_remove_files(&segment);
        start_all(meeting, opens_at_once, 4);
        for (unsigned i = 0; i < 4; i++) {
            assert_int_equal(meeting->base[i], meeting->base[0]);
            assert_int_equal(meeting->inode[i], meeting->inode[0]);
        }
        munmap(meeting, sizeof *meeting);
    }
}

/* ---------------------------------------------------------------- damage */

static void refuse_it(int code)
{
    struct merge_index other;
    for (int create = 0; create < 2; create++) {
        errno = 0;
        assert_int_equal(merge_index_open(&other, &segment, create), -1);
        assert_int_equal(errno, code);
        assert_null(other.file);
        assert_non_null(strstr(error_last(), other.prefix));
    }
}

static void a_damaged_one_is_refused(void **state)
{
    (void)state;
    ON_ISLAND();
    struct merge_header *header = &merged.file->header;
    const struct merge_header sound = *header;
    const uint64_t wrong_bases[] = {0,
                                    sound.base + PAGE_BYTES,
                                    WINDOW_BASE - WINDOW_SLOT,
                                    WINDOW_END,
                                    WINDOW_END - MERGE_SPACE + WINDOW_SLOT,
                                    UINT64_MAX};
    struct merge_index other;
    header->magic++;
    refuse_it(EPROTO);
    *header = sound;
    header->version++;
    refuse_it(EPROTO);
    *header = sound;
    header->nonce++;
    refuse_it(EPROTO);
    *header = sound;
    for (unsigned i = 0; i < COUNT_OF(wrong_bases); i++) {
        header->base = wrong_bases[i];
        refuse_it(EPROTO);
    }
    *header = sound;
    assert_int_equal(merge_index_open(&other, &segment, true), 0);
    merge_index_close(&other);
}

static void one_of_another_size_is_refused(void **state)
{
    (void)state;
    ON_ISLAND();
    char name[400];
    path_of_index(name);
    assert_int_equal(truncate(name, sizeof(struct merge_file) - 1), 0);
    refuse_it(EPROTO);
    assert_int_equal(truncate(name, sizeof(struct merge_file) + 1), 0);
    refuse_it(EPROTO);
    assert_int_equal(truncate(name, sizeof(struct merge_file)), 0);
}

/* Its maker died before it was ready. */
static void a_half_born_one_is_made_anew(void **state)
{
    (void)state;
    ON_ISLAND();
    char name[400];
    struct merge_index other;
    path_of_index(name);
    for (int empty = 0; empty < 2; empty++) {
        if (empty)
            assert_int_equal(truncate(name, 0), 0);
        else
            merged.file->header.ready = 0;
        errno = 0;
        assert_int_equal(merge_index_open(&other, &segment, false), -1);
        assert_int_equal(errno, ENOENT);
        assert_int_equal(merge_index_open(&other, &segment, true), 0);
        assert_int_equal(other.file->header.ready, 1);
        assert_int_equal(other.file->header.nonce, segment.view.header->nonce);
        merge_index_close(&other);
    }
}

static void one_that_others_may_read_is_refused(void **state)
{
    (void)state;
    ON_ISLAND();
    char name[400], target[500];
    uint32_t first;
    struct merge_index other;
    path_of_index(name);
    assert_int_equal(chmod(name, 0604), 0);
    assert_int_equal(merge_index_open(&other, &segment, true), -1);
    assert_int_equal(errno, EACCES);
    assert_int_equal(merge_index_agree(&merged, key_a, "a", 1, 1, &first), -EACCES);
    assert_int_equal(chmod(name, 0600), 0);
    snprintf(target, sizeof target, "%s.moved", name);
    assert_int_equal(rename(name, target), 0);
    assert_int_equal(symlink(target, name), 0);
    assert_int_equal(merge_index_open(&other, &segment, true), -1);
    assert_int_equal(merge_index_open(&other, &segment, false), -1);
}

/* The segment has been removed under it, and another one of that name may have been made. */
static void one_that_was_removed_agrees_on_nothing_more(void **state)
{
    (void)state;
    ON_ISLAND();
    struct merge_index other;
    uint32_t first = 77;
    merge_index_remove_files(&segment);
    assert_int_equal(merge_index_agree(&merged, key_a, "a", 1, 1, &first), -ENOENT);
    assert_int_equal(merge_index_open(&other, &segment, true), 0);
    assert_int_equal(merge_index_agree(&merged, key_a, "a", 1, 1, &first), -ENOENT);
    assert_int_equal(first, 77);
    assert_int_equal(other.file->header.spans, 0);
    merge_index_close(&other);
}

/* ---------------------------------------------------------------- spans */

static uint32_t agree(const uint64_t key[2], uint32_t grains)
{
    uint32_t first = MERGE_GRAINS;
    assert_int_equal(merge_index_agree(&merged, key, "label", 5, grains, &first), 0);
    assert_true(first < MERGE_GRAINS && grains <= MERGE_GRAINS - first);
    return first;
}

static void a_key_has_one_place(void **state)
{
    (void)state;
    ON_ISLAND();
    const uint32_t a = agree(key_a, 3), b = agree(key_b, 1), longer = agree(key_a, 4);
    assert_int_equal(a, 0);
    assert_int_equal(b, 3);
    assert_int_equal(longer, 4); /* another length is another span */
    assert_int_equal(agree(key_b, 1), b);
    assert_int_equal(agree(key_a, 4), longer);
    assert_int_equal(agree(key_a, 3), a);
    assert_int_equal(merged.file->header.spans, 3);
    assert_int_equal(merged.file->header.grains, 8);
}

static void a_label_is_kept_and_cut(void **state)
{
    (void)state;
    ON_ISLAND();
    char label[MERGE_LABEL + 10];
    uint32_t first;
    memset(label, 'x', sizeof label);
    assert_int_equal(merge_index_agree(&merged, key_a, label, sizeof label, 1, &first), 0);
    assert_int_equal(merge_index_agree(&merged, key_b, "name", 4, 1, &first), 0);
    assert_int_equal(merged.file->spans[0].length, MERGE_LABEL);
    assert_memory_equal(merged.file->spans[0].label, label, MERGE_LABEL);
    assert_int_equal(merged.file->spans[1].length, 4);
    assert_memory_equal(merged.file->spans[1].label, "name", 5);
}

static uint32_t grains_for(unsigned key)
{
    return 1 + key % 3;
}

/* Each in an order of its own. */
static int agrees_on_many(struct child *self, void *argument)
{
    const struct guest *guest = argument;
    struct merge_index own;
    child_say(self, 'h');
    os_wait(&guest->meeting->begun, 0, UINT64_C(60000000000));
    if (merge_index_open(&own, &segment, true) != 0)
        return 1;
    for (unsigned i = 0; i < 64; i++) {
        const unsigned number = (i * (2 * guest->number + 1) + guest->number * 11) % 64;
        const uint64_t key[2] = {number, 5};
        if (merge_index_agree(&own, key, "many", 4, grains_for(number),
                              &guest->meeting->first[guest->number][number]) != 0)
            return 2;
    }
    return 0;
}

static void many_at_once_agree(void **state)
{
    (void)state;
    ON_ISLAND();
    struct meeting *meeting = meet();
    start_all(meeting, agrees_on_many, 8);
    assert_int_equal(merged.file->header.spans, 64);
    unsigned char taken[MERGE_GRAINS / 8] = {0};
    for (unsigned number = 0; number < 64; number++) {
        const uint32_t first = meeting->first[0][number];
        for (unsigned i = 1; i < 8; i++)
            assert_int_equal(meeting->first[i][number], first);
        for (uint32_t grain = first; grain < first + grains_for(number); grain++)
            assert_int_equal(taken[grain]++, 0);
    }
    munmap(meeting, sizeof *meeting);
}

static void addresses_end(void **state)
{
    (void)state;
    ON_ISLAND();
    uint32_t first = 77;
    agree(key_a, 2);
    assert_int_equal(merge_index_agree(&merged, key_b, "b", 1, MERGE_GRAINS - 1, &first), -ENOSPC);
    assert_int_equal(merge_index_agree(&merged, key_b, "b", 1, UINT32_MAX, &first), -ENOSPC);
    assert_int_equal(first, 77);
    assert_int_equal(agree(key_b, MERGE_GRAINS - 2), 2);
    const uint64_t another[2] = {7, 7};
    assert_int_equal(merge_index_agree(&merged, another, "c", 1, 1, &first), -ENOSPC);
    assert_int_equal(agree(key_a, 2), 0);
}

static void spans_end(void **state)
{
    (void)state;
    ON_ISLAND();
    uint32_t first = 77;
    atomic_store(&merged.file->header.spans, MERGE_SPANS);
    assert_int_equal(merge_index_agree(&merged, key_a, "a", 1, 1, &first), -ENOSPC);
    atomic_store(&merged.file->header.spans, UINT32_MAX); /* damaged */
    assert_int_equal(merge_index_agree(&merged, key_a, "a", 1, 1, &first), -ENOSPC);
}

static void a_damaged_span_is_nobodys(void **state)
{
    (void)state;
    ON_ISLAND();
    uint32_t first = 77;
    agree(key_a, 1);
    merged.file->spans[0].first = MERGE_GRAINS;
    assert_int_equal(agree(key_a, 1), 1);
    atomic_store(&merged.file->header.grains, MERGE_GRAINS + 1);
    assert_int_equal(merge_index_agree(&merged, key_b, "b", 1, 1, &first), -ENOSPC);
}

/* Leaves no page free. */
static int fill_up(void)
{
    const int descriptor = open("/dev/shm/filler", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(descriptor >= 0);
    for (off_t at = 0; at < 64 << 20; at += 4096)
        if (fallocate(descriptor, 0, at, 4096) != 0)
            break;
    return descriptor;
}

static void make_room(int descriptor)
{
    close(descriptor);
    assert_int_equal(unlink("/dev/shm/filler"), 0);
}

static void without_memory_it_is_refused_before_it_is_touched(void **state)
{
    (void)state;
    ON_ISLAND();
    uint32_t first = 77;
    assert_int_equal(agree(key_a, 1), 0);
    const int filler = fill_up();
    const uint64_t chunks = PAGE_BYTES / sizeof(struct merge_chunk) / GRAIN_CHUNKS;
    assert_int_equal(merge_index_agree(&merged, key_b, "b", 1, (uint32_t)chunks + 1, &first), -ENOMEM);
    assert_int_equal(first, 77);
    assert_int_equal(merge_index_use(&merged, row, 0, 1), -ENOMEM);
    assert_int_equal(merge_index_held(&merged, row, 0), HELD_NOTHING);
    assert_int_equal(agree(key_a, 1), 0);
    make_room(filler);
    assert_int_equal(agree(key_b, (uint32_t)chunks + 1), 1);
    assert_int_equal(merge_index_use(&merged, row, 0, 1), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        MERGED(all_have_the_same),
        MERGED(it_lies_elsewhere_than_the_segment),
        MERGED(nobody_makes_it_who_only_looks),
        MERGED(who_may_only_read_sees_it),
        MERGED(many_at_once_make_one),
        MERGED(a_damaged_one_is_refused),
        MERGED(one_of_another_size_is_refused),
        MERGED(a_half_born_one_is_made_anew),
        MERGED(one_that_others_may_read_is_refused),
        MERGED(one_that_was_removed_agrees_on_nothing_more),
        MERGED(a_key_has_one_place),
        MERGED(a_label_is_kept_and_cut),
        MERGED(many_at_once_agree),
        MERGED(addresses_end),
        MERGED(spans_end),
        MERGED(a_damaged_span_is_nobodys),
        MERGED(without_memory_it_is_refused_before_it_is_touched),
    };
    return cmocka_run_group_tests_name("merge-index", tests, land, NULL);
}
