/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The whole of the manager's decisions over a board that is written by somebody else, with messages that are
 * somebody else's: loop, pools, workers, queue, seats, mending. Only what touches other processes is taken
 * out (--wrap in Makefile.apxs): a process "started" is a number of ours, and whoever is signalled, started
 * or looked at must be one of those. The input is a list of steps:
 *   0 offset16 len8 bytes   written to the board, anywhere
 *   1 row8 offset8 len8 ..  written to a place that matters: a pool, its slots, seats, cells, the head
 *   2 len16 bytes           a datagram of an httpd child, raw
 *   3 type pool slot gen8   a message that is well made
 *   4 ms8                   time goes by
 *   5 n8 status8            a process ends
 *   6                       a process becomes ready
 *   7                       a child of httpd has ended: the parent looks
 *   8 peer8                 somebody calls at the control socket, or hangs up who had
 *   9 peer8 len8 bytes      what it says, raw
 *   10 peer8 order8 pool8 min8 max8   an order that is well made
 *   11 peer8                it reads its answer
 */
#include <stdint.h>
#include <sys/types.h>
#include "../../modules/pm/loop.c"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <apr_general.h>
#include <apr_strings.h>

#include "pm/listen.h"
#include "share/board.h"

#include "fuzz_check.h"

#define FIRST_PID 0x40000000 /* above any pid there is */
#define ALIVE_MAX 8          /* FcgiMaxWorkers */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static fcgipm_manager_t *m;
static int next_pid, started;
static bool is_ready;
static int64_t now_us;
static apr_pool_t *root_pool, *run_pool;

/* --- what is taken out --- */

int __wrap_kill(pid_t pid, int sig);
apr_status_t __wrap_fcgipm_spawn_fork(pid_t *pid, int *report_fd, const fcgipm_spawn_plan_t *plan,
                                      const char *marker, int listen_fd, int output_fd, int cgroup_fd,
                                      fcgipm_fault_t *fault);
apr_status_t __wrap_fcgipm_listen_dir(const char *dir, uint32_t pool, uint32_t gid, fcgipm_fault_t *fault);
apr_status_t __wrap_fcgipm_listen_open(int *fd, const char *dir, uint32_t pool, uint32_t slot, uint32_t gid,
                                       fcgipm_fault_t *fault);
bool __wrap_fcgipm_listen_renew(int fd);
apr_status_t __wrap_fcgipm_listen_output(int *in, int *out, const char *dir, uint32_t pool, uint32_t slot,
                                         bool fresh, fcgipm_fault_t *fault);
void __wrap_fcgipm_listen_unlink(const char *dir, uint32_t pool, uint32_t slot);
void __wrap_fcgipm_listen_dir_remove(const char *dir, uint32_t pool);
fcgipm_question_t *__wrap_fcgipm_ready_ask(const fcgipm_addr_t *addr, fcgipm_ready_mode_t mode,
                                           const char *path);
fcgipm_ready_verdict_t __wrap_fcgipm_ready_check(fcgipm_question_t *question, char *why, size_t cap);
void __wrap_fcgipm_ready_close(fcgipm_question_t *question);
int __wrap_fcgipm_ready_fd(const fcgipm_question_t *question);
void __wrap_fcgipm_reap_group(const fcgipm_worker_t *w);
bool __wrap_fcgipm_stray_untrace(pid_t pid);
int64_t __wrap_fcgipm_manager_clock(void);

static bool is_ours(pid_t pid)
{
    return pid >= FIRST_PID && pid < next_pid;
}

int __wrap_kill(pid_t pid, int sig)
{
    CHECK(sig == SIGTERM || sig == SIGCONT || sig == SIGKILL);
    CHECK(pid != 0 && pid != -1 && is_ours(pid < 0 ? -pid : pid));
    return 0;
}

apr_status_t __wrap_fcgipm_spawn_fork(pid_t *pid, int *report_fd, const fcgipm_spawn_plan_t *plan,
                                      const char *marker, int listen_fd, int output_fd, int cgroup_fd,
                                      fcgipm_fault_t *fault)
{
    CHECK(cgroup_fd == -1);
    (void)marker;
    (void)listen_fd;
    (void)output_fd;
    (void)fault;
    CHECK(!strcmp(plan->argv[0], "/bin/true") && !plan->argv[1]);
    *pid = next_pid++;
    *report_fd = -1;
    started++;
    return APR_SUCCESS;
}

