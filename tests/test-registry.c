/* SPDX-License-Identifier: MIT
 *
 * core/registry: bases of living segments never overlap; one of many speakers speaks; a registry that is
 * damaged, foreign or not a file does no harm. In a /dev/shm of the test's own, for wrecks are left there.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "child.h"
#include "island.h"
#include "os.h"
#include "plain.h"
#include "registry.h"

#define SEGMENTS 60u

static const char *why_not;
static char registry_path[64];

struct placed {
    char path[64];
    uint64_t base, bytes;
};

static int land(void **state)
{
    (void)state;
    snprintf(registry_path, sizeof registry_path, "/dev/shm/shmcore-%u.registry", geteuid());
    if (island_make(64 * MEBI, &why_not))
        why_not = NULL;
    return 0;
}

static int clear(void **state)
{
    (void)state;
    if (why_not == NULL && unlink(registry_path) != 0)
        rmdir(registry_path);
    return 0;
}

#define ON_ISLAND()                                                                                          \
    do {                                                                                                     \
        if (why_not != NULL)                                                                                 \
            SKIP("%s", why_not);                                                                             \
    } while (0)

static void write_file(const char *path, const void *data, size_t bytes)
{
    const int descriptor = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(descriptor >= 0);
    assert_int_equal(write(descriptor, data, bytes), bytes);
    close(descriptor);
}

static bool exists(const char *path)
{
    struct stat status;
    return lstat(path, &status) == 0;
}

/* ---------------------------------------------------------------- bases */

/* A file that stands for a segment, and the base it is given. */
static struct placed place(unsigned number, uint64_t bytes)
{
    struct placed placed = {.bytes = bytes};
    snprintf(placed.path, sizeof placed.path, "/dev/shm/segment-%u", number);
    write_file(placed.path, "x", 1);
    struct registry registry = registry_open(true);
    assert_true(registry.descriptor >= 0);
    placed.base = registry_free_base(&registry, 0, bytes);
    registry_note_base(&registry, placed.base, bytes, placed.path);
    registry_close(&registry);
    assert_int_equal(registry.descriptor, -1);
    return placed;
}

static void assert_apart(const struct placed *placed, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (placed[i].bytes == 0)
            continue;
        assert_true(placed[i].base >= WINDOW_BASE);
        assert_int_equal(placed[i].base % WINDOW_SLOT, 0);
        assert_true(placed[i].base + placed[i].bytes <= WINDOW_END);
        for (unsigned j = 0; j < i; j++)
            assert_true(placed[j].bytes == 0 || placed[i].base >= placed[j].base + placed[j].bytes ||
                        placed[j].base >= placed[i].base + placed[i].bytes);
    }
}

static void bases_never_overlap(void **state)
{
    (void)state;
    ON_ISLAND();
    struct placed placed[SEGMENTS];
    struct dice dice = {5};
    for (unsigned i = 0; i < SEGMENTS; i++) {
        placed[i] = place(i, MEBI * (1 + dice_roll(&dice, 20000)));
        assert_apart(placed, i + 1);
    }
    assert_int_equal(placed[0].base, WINDOW_BASE);
    for (unsigned i = 0; i < 400; i++) { /* segments come and go */
        struct placed *one = &placed[dice_roll(&dice, SEGMENTS)];
        unlink(one->path);
        one->bytes = 0;
        *one = place((unsigned)(one - placed), MEBI * (1 + dice_roll(&dice, 20000)));
        assert_apart(placed, SEGMENTS);
    }
    for (unsigned i = 0; i < SEGMENTS; i++)
        unlink(placed[i].path);
    const struct placed again = place(0, MEBI); /* all are gone: from the start */
    assert_int_equal(again.base, WINDOW_BASE);
    unlink(again.path);
}

/* The same name, but another file: the one that had the base is gone. */
static void entry_of_a_replaced_file(void **state)
{
    (void)state;
    ON_ISLAND();
    const struct placed first = place(1, GIBI), second = place(2, GIBI);
    assert_int_equal(second.base, first.base + GIBI);
    write_file("/dev/shm/other", "x", 1);
    assert_int_equal(rename("/dev/shm/other", first.path), 0);
    const struct placed third = place(3, GIBI);
    assert_int_equal(third.base, first.base);
    unlink(first.path);
    unlink(second.path);
    unlink(third.path);
}

