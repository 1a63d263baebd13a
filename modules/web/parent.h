/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_WEB_PARENT_H
#define FCGIPM_WEB_PARENT_H
/*
 * What: the manager, from its parent: forked, watched, told of each new configuration, replaced when it dies
 * or is of an older file, stopped with httpd. Who calls: web/guard, in httpd's parent. Owns: the manager
 * process (state->manager).
 */
#include <httpd.h>
#include "web/state.h"

/* From here on the rooms below log to the log of s, by its LogLevel. */
void fcgipm_parent_log(server_rec *s);

/* post_config: whose death is noticed from now on, as long as pconf lives. */
void fcgipm_parent_watch(fcgipm_state_t *state, apr_pool_t *pconf);
/* post_config, afterwards: a manager has state->world. One that cannot be told is replaced, and the next one
 * adopts the workers. */
apr_status_t fcgipm_parent_tell(fcgipm_state_t *state, server_rec *s);
/* httpd calls it every few seconds: a manager that died while nobody was looking, or too often; orphans. */
void fcgipm_parent_tend(fcgipm_state_t *state, server_rec *s);
/* Stop with httpd: the lifeline's end tells the manager to stop every worker; httpd waits for it, so that
 * nothing is left when `apachectl stop` returns. At most state->stop_us and 3 s. */
void fcgipm_parent_stop(fcgipm_state_t *state);
#endif