apr_status_t __wrap_fcgipm_listen_dir(const char *dir, uint32_t pool, uint32_t gid, fcgipm_fault_t *fault)
{
    (void)dir;
    (void)gid;
    (void)fault;
    CHECK(pool < FCGIPM_POOLS_MAX && m->apps[pool]);
    return APR_SUCCESS;
}

apr_status_t __wrap_fcgipm_listen_open(int *fd, const char *dir, uint32_t pool, uint32_t slot, uint32_t gid,
                                       fcgipm_fault_t *fault)
{
    (void)dir;
    (void)gid;
    (void)fault;
    CHECK(m->apps[pool] && slot < m->apps[pool]->geometry.slot_count);
    *fd = dup(m->env->lifeline_fd); /* never readable: nobody waits */
    return APR_SUCCESS;
}

bool __wrap_fcgipm_listen_renew(int fd)
{
    (void)fd;
    return true;
}

apr_status_t __wrap_fcgipm_listen_output(int *in, int *out, const char *dir, uint32_t pool, uint32_t slot,
                                         bool fresh, fcgipm_fault_t *fault)
{
    (void)dir;
    (void)fresh;
    (void)fault;
    CHECK(m->apps[pool] && slot < m->apps[pool]->geometry.slot_count);
    *in = *out = -1;
    return APR_SUCCESS;
}

void __wrap_fcgipm_listen_unlink(const char *dir, uint32_t pool, uint32_t slot)
{
    (void)dir;
    CHECK(m->apps[pool] && slot < m->apps[pool]->geometry.slot_count);
}

void __wrap_fcgipm_listen_dir_remove(const char *dir, uint32_t pool)
{
    (void)dir;
    CHECK(pool < FCGIPM_POOLS_MAX && m->apps[pool]);
}

static char question;

fcgipm_question_t *__wrap_fcgipm_ready_ask(const fcgipm_addr_t *addr, fcgipm_ready_mode_t mode,
                                           const char *path)
{
    (void)addr;
    (void)mode;
    (void)path;
    return (fcgipm_question_t *)(void *)&question;
}

fcgipm_ready_verdict_t __wrap_fcgipm_ready_check(fcgipm_question_t *asked, char *why, size_t cap)
{
    (void)asked;
    snprintf(why, cap, "test");
    return is_ready ? FCGIPM_READY_YES : FCGIPM_READY_WAIT;
}

void __wrap_fcgipm_ready_close(fcgipm_question_t *asked)
{
    (void)asked;
}

int __wrap_fcgipm_ready_fd(const fcgipm_question_t *asked)
{
    (void)asked;
    return -1;
}

void __wrap_fcgipm_reap_group(const fcgipm_worker_t *w)
{
    CHECK(is_ours(w->pid));
}

bool __wrap_fcgipm_stray_untrace(pid_t pid)
{
    CHECK(is_ours(pid));
    return false;
}

int64_t __wrap_fcgipm_manager_clock(void)
{
    return now_us;
}

/* --- a manager --- */

static fcgipm_board_t *board;
static fcgipm_registry_t *registry;
static int requests[2], lifeline[2], board_file;
static fcgipm_daemon_env_t env;
static char runtime_dir[] = "/tmp/fcgipm-fuzz-XXXXXX";
static int callers[4] = {-1, -1, -1, -1}; /* at the control socket */

static void tidy(void)
{
    char path[64];

    snprintf(path, sizeof path, "%s/control", runtime_dir);
    unlink(path);
    rmdir(runtime_dir);
}

static void no_log(void *ctx, int level, apr_status_t status, unsigned scope, const char *line)
{
    (void)ctx;
    (void)level;
    (void)status;
    (void)scope;
    CHECK(strlen(line) < 2048);
}

static void set_up(void)
{
    fcgipm_fault_t fault;

    apr_initialize();
    apr_pool_create(&root_pool, NULL);
    fcgipm_log_set(no_log, NULL, FCGIPM_LOG_INFO);
    CHECK(fcgipm_board_create(&board, NULL, &fault) == APR_SUCCESS);
    registry = mmap(NULL, sizeof *registry, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(registry != MAP_FAILED && pipe(lifeline) == 0);
    CHECK(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, requests) == 0);
    board_file = memfd_create("fuzz", MFD_CLOEXEC);
    CHECK(board_file >= 0 && mkdtemp(runtime_dir) && atexit(tidy) == 0);
}