static void held_by_one(void **state)
{
    (void)state;
    ON_ISLAND();
    struct registry registry = registry_open(true);
    const int descriptor = os_open_file(registry_path, OS_WRITE);
    assert_int_equal(os_lock_file(descriptor, 0), -EBUSY);
    registry_close(&registry);
    assert_int_equal(os_lock_file(descriptor, 0), 0);
    os_close(descriptor);
}

static void window_has_an_end(void **state)
{
    (void)state;
    ON_ISLAND();
    struct registry registry = registry_open(true);
    const uint64_t window = WINDOW_END - WINDOW_BASE;
    assert_int_equal(registry_free_base(&registry, 0, window), WINDOW_BASE);
    assert_int_equal(registry_free_base(&registry, 0, window + 1), 0);
    assert_int_equal(registry_free_base(&registry, WINDOW_END - GIBI, GIBI), WINDOW_END - GIBI);
    assert_int_equal(registry_free_base(&registry, WINDOW_END - GIBI + 1, GIBI), 0);
    assert_int_equal(registry_free_base(&registry, WINDOW_END, MEBI), 0);
    assert_int_equal(registry_free_base(&registry, WINDOW_BASE + 1, MEBI), WINDOW_BASE + WINDOW_SLOT);
    registry_close(&registry);
}

static void tidied(void **state)
{
    (void)state;
    ON_ISLAND();
    const struct placed placed = place(1, GIBI);
    registry_tidy(false);
    assert_true(exists(registry_path));
    unlink(placed.path);
    registry_tidy(false);
    assert_false(exists(registry_path));
    registry_tidy(false); /* nothing there */
    assert_false(exists(registry_path));
    assert_true(registry_open(false).descriptor < 0);
    assert_false(exists(registry_path));
}

/* More segments than entries: the table is full, and nobody is hurt. */
static void more_than_entries(void **state)
{
    (void)state;
    ON_ISLAND();
    struct placed placed[200];
    for (unsigned i = 0; i < COUNT_OF(placed); i++) {
        placed[i] = place(i, GIBI);
        assert_true(placed[i].base >= WINDOW_BASE);
        assert_true(placed[i].base + GIBI <= WINDOW_END);
    }
    assert_apart(placed, 128);
    for (unsigned i = 0; i < COUNT_OF(placed); i++)
        unlink(placed[i].path);
}

/* Where all entries are taken by what was said, by those who live, a base takes the place of some of it. */
static void bases_come_first(void **state)
{
    (void)state;
    ON_ISLAND();
    struct placed placed[8];
    for (unsigned i = 0; i < COUNT_OF(placed); i++) {
        for (uint64_t key = 1; key <= 100; key++)
            registry_first_to_say(1000 * i + key);
        placed[i] = place(i, GIBI);
        assert_apart(placed, i + 1);
    }
    for (unsigned i = 0; i < COUNT_OF(placed); i++)
        unlink(placed[i].path);
}

/* ---------------------------------------------------------------- said */

static int speak(struct child *self, void *argument)
{
    const uint64_t *key = argument;
    child_hear(self);
    const bool first = registry_first_to_say(*key);
    child_say(self, first ? 'f' : 'n');
    child_hear(self); /* lives until all have spoken */
    return 0;
}

static unsigned firsts_among(unsigned count, uint64_t key)
{
    struct child child[64];
    unsigned first = 0;
    for (unsigned i = 0; i < count; i++)
        child[i] = child_start(speak, &key);
    for (unsigned i = 0; i < count; i++)
        child_say(&child[i], 'g');
    for (unsigned i = 0; i < count; i++)
        first += child_hear(&child[i]) == 'f';
    for (unsigned i = 0; i < count; i++) {
        child_say(&child[i], 'e');
        assert_int_equal(child_end(&child[i]), 0);
    }
    return first;
}

static void one_of_many_speaks(void **state)
{
    (void)state;
    ON_ISLAND();
    assert_int_equal(firsts_among(64, 4711), 1);
    assert_int_equal(firsts_among(64, 4712), 1);
}

/* Only what was asked within the silence counts: on a busy machine it is over before, so it is said anew. */
static void said_a_moment_ago(void **state)
{
    (void)state;
    ON_ISLAND();
    unsigned again;
    uint64_t start, key = 0;
    do {
        start = os_clock();
        assert_int_equal(firsts_among(1, ++key), 1);
        again = firsts_among(2, key); /* though its speaker is gone */
    } while (os_clock() - start >= REGISTRY_SILENCE);
    assert_int_equal(again, 0);
}

