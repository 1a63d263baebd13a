/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_LINK_NEST_H
#define FCGIPM_LINK_NEST_H
/*
 * What: one descriptor for all that a request can wait for: an epoll descriptor with the application's
 * connection, the client's socket, and a bell (a timerfd: rings at a time, or when somebody rings it). Linux
 * only. Who calls: web/async and web/handler for their own request; `ring` and `put_app` any thread while the
 * nest is in use. Owns: epoll and bell, never the other two; used again for other requests, a few hundred are
 * kept.
 */
#include <stdbool.h>
#include <stdint.h>

typedef struct fcgipm_nest {
    struct fcgipm_nest *next; /* of the spare ones */
    int epoll;                /* wait for POLLIN here */
    int bell;
    int app, client; /* -1: not in it */
    short app_events, client_events;
    bool dirty; /* the bell may ring */
} fcgipm_nest_t;

/* An empty one, NULL: no descriptors to be had. */
fcgipm_nest_t *fcgipm_nest_get(void);
void fcgipm_nest_put(fcgipm_nest_t *nest);
/* Watch the application's connection (fd -1 or no events: do not). False: it cannot be. */
bool fcgipm_nest_app(fcgipm_nest_t *nest, int fd, short events);
/* The client's socket. */
bool fcgipm_nest_client(fcgipm_nest_t *nest, int fd, short events);
/* Silence the bell; ring in after_us (0: never by itself). What has rung goes on ringing until then. */
void fcgipm_nest_arm(fcgipm_nest_t *nest, int64_t after_us);
/* Now. */
void fcgipm_nest_ring(fcgipm_nest_t *nest);
/* What has happened at the client's socket. */
short fcgipm_nest_look(const fcgipm_nest_t *nest);
#endif
