/* SPDX-License-Identifier: Apache-2.0 */
#include "pm/scout.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/log.h"
#include "pm/pidfd.h"
#include "pm/proc.h"
#include "pm/spawn.h"

#define SULKERS        64
#define SULK_US        10000000   /* the first time; a busy machine can look like it */
#define DOUBLED        6          /* ... and so often */
#define GRUDGE_US      1200000000 /* after a sulk, until it counts as the first again */
#define LOOK_MS        100
#define PATIENCE_LOOKS (FCGIPM_SCOUT_PATIENCE_MS / LOOK_MS)
#define GIVE_UP        10 /* times the patience, whatever the scout does */
#define HEAD_SIZE      64

/* Shared with the scout, who writes; the answers lie behind it. */
typedef struct slate {
    size_t at; /* about which one it asks */
} slate_t;

typedef struct errand {
    const pid_t *pids;
    size_t count, size;
    fcgipm_scout_ask_t *ask;
    const void *ctx;
    slate_t *slate;
} errand_t;

/* --- who is not asked --- */

static struct sulker {
    uint32_t uid, times; /* 0 times: nobody */
    int64_t until_us;
} sulkers[SULKERS];
static bool any_sulker;
static int64_t asked_us;

static bool sulks(pid_t pid)
{
    long uid = any_sulker ? fcgipm_pidfd_status(pid, FCGIPM_PIDFD_REAL_UID) : -1;

    for (size_t i = 0; uid >= 0 && i < SULKERS; i++)
        if (sulkers[i].times && sulkers[i].uid == (uint32_t)uid && sulkers[i].until_us > asked_us)
            return true;
    return false;
}

/* What a scout that is sent now has to know. */
static void begin(int64_t now_us)
{
    asked_us = now_us;
    any_sulker = false;
    for (size_t i = 0; i < SULKERS; i++) {
        if (sulkers[i].until_us + GRUDGE_US < now_us)
            sulkers[i].times = 0;
        any_sulker = any_sulker || (sulkers[i].times && sulkers[i].until_us > now_us);
    }
}

/* The one of this user, or who is to make room for him. */
static struct sulker *entry_of(uint32_t uid)
{
    struct sulker *oldest = &sulkers[0];

    for (size_t i = 0; i < SULKERS; i++) {
        if (sulkers[i].times && sulkers[i].uid == uid)
            return &sulkers[i];
        if (sulkers[i].until_us < oldest->until_us)
            oldest = &sulkers[i];
    }
    *oldest = (struct sulker){.uid = uid};
    return oldest;
}

static void note_sulker(pid_t pid)
{
    long uid = fcgipm_pidfd_status(pid, FCGIPM_PIDFD_REAL_UID);
    struct sulker *sulker;
    int64_t sulk_us;

    if (uid < 0)
        return;
    sulker = entry_of((uint32_t)uid);
    sulk_us = (int64_t)SULK_US << (sulker->times < DOUBLED ? sulker->times : DOUBLED);
    sulker->times++;
    sulker->until_us = fcgipm_clock_us() + sulk_us;
    any_sulker = true;
    FCGIPM_LOG(
        460, FCGIPM_LOG_WARN, 0, 0,
        "process %d of uid %ld keeps whoever looks at its memory in /proc waiting; for %d s nobody looks "
        "at those of this user",
        (int)pid, uid, (int)(sulk_us / 1000000));
}

/* --- the scout --- */

size_t fcgipm_scout_file(pid_t pid, const char *name, char *out, size_t cap)
{
    char path[64];
    size_t len;

    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    len = fcgipm_proc_read(path, out, cap);
    out[len] = '\0';
    return len;
}

/* Nothing of ours stays open in it, and it does not outlive us: it would hold our locks as long as it is
 * held. */
static _Noreturn void go(const errand_t *e, size_t from, int end_fd, pid_t sender)
{
    unsigned char *answers = (unsigned char *)e->slate + HEAD_SIZE;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != sender || dup2(end_fd, 3) < 0)
        _exit(1);
    syscall(SYS_close_range, 4u, ~0u, 0u);
    for (size_t i = from; i < e->count; i++) {
        __atomic_store_n(&e->slate->at, i, __ATOMIC_RELEASE);
        if (!sulks(e->pids[i]))
            e->ask(e->ctx, e->pids[i], answers + i * e->size);
    }
    __atomic_store_n(&e->slate->at, e->count, __ATOMIC_RELEASE);
    _exit(0);
}

/* Waiting in the kernel for what nobody can interrupt but by KILL; not: for the processor. */
static bool is_held(pid_t scout)
{
    fcgipm_pidfd_stat_t stat;

    return fcgipm_pidfd_stat(scout, &stat) && stat.state == 'D';
}

/* Until it has ended (count), or is held. Returns where it is. */
static size_t watch(const errand_t *e, pid_t scout, int end_fd, size_t from)
{
    struct pollfd pfd = {.fd = end_fd, .events = POLLIN};
    size_t at = from, before;
    unsigned same = 0;

    for (;;) {
        int n = poll(&pfd, 1, LOOK_MS);

        if (n < 0 && errno == EINTR)
            continue;
        if (n != 0)
            return e->count;
        before = at;
        at = __atomic_load_n(&e->slate->at, __ATOMIC_ACQUIRE);
        same = at == before ? same + 1 : 0;
        if (same >= PATIENCE_LOOKS && (is_held(scout) || same > GIVE_UP * PATIENCE_LOOKS))
            return at;
    }
}

/* Should it not die at once even so, the manager's or httpd's own waiting takes it later. */
static void end_scout(pid_t scout)
{
    kill(scout, SIGKILL);
    for (int ms = 0; ms < FCGIPM_SCOUT_PATIENCE_MS && waitpid(scout, NULL, WNOHANG) == 0; ms++)
        poll(NULL, 0, 1);
}

/* One scout, from the process `from` on. Returns the one that held it; count: none. */
static size_t send_from(const errand_t *e, size_t from)
{
    pid_t self = getpid(), scout;
    int fds[2];
    size_t at;

    if (pipe2(fds, O_CLOEXEC) < 0)
        return e->count;
    scout = fcgipm_spawn_blocked();
    if (scout == 0)
        go(e, from, fds[1], self);
    close(fds[1]);
    at = scout > 0 ? watch(e, scout, fds[0], from) : e->count;
    close(fds[0]);
    if (scout > 0)
        end_scout(scout);
    return at;
}

size_t fcgipm_scout_send(const pid_t *pids, size_t count, fcgipm_scout_ask_t *ask, const void *ctx,
                         void *answers, size_t size)
{
    errand_t e = {.pids = pids, .count = count, .size = size, .ask = ask, .ctx = ctx};
    size_t bytes = HEAD_SIZE + count * size, missing = 0, from = 0;
    unsigned held = 0;

    memset(answers, 0, count * size);
    if (count == 0)
        return 0;
    e.slate = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (e.slate == MAP_FAILED)
        return count;
    begin(fcgipm_clock_us());
    while (from < count && held < FCGIPM_SCOUT_HELD) {
        size_t at = send_from(&e, from);

        if (at >= count) {
            from = count;
            break;
        }
        memset((unsigned char *)e.slate + HEAD_SIZE + at * size, 0, size);
        note_sulker(pids[at]);
        missing++;
        held++;
        from = at + 1;
    }
    memcpy(answers, (unsigned char *)e.slate + HEAD_SIZE, count * size);
    munmap(e.slate, bytes);
    return missing + count - from;
}
