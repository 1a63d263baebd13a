/* SPDX-License-Identifier: Apache-2.0 */
#include "web/state.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <ap_mpm.h>
#include <apr_strings.h>
#include <unixd.h>

#include "core/log.h"
#include "pm/daemon.h"
#include "share/children.h"
#include "share/wake.h"

#define MAGIC 0x66706d47u
/* Made of whatever must be equal for two builds to share the regions. */
#define CHANNELS 3u /* what the descriptors in the state are: 3 = with the locks of children */
#define LAYOUT                                                                                               \
    ((uint32_t)(CHANNELS * 97u ^ FCGIPM_BOARD_VERSION * 2654435761u ^ FCGIPM_REGISTRY_VERSION * 40503u ^     \
                (uint32_t)sizeof(fcgipm_board_t) ^ (uint32_t)sizeof(fcgipm_registry_t) << 8 ^                \
                (uint32_t)sizeof(fcgipm_state_t) << 16))

bool fcgipm_state_readable(const fcgipm_state_t *state)
{
    return state->root.magic == MAGIC && state->root.layout == LAYOUT;
}

static apr_status_t make_channels(fcgipm_state_t *state)
{
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, state->orders) < 0 ||
        socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, state->requests) < 0 ||
        pipe2(state->lifeline, O_CLOEXEC) < 0)
        return APR_FROM_OS_ERROR(errno);
    return APR_SUCCESS;
}

static apr_status_t make_wakers(fcgipm_state_t *state)
{
    int daemons = 0;

    if (ap_mpm_query(AP_MPMQ_HARD_LIMIT_DAEMONS, &daemons) != APR_SUCCESS || daemons < 1)
        daemons = 256;
    /* During a graceful restart the old children live beside the new ones. */
    state->wake_count = (unsigned)daemons * 2 + 8;
    if (state->wake_count > FCGIPM_CHILDREN_MAX)
        state->wake_count = FCGIPM_CHILDREN_MAX;
    for (unsigned i = 0; i < state->wake_count; i++) {
        state->wake_fds[i] = fcgipm_wake_open();
        if (state->wake_fds[i] < 0)
            return APR_FROM_OS_ERROR(errno);
    }
    return APR_SUCCESS;
}

/* The runtime directory, then the registry in it, then what an earlier server left. */
static apr_status_t make_registry(fcgipm_state_t *state, const char *dir, int64_t wait_us, apr_pool_t *ptemp,
                                  fcgipm_fault_t *fault)
{
    const char *path = apr_pstrcat(ptemp, dir, "/registry", NULL);
    bool leftover = false;
    apr_status_t rv;

    /* First: a file must not be made, nor opened, where a link or somebody else's directory leads to. */
    if ((rv = fcgipm_daemon_directory(dir, fault)) != APR_SUCCESS)
        return rv;
    rv = fcgipm_registry_open(&state->registry, &state->registry_fd, &leftover, path, wait_us, fault);
    if (rv != APR_SUCCESS)
        return rv;
    return fcgipm_daemon_prepare(state->registry, leftover, dir, state->cgroup, ap_unixd_config.user_id,
                                 ap_unixd_config.group_id, fault);
}

/* Directories of upgraded modules that a killed server left: their workers are stopped, and they go. */
static void sweep_upgrades(fcgipm_state_t *state, const char *dir, apr_pool_t *ptemp)
{
    fcgipm_fault_t fault;
    struct stat st;

    for (unsigned i = 1; i <= FCGIPM_UPGRADES_MAX; i++) {
        const char *old = apr_psprintf(ptemp, "%s/v%u", dir, i);

        if (lstat(old, &st) < 0 || !S_ISDIR(st.st_mode))
            continue;
        if (make_registry(state, old, apr_time_from_sec(3), ptemp, &fault) != APR_SUCCESS) {
            FCGIPM_LOG(651, FCGIPM_LOG_WARN, fault.status, 0, "%s: %s", old, fault.sentence);
            continue;
        }
        fcgipm_registry_close(state->registry, state->registry_fd);
        unlink(apr_pstrcat(ptemp, old, "/registry", NULL));
        rmdir(old);
    }
}

/* httpd's children connect to what they are told: SetHandler "proxy:unix:..." of an .htaccess could name any
 * pool's socket. And an application may be in httpd's group, or run as its user. They all cannot name what
 * they do not know. */
static apr_status_t make_key(fcgipm_state_t *state)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
    unsigned char bytes[FCGIPM_SOCKET_KEY];

    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        return APR_FROM_OS_ERROR(errno);
    for (size_t i = 0; i < sizeof bytes; i++)
        state->socket_key[i] = letters[bytes[i] & 63];
    return APR_SUCCESS;
}

static void list_shared(fcgipm_state_t *state)
{
    const int fds[] = {state->orders[0],   state->orders[1],   state->requests[0],
                       state->requests[1], state->lifeline[0], state->lifeline[1],
                       state->registry_fd, state->board_fd,    state->children_fd};
    fcgipm_state_root_t *root = &state->root;

    root->maps[0] = state->board;
    root->map_sizes[0] = sizeof *state->board;
    root->maps[1] = state->registry;
    root->map_sizes[1] = sizeof *state->registry;
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
        root->fds[root->fd_count++] = fds[i];
    for (unsigned i = 0; i < state->wake_count; i++)
        root->fds[root->fd_count++] = state->wake_fds[i];
}

apr_status_t fcgipm_state_make(fcgipm_state_t *state, const char *dir, int64_t stop_us, apr_pool_t *ptemp,
                               fcgipm_fault_t *fault)
{
    apr_status_t rv;

    state->parent = getpid();
    if (ap_mpm_query(AP_MPMQ_GENERATION, &state->begun) != APR_SUCCESS)
        state->begun = 0;
    if (!state->root.previous)
        sweep_upgrades(state, dir, ptemp);
    /* An earlier server may still be stopping its workers. */
    if ((rv = make_registry(state, dir, stop_us + apr_time_from_sec(3), ptemp, fault)) != APR_SUCCESS)
        return rv;
    if ((rv = fcgipm_board_create(&state->board, &state->board_fd, fault)) != APR_SUCCESS)
        return rv;
    if ((state->children_fd = fcgipm_children_open()) < 0)
        return fcgipm_fault_set(fault, APR_FROM_OS_ERROR(errno), "children",
                                "no memory for the children's locks");
    if ((rv = make_key(state)) != APR_SUCCESS || (rv = make_channels(state)) != APR_SUCCESS ||
        (rv = make_wakers(state)) != APR_SUCCESS)
        return fcgipm_fault_set(fault, rv, "channels", "cannot make the channels to the manager");
    state->runtime_dir = strdup(dir);
    state->root.magic = MAGIC;
    state->root.layout = LAYOUT;
    state->root.orders_fd = state->orders[0];
    state->root.lifeline_fd = state->lifeline[1];
    list_shared(state);
    return APR_SUCCESS;
}