static void add(apr_array_header_t *pools, const char *name, uint32_t min, uint32_t max, uint32_t places,
                const char *connect)
{
    fcgipm_world_pool_t *p = apr_array_push(pools);
    fcgipm_fault_t fault;

    p->setting = apr_pcalloc(run_pool, sizeof *p->setting);
    fcgipm_setting_defaults(p->setting, run_pool);
    p->setting->name = name;
    p->setting->connect = connect;
    if (!connect) {
        p->setting->command = apr_array_make(run_pool, 1, sizeof(const char *));
        APR_ARRAY_PUSH(p->setting->command, const char *) = "/bin/true";
        p->setting->processes_min = min;
        p->setting->processes_max = max;
        p->setting->recycle_requests = 50;
    }
    p->setting->concurrency = places;
    p->setting->queue_length = 8;
    fcgipm_setting_finish(p->setting);
    CHECK(fcgipm_world_assign(registry, board, p, &fault) == APR_SUCCESS);
}

static void begin(void)
{
    fcgipm_world_t *world;

    apr_pool_create(&run_pool, root_pool);
    /* Of the large tables only what is in use, or the copy would be all that we do. */
    memset(registry, 0, 64);
    for (unsigned i = 0; i < FCGIPM_POOLS_MAX; i++)
        memset(&registry->pool[i], 0, sizeof registry->pool[i]);
    memset(registry->slot, 0, 64 * sizeof registry->slot[0]);
    memset(board->pool, 0, 8 * sizeof board->pool[0]);
    memset(board->stat, 0, 8 * sizeof board->stat[0]);
    memset(board->slot, 0, 64 * sizeof board->slot[0]);
    memset((void *)board->seat, 0, 64 * sizeof board->seat[0]);
    memset((void *)board->cell, 0, 256 * sizeof board->cell[0]);
    fcgipm_board_sign(board);
    next_pid = FIRST_PID;
    started = 0;
    is_ready = true;
    now_us = 1000000000;
    world = apr_pcalloc(run_pool, sizeof *world);
    *world = (fcgipm_world_t){.generation = 1, .uid = 33, .gid = 33, .runtime_dir = runtime_dir};
    world->global.max_workers = ALIVE_MAX;
    world->pools = apr_array_make(run_pool, 4, sizeof(fcgipm_world_pool_t));
    world->templates = apr_array_make(run_pool, 1, sizeof(fcgipm_world_template_t));
    world->sites = apr_array_make(run_pool, 1, sizeof(fcgipm_world_site_t));
    add(world->pools, "one", 1, 1, 1, NULL);
    add(world->pools, "some", 0, 3, 2, NULL);
    add(world->pools, "more", 2, 4, 1, NULL);
    add(world->pools, "outside", 0, 0, 4, "unix:/nowhere");
    env = (fcgipm_daemon_env_t){.board = board,
                                .registry = registry,
                                .lifeline_fd = lifeline[0],
                                .orders_fd = -1,
                                .requests_fd = requests[0],
                                .board_fd = board_file,
                                .children_fd = -1};
    m = apr_pcalloc(run_pool, sizeof *m);
    m->env = &env;
    m->pool = run_pool;
    m->world = world;
    m->board = board;
    m->registry = registry;
    m->exit_code = -1;
    m->now = now_us;
    m->random = 1;
    m->notify_fd = -1;
    m->slow = fcgipm_slow_create(m);
    apr_cpystrn(m->runtime_dir, world->runtime_dir, sizeof m->runtime_dir);
    m->control = fcgipm_control_open(m);
    CHECK(m->control);
    fcgipm_manager_reconcile(m, world);
}

static void hang_up(unsigned n)
{
    if (callers[n] >= 0)
        close(callers[n]);
    callers[n] = -1;
}

/* As the end of the process does. */
static void end_control(void)
{
    for (unsigned i = 0; i < sizeof callers / sizeof *callers; i++)
        hang_up(i);
    for (unsigned i = 0; i <= FCGIPM_CONTROL_PEERS; i++)
        if (fcgipm_control_fd(m->control, i) >= 0)
            close(fcgipm_control_fd(m->control, i));
}

static void close_fds(fcgipm_worker_t *w)
{
    if (w->listen_fd >= 0)
        close(w->listen_fd);
}

/* --- what must be true, whatever the board says --- */

static uint32_t processes;

