/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_WEB_BLOCK_H
#define FCGIPM_WEB_BLOCK_H
/*
 * What: <FcgiServer> and <FcgiServerTemplate>, and the directives in them: what is said becomes a setting, is
 * checked, and is a pool (web/directive). A new row of core/setting_table.h needs no line of code here. Who
 * calls: httpd while it reads the configuration, through the table of web/commands; web/wrapper. Owns:
 * everything is in pconf. Each returns NULL, or a sentence that says what would be right.
 */
#include <stdbool.h>
#include <httpd.h>
#include <http_config.h>
#include "core/setting.h"

/* <FcgiServer NAME>, <FcgiServerTemplate NAME>: a block with all that is in it. */
const char *fcgipm_block_directive(cmd_parms *cmd, void *dir, const char *args);
/* The same words without the brackets: httpd would say that some module may not be loaded. */
const char *fcgipm_block_needed(cmd_parms *cmd, void *dir, const char *args);
/* Each directive that belongs in a block. */
const char *fcgipm_block_value(cmd_parms *cmd, void *dir, const char *args);

/* A directive that holds for the whole server is not in a block. */
const char *fcgipm_block_outside(const cmd_parms *cmd);
/* A block has been read, or what stands for one. What a template needs, and what it must not have, the other
 * kind must not, and needs. */
const char *fcgipm_block_check(cmd_parms *cmd, const fcgipm_setting_t *setting, bool template);
#endif