static int say_it_is_so(struct child *self, void *argument)
{
    (void)self;
    struct registry_sentence sentence = {.key = *(uint64_t *)argument, .again = true};
    registry_say_all(&sentence, 1);
    return sentence.first;
}

/* Of several sentences each is told what it is to be told, with one look at the file. */
static void several_sentences_at_once(void **state)
{
    (void)state;
    enum { NEW, SAID, ALSO_NEW, EXCUSED, NOT_EXCUSED, AGAIN, COUNT };
    ON_ISLAND();
    uint64_t so = 40;
    struct child child = child_start(say_it_is_so, &so);
    assert_int_equal(child_end(&child), 0);
    assert_true(registry_first_to_say(2));
    struct registry_sentence sentences[COUNT] = {
        [NEW] = {.key = 1},
        [SAID] = {.key = 2},
        [ALSO_NEW] = {.key = 3},
        [EXCUSED] = {.key = 4, .unless = 40},
        [NOT_EXCUSED] = {.key = 5, .unless = 50},
        [AGAIN] = {.key = 2, .again = true},
    };
    static const bool firsts[COUNT] = {[NEW] = true, [ALSO_NEW] = true, [NOT_EXCUSED] = true};
    for (unsigned time = 0; time < 2; time++) {
        registry_say_all(sentences, COUNT);
        for (unsigned i = 0; i < COUNT; i++) {
            assert_int_equal(sentences[i].first, time == 0 && firsts[i]);
            assert_int_equal(sentences[i].excused, i == EXCUSED);
        }
    }
    assert_true(registry_first_to_say(4)); /* what was excused has not been said */
    assert_false(registry_first_to_say(3));
}

enum { TO_NOBODY, TO_MY_PARENT, TO_ANOTHER };

static int say_again(struct child *self, void *argument)
{
    struct registry_sentence sentence = {.key = 1, .again = true};
    (void)self, (void)argument;
    registry_say_all(&sentence, 1);
    return sentence.heir == 0 ? TO_NOBODY : sentence.heir == getppid() ? TO_MY_PARENT : TO_ANOTHER;
}

static int say_and_leave(struct child *self, void *argument)
{
    const int left = say_again(self, argument);
    registry_leave_to(getppid());
    return left;
}

static int have_a_child_say(struct child *self, void *argument)
{
    (void)self;
    struct child grandchild = child_start(say_again, argument);
    return child_end(&grandchild);
}

/* What is left to a parent its other children leave to it as well, and nobody else's do. */
static void left_to_an_heir(void **state)
{
    static const struct {
        int (*body)(struct child *self, void *argument);
        int left;
    } steps[] = {{say_and_leave, TO_NOBODY}, {say_again, TO_MY_PARENT},      {say_again, TO_MY_PARENT},
                 {say_again, TO_MY_PARENT},  {have_a_child_say, TO_ANOTHER}, {say_again, TO_NOBODY}};
    (void)state;
    ON_ISLAND();
    for (unsigned i = 0; i < sizeof steps / sizeof *steps; i++) {
        struct child child = child_start(steps[i].body, NULL);
        assert_int_equal(child_end(&child), steps[i].left);
    }
}

static int say_and_tidy(struct child *self, void *argument)
{
    (void)self, (void)argument;
    if (!registry_first_to_say(1))
        return 1;
    registry_tidy(false);
    if (!exists(registry_path))
        return 2; /* somebody may be about to repeat it */
    registry_tidy(true);
    return exists(registry_path) ? 3 : 0;
}

static void tidied_to_the_last(void **state)
{
    (void)state;
    ON_ISLAND();
    struct child child = child_start(say_and_tidy, NULL);
    assert_int_equal(child_end(&child), 0);
    child = child_start(speak, &(uint64_t){2});
    child_say(&child, 'g');
    assert_int_equal(child_hear(&child), 'f');
    registry_tidy(true); /* another one lives who has said something */
    assert_true(exists(registry_path));
    child_kill(&child);
    const struct placed placed = place(1, GIBI);
    registry_tidy(true); /* and so does a segment */
    assert_true(exists(registry_path));
    unlink(placed.path);
    registry_tidy(true);
    assert_false(exists(registry_path));
}

