/* SPDX-License-Identifier: Apache-2.0 */
#include "web/async.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include <ap_mpm.h>
#include <apr_poll.h>
#include <apr_portable.h>
#include <apr_strings.h>
#include <http_config.h>
#include <http_connection.h>
#include <http_core.h>
#include <http_log.h>
#include <http_protocol.h>
#include <http_request.h>
#include <http_main.h>
#include <scoreboard.h>
#include <util_cfgtree.h>

#include "core/clock.h"
#include "core/setting.h"
#include "share/atom.h"

APLOG_USE_MODULE(fcgipm);
extern module AP_MODULE_DECLARE_DATA fcgipm_module;

#define FACTOR_DEFAULT 2 /* httpd's */
#define FACTOR_ENOUGH  16
#define FACTOR_GOOD    64
#define NUDGE_US       apr_time_from_msec(300)
#define NUDGE_FOR_US   apr_time_from_sec(5)  /* after the last one was served */
#define CLOCK_SET_US   apr_time_from_sec(1)  /* beyond what it drifts between two looks */
#define TICK_US        apr_time_from_sec(10) /* a look at every suspended request, whatever happens */

/* Of one connection of a client. */
typedef struct async {
    conn_rec *c;
    bool inside;                   /* below our process_connection hook */
    bool late;                     /* it began when the child was ending already */
    request_rec *outer;            /* a redirect of mod_rewrite that we do for it */
    ap_conn_keepalive_e keepalive; /* of the connection, while its redirect returns */
    request_rec *r;                /* suspended; NULL: none */
    apr_os_sock_t nest;            /* what is polled in place of the client's socket */
    fcgipm_async_resume_fn *resume;
    fcgipm_async_leave_fn *leave;
    void *ctx;
    int64_t set_us; /* the wall clock's distance from the steady one when it was suspended */
    bool exchanged; /* the connection's apr_socket_t holds the epoll descriptor */
    apr_os_sock_t client;
} async_t;

static bool active;

/* --- can it be done? --- */

/* Why requests wait in their threads in this configuration, a sentence for the log; NULL: they need not. */
static const char *what_prevents_it(void)
{
#ifdef AP_MPMQ_CAN_WAITIO
    int can = 0;

    if (ap_mpm_query(AP_MPMQ_CAN_WAITIO, &can) == APR_SUCCESS && can)
        return strcmp(ap_show_mpm(), "event") ? "the MPM is not event" : NULL;
    return "the MPM cannot wait for a module (event of httpd 2.4.63 and newer can)";
#else
    return "the module was built for an httpd older than 2.4.63";
#endif
}

static double factor_of(const ap_directive_t *node)
{
    double factor = 0;

    for (; node && factor == 0; node = node->next) {
        if (!strcasecmp(node->directive, "AsyncRequestWorkerFactor"))
            factor = strtod(node->args, NULL);
        else if (node->first_child)
            factor = factor_of(node->first_child);
    }
    return factor;
}

void fcgipm_async_check(server_rec *main_server, unsigned mode)
{
    const char *obstacle = what_prevents_it();
    double factor = factor_of(ap_conftree);
    /* Most servers have httpd's default: that is news for who asks, and no alarm at each start. */
    int level = ap_state_query(AP_SQ_RUN_MODE) == AP_SQ_RM_CONFIG_TEST ? APLOG_WARNING : APLOG_INFO;

    if (mode == FCGIPM_ON && obstacle)
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, main_server,
                     "FPM0678: FcgiAsync On: %s; requests wait in their threads", obstacle);
    if (mode == FCGIPM_OFF || obstacle)
        return;
    if (factor == 0)
        factor = FACTOR_DEFAULT;
    if (factor < FACTOR_ENOUGH)
        ap_log_error(
            APLOG_MARK, level | APLOG_NOERRNO, 0, main_server,
            "FPM0679: AsyncRequestWorkerFactor %g lets few clients wait without a thread: httpd accepts "
            "no more than ThreadsPerChild + %g x its idle threads; %d or more is right for mod_fcgipm",
            factor, factor, FACTOR_GOOD);
}