static void look_at(fcgipm_worker_t *w)
{
    CHECK(w->state < FCGIPM_SLOT_STATE_COUNT);
    CHECK(w->pid == 0 || is_ours(w->pid));
    CHECK(w->row == w->app->geometry.slot_first + w->slot && w->slot < w->app->geometry.slot_count);
    CHECK(w->places <= w->app->geometry.concurrency);
    CHECK(registry->slot[w->row].pid == (uint32_t)w->pid);
    processes += w->pid != 0;
}

static void check(void)
{
    fcgipm_geometry_t g;

    processes = 0;
    each_worker(m, look_at);
    CHECK(processes <= ALIVE_MAX + 4); /* a few, where the new one comes before the old one goes */
    for (uint32_t i = 0; i < m->app_end; i++)
        if (m->apps[i]) {
            CHECK(m->apps[i]->index == i && fcgipm_geometry_ok(&m->apps[i]->geometry));
            CHECK(!memcmp(&registry->pool[i].geometry, &m->apps[i]->geometry, sizeof g));
            if (!m->apps[i]->setting->connect)
                CHECK(m->apps[i]->max >= 1 && m->apps[i]->min <= m->apps[i]->max &&
                      m->apps[i]->max <= m->apps[i]->setting->processes_max);
        }
}

static void turn_once(void)
{
    int before = started;

    m->now = now_us;
    tend_all(m);
    CHECK(started - before <= 8);
    on_requests(m);
    check();
}

/* --- the steps --- */

typedef struct input {
    const uint8_t *at, *end;
} input_t;

static unsigned byte(input_t *in)
{
    return in->at < in->end ? *in->at++ : 0;
}

static void write_bytes(input_t *in, void *to, size_t room, size_t len)
{
    if (len > room)
        len = room;
    if (len > (size_t)(in->end - in->at))
        len = (size_t)(in->end - in->at);
    memcpy(to, in->at, len);
    in->at += len;
}

static void write_somewhere(input_t *in)
{
    size_t offset = (size_t)(byte(in) << 8 | byte(in)) * 37 % sizeof *board;

    write_bytes(in, (char *)board + offset, sizeof *board - offset, byte(in));
}

static void write_where_it_matters(input_t *in)
{
    unsigned row = byte(in), offset = byte(in);
    size_t len = byte(in);
    char *to;
    size_t room;

    switch (row % 6) {
    case 0:
        to = (char *)&board->pool[row / 6 % 6];
        room = sizeof board->pool[0];
        break;
    case 1:
        to = (char *)&board->slot[row / 6 % 16];
        room = sizeof board->slot[0];
        break;
    case 2:
        to = (char *)&board->seat[row / 6];
        room = 16 * sizeof board->seat[0];
        break;
    case 3:
        to = (char *)&board->cell[row / 6];
        room = 16 * sizeof board->cell[0];
        break;
    case 4:
        to = (char *)&board->child[0];
        room = 16 * sizeof board->child[0];
        break;
    default:
        to = (char *)board;
        room = 64;
        break;
    }
    offset %= (unsigned)room;
    write_bytes(in, to + offset, room - offset, len);
}

static void send_raw(input_t *in)
{
    static char text[4096];
    size_t len = byte(in) << 8 | byte(in);

    len %= sizeof text;
    write_bytes(in, text, sizeof text, len);
    (void)!send(requests[1], text, len, MSG_DONTWAIT);
}

static void send_message(input_t *in)
{
    fcgipm_msg_t msg = {.version = FCGIPM_MSG_VERSION, .type = 1 + byte(in) % (FCGIPM_MSG_COUNT - 1)};

    msg.pool = byte(in);
    msg.pool = msg.pool == 255 ? UINT32_MAX : msg.pool % 6;
    msg.slot = byte(in) % 8;
    msg.generation = byte(in);
    fcgipm_msg_send(requests[1], &msg);
}

static void call(input_t *in)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    unsigned n = byte(in) % 4;

    if (callers[n] >= 0) {
        hang_up(n);
        return;
    }
    snprintf(addr.sun_path, sizeof addr.sun_path, "%s/control", runtime_dir);
    callers[n] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    CHECK(callers[n] >= 0 && connect(callers[n], (struct sockaddr *)&addr, sizeof addr) == 0);
}

