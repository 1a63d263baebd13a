/* SPDX-License-Identifier: Apache-2.0 */
#include "link/link.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "link/thread.h"
#include "share/board.h"
#include "share/children.h"
#include "share/wake.h"

/* --- messages to the manager --- */

apr_status_t fcgipm_link_try_tell(const fcgipm_link_t *link, uint32_t type, uint32_t pool, uint32_t slot,
                                  uint32_t generation)
{
    fcgipm_msg_t msg = {
        .version = FCGIPM_MSG_VERSION, .type = type, .pool = pool, .slot = slot, .generation = generation};
    return link->env.requests_fd < 0 ? APR_SUCCESS : fcgipm_msg_send(link->env.requests_fd, &msg);
}

void fcgipm_link_tell(fcgipm_link_t *link, fcgipm_msg_type_t type, uint32_t pool, uint32_t slot,
                      uint32_t generation)
{
    if (fcgipm_link_try_tell(link, type, pool, slot, generation) != APR_EAGAIN)
        return;
    pthread_mutex_lock(&link->mutex);
    bool wake = fcgipm_keeper_oversleeps_locked(link, FCGIPM_TEND_MS);
    if (link->pending_count < FCGIPM_PENDING_MAX) {
        unsigned i = link->pending_count++;
        link->pending[i].type = type;
        link->pending[i].pool = pool;
        link->pending[i].slot = slot;
        link->pending[i].generation = generation;
    }
    pthread_mutex_unlock(&link->mutex);
    if (wake)
        fcgipm_keeper_wake(link);
}

void fcgipm_link_tell_pending(fcgipm_link_t *link)
{
    pthread_mutex_lock(&link->mutex);
    while (link->pending_count) {
        unsigned i = link->pending_count - 1;
        if (fcgipm_link_try_tell(link, link->pending[i].type, link->pending[i].pool, link->pending[i].slot,
                                 link->pending[i].generation) == APR_EAGAIN)
            break;
        link->pending_count = i;
    }
    pthread_mutex_unlock(&link->mutex);
}

/* --- its life --- */

static bool any_kept(const fcgipm_kept_t *kept, void *ctx)
{
    (void)kept;
    (void)ctx;
    return true;
}

/* The child ends: nothing of it stays LEASED. If our own thread was interrupted with the lock in its hand,
 * the end of the process closes what is open and the parent frees the seats. */
static apr_status_t link_destroy(void *data)
{
    fcgipm_link_t *link = data;
    fcgipm_kept_t kept;
    fcgipm_wake_own(FCGIPM_NO_CHILD, NULL, NULL);
    /* prefork destroys the child's pool in a signal handler, wherever its thread just is. */
    if (!fcgipm_thread_lock(&link->mutex))
        return APR_SUCCESS; /* the keeper still runs: its memory stays */
    pthread_mutex_unlock(&link->mutex);
    fcgipm_keeper_stop(link);
    while (fcgipm_kept_find(link, any_kept, NULL, &kept))
        fcgipm_kept_close(link, &kept);
    fcgipm_link_tell_pending(link);
    for (uint32_t i = 0; i < FCGIPM_POOLS_MAX; i++)
        fcgipm_kept_free(link, i);
    (void)fcgipm_trunks_destroy(link->trunks);
    pthread_mutex_destroy(&link->mutex);
    free(link->runtime_dir);
    free(link->waiting);
    free(link);
    return APR_SUCCESS;
}

apr_status_t fcgipm_link_create(fcgipm_link_t **out, const fcgipm_link_env_t *env, apr_pool_t *pool)
{
    fcgipm_link_t *link = fcgipm_board_ok(env->board) ? calloc(1, sizeof *link) : NULL;
    if (!link)
        return fcgipm_board_ok(env->board) ? APR_ENOMEM : APR_EINVAL;
    link->env = *env;
    fcgipm_wake_register(env->wake_fds, env->wake_count);
    link->env.runtime_dir = link->runtime_dir = strdup(env->runtime_dir ? env->runtime_dir : "");
    link->child = fcgipm_children_claim(env->board, env->children_fd, getpid());
    if (link->child != FCGIPM_NO_CHILD)
        fcgipm_atom_set(&env->board->child[link->child].generation, env->generation);
    link->wake_fd = link->child < env->wake_count ? env->wake_fds[link->child] : -1;
    link->epoll_fd = link->command_fd = -1;
    link->waiting =
        calloc(FCGIPM_CELLS_MAX, sizeof *link->waiting); /* pages that nobody touches cost nothing */
    pthread_mutex_init(&link->mutex, NULL);
    apr_pool_cleanup_register(pool, link, link_destroy, apr_pool_cleanup_null);
    link->trunks = fcgipm_trunks_create();
    apr_status_t rv = link->waiting && link->trunks ? fcgipm_keeper_start(link) : APR_ENOMEM;
    if (rv != APR_SUCCESS)
        return rv;
    if (link->wake_fd >= 0)
        fcgipm_wake_own(link->child, fcgipm_parked_ring, link);
    *out = link;
    return rv;
}

unsigned fcgipm_link_child(const fcgipm_link_t *link)
{
    return link->child;
}

unsigned fcgipm_link_kept(fcgipm_link_t *link)
{
    pthread_mutex_lock(&link->mutex);
    unsigned kept = link->kept;
    pthread_mutex_unlock(&link->mutex);
    return kept;
}