/* Is it the descriptor of the moment that a pollset polls? The MPM uses one made like this. */
static bool pollset_follows(apr_pool_t *pool)
{
    apr_pollset_t *pollset;
    apr_socket_t *socket = NULL;
    apr_os_sock_t own;
    apr_pollfd_t pfd = {.p = pool, .desc_type = APR_POLL_SOCKET, .reqevents = APR_POLLIN};
    const apr_pollfd_t *found;
    apr_int32_t count = 0;
    fcgipm_nest_t *nest = fcgipm_nest_get();
    apr_os_sock_t fd = nest ? nest->epoll : -1;
    bool follows = false;

    if (nest && apr_socket_create(&socket, APR_INET, SOCK_STREAM, APR_PROTO_TCP, pool) == APR_SUCCESS &&
        apr_os_sock_get(&own, socket) == APR_SUCCESS &&
        apr_pollset_create(&pollset, 1, pool, APR_POLLSET_THREADSAFE | APR_POLLSET_NOCOPY) == APR_SUCCESS) {
        pfd.desc.s = socket;
        apr_os_sock_put(&socket, &fd, pool);
        if (apr_pollset_add(pollset, &pfd) == APR_SUCCESS) {
            fcgipm_nest_ring(nest);
            follows = apr_pollset_poll(pollset, apr_time_from_sec(2), &count, &found) == APR_SUCCESS &&
                      count == 1 && found[0].desc.s == socket &&
                      apr_pollset_remove(pollset, &pfd) == APR_SUCCESS;
        }
        apr_os_sock_put(&socket, &own, pool);
        apr_pollset_destroy(pollset);
    }
    if (socket)
        apr_socket_close(socket);
    if (nest)
        fcgipm_nest_put(nest);
    return follows;
}

void fcgipm_async_child_init(server_rec *main_server, unsigned mode)
{
    apr_pool_t *pool;

    active = false;
    if (mode == FCGIPM_OFF || what_prevents_it() || apr_pool_create(&pool, NULL) != APR_SUCCESS)
        return;
    if (!pollset_follows(pool))
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, main_server,
                     "FPM0677: requests cannot wait without a thread here (a test of it failed)");
    else
        active = true;
    apr_pool_destroy(pool);
}

bool fcgipm_async_active(void)
{
    return active;
}

static async_t *state_of(conn_rec *c)
{
    return ap_get_module_config(c->conn_config, &fcgipm_module);
}

bool fcgipm_async_possible(request_rec *r)
{
    conn_rec *c = r->connection;
    const async_t *a = active && !c->master ? state_of(c) : NULL;

    return a && a->inside && !a->late && !a->r && c->cs && !c->clogging_input_filters && !r->main &&
           (!r->prev || r->prev == a->outer);
}

apr_interval_time_t fcgipm_async_limit(const request_rec *r)
{
    const server_rec *base = r->connection->base_server; /* the MPM may go by any of the three */
    apr_interval_time_t limit = r->server->timeout;

    if (base->timeout < limit)
        limit = base->timeout;
    if (ap_server_conf->timeout < limit)
        limit = ap_server_conf->timeout;
    return limit / 2 < TICK_US ? limit / 2 : TICK_US;
}

/* --- suspended, and back --- */

static apr_status_t request_ends(void *data);

void fcgipm_async_suspend(request_rec *r, const fcgipm_nest_t *nest, fcgipm_async_resume_fn *resume,
                          fcgipm_async_leave_fn *leave, void *ctx)
{
    async_t *a = state_of(r->connection);

    if (!a->r)
        apr_pool_pre_cleanup_register(r->pool, a, request_ends);
    a->r = r;
    a->nest = nest->epoll;
    a->resume = resume;
    a->leave = leave;
    a->ctx = ctx;
}

static void exchange_in(async_t *a)
{
    apr_socket_t *socket = ap_get_conn_socket(a->c);

    if (apr_os_sock_get(&a->client, socket) != APR_SUCCESS)
        return;
    apr_os_sock_put(&socket, &a->nest, a->c->pool);
    a->exchanged = true;
}

static void exchange_out(async_t *a)
{
    apr_socket_t *socket = ap_get_conn_socket(a->c);

    if (a->exchanged)
        apr_os_sock_put(&socket, &a->client, a->c->pool);
    a->exchanged = false;
}

