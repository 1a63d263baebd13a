/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_WEB_ASYNC_H
#define FCGIPM_WEB_ASYNC_H
/*
 * What: a request that waits gives its thread back to httpd (DESIGN section 8). The event MPM of httpd 2.4.63
 * and newer can wait for a connection's socket on behalf of a module (CONN_STATE_ASYNC_WAITIO). While a
 * request is suspended that apr_socket_t holds an epoll descriptor of ours in place of the client's: in it
 * are the application's connection, the client, and a bell (link/bell) for limits and for the keeper. When
 * one of them has something, the MPM calls our process_connection hook on a thread of its own choice, which
 * puts the client's descriptor back first of all. That the MPM polls what the apr_socket_t says at that
 * moment is documented nowhere, so all of it is in this one file, a child tests it when it begins, and where
 * the test fails, the MPM cannot, or the request may not be suspended, it waits in its thread. Who calls:
 * job; the hooks. Always true: 1. no filter or hook of httpd runs while the descriptors are exchanged; 2. a
 * suspended request ends through resume, or through `leave` when httpd closes the connection or destroys the
 * request.
 */
#include <stdbool.h>
#include <httpd.h>
#include "link/nest.h"

/* child_init: mode is FcgiAsync, a fcgipm_flag3_t. */
void fcgipm_async_child_init(server_rec *main_server, unsigned mode);
/* check_config: says where the MPM, or its settings, defeat it. */
void fcgipm_async_check(server_rec *main_server, unsigned mode);
/* Can requests of this child be suspended? */
bool fcgipm_async_active(void);
/* May this one? Not: HTTP/2 streams, subrequests, error documents, clogging filters. */
bool fcgipm_async_possible(request_rec *r);

/* The longest wait that the MPM allows for a request: it must be resumed before, to wait anew. */
apr_interval_time_t fcgipm_async_limit(const request_rec *r);
/* Called on any thread when the nest has something. Returns what a handler does. */
typedef int fcgipm_async_resume_fn(void *ctx);
/* It will not be resumed. */
typedef void fcgipm_async_leave_fn(void *ctx);
/* Wait for the nest. The handler, or the resume function, returns SUSPENDED after this. */
void fcgipm_async_suspend(request_rec *r, const fcgipm_nest_t *nest, fcgipm_async_resume_fn *resume,
                          fcgipm_async_leave_fn *leave, void *ctx);

/* Hooks. */
int fcgipm_async_process_connection(conn_rec *c);
int fcgipm_async_pre_close_connection(conn_rec *c);
/* mod_rewrite's redirect in .htaccess: done here, so that the request behind it may be suspended. */
int fcgipm_async_redirect(request_rec *r);
/* The inner request of such a redirect is suspended: what its handler must leave behind before it returns OK,
 * so that httpd neither ends the answer nor reads the rest of the body. */
void fcgipm_async_return(request_rec *r);
#endif
