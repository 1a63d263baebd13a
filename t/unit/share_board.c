/* SPDX-License-Identifier: Apache-2.0 */
/* The two regions: creation, the registry file and its refusals, and what children read from the board. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "share/board.h"
#include "obituary.h"
#include "share/stat.h"

static char dir[64], path[128];

static int setup(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/fcgipm-board-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    snprintf(path, sizeof path, "%s/registry", dir);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(dir);
}

static void board_basics(void **state)
{
    (void)state;
    fcgipm_board_t *b;
    fcgipm_fault_t fault;
    fcgipm_geometry_t g;
    assert_int_equal(fcgipm_board_create(&b, NULL, &fault), APR_SUCCESS);
    assert_true(fcgipm_board_ok(b));
    b->version++;
    assert_false(fcgipm_board_ok(b));
    assert_false(fcgipm_board_ok(NULL));
    assert_int_equal(fcgipm_children_claim(b, -1, 100), 0);
    assert_int_equal(fcgipm_children_claim(b, -1, 101), 1);
    for (unsigned i = 2; i < FCGIPM_CHILDREN_MAX; i++)
        fcgipm_children_claim(b, -1, 200);
    assert_int_equal(fcgipm_children_claim(b, -1, 102), FCGIPM_NO_CHILD);
    /* geometry and route come from hostile memory */
    assert_false(fcgipm_board_geometry(b, 5, &g));
    b->pool[5].geometry = (fcgipm_geometry_t){1, 2, 3, 4, 5, 6};
    assert_true(fcgipm_board_geometry(b, 5, &g));
    assert_int_equal(g.concurrency, 4);
    assert_false(fcgipm_board_geometry(b, FCGIPM_POOLS_MAX, &g));
    b->pool[5].geometry.seat_first = FCGIPM_SEATS_MAX;
    assert_false(fcgipm_board_geometry(b, 5, &g));
    fcgipm_atom_set(&b->pool[5].route, 6);
    fcgipm_atom_set(&b->pool[6].route, 7);
    fcgipm_atom_set(&b->pool[7].route, 7);
    assert_int_equal(fcgipm_board_route(b, 5), 7);
    fcgipm_atom_set(&b->pool[7].route, 0xffffffffu);
    assert_int_equal(fcgipm_board_route(b, 5), 7);
    fcgipm_atom_set(&b->pool[7].route, 5);
    assert_true(fcgipm_board_route(b, 5) <= 7);
    fcgipm_stat_requests_add(b, 5, 3);
    fcgipm_stat_requests_add(b, FCGIPM_POOLS_MAX, 3);
    assert_int_equal(fcgipm_atom_peek(&fcgipm_stat_row(b, 5)->count.requests), 3);
}

static void names(void **state)
{
    (void)state;
    char out[32];
    assert_string_equal(fcgipm_board_socket_path(out, sizeof out, "/run/f", 12, 3), "/run/f/p12/s3.sock");
    assert_null(fcgipm_board_socket_path(out, 18, "/run/f", 12, 3));
}

static apr_status_t reopen(fcgipm_registry_t **r, int *fd, bool *leftover)
{
    fcgipm_fault_t fault;
    return fcgipm_registry_open(r, fd, leftover, path, 0, &fault);
}

static void registry_life(void **state)
{
    (void)state;
    fcgipm_registry_t *r, *other;
    int fd, fd2;
    bool leftover;
    struct stat st;
    assert_int_equal(reopen(&r, &fd, &leftover), APR_SUCCESS);
    assert_false(leftover);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(st.st_size, sizeof *r);
    assert_int_equal(strlen(r->boot_id), 36);
    assert_int_equal(reopen(&other, &fd2, &leftover), APR_EBUSY);
    assert_int_equal(fd2, -1);
    fcgipm_atom_set(&r->slot[77].pid, 4242);
    fcgipm_registry_close(r, fd);
    assert_int_equal(reopen(&r, &fd, &leftover), APR_SUCCESS);
    assert_true(leftover);
    assert_int_equal(fcgipm_atom_get(&r->slot[77].pid), 4242);
    r->boot_id[0] ^= 1; /* another boot */
    fcgipm_registry_close(r, fd);
    assert_int_equal(reopen(&r, &fd, &leftover), APR_SUCCESS);
    assert_false(leftover);
    assert_int_equal(fcgipm_atom_get(&r->slot[77].pid), 0);
    fcgipm_atom_set(&r->slot[77].pid, 4242);
    r->version++;
    fcgipm_registry_close(r, fd);
    assert_int_equal(reopen(&r, &fd, &leftover), APR_SUCCESS);
    assert_false(leftover);
    fcgipm_atom_set(&r->slot[77].pid, 4242);
    fcgipm_registry_close(r, fd);
    assert_int_equal(truncate(path, 1000), 0);
    assert_int_equal(reopen(&r, &fd, &leftover), APR_SUCCESS);
    assert_false(leftover);
    fcgipm_registry_close(r, fd);
}

