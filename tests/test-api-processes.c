/* SPDX-License-Identifier: MIT
 *
 * Several processes on one segment through the public API: one name is one address and one content,
 * references are counted right, and what a process held is given back however it ends: close, exit, SIGKILL,
 * exec, fork.
 */
#include "test-api.h"

#include <pthread.h>
#include <sched.h>
#include <spawn.h>

static shmcore_segment *peer_open(void)
{
    const shmcore_traits traits = traits_here(8 * MIB);
    shmcore_segment *segment = shmcore_open(NODE, &traits);
    REQUIRE(segment != NULL);
    return segment;
}

/* ---------------------------------------------------------------- one name */

struct list_node {
    struct list_node *next;
    int value;
};

static void meets_the_block(const struct peer *parent)
{
    hear(parent);
    shmcore_segment *segment = peer_open();
    struct list_node *head = shmcore_allocate(segment, "list", 100000);
    REQUIRE(head != NULL);
    tell(parent, (uintptr_t)head);
    hear(parent);
    int sum = 0;
    for (struct list_node *node = head; node != NULL; node = node->next)
        sum += node->value;
    REQUIRE(sum == 111);
    head->value = 1000;
    tell(parent, 1);
    hear(parent);
    REQUIRE(shmcore_find(segment, "list", NULL) == head); /* the parent let go, but we hold it */
    REQUIRE(head->value == 1000);
    REQUIRE(shmcore_deallocate(segment, head) == 0);
    REQUIRE(shmcore_find(segment, "list", NULL) == NULL && errno == ENOENT);
    REQUIRE(shmcore_deallocate(segment, head) == -1 && errno == EINVAL);
    tell(parent, 1);
    hear(parent);
    REQUIRE(shmcore_close(segment) == 0);
    tell(parent, 1);
}

static void two_processes_one_name(void **state)
{
    (void)state;
    const struct peer peer = start_peer(meets_the_block);
    shmcore_segment *segment = open_here(NODE, 8 * MIB);
    const size_t before = shmcore_actual_size(segment);
    struct list_node *head = allocate(segment, "list", 100000);
    struct list_node *second = allocate(segment, "second", sizeof *second);
    tell(&peer, 1);
    assert_int_equal(hear(&peer), (uintptr_t)head);
    assert_int_equal(block_at(head).refs, 2);
    assert_int_equal(block_at(head).owner, getpid());
    assert_int_equal(statistics_of(segment).processes, 2);
    *second = (struct list_node){NULL, 11};
    *head = (struct list_node){second, 100};
    tell(&peer, 1);
    hear(&peer);
    assert_int_equal(head->value, 1000);
    assert_int_equal(shmcore_deallocate(segment, head), 0);
    assert_fails(shmcore_deallocate(segment, head), EINVAL); /* it lives, but we hold nothing */
    assert_int_equal(block_at(head).refs, 1);
    assert_int_equal(block_at(head).owner, peer.pid);
    tell(&peer, 1);
    hear(&peer);
    assert_refused(shmcore_find(segment, "list", NULL), ENOENT);
    assert_int_equal(shmcore_deallocate(segment, second), 0);
    assert_int_equal(shmcore_actual_size(segment), before);
    assert_int_equal(shmcore_close(segment), 0);
    assert_int_equal(files_in_directory(), 1);
    tell(&peer, 1);
    hear(&peer);
    assert_int_equal(files_in_directory(), 0);
    peer_ends_well(&peer);
}

/* ---------------------------------------------------------------- programs of their own */

static int role_prints_address(void)
{
    shmcore_segment *segment = peer_open();
    void *block = shmcore_allocate(segment, "block", 100000);
    REQUIRE(block != NULL && shmcore_address_stable(segment));
    ++*(int *)block;
    printf("%p\n", block);
    fflush(stdout);
    (void)getchar(); /* until the other side closes the pipe */
    return shmcore_close(segment) == 0 ? 0 : 1;
}

