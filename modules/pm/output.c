/* SPDX-License-Identifier: Apache-2.0 */
#include "pm/output.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/log.h"

#define LINES_PER_SECOND 50
#define READ_MAX         65536
#define BYTES_PER_SECOND                                                                                     \
    524288 /* read of one worker; a flood would keep the manager from everything else                        \
            */

void fcgipm_output_begin(fcgipm_output_t *out, const char *pool, uint32_t slot, uint32_t pid, unsigned scope)
{
    memset(out, 0, sizeof *out);
    out->pool = pool;
    out->slot = slot;
    out->pid = pid;
    out->scope = scope;
}

static void tell_dropped(fcgipm_output_t *out)
{
    if (out->dropped)
        FCGIPM_LOG(301, FCGIPM_LOG_WARN, 0, out->scope,
                   "pool %s slot %u pid %u: %u more lines of output dropped", out->pool, out->slot, out->pid,
                   out->dropped);
    out->dropped = 0;
}

static int over_rate(fcgipm_output_t *out, int64_t now)
{
    if (now - out->window_us >= 1000000) {
        tell_dropped(out);
        out->window_us = now;
        out->in_window = 0;
    }
    return ++out->in_window > LINES_PER_SECOND;
}

static void emit(fcgipm_output_t *out, int64_t now)
{
    if (out->len && out->line[out->len - 1] == '\r')
        out->len--;
    if (out->len == 0)
        return;
    fcgipm_log_plain(out->line, out->len);
    snprintf(out->last[out->last_count++ % FCGIPM_OUTPUT_LAST], sizeof out->last[0], "%.*s", (int)out->len,
             out->line);
    if (over_rate(out, now)) {
        out->dropped++;
        out->lost++;
    } else {
        out->lines++;
        FCGIPM_LOG(302, FCGIPM_LOG_WARN, 0, out->scope, "pool %s slot %u pid %u: %.*s", out->pool, out->slot,
                   out->pid, (int)out->len, out->line);
    }
    out->len = 0;
}

static void feed(fcgipm_output_t *out, const char *data, size_t len, int64_t now)
{
    for (size_t i = 0; i < len; i++) {
        if (data[i] != '\n')
            out->line[out->len++] = data[i];
        if (data[i] == '\n' || out->len == sizeof out->line)
            emit(out, now);
    }
}

int64_t fcgipm_output_full_until(const fcgipm_output_t *out, int64_t now_us)
{
    int64_t until_us = out->bytes_us + 1000000;

    return out->bytes >= BYTES_PER_SECOND && now_us < until_us ? until_us : 0;
}

void fcgipm_output_read(fcgipm_output_t *out, int fd, int64_t now_us)
{
    char buf[8192];
    size_t total = 0;
    ssize_t n;

    while (total < READ_MAX && (n = read(fd, buf, sizeof buf)) > 0) {
        feed(out, buf, (size_t)n, now_us);
        total += (size_t)n;
    }
    if (now_us - out->bytes_us >= 1000000) {
        out->bytes_us = now_us;
        out->bytes = 0;
    }
    out->bytes += total;
}

void fcgipm_output_end(fcgipm_output_t *out, int fd, int64_t now_us)
{
    fcgipm_output_read(out, fd, now_us);
    emit(out, now_us);
    tell_dropped(out);
}

void fcgipm_output_last(const fcgipm_output_t *out, char *text, size_t cap)
{
    unsigned first = out->last_count > FCGIPM_OUTPUT_LAST ? out->last_count - FCGIPM_OUTPUT_LAST : 0;
    size_t len = 0;

    text[0] = '\0';
    for (unsigned i = first; i < out->last_count && len < cap; i++)
        len += (size_t)snprintf(text + len, cap - len, "%s%s", i > first ? " | " : "",
                                out->last[i % FCGIPM_OUTPUT_LAST]);
}