static void let_go(async_t *a)
{
    exchange_out(a);
    a->r = NULL;
    a->resume = NULL;
    a->leave = NULL;
}

/* httpd destroys the request of a connection that it gave up. */
static apr_status_t request_ends(void *data)
{
    async_t *a = data;

    if (a->r && a->leave) {
        exchange_out(a);
        a->leave(a->ctx);
    }
    let_go(a);
    return APR_SUCCESS;
}

static int64_t clock_set_us(void)
{
    return fcgipm_clock_wall_us() - fcgipm_clock_steady_us();
}

static int wait_on(async_t *a)
{
    a->set_us = clock_set_us();
    exchange_in(a);
    a->c->cs->state = CONN_STATE_ASYNC_WAITIO;
    a->c->cs->sense = CONN_SENSE_WANT_READ;
    return OK;
}

/* With all of its threads busy the MPM stops to listen. Whoever has become idle between that sight and the
 * stop found it listening and did not wake it, so it goes on only when something happens: for up to half a
 * minute nobody is heard. Many connections that the clients close at once, and a new one behind them, are
 * enough (t/73-async.t). So, as long as connections are served or may linger, something happens. */
static fcgipm_atom64_t nudge_us; /* when it was ordered, 0: it is not */
static fcgipm_atom64_t served_us;

static void nudge(void);

static void nudged(void *none)
{
    (void)none;
    fcgipm_atom_set(&nudge_us, 0);
    if ((uint64_t)fcgipm_clock_steady_us() - fcgipm_atom_get(&served_us) < NUDGE_FOR_US)
        nudge();
}

/* The MPM's timers go by the wall clock: one may never come if that was set back. */
static void nudge(void)
{
    uint64_t ordered_us = fcgipm_atom_get(&nudge_us), now_us = (uint64_t)fcgipm_clock_steady_us();

    if (ordered_us && now_us - ordered_us < 4 * NUDGE_US)
        return;
    if (fcgipm_atom_cas(&nudge_us, &ordered_us, now_us) &&
        ap_mpm_register_timed_callback(NUDGE_US, nudged, NULL) != APR_SUCCESS)
        fcgipm_atom_set(&nudge_us, 0);
}

static void served(void)
{
    fcgipm_atom_set(&served_us, (uint64_t)fcgipm_clock_steady_us());
    nudge();
}

/* What httpd does behind a handler. */
static void complete(async_t *a, request_rec *r, int status)
{
    request_rec *outer = r->prev ? r->prev : r;

    apr_pool_cleanup_kill(r->pool, a, request_ends);
    let_go(a);
    if (status == OK || status == DONE) {
        ap_finalize_request_protocol(r);
    } else {
        r->status = HTTP_OK;
        ap_die(status, r);
    }
    ap_process_request_after_handler(outer);
}

/* mod_status takes the time of a request from the thread's entry, and this is another thread's. */
static void begin_again(const conn_rec *c, const request_rec *r)
{
    worker_score *ws = c->sbh ? ap_get_scoreboard_worker(c->sbh) : NULL;

    if (ws)
        ws->start_time = r->request_time;
}

static void take_up(async_t *a)
{
    exchange_out(a);
    a->c->cs->state = CONN_STATE_HANDLER;
    ap_update_child_status(a->c->sbh, SERVER_BUSY_WRITE, a->r);
    begin_again(a->c, a->r);
}

static int resume(async_t *a)
{
    request_rec *r = a->r;
    int status;

    take_up(a);
    status = a->resume(a->ctx);
    if (status == SUSPENDED)
        return wait_on(a);
    complete(a, r, status);
    return OK;
}

/* When a child ends (a graceful restart, MaxConnectionsPerChild) the MPM's listener leaves as soon as there
 * is no connection; one that it has accepted, and no thread has taken up yet, it does not count. Who comes
 * that late and waits for the MPM afterwards, be it only for the rest of its answer to be sent, waits for
 * nobody, and is cut off when the process ends. The MPM says that it stops before it counts, and has counted
 * a connection before it gives it to us: one that began earlier is safe to its end. */
static bool child_is_ending(void)
{
    int state = AP_MPMQ_RUNNING;

    return ap_mpm_query(AP_MPMQ_MPM_STATE, &state) == APR_SUCCESS && state == AP_MPMQ_STOPPING;
}