/* Allocates, becomes another program in the same process, and looks. */
static int role_execs(char *directory)
{
    char *const arguments[] = {"test-api-processes", "after-exec", directory, NULL};
    shmcore_segment *segment = peer_open();
    REQUIRE(shmcore_allocate(segment, "small", 10) != NULL);
    REQUIRE(shmcore_allocate(segment, "large", 100000) != NULL);
    execv("/proc/self/exe", arguments);
    return 1;
}

static int role_after_exec(void)
{
    shmcore_statistics statistics;
    shmcore_segment *segment = peer_open();
    REQUIRE(shmcore_find(segment, "small", NULL) == NULL && errno == ENOENT);
    REQUIRE(shmcore_find(segment, "large", NULL) == NULL && errno == ENOENT);
    REQUIRE(shmcore_find(segment, "of the parent", NULL) != NULL);
    REQUIRE(shmcore_stat(segment, &statistics) == 0 && statistics.processes == 2);
    REQUIRE(shmcore_allocate(segment, "large", 5) != NULL);
    return shmcore_close(segment) == 0 ? 0 : 1;
}

static int role_exits(void)
{
    shmcore_segment *segment = peer_open();
    REQUIRE(shmcore_allocate(segment, "block", 10) != NULL);
    exit(0);
}

struct program {
    pid_t pid;
    FILE *output;
    int input;
};

