/* SPDX-License-Identifier: Apache-2.0 */
#include "pm/limits.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ROWS 7

typedef struct row {
    const char *name;
    int resource;
    bool said;
    uint64_t soft, hard;
} row_t;

static row_t row_of(const char *name, int resource, bool said, uint64_t value)
{
    return (row_t){.name = name, .resource = resource, .said = said, .soft = value, .hard = value};
}

static void fill(row_t *rows, const fcgipm_setting_t *s)
{
    uint64_t seconds = ((uint64_t)s->limit_cpu_us + 999999) / 1000000;

    rows[0] = row_of("cpu", RLIMIT_CPU, s->limit_cpu_us > 0, seconds);
    rows[0].hard++; /* XCPU first, which the log can name; KILL a second later */
    rows[1] = row_of("files", RLIMIT_NOFILE, s->limit_files != FCGIPM_NO_COUNT, s->limit_files);
    rows[2] = row_of("procs", RLIMIT_NPROC, s->limit_procs != FCGIPM_NO_COUNT, s->limit_procs);
    rows[3] = row_of("core", RLIMIT_CORE, s->limit_core_bytes != FCGIPM_NO_SIZE, s->limit_core_bytes);
    rows[4] =
        row_of("filesize", RLIMIT_FSIZE, s->limit_filesize_bytes != FCGIPM_NO_SIZE, s->limit_filesize_bytes);
    rows[5] = row_of("stack", RLIMIT_STACK, s->limit_stack_bytes != FCGIPM_NO_SIZE, s->limit_stack_bytes);
    /* Last: the child has httpd's whole address space until exec, and may get no more of it from here on. */
    rows[6] = row_of("memory", RLIMIT_AS, s->limit_memory_bytes != FCGIPM_NO_SIZE, s->limit_memory_bytes);
}

/* Only the hard limit, and only upwards: whoever may not do that learns it when the limit is set. */
static void make_room(const row_t *row)
{
    struct rlimit now;

    if (getrlimit(row->resource, &now) < 0 || now.rlim_max == RLIM_INFINITY || now.rlim_max >= row->hard)
        return;
    now.rlim_max = row->hard;
    setrlimit(row->resource, &now);
}

/* include/uapi/linux/ioprio.h, which is not everywhere. The setting: 0 off, 1 idle, 2 best-effort:0, ... */
static int set_ioprio(uint32_t choice)
{
    const int who_process = 1, class_shift = 13, best_effort = 2, idle = 3;
    int value = choice == 1 ? idle << class_shift : (best_effort << class_shift) | (int)(choice - 2);

    return (int)syscall(SYS_ioprio_set, who_process, 0, value);
}

static int set_oom(int32_t score)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC), error = 0;

    if (fd < 0)
        return -1;
    if (dprintf(fd, "%d\n", (int)score) < 0)
        error = errno;
    close(fd);
    errno = error;
    return error ? -1 : 0;
}

int fcgipm_limits_prepare(const fcgipm_setting_t *s, fcgipm_step_t *step)
{
    row_t rows[ROWS];

    if (s->nice != FCGIPM_NO_INTEGER && setpriority(PRIO_PROCESS, 0, s->nice) < 0)
        return fcgipm_step_failed(step, errno, "FcgiPriority nice=");
    if (s->ioprio && set_ioprio(s->ioprio) < 0)
        return fcgipm_step_failed(step, errno, "FcgiPriority ioprio=");
    if (s->oom != FCGIPM_NO_INTEGER && set_oom(s->oom) < 0)
        return fcgipm_step_failed(step, errno, "FcgiPriority oom=");
    fill(rows, s);
    for (int i = 0; i < ROWS; i++)
        if (rows[i].said)
            make_room(&rows[i]);
    return 0;
}

int fcgipm_limits_set(const fcgipm_setting_t *s, fcgipm_step_t *step)
{
    row_t rows[ROWS];

    fill(rows, s);
    for (int i = 0; i < ROWS; i++) {
        struct rlimit limit = {.rlim_cur = rows[i].soft, .rlim_max = rows[i].hard};

        if (rows[i].said && setrlimit(rows[i].resource, &limit) < 0)
            return fcgipm_step_failed(step, errno, "FcgiLimit %s=", rows[i].name);
    }
    return 0;
}