/* Here, with a thread, whosever answer it is. */
static void send_rest(conn_rec *c)
{
    if (c->cs->state == CONN_STATE_WRITE_COMPLETION && !c->aborted && c->data_in_output_filters)
        ap_flush_conn(c);
}

int fcgipm_async_process_connection(conn_rec *c)
{
    async_t *a;
    int rv;

    if (c->master || !c->cs)
        return DECLINED;
    a = state_of(c);
    if (a && a->r) {
        rv = resume(a);
        served();
        return rv;
    }
    if (a && a->inside)
        return DECLINED;
    if (!a) {
        a = apr_pcalloc(c->pool, sizeof *a);
        a->c = c;
        a->late = child_is_ending();
        ap_set_module_config(c->conn_config, &fcgipm_module, a);
    }
    a->inside = true;
    rv = ap_run_process_connection(c);
    a->inside = false;
    if (a->late)
        send_rest(c);
    if (active)
        served();
    return a->r && c->cs->state == CONN_STATE_SUSPENDED ? wait_on(a) : rv;
}

/* The MPM's limits go by the wall clock. When that is set it takes everybody who waits for one who has waited
 * too long, and closes his connection; nobody has, as each is looked at every TICK_US. */
static bool clock_was_set(const async_t *a)
{
    int64_t by_us = clock_set_us() - a->set_us;

    return by_us > CLOCK_SET_US || by_us < -CLOCK_SET_US;
}

static void woken(void *none)
{
    (void)none;
}

/* As without FcgiAsync: in this thread, to its end, which is the connection's. */
static int go_on_here(async_t *a)
{
    struct pollfd nest = {.fd = a->nest, .events = POLLIN};
    int status;

    ap_log_cerror(
        APLOG_MARK, APLOG_INFO, 0, a->c,
        "FPM0686: the machine's clock was set: httpd takes a request that waits for one that has timed "
        "out; it goes on in a thread");
    /* The MPM gives all of them to one thread, one after the other; any other that has had something to do
     * helps. What we wait for may be in the hands of one of them. */
    ap_mpm_register_timed_callback(0, woken, NULL);
    take_up(a);
    do {
        nest.fd = a->nest;
        poll(&nest, 1, (int)apr_time_as_msec(TICK_US));
    } while ((status = a->resume(a->ctx)) == SUSPENDED);
    return status;
}

/* The MPM gives the connection up: the client is not there any more, or httpd stops. */
int fcgipm_async_pre_close_connection(conn_rec *c)
{
    async_t *a = active && !c->master ? state_of(c) : NULL;
    request_rec *r = a ? a->r : NULL;

    if (!r)
        return OK;
    c->keepalive = AP_CONN_CLOSE;
    if (clock_was_set(a)) {
        complete(a, r, go_on_here(a));
        return OK;
    }
    exchange_out(a);
    c->aborted = 1;
    a->leave(a->ctx);
    complete(a, r, OK);
    return OK;
}

/* mod_rewrite in .htaccess makes an internal redirect in a handler of its own, and no handler may return
 * SUSPENDED to ap_internal_redirect. So we do what that handler does: the inner request says that all is well
 * and its end has been sent (it has not), and the outer one is suspended in its place. */
void fcgipm_async_return(request_rec *r)
{
    async_t *a = state_of(r->connection);

    r->eos_sent = 1;
    a->keepalive = r->connection->keepalive;
    r->connection->keepalive = AP_CONN_CLOSE;
}

int fcgipm_async_redirect(request_rec *r)
{
    static const char prefix[] = "redirect:";
    async_t *a;

    if (!active || !r->handler || strcmp(r->handler, "redirect-handler") || !r->filename ||
        strncmp(r->filename, prefix, sizeof prefix - 1) || !fcgipm_async_possible(r) || r->prev)
        return DECLINED;
    a = state_of(r->connection);
    a->outer = r;
    ap_internal_redirect(
        apr_pstrcat(r->pool, r->filename + sizeof prefix - 1, r->args ? "?" : NULL, r->args, NULL), r);
    a->outer = NULL;
    if (!a->r)
        return OK;
    a->r->eos_sent = 0;
    r->connection->keepalive = a->keepalive;
    return SUSPENDED;
}