static struct program start_program(char *role)
{
    extern char **environ;
    char *const arguments[] = {"test-api-processes", role, test_directory, NULL};
    posix_spawn_file_actions_t actions;
    struct program program;
    int in[2], out[2];
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in[0], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
    assert_int_equal(posix_spawn(&program.pid, "/proc/self/exe", &actions, NULL, arguments, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(in[0]);
    close(out[1]);
    program.input = in[1];
    program.output = fdopen(out[0], "r");
    return program;
}

static void program_ends_well(struct program *program)
{
    int status = -1;
    close(program->input);
    assert_int_equal(waitpid(program->pid, &status, 0), program->pid);
    fclose(program->output);
    assert_int_equal(status, 0);
}

static void one_address_under_aslr(void **state)
{
    (void)state;
    enum { PROGRAMS = 4 };
    struct program program[PROGRAMS];
    void *address[PROGRAMS];
    for (int i = 0; i < PROGRAMS; i++) {
        program[i] = start_program("prints-address");
        assert_int_equal(fscanf(program[i].output, "%p", &address[i]), 1);
    }
    shmcore_segment *segment = open_here(NODE, 0);
    const int *block = shmcore_find(segment, "block", NULL);
    assert_int_equal(*block, PROGRAMS);
    assert_int_equal(block_at(block).refs, PROGRAMS);
    for (int i = 0; i < PROGRAMS; i++) {
        assert_ptr_equal(address[i], block);
        program_ends_well(&program[i]);
    }
    assert_null(shmcore_find(segment, "block", NULL));
    shmcore_close(segment);
}

static void exec_drops_what_was_held(void **state)
{
    (void)state;
    shmcore_segment *segment = open_here(NODE, 8 * MIB);
    allocate(segment, "of the parent", 10);
    struct program program = start_program("execs");
    program_ends_well(&program);
    assert_int_equal(statistics_of(segment).blocks, 1);
    assert_int_equal(statistics_of(segment).processes, 1);
    shmcore_close(segment);
}

static void exit_removes_the_file(void **state)
{
    (void)state;
    struct program program = start_program("exits");
    program_ends_well(&program);
    assert_int_equal(files_in_directory(), 0);
    shmcore_segment *segment = open_here(NODE, 8 * MIB);
    program = start_program("exits");
    program_ends_well(&program);
    assert_int_equal(files_in_directory(), 1); /* we are still here */
    shmcore_close(segment);
}

/* ---------------------------------------------------------------- killed */

static void holds_blocks(const struct peer *parent)
{
    shmcore_segment *segment = peer_open();
    for (int i = 0; i < 50; i++) {
        char name[48];
        snprintf(name, sizeof name, "block %d %s", i, i % 2 != 0 ? "with a long name" : "");
        REQUIRE(shmcore_allocate(segment, name, (size_t)i * 3000) != NULL);
        REQUIRE(shmcore_allocate(segment, name, (size_t)i * 3000) != NULL);
    }
    tell(parent, 1);
    hear(parent);
}

static void holds_nothing(const struct peer *parent)
{
    (void)peer_open();
    tell(parent, 1);
    hear(parent);
}

static void killed_processes_leave_nothing(void **state)
{
    (void)state;
    struct peer peer[6];
    for (int i = 0; i < 6; i++)
        peer[i] = start_peer(holds_blocks);
    for (int i = 0; i < 6; i++)
        hear(&peer[i]);
    for (int i = 0; i < 6; i++)
        kill_peer(&peer[i]);
    shmcore_segment *segment = open_here(NODE, 0); /* the next one clears up after all six */
    for (int i = 0; i < 50; i++) {
        char name[48];
        snprintf(name, sizeof name, "block %d %s", i, i % 2 != 0 ? "with a long name" : "");
        void *block = shmcore_allocate(segment, name, 7);
        if (block == NULL)
            fail_msg("the name is not free: %s", shmcore_error());
        assert_int_equal(shmcore_deallocate(segment, block), 0);
    }
    assert_int_equal(statistics_of(segment).blocks, 0);
    assert_int_equal(statistics_of(segment).processes, 1);
    shmcore_close(segment);
}

/* Who opens looks on for as long as he finds some; and a few among many that live are found by those who
 * come, each of whom looks at a few. */
static void many_that_live_and_die(void **state)
{
    enum { LIVING = 70, DEAD = 30 };
    struct peer living[LIVING], dead[DEAD];
    size_t processes;
    unsigned opened = 0;
    (void)state;
    for (int i = 0; i < LIVING; i++) {
        living[i] = start_peer(holds_nothing);
        hear(&living[i]);
    }
    for (int i = 0; i < DEAD; i++) {
        dead[i] = start_peer(holds_nothing);
        hear(&dead[i]);
    }
    for (int i = 0; i < DEAD; i++)
        kill_peer(&dead[i]);
    do {
        shmcore_segment *segment = open_here(NODE, 0);
        processes = statistics_of(segment).processes;
        shmcore_close(segment);
        opened++;
    } while (processes > LIVING + 1);
    assert_in_range(opened, 1, LIVING / 8 + 1);
    for (int i = 0; i < LIVING; i++)
        kill_peer(&living[i]);
    shmcore_segment *segment = open_here(NODE, 0);
    assert_int_equal(statistics_of(segment).processes, 1);
    shmcore_close(segment);
}

static void fills_the_segment(const struct peer *parent)
{
    shmcore_segment *segment = peer_open();
    char name[16] = "";
    for (int i = 0; i == 0 || errno == 0; i++) {
        snprintf(name, sizeof name, "%d", i);
        errno = 0;
        (void)shmcore_allocate(segment, name, 100000);
    }
    REQUIRE(errno == ENOMEM);
    tell(parent, 1);
    hear(parent);
}

/* Whoever needs the room, or the name, does not have to open the segment again for it. */
static void the_room_of_the_dead_is_used(void **state)
{
    (void)state;
    const struct peer peer = start_peer(fills_the_segment);
    hear(&peer);
    shmcore_segment *segment = open_here(NODE, 0);
    assert_refused(shmcore_allocate(segment, "mine", 100000), ENOMEM);
    kill_peer(&peer);
    allocate(segment, "mine", 100000);
    shmcore_close(segment);
}

static void the_name_of_the_dead_is_free(void **state)
{
    (void)state;
    const struct peer peer = start_peer(holds_blocks);
    hear(&peer);
    shmcore_segment *segment = open_here(NODE, 0);
    assert_refused(shmcore_allocate(segment, "block 8 ", 7), EEXIST);
    kill_peer(&peer);
    allocate(segment, "block 8 ", 7);
    shmcore_close(segment);
}

static void comes_and_goes(const struct peer *parent)
{
    shmcore_segment *segment = peer_open();
    tell(parent, 1);
    for (unsigned i = 0;; i++) {
        char name[48];
        snprintf(name, sizeof name, i % 3 != 0 ? "%u" : "a long name with number %u", i % 100);
        void *block = shmcore_allocate(segment, name, 64u << (i % 12));
        REQUIRE(block == NULL || i % 7 == 0 || shmcore_deallocate(segment, block) == 0);
    }
}

/* Killed anywhere in the middle of a call; the others go on with what they have. */
static void killed_in_the_middle(void **state)
{
    (void)state;
    enum { ROUNDS = 40 };
    struct peer peer[ROUNDS];
    for (int round = 0; round < ROUNDS; round++) {
        peer[round] = start_peer(comes_and_goes);
        hear(&peer[round]);
        for (int turn = 0; turn < round * 5; turn++) /* not a time: the place where it is hit varies */
            sched_yield();
        kill_peer(&peer[round]);
        shmcore_segment *segment = open_here(NODE, 0);
        for (unsigned i = 0; i < 100; i++) {
            char name[48];
            snprintf(name, sizeof name, i % 3 != 0 ? "%u" : "a long name with number %u", i);
            memset(allocate(segment, name, 3000), 1, 3000);
        }
        assert_int_equal(statistics_of(segment).blocks, 100);
        assert_int_equal(shmcore_close(segment), 0);
        assert_int_equal(files_in_directory(), 0);
    }
}

static void makes_a_big_block(const struct peer *parent)
{
    const shmcore_traits traits = traits_here(2 * GIB);
    shmcore_segment *segment = shmcore_open(NODE, &traits);
    REQUIRE(segment != NULL);
    tell(parent, 1);
    hear(parent);
    REQUIRE(shmcore_allocate(segment, "big", GIB / 4) != NULL);
    hear(parent);
}

static int stop_at_once(const shmcore_block *block, void *argument)
{
    (void)argument;
    return block != NULL;
}

static void killed_while_it_fills_a_block(void **state)
{
    (void)state;
    bool in_the_middle = false;
    for (int tries = 0; tries < 50 && !in_the_middle; tries++) {
        const struct peer peer = start_peer(makes_a_big_block);
        hear(&peer);
        shmcore_segment *segment = open_here(NODE, 0);
        const size_t before = shmcore_actual_size(segment);
        tell(&peer, 1);
        while (statistics_of(segment).blocks == 0)
            sched_yield();
        kill_peer(&peer);
        in_the_middle = shmcore_find(segment, "big", NULL) == NULL; /* else it was done already: once more */
        if (in_the_middle) {
            assert_int_equal(shmcore_for_each(segment, stop_at_once, NULL), 0); /* nor does it show there */
            char *block = allocate(segment, "big", 50000);
            assert_true(is_filled_with(block, 0, 50000));
            assert_int_equal(block_at(block).refs, 1);
            assert_int_equal(shmcore_deallocate(segment, block), 0);
            assert_int_equal(shmcore_actual_size(segment), before);
        }
        shmcore_close(segment);
    }
    assert_true(in_the_middle);
}

/* ---------------------------------------------------------------- fork */

static void fork_gives_the_child_references(void **state)
{
    (void)state;
    int down[2], up[2], status = -1;
    shmcore_segment *segment = open_here(NODE, 8 * MIB);
    const size_t before = shmcore_actual_size(segment);
    char *small = allocate(segment, "small", 100), *large = allocate(segment, "large", 100000);
    assert_ptr_equal(allocate(segment, "small", 100), small);
    assert_int_equal(pipe2(down, O_CLOEXEC), 0);
    assert_int_equal(pipe2(up, O_CLOEXEC), 0);
    const pid_t pid = fork();
    if (pid == 0) {
        const struct peer parent = {0, down[0], up[1]};
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(down[1]);
        tell(&parent, 1);
        hear(&parent); /* the parent has let go of everything */
        REQUIRE(shmcore_find(segment, "small", NULL) == small &&
                shmcore_find(segment, "large", NULL) == large);
        strcpy(large, "child");
        REQUIRE(shmcore_deallocate(segment, small) == 0);
        REQUIRE(shmcore_allocate(segment, "of the child", 10) != NULL);
        tell(&parent, 1);
        hear(&parent);
        _exit(0); /* nothing closed */
    }
    const struct peer child = {pid, up[0], down[1]};
    close(up[1]);
    close(down[0]);
    hear(&child);
    assert_int_equal(statistics_of(segment).processes, 2);
    assert_int_equal(block_at(small).refs, 4);
    assert_int_equal(block_at(large).refs, 2);
    for (int i = 0; i < 2; i++)
        assert_int_equal(shmcore_deallocate(segment, small), 0);
    assert_int_equal(shmcore_deallocate(segment, large), 0);
    assert_fails(shmcore_deallocate(segment, small), EINVAL);
    assert_int_equal(block_at(small).refs, 2);
    assert_int_equal(block_at(large).owner, pid);
    tell(&child, 1);
    hear(&child);
    assert_string_equal(large, "child"); /* shared, not copied */
    assert_int_equal(block_at(small).refs, 1);
    tell(&child, 1);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    close(child.in);
    close(child.out);
    assert_int_equal(shmcore_collect(test_directory, NULL), 0); /* somebody comes by */
    assert_int_equal(statistics_of(segment).blocks, 0);
    assert_int_equal(statistics_of(segment).processes, 1);
    assert_int_equal(shmcore_actual_size(segment), before);
    shmcore_close(segment);
}

/* A child that closes, or ends, takes nothing from its parent. */
static void children_that_close_or_exit(void **state)
{
    (void)state;
    for (int way = 0; way < 3; way++) {
        int status = -1;
        shmcore_segment *segment = open_here(NODE, 8 * MIB);
        char *block = allocate(segment, "block", 100);
        strcpy(block, "parent");
        fflush(NULL);
        const pid_t pid = fork();
        if (pid == 0) {
            if (way == 0)
                _exit(shmcore_deallocate(segment, block) == 0 ? 0 : 1);
            if (way == 1)
                _exit(shmcore_close(segment) == 0 ? 0 : 1);
            _exit(0);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        assert_int_equal(files_in_directory(), 1);
        assert_int_equal(shmcore_collect(test_directory, NULL), 0);
        assert_ptr_equal(shmcore_find(segment, "block", NULL), block);
        assert_string_equal(block, "parent");
        assert_int_equal(block_at(block).refs, 1);
        assert_int_equal(block_at(block).owner, getpid());
        assert_int_equal(shmcore_deallocate(segment, block), 0);
        shmcore_close(segment);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        API_TEST(two_processes_one_name),         API_TEST(one_address_under_aslr),
        API_TEST(exec_drops_what_was_held),       API_TEST(exit_removes_the_file),
        API_TEST(killed_processes_leave_nothing), API_TEST(the_room_of_the_dead_is_used),
        API_TEST(many_that_live_and_die),         API_TEST(the_room_of_the_dead_is_used),
        API_TEST(the_name_of_the_dead_is_free),   API_TEST(killed_in_the_middle),
        API_TEST(killed_while_it_fills_a_block),  API_TEST(fork_gives_the_child_references),
        API_TEST(children_that_close_or_exit),
    };
    signal(SIGPIPE, SIG_IGN);
    if (argc > 2) {
        snprintf(test_directory, sizeof test_directory, "%s", argv[2]);
        if (strcmp(argv[1], "prints-address") == 0)
            return role_prints_address();
        if (strcmp(argv[1], "execs") == 0)
            return role_execs(argv[2]);
        return strcmp(argv[1], "after-exec") == 0 ? role_after_exec() : role_exits();
    }
    if (make_test_directory("processes") != 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, remove_test_directory);
}
