/* SPDX-License-Identifier: Apache-2.0 */
/* What anybody may send to NOTIFY_SOCKET: the sender is a worker (odd first byte) or nobody's. It is ready if
 * and only if it is a worker and one line says READY=1. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <apr_general.h>

#include "pm/manager.h"

#include "fuzz_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static fcgipm_manager_t *m;
static fcgipm_app_t app;
static fcgipm_worker_t worker;
static int fds[2];

static void set_up(void)
{
    int on = 1;

    apr_initialize();
    m = calloc(1, sizeof *m);
    CHECK(m && socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, fds) == 0 &&
          setsockopt(fds[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof on) == 0);
    m->notify_fd = fds[0];
    m->app_end = 1;
    m->apps[0] = &app;
    app.geometry = (fcgipm_geometry_t){.slot_count = 1, .concurrency = 1};
    app.workers = &worker;
}

/* The same said in another way. */
static bool says(const uint8_t *data, size_t size)
{
    size_t end = size < 1023 ? size : 1023, at = 0;
    const uint8_t *nul = memchr(data, 0, end);

    end = nul ? (size_t)(nul - data) : end;
    while (at <= end) {
        const uint8_t *line_end = memchr(data + at, '\n', end - at);
        size_t len = line_end ? (size_t)(line_end - data) - at : end - at;

        if (len == 7 && !memcmp(data + at, "READY=1", 7))
            return true;
        at += len + 1;
    }
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t nothing[1];
    bool ours = size && (data[0] & 1);

    if (!m)
        set_up();
    data = size ? data + 1 : nothing;
    size -= size != 0;
    memset(&worker, 0, sizeof worker);
    worker.pid = ours ? getpid() : 0x40000000;
    if (send(fds[1], data, size, MSG_DONTWAIT) != (ssize_t)size)
        return 0;
    fcgipm_notify_read(m);
    CHECK(worker.notified == (ours && says(data, size)));
    return 0;
}