static void say_raw(input_t *in)
{
    char text[256];
    unsigned n = byte(in) % 4, len = byte(in);

    if (len > (size_t)(in->end - in->at))
        len = (unsigned)(in->end - in->at);
    write_bytes(in, text, sizeof text, len);
    if (callers[n] >= 0)
        (void)!send(callers[n], text, len, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void say_order(input_t *in)
{
    static const char *const orders[] = {"restart", "drain",    "pause",     "resume",
                                         "scale",   "trace on", "trace off", "board"};
    static const char *const names[] = {"one", "some", "more", "outside", "one@", "none"};
    char line[128];
    unsigned n = byte(in) % 4, order = byte(in) % 8, name = byte(in) % 6, min = byte(in), max = byte(in), len;

    len = (unsigned)(order == 7   ? snprintf(line, sizeof line, "board\n")
                     : order == 4 ? snprintf(line, sizeof line, "scale %s %u %u\n", names[name], min, max)
                                  : snprintf(line, sizeof line, "%s %s\n", orders[order], names[name]));
    if (callers[n] >= 0)
        (void)!send(callers[n], line, len, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* Whatever was said: an answer is one whole line, and the board comes for reading only, with its own. */
static void read_answer(input_t *in)
{
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    char text[2048];
    struct iovec iov = {.iov_base = text, .iov_len = sizeof text};
    struct msghdr mh = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof control.room};
    unsigned n = byte(in) % 4;
    ssize_t len = callers[n] >= 0 ? recvmsg(callers[n], &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) : 0;
    struct cmsghdr *c = len > 0 ? CMSG_FIRSTHDR(&mh) : NULL;

    if (len <= 0)
        return;
    CHECK(text[len - 1] == '\n' && memchr(text, '\n', (size_t)len) == text + len - 1);
    CHECK(!strncmp(text, "ok ", 3) || !strncmp(text, "error ", 6));
    CHECK((c != NULL) == (len == 9 && !memcmp(text, "ok board\n", 9)));
    if (c) {
        int fd;

        memcpy(&fd, CMSG_DATA(c), sizeof fd);
        CHECK((fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY);
        close(fd);
    }
}

static fcgipm_worker_t *nth(unsigned n)
{
    for (uint32_t i = 0; i < m->app_end; i++)
        for (uint32_t slot = 0; m->apps[i] && slot < m->apps[i]->geometry.slot_count; slot++)
            if (m->apps[i]->workers[slot].pid && n-- == 0)
                return &m->apps[i]->workers[slot];
    return NULL;
}

static void end_one(input_t *in)
{
    fcgipm_worker_t *w = nth(byte(in) % 8);
    unsigned status = byte(in);

    if (w)
        fcgipm_worker_died(w, status & 1 ? SIGKILL : (int)(status >> 1) << 8);
}

static void execute(fcgipm_worker_t *w)
{
    if (w->state == FCGIPM_SLOT_STARTING)
        w->exec_done = true;
}

static void step(input_t *in)
{
    switch (byte(in) % 12) {
    case 0:
        write_somewhere(in);
        break;
    case 1:
        write_where_it_matters(in);
        break;
    case 2:
        send_raw(in);
        break;
    case 3:
        send_message(in);
        break;
    case 4:
        now_us += (int64_t)byte(in) * 20000;
        break;
    case 5:
        end_one(in);
        break;
    case 6:
        each_worker(m, execute);
        break;
    case 7:
        m->mend_asked = true;
        break;
    case 8:
        call(in);
        break;
    case 9:
        say_raw(in);
        break;
    case 10:
        say_order(in);
        break;
    default:
        read_answer(in);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    input_t in = {data, data + size};
    fcgipm_msg_t rest;

    if (!board)
        set_up();
    begin();
    turn_once();
    for (int i = 0; in.at < in.end && i < 200; i++) {
        step(&in);
        turn_once();
    }
    /* Whoever wrote has gone: all is as it was. */
    m->mend_asked = true;
    for (int i = 0; i < 3; i++) {
        now_us += 400000;
        m->mend_asked = true;
        turn_once();
    }
    CHECK(fcgipm_board_ok(board));
    for (uint32_t i = 0; i < 4; i++) {
        CHECK(!memcmp(&board->pool[i].geometry, &m->apps[i]->geometry, sizeof(fcgipm_geometry_t)));
        CHECK(fcgipm_board_route(board, i) == i);
    }
    while (fcgipm_msg_receive(requests[0], &rest) != APR_EAGAIN)
        ;
    each_worker(m, close_fds);
    end_control();
    apr_pool_destroy(run_pool);
    return 0;
}
