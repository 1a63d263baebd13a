/* SPDX-License-Identifier: Apache-2.0 */
/* Which child has which row: real processes, and a board that somebody has written over. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include "share/board.h"
#include "share/children.h"
#include "share/queue.h"

#define POOL 2u
#define SEAT 16u /* four, of one slot */

static fcgipm_board_t *board;
static fcgipm_registry_t *registry;
static int locks;

static int setup(void **state)
{
    fcgipm_fault_t fault;
    (void)state;
    registry = mmap(NULL, sizeof *registry, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    locks = fcgipm_children_open();
    if (registry == MAP_FAILED || locks < 0 || fcgipm_board_create(&board, NULL, &fault) != APR_SUCCESS)
        return -1;
    registry->pool[POOL].geometry = (fcgipm_geometry_t){0, 1, SEAT, 4, 32, 32};
    fcgipm_atom_set(&registry->pool[POOL].used, 1);
    board->pool[POOL].geometry = registry->pool[POOL].geometry;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    munmap(board, sizeof *board);
    munmap(registry, sizeof *registry);
    return close(locks);
}

typedef struct kid {
    pid_t pid;
    int life; /* its end of this pipe is held by us: closed, it ends by itself */
    unsigned row;
} kid_t;

static kid_t born(void)
{
    kid_t kid;
    int life[2], said[2];
    assert_int_equal(pipe(life) | pipe(said), 0);
    kid.pid = fork();
    assert_true(kid.pid >= 0);
    if (kid.pid == 0) {
        char c;
        close(life[1]);
        unsigned row = fcgipm_children_claim(board, locks, getpid());
        (void)!write(said[1], &row, sizeof row);
        (void)!read(life[0], &c, 1);
        _exit(0);
    }
    close(life[0]);
    close(said[1]);
    kid.life = life[1];
    assert_int_equal(read(said[0], &kid.row, sizeof kid.row), sizeof kid.row);
    close(said[0]);
    return kid;
}

static void dies(kid_t *kid)
{
    kill(kid->pid, SIGKILL);
    assert_int_equal(waitpid(kid->pid, NULL, 0), kid->pid);
    close(kid->life);
}

static void hold(unsigned n, unsigned row)
{
    fcgipm_atom_set(&board->seat[SEAT + n], (uint64_t)FCGIPM_SEAT_BUSY << 56 | (uint64_t)row << 40 | 7);
}

static unsigned state_of(unsigned n)
{
    return fcgipm_seat_state(fcgipm_atom_get(&board->seat[SEAT + n]));
}

static void lives_and_dies(void **state)
{
    (void)state;
    kid_t a = born(), b = born();
    assert_int_equal(a.row, 0);
    assert_int_equal(b.row, 1);
    hold(0, a.row);
    hold(1, b.row);
    assert_int_equal(fcgipm_children_bury(board, registry, locks, true), 0);
    assert_int_equal(fcgipm_children_bury(board, registry, locks, false), 0);
    /* Dead, and not yet waited for: nobody gets its row before it was buried. */
    kill(a.pid, SIGKILL);
    waitid(P_PID, (id_t)a.pid, &(siginfo_t){0}, WEXITED | WNOWAIT);
    kid_t c = born();
    assert_int_equal(c.row, 2);
    assert_int_equal(fcgipm_children_bury(board, registry, locks, false), 1);
    assert_int_equal(state_of(0), FCGIPM_SEAT_IDLE);
    assert_int_equal(state_of(1), FCGIPM_SEAT_BUSY);
    kid_t d = born();
    assert_int_equal(d.row, 0);
    dies(&a);
    dies(&b);
    dies(&c);
    dies(&d);
    assert_int_equal(fcgipm_children_bury(board, registry, locks, true), 1);
    for (unsigned i = 0; i < FCGIPM_CHILDREN_MAX; i++)
        assert_int_equal(fcgipm_atom_get(&board->child[i].pid), 0);
}

static void wiped(void **state)
{
    (void)state;
    kid_t a = born(), b = born();
    memset(board->child, 0, sizeof board->child);
    kid_t c = born(); /* the board has room, the kernel says no */
    assert_int_equal(c.row, 2);
    hold(0, a.row);
    hold(1, b.row);
    fcgipm_atom_set(&board->cell[32], (uint64_t)FCGIPM_CELL_WAITING << 60 | (uint64_t)a.row << 44 | 5);
    fcgipm_atom_set(&board->cell[33], (uint64_t)FCGIPM_CELL_WAITING << 60 | (uint64_t)b.row << 44 | 6);
    fcgipm_atom_set(&board->cell[34], (uint64_t)FCGIPM_CELL_WAITING << 60 | (uint64_t)0x8000 << 44 | 6);
    dies(&a); /* nothing on the board says that it was one */
    assert_int_equal(fcgipm_children_bury(board, registry, locks, true), 1);
    assert_int_equal(state_of(0), FCGIPM_SEAT_IDLE);
    assert_int_equal(state_of(1), FCGIPM_SEAT_BUSY);
    assert_int_equal(fcgipm_atom_get(&board->cell[32]), 0);
    assert_int_not_equal(fcgipm_atom_get(&board->cell[33]), 0);
    assert_int_equal(fcgipm_atom_get(&board->cell[34]), 0); /* of nobody */
    dies(&b);
    dies(&c);
}

static void another_number(void **state)
{
    (void)state;
    kid_t a = born(), b = born();
    fcgipm_atom_set(&board->child[0].pid, (uint32_t)b.pid);
    fcgipm_atom_set(&board->child[1].pid, 1);
    fcgipm_atom_set(&board->child[7].pid, (uint32_t)getpid());
    hold(0, a.row);
    assert_int_equal(fcgipm_children_bury(board, registry, locks, false), 0);
    assert_int_equal(fcgipm_atom_get(&board->child[0].pid), a.pid);
    assert_int_equal(fcgipm_atom_get(&board->child[1].pid), b.pid);
    assert_int_equal(fcgipm_atom_get(&board->child[7].pid), 0);
    dies(&b);
    assert_int_equal(fcgipm_children_bury(board, registry, locks, true), 0);
    assert_int_equal(state_of(0), FCGIPM_SEAT_BUSY);
    dies(&a);
}

/* A child that begins while the parent has the free rows waits, and gets one. */
static void parent_is_busy(void **state)
{
    (void)state;
    int told[2];
    char c;
    struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = FCGIPM_CHILDREN_MAX};
    assert_int_equal(pipe(told), 0);
    assert_int_equal(fcntl(locks, F_SETLK, &all), 0);
    pid_t kid = fork();
    if (kid == 0) {
        (void)!write(told[1], "x", 1);
        _exit((int)fcgipm_children_claim(board, locks, getpid()));
    }
    assert_int_equal(read(told[0], &c, 1), 1);
    all.l_type = F_UNLCK;
    assert_int_equal(fcntl(locks, F_SETLK, &all), 0);
    int status;
    assert_int_equal(waitpid(kid, &status, 0), kid);
    assert_int_equal(status, 0);
    close(told[0]);
    close(told[1]);
}

/* httpd -X: its own lock is no sign that nobody has the row. */
static void one_process(void **state)
{
    (void)state;
    pid_t pid = fork();
    if (pid == 0) {
        unsigned row = fcgipm_children_claim(board, locks, getpid());
        hold(0, row);
        (void)fcgipm_children_bury(board, registry, locks, true);
        _exit(row == 0 && state_of(0) == FCGIPM_SEAT_BUSY ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(lives_and_dies, setup, teardown),
        cmocka_unit_test_setup_teardown(wiped, setup, teardown),
        cmocka_unit_test_setup_teardown(another_number, setup, teardown),
        cmocka_unit_test_setup_teardown(parent_is_busy, setup, teardown),
        cmocka_unit_test_setup_teardown(one_process, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
