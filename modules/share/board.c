/* SPDX-License-Identifier: Apache-2.0 */
#include "share/board.h"
#include "core/clock.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "share/demand.h"
#include "share/queue.h"

/* ---- the board ---- */

apr_status_t fcgipm_board_create(fcgipm_board_t **board, int *fd, fcgipm_fault_t *fault)
{
    int memory = memfd_create("fcgipm-board", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    void *at = MAP_FAILED;
    /* Whoever gets hold of it can write, but not take it away below those who have it mapped. */
    if (memory >= 0 && ftruncate(memory, sizeof **board) == 0 &&
        fcntl(memory, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0)
        at = mmap(NULL, sizeof **board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, memory, 0);
    int error = errno;
    if (memory >= 0 && (at == MAP_FAILED || !fd))
        close(memory);
    if (at == MAP_FAILED)
        return fcgipm_fault_set(fault, error, "board", "no shared memory of %zu bytes", sizeof **board);
    if (fd)
        *fd = memory;
    *board = at;
    fcgipm_board_sign(*board);
    fcgipm_atom_set(&(*board)->started_us, (uint64_t)fcgipm_clock_steady_us());
    fcgipm_atom_set(&(*board)->started_wall_us, (uint64_t)fcgipm_clock_wall_us());
    return APR_SUCCESS;
}

bool fcgipm_board_sign(fcgipm_board_t *board)
{
    bool other = !fcgipm_board_ok(board);
    board->magic = FCGIPM_BOARD_MAGIC;
    board->version = FCGIPM_BOARD_VERSION;
    board->size = sizeof *board;
    return other;
}

bool fcgipm_board_ok(const fcgipm_board_t *board)
{
    return board && board->magic == FCGIPM_BOARD_MAGIC && board->version == FCGIPM_BOARD_VERSION &&
           board->size == sizeof *board;
}

uint32_t fcgipm_board_held(const fcgipm_board_t *board, uint32_t pool)
{
    uint32_t held = 0;
    for (unsigned i = 0; i < FCGIPM_CHILDREN_MAX; i++)
        if (fcgipm_atom_peek(&board->child[i].pid))
            held += fcgipm_atom_peek(&board->held[i][pool]);
    return held;
}

/* A row that has gone to another account meanwhile leads nowhere. */
uint32_t fcgipm_board_peer(const fcgipm_board_t *board, uint32_t pool, uint32_t of)
{
    uint32_t account = fcgipm_atom_peek(&board->pool[of].account);
    uint32_t next = fcgipm_atom_peek(&board->pool[pool].peer) - 1;
    return account && next < FCGIPM_POOLS_MAX && fcgipm_atom_peek(&board->pool[next].account) == account
               ? next
               : of;
}

uint32_t fcgipm_board_demanding(const fcgipm_board_t *board)
{
    uint32_t waits = 0;
    for (unsigned i = 0; i < FCGIPM_CHILDREN_MAX; i++)
        if (fcgipm_atom_peek(&board->child[i].pid))
            waits += fcgipm_atom_peek(&board->demanding[i]);
    return waits;
}

/* ---- the registry file ---- */

static int64_t monotonic_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void boot_id_read(char out[40])
{
    memset(out, 0, 40);
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return; /* equal empty ids: pids are checked against start times anyway */
    ssize_t n = read(fd, out, 36);
    if (n != 36)
        memset(out, 0, 40);
    close(fd);
}

/* Ours alone: a regular file of our uid, that nobody else may open and that has no second name. */
static apr_status_t registry_check(int fd, const char *path, struct stat *st, fcgipm_fault_t *fault)
{
    if (fstat(fd, st) != 0)
        return fcgipm_fault_set(fault, errno, "registry", "cannot stat %s", path);
    if (!S_ISREG(st->st_mode))
        return fcgipm_fault_set(fault, APR_EGENERAL, "registry", "%s is not a regular file", path);
    if (st->st_uid != geteuid() || st->st_mode & 077)
        return fcgipm_fault_set(fault, APR_EACCES, "registry", "%s must belong to uid %u with mode 0600",
                                path, (unsigned)geteuid());
    if (st->st_nlink > 1)
        return fcgipm_fault_set(fault, APR_EGENERAL, "registry", "%s has a second link", path);
    return APR_SUCCESS;
}

static apr_status_t registry_lock(int fd, const char *path, int64_t until_us, fcgipm_fault_t *fault)
{
    while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return fcgipm_fault_set(fault, errno, "registry", "cannot lock %s", path);
        if (monotonic_us() >= until_us)
            return fcgipm_fault_set(fault, APR_EBUSY, "registry", "%s is in use by another instance", path);
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    }
    return APR_SUCCESS;
}

/* An open, checked and locked descriptor of the file that has this name now: an instance that ends may have
 * removed the one that we waited for. */
static apr_status_t registry_enter(int *fd, struct stat *st, const char *path, int64_t wait_us,
                                   fcgipm_fault_t *fault)
{
    int64_t until_us = monotonic_us() + wait_us;
    for (;;) {
        struct stat named;
        *fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0600);
        if (*fd < 0)
            return fcgipm_fault_set(fault, errno, "registry", "cannot open %s%s", path,
                                    errno == ELOOP ? ": it is a symbolic link" : "");
        apr_status_t rv = registry_check(*fd, path, st, fault);
        if (rv == APR_SUCCESS)
            rv = registry_lock(*fd, path, until_us, fault);
        if (rv != APR_SUCCESS) {
            close(*fd);
            *fd = -1;
            return rv;
        }
        if (lstat(path, &named) == 0 && named.st_ino == st->st_ino && named.st_dev == st->st_dev)
            return fstat(*fd, st) == 0 ? APR_SUCCESS : errno;
        close(*fd);
    }
}

