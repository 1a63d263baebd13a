/* SPDX-License-Identifier: Apache-2.0 */
#include "share/children.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include "share/board.h"

static unsigned own_row =
    FCGIPM_NO_CHILD; /* of this process: a lock of one's own is no hindrance to oneself */

int fcgipm_children_open(void)
{
    int fd = memfd_create("fcgipm-children", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd >= 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) != 0) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

static struct flock byte_of(unsigned child, short type)
{
    return (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = (off_t)child, .l_len = 1};
}

static bool row_lock(int locks, unsigned child)
{
    struct flock lock = byte_of(child, F_WRLCK);
    return fcntl(locks, F_SETLK, &lock) == 0;
}

static void row_unlock(int locks, unsigned child)
{
    struct flock lock = byte_of(child, F_UNLCK);
    (void)fcntl(locks, F_SETLK, &lock);
}

/* 0: nobody else's. */
static pid_t row_holder(int locks, unsigned child)
{
    struct flock lock = byte_of(child, F_WRLCK);
    return fcntl(locks, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK && lock.l_pid > 0 ? lock.l_pid : 0;
}

/* The parent has all that are free for as long as it buries somebody. */
#define PARENT_ROUNDS 1000
static bool row_take(int locks, unsigned child)
{
    for (int round = 0; round < PARENT_ROUNDS; round++) {
        if (row_lock(locks, child))
            return true;
        if (row_holder(locks, child) != getppid())
            return false;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    return false;
}

unsigned fcgipm_children_claim(fcgipm_board_t *board, int locks, pid_t pid)
{
    for (unsigned i = 0; i < FCGIPM_CHILDREN_MAX; i++) {
        uint32_t free_row = 0;
        if (fcgipm_atom_peek(&board->child[i].pid) || (locks >= 0 && !row_take(locks, i)))
            continue;
        if (!fcgipm_atom_cas(&board->child[i].pid, &free_row, (uint32_t)pid)) {
            if (locks >= 0)
                row_unlock(locks, i);
            continue;
        }
        for (uint32_t pool = 0; pool < FCGIPM_POOLS_MAX; pool++) /* what a dead one has left */
            if (fcgipm_atom_peek(&board->held[i][pool]))
                fcgipm_atom_put(&board->held[i][pool], 0);
        fcgipm_atom_put(&board->demanding[i], 0);
        if (locks >= 0)
            own_row = i;
        return i;
    }
    return FCGIPM_NO_CHILD;
}

/* Is its child dead? Then its lock is ours now. */
static bool row_dead(fcgipm_board_t *board, int locks, unsigned child)
{
    uint32_t seen = fcgipm_atom_get(&board->child[child].pid);
    if (row_lock(locks, child))
        return true;
    pid_t holder = row_holder(locks, child);
    /* Without a number it is just being claimed, or its owner will see to it (link/lease.c). */
    if (holder && seen && seen != (uint32_t)holder)
        fcgipm_atom_cas(&board->child[child].pid, &seen, (uint32_t)holder);
    return false;
}

unsigned fcgipm_children_bury(fcgipm_board_t *board, const fcgipm_registry_t *registry, int locks, bool all)
{
    fcgipm_children_dead_t dead = {{0}};
    unsigned count = 0, freed = 0;
    for (unsigned i = 0; i < FCGIPM_CHILDREN_MAX; i++)
        if (i != own_row && (all || fcgipm_atom_get(&board->child[i].pid)) && row_dead(board, locks, i)) {
            dead.is[i] = true;
            count++;
        }
    if (count)
        freed = fcgipm_board_obituary(board, registry, &dead);
    for (unsigned i = 0; i < FCGIPM_CHILDREN_MAX; i++)
        if (dead.is[i]) {
            fcgipm_atom_set(&board->child[i].pid, 0);
            row_unlock(locks, i);
        }
    return freed;
}
