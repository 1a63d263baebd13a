/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_WEB_WRAPPER_H
#define FCGIPM_WEB_WRAPPER_H
/*
 * What: FcgiAllowWrapper, which makes a template's pool of a command, and FcgiWrapper, which names such a
 * command for files. Which of them holds for a request says web/directive. Who calls: httpd while it reads
 * the configuration, through the table of web/commands; web/legacy. Owns: everything is in pconf.
 */
#include <stdbool.h>
#include <httpd.h>
#include <http_config.h>

/* pre_config: a new configuration begins. */
void fcgipm_wrapper_begin(apr_pool_t *pconf);

/* FcgiAllowWrapper "command [argument ...]" [TEMPLATE]. NULL, or what is wrong. */
const char *fcgipm_wrapper_allow(cmd_parms *cmd, void *dir, const char *command, const char *name);
/* FcgiWrapper "command [argument ...]" [.extension ...] [virtual]. NULL, what is wrong, or what `before` has
 * said. */
const char *fcgipm_wrapper_directive(cmd_parms *cmd, void *dir, const char *args);

/* Has FcgiAllowWrapper so far allowed the command that FcgiWrapper's arguments begin with? While the
 * configuration is read. */
bool fcgipm_wrapper_allows(cmd_parms *cmd, const char *args);
/* web/legacy, when the module is loaded: FCGIWrapper, outside of .htaccess, is the old name of FcgidWrapper
 * where FcgiCompat is On and no FcgiAllowWrapper above it allows the command, and mod_fcgid's own where that
 * is loaded. True: it was that, *fault is what the directive returns. */
typedef bool fcgipm_wrapper_before_fn(cmd_parms *cmd, void *dir, const char *args, const char **fault);
void fcgipm_wrapper_before(fcgipm_wrapper_before_fn *before);
#endif