static bool registry_leftover(const fcgipm_registry_t *registry)
{
    char boot_id[40];
    boot_id_read(boot_id);
    if (registry->magic != FCGIPM_REGISTRY_MAGIC || registry->version != FCGIPM_REGISTRY_VERSION ||
        registry->size != sizeof *registry || memcmp(registry->boot_id, boot_id, sizeof boot_id) != 0)
        return false;
    for (uint32_t i = 0; (i = fcgipm_demand_next_slot(registry, i)) < FCGIPM_SLOTS_MAX; i++)
        if (fcgipm_atom_get(&registry->slot[i].pid) != 0)
            return true;
    return false;
}

apr_status_t fcgipm_registry_open(fcgipm_registry_t **registry, int *fd, bool *leftover, const char *path,
                                  int64_t wait_us, fcgipm_fault_t *fault)
{
    struct stat st = {0};
    *registry = NULL;
    *leftover = false;
    apr_status_t rv = registry_enter(fd, &st, path, wait_us, fault);
    if (rv != APR_SUCCESS)
        return rv;
    bool sized = st.st_size == (off_t)sizeof **registry;
    if (!sized && (ftruncate(*fd, 0) != 0 || ftruncate(*fd, sizeof **registry) != 0)) {
        rv = fcgipm_fault_set(fault, errno, "registry", "cannot give %s its size", path);
        goto leave;
    }
    void *at = mmap(NULL, sizeof **registry, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
    if (at == MAP_FAILED) {
        rv = fcgipm_fault_set(fault, errno, "registry", "cannot map %s", path);
        goto leave;
    }
    *registry = at;
    *leftover = sized && registry_leftover(*registry);
    if (!*leftover)
        fcgipm_registry_reset(*registry);
    return APR_SUCCESS;
leave:
    close(*fd);
    *fd = -1;
    return rv;
}

/* A hole in the file where that is possible: most of it is never used. */
void fcgipm_registry_reset(fcgipm_registry_t *registry)
{
    if (madvise(registry, sizeof *registry, MADV_REMOVE) != 0)
        memset(registry, 0, sizeof *registry);
    boot_id_read(registry->boot_id);
    registry->size = sizeof *registry;
    registry->version = FCGIPM_REGISTRY_VERSION;
    registry->magic = FCGIPM_REGISTRY_MAGIC;
}

void fcgipm_registry_close(fcgipm_registry_t *registry, int fd)
{
    if (registry)
        munmap(registry, sizeof *registry);
    if (fd >= 0)
        close(fd);
}

/* ---- the obituary of a child ---- */

#define ROUNDS_MAX 64 /* the board may be scribbled on while we work: no loop without a limit */

/* A free seat that somebody may be waiting for: take it for a moment and offer it. */
static void seat_offer_on(fcgipm_board_t *board, uint32_t pool, const fcgipm_geometry_t *g, uint32_t seat,
                          uint64_t word)
{
    if (fcgipm_seat_state(word) == FCGIPM_SEAT_IDLE && !fcgipm_queue_empty(board, pool, g) &&
        fcgipm_seat_step(&board->seat[seat], &word, FCGIPM_SEAT_EV_TAKE, FCGIPM_OWNER_MANAGER))
        fcgipm_queue_offer(board, pool, g, seat, &word, FCGIPM_SEAT_EV_RETURN, FCGIPM_OWNER_MANAGER);
}

/* What was granted to the dead and not yet taken over goes to the next one, or closes if it drains. */
static void grant_inherit(fcgipm_board_t *board, uint32_t pool, const fcgipm_geometry_t *g, uint64_t payload)
{
    uint32_t seat = (uint32_t)(payload >> 24);
    if (seat < g->seat_first || seat - g->seat_first >= g->slot_count * g->concurrency)
        return;
    uint64_t word = fcgipm_atom_get(&board->seat[seat]);
    uint32_t ahead = (uint32_t)(fcgipm_seat_epoch(word) - payload) & 0xffffffu;
    if (fcgipm_seat_state(word) == FCGIPM_SEAT_DRAINING && ahead == 1)
        fcgipm_seat_step(&board->seat[seat], &word, FCGIPM_SEAT_EV_RETURN, fcgipm_seat_owner(word));
    else if (fcgipm_seat_state(word) == FCGIPM_SEAT_BUSY && ahead == 0 &&
             fcgipm_seat_step(&board->seat[seat], &word, FCGIPM_SEAT_EV_GRANT, FCGIPM_OWNER_MANAGER))
        fcgipm_queue_offer(board, pool, g, seat, &word, FCGIPM_SEAT_EV_RETURN, FCGIPM_OWNER_MANAGER);
}

/* Of the dead, or of nobody at all. */
static bool cell_left(uint64_t word, const fcgipm_children_dead_t *dead)
{
    unsigned child = fcgipm_cell_child(word);
    return fcgipm_cell_state(word) != FCGIPM_CELL_FREE && (child >= FCGIPM_CHILDREN_MAX || dead->is[child]);
}

static void cells_leave(fcgipm_board_t *board, uint32_t pool, const fcgipm_geometry_t *g,
                        const fcgipm_children_dead_t *dead)
{
    for (uint32_t i = g->cell_first; i < g->cell_first + g->cell_count; i++) {
        uint64_t word = fcgipm_atom_get(&board->cell[i]);
        for (int round = 0; round < ROUNDS_MAX; round++) {
            if (!cell_left(word, dead))
                break;
            if (!fcgipm_atom_cas(&board->cell[i], &word, 0))
                continue;
            if (fcgipm_cell_state(word) == FCGIPM_CELL_GRANTED)
                grant_inherit(board, pool, g, fcgipm_cell_payload(word));
            break;
        }
    }
    fcgipm_atom_put(&board->pool[pool].waiting, fcgipm_queue_count(board, g));
}

void fcgipm_board_ghosts_leave(fcgipm_board_t *board, uint32_t pool, const fcgipm_geometry_t *g)
{
    bool any = false;
    for (uint32_t i = g->cell_first; i < g->cell_first + g->cell_count; i++) {
        uint64_t word = fcgipm_atom_get(&board->cell[i]);
        unsigned child = fcgipm_cell_child(word);
        if (word == 0 || (child < FCGIPM_CHILDREN_MAX && fcgipm_atom_peek(&board->child[child].pid)) ||
            !fcgipm_atom_cas(&board->cell[i], &word, 0))
            continue;
        any = true;
        if (fcgipm_cell_state(word) == FCGIPM_CELL_GRANTED)
            grant_inherit(board, pool, g, fcgipm_cell_payload(word));
    }
    if (any)
        fcgipm_atom_put(&board->pool[pool].waiting, fcgipm_queue_count(board, g));
}

static unsigned seats_abandon(fcgipm_board_t *board, uint32_t pool, const fcgipm_geometry_t *g,
                              const fcgipm_children_dead_t *dead)
{
    unsigned freed = 0;
    for (uint32_t i = g->seat_first; i < g->seat_first + g->slot_count * g->concurrency; i++) {
        uint64_t word = fcgipm_atom_get(&board->seat[i]);
        for (int round = 0; round < ROUNDS_MAX; round++) {
            unsigned owner = fcgipm_seat_owner(word);
            uint64_t next;
            if (owner >= FCGIPM_CHILDREN_MAX || !dead->is[owner] ||
                !fcgipm_seat_next(word, FCGIPM_SEAT_EV_ABANDON, owner, &next))
                break; /* (or CLOSED and untouched since the board was made) */
            if (!fcgipm_seat_step(&board->seat[i], &word, FCGIPM_SEAT_EV_ABANDON, owner))
                continue;
            freed++;
            seat_offer_on(board, pool, g, i, word);
            break;
        }
    }
    return freed;
}

unsigned fcgipm_board_obituary(fcgipm_board_t *board, const fcgipm_registry_t *registry,
                               const fcgipm_children_dead_t *dead)
{
    unsigned freed = 0;
    for (uint32_t pool = 0; pool < FCGIPM_POOLS_MAX; pool++) {
        const fcgipm_registry_pool_t *row = &registry->pool[pool];
        if (!fcgipm_atom_get(&row->used) || !fcgipm_geometry_ok(&row->geometry))
            continue;
        cells_leave(board, pool, &row->geometry, dead);
        freed += seats_abandon(board, pool, &row->geometry, dead);
    }
    return freed;
}

/* ---- what httpd children read ---- */

uint32_t fcgipm_board_load(const fcgipm_board_t *board, uint32_t pool, uint64_t ticket)
{
    fcgipm_geometry_t g;
    uint32_t load = 0;
    if (!fcgipm_board_geometry(board, pool, &g))
        return 0;
    if (fcgipm_atom_peek(&board->pool[pool].waiting))
        load = fcgipm_queue_ahead(board, &g, ticket);
    for (uint32_t i = g.seat_first; i < g.seat_first + g.slot_count * g.concurrency; i++) {
        uint64_t word = fcgipm_atom_peek(&board->seat[i]);
        unsigned state = fcgipm_seat_state(word);
        load += (state == FCGIPM_SEAT_BUSY || state == FCGIPM_SEAT_DRAINING) &&
                fcgipm_seat_owner(word) < FCGIPM_CHILDREN_MAX;
    }
    return load;
}

bool fcgipm_board_geometry(const fcgipm_board_t *board, uint32_t pool, fcgipm_geometry_t *g)
{
    if (pool >= FCGIPM_POOLS_MAX)
        return false;
    *g = board->pool[pool].geometry; /* copied first: what is checked is what is used */
    return fcgipm_geometry_ok(g);
}

uint32_t fcgipm_board_route(const fcgipm_board_t *board, uint32_t pool)
{
    for (int hop = 0; hop < 8 && pool < FCGIPM_POOLS_MAX; hop++) {
        uint32_t next = fcgipm_atom_get(&board->pool[pool].route);
        if (next == pool || next >= FCGIPM_POOLS_MAX)
            break;
        pool = next;
    }
    return pool;
}

static char socket_key[FCGIPM_SOCKET_KEY + 2]; /* with a '-' before it */

void fcgipm_board_socket_key(const char *key)
{
    snprintf(socket_key, sizeof socket_key, "%s%s", *key ? "-" : "", key);
}

const char *fcgipm_board_socket_path(char *out, size_t cap, const char *runtime_dir, uint32_t pool,
                                     uint32_t slot)
{
    int n = snprintf(out, cap, "%s/p%u/s%u%s.sock", runtime_dir, pool, slot, socket_key);
    return n > 0 && (size_t)n < cap ? out : NULL;
}