static void registry_refusals(void **state)
{
    (void)state;
    fcgipm_registry_t *r;
    int fd;
    bool leftover;
    char link[160];
    unlink(path);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    assert_int_equal(reopen(&r, &fd, &leftover), ELOOP);
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_not_equal(reopen(&r, &fd, &leftover), APR_SUCCESS);
    unlink(path);
    fd = open(path, O_CREAT | O_RDWR, 0644);
    assert_int_equal(fchmod(fd, 0640), 0);
    close(fd);
    assert_int_equal(reopen(&r, &fd, &leftover), APR_EACCES);
    assert_int_equal(chmod(path, 0600), 0);
    snprintf(link, sizeof link, "%s/second", dir);
    assert_int_equal(linkat(AT_FDCWD, path, AT_FDCWD, link, 0), 0);
    assert_int_not_equal(reopen(&r, &fd, &leftover), APR_SUCCESS);
    unlink(link);
    if (geteuid() == 0) {
        assert_int_equal(chown(path, 1, 1), 0);
        assert_int_equal(reopen(&r, &fd, &leftover), APR_EACCES);
    }
    unlink(path);
}

/* An earlier instance that removes the file as it ends: we must not go on with the removed one. */
static void registry_wait(void **state)
{
    (void)state;
    fcgipm_registry_t *r;
    fcgipm_fault_t fault;
    struct stat st, named;
    int fd, ready[2];
    bool leftover;
    char byte;
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        if (reopen(&r, &fd, &leftover) != APR_SUCCESS || write(ready[1], "x", 1) != 1)
            _exit(1);
        nanosleep(&(struct timespec){.tv_nsec = 150000000}, NULL);
        unlink(path);
        _exit(0);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(fcgipm_registry_open(&r, &fd, &leftover, path, 5000000, &fault), APR_SUCCESS);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(stat(path, &named), 0);
    assert_int_equal(st.st_ino, named.st_ino);
    fcgipm_registry_close(r, fd);
    waitpid(pid, NULL, 0);
}

/* The obituary works on scribbled memory: it ends, and stays within its ranges. */
static void obituary_of_noise(void **state)
{
    (void)state;
    fcgipm_board_t *b;
    fcgipm_registry_t *r;
    fcgipm_fault_t fault;
    bool leftover;
    int fd;
    assert_int_equal(fcgipm_board_create(&b, NULL, &fault), APR_SUCCESS);
    assert_int_equal(reopen(&r, &fd, &leftover), APR_SUCCESS);
    r->pool[1].geometry = (fcgipm_geometry_t){0, 4, FCGIPM_SEATS_MAX - 16, 4, FCGIPM_CELLS_MAX - 64, 64};
    fcgipm_atom_set(&r->pool[1].used, 1);
    srandom(7);
    for (unsigned run = 0; run < 2000; run++) {
        for (unsigned i = 0; i < 16; i++)
            fcgipm_atom_set(&b->seat[FCGIPM_SEATS_MAX - 16 + i],
                            (uint64_t)random() << 32 ^ (uint64_t)random() << 56 ^ (uint64_t)random());
        for (unsigned i = 0; i < 64; i++)
            fcgipm_atom_set(&b->cell[FCGIPM_CELLS_MAX - 64 + i], (uint64_t)(random() % 4) << 60 |
                                                                     (uint64_t)(random() % 3) << 44 |
                                                                     (uint64_t)random() << 13);
        fcgipm_atom_set(&b->pool[1].joins, (uint32_t)random());
        fcgipm_atom_set(&b->child[random() % 3].pid, 55);
        obituary_of(b, r, 55);
    }
    fcgipm_registry_close(r, fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(board_basics),  cmocka_unit_test(names),
        cmocka_unit_test(registry_life), cmocka_unit_test(registry_refusals),
        cmocka_unit_test(registry_wait), cmocka_unit_test(obituary_of_noise),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