/* What a dead process said may be said again after the silence; what a living one said may not. */
static void silence(void **state)
{
    (void)state;
    ON_ISLAND();
    assert_int_equal(firsts_among(1, 1), 1);
    assert_int_equal(firsts_among(1, 3), 1);
    assert_true(registry_first_to_say(2));
    assert_false(registry_first_to_say(2));
    os_pause(REGISTRY_SILENCE);
    assert_int_equal(firsts_among(4, 1), 1);
    assert_false(registry_first_to_say(2));
    /* What is said again at the place of the dead is not written over by what is new. */
    struct registry_sentence sentences[] = {{.key = 3, .again = true}, {.key = 4}, {.key = 5}};
    registry_say_all(sentences, 3);
    for (uint64_t key = 3; key <= 5; key++)
        assert_false(registry_first_to_say(key));
}

/* ---------------------------------------------------------------- wrecks */

static void assert_works(void)
{
    const struct placed placed = place(1, GIBI), other = place(2, GIBI);
    assert_true(placed.base == 0 || placed.base >= WINDOW_BASE);
    assert_true(other.base != placed.base || placed.base == 0);
    assert_true(registry_first_to_say(99));
    unlink(placed.path);
    unlink(other.path);
}

static void damaged(void **state)
{
    (void)state;
    ON_ISLAND();
    static unsigned char noise[MEBI];
    static const size_t lengths[] = {0, 1, 511, 512, 513, 65535, 65536, sizeof noise};
    struct dice dice = {77};
    for (size_t i = 0; i < COUNT_OF(lengths); i++)
        for (unsigned kind = 0; kind < 6; kind++) {
            for (size_t b = 0; b < sizeof noise; b++)
                noise[b] = (unsigned char)(kind < 3 ? dice_roll(&dice, 256) : (kind - 3) * 0x7f);
            for (size_t e = 0; e < sizeof noise && kind > 0; e += 512)
                memcpy(noise + e, &kind, sizeof kind); /* entries of every kind, with nonsense in them */
            write_file(registry_path, noise, lengths[i]);
            assert_works();
            unlink(registry_path);
        }
}

/* Without a registry addresses are given out all the same, and everybody speaks. */
static void assert_does_without(void)
{
    struct registry registry = registry_open(true);
    assert_true(registry.descriptor < 0);
    assert_int_equal(registry_free_base(&registry, 0, GIBI), WINDOW_BASE);
    assert_int_equal(registry_free_base(&registry, WINDOW_BASE + 5 * GIBI, GIBI), WINDOW_BASE + 5 * GIBI);
    registry_note_base(&registry, WINDOW_BASE, GIBI, "/dev/shm");
    registry_close(&registry);
    assert_true(registry_first_to_say(7));
    assert_true(registry_first_to_say(7));
    registry_tidy(false);
    assert_true(exists(registry_path));
}

static void others_may_write(void **state)
{
    (void)state;
    ON_ISLAND();
    write_file(registry_path, "", 0);
    assert_int_equal(chmod(registry_path, 0622), 0);
    assert_does_without();
}

static void belongs_to_another(void **state)
{
    (void)state;
    ON_ISLAND();
    write_file(registry_path, "", 0);
    if (geteuid() != 0 || chown(registry_path, 65534, 65534) != 0)
        SKIP("only root can make another user's file");
    assert_does_without();
}

static void symbolic_link(void **state)
{
    (void)state;
    ON_ISLAND();
    write_file("/dev/shm/target", "precious", 8);
    assert_int_equal(symlink("/dev/shm/target", registry_path), 0);
    assert_does_without();
    struct stat status;
    assert_int_equal(stat("/dev/shm/target", &status), 0);
    assert_int_equal(status.st_size, 8);
    unlink("/dev/shm/target");
}

static void directory(void **state)
{
    (void)state;
    ON_ISLAND();
    assert_int_equal(mkdir(registry_path, 0700), 0);
    assert_does_without();
}

static void fifo(void **state)
{
    (void)state;
    ON_ISLAND();
    assert_int_equal(mkfifo(registry_path, 0600), 0);
    assert_does_without();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, clear, clear)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(bases_never_overlap),
        TEST(entry_of_a_replaced_file),
        TEST(window_has_an_end),
        TEST(held_by_one),
        TEST(tidied),
        TEST(more_than_entries),
        TEST(bases_come_first),
        TEST(one_of_many_speaks),
        TEST(said_a_moment_ago),
        TEST(silence),
        TEST(several_sentences_at_once),
        TEST(left_to_an_heir),
        TEST(tidied_to_the_last),
        TEST(damaged),
        TEST(others_may_write),
        TEST(belongs_to_another),
        TEST(symbolic_link),
        TEST(directory),
        TEST(fifo),
    };
    return cmocka_run_group_tests_name("registry", tests, land, NULL);
}
