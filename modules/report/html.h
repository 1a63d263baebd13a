/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_REPORT_HTML_H
#define FCGIPM_REPORT_HTML_H
/*
 * What: the board as a page for people: one file, no script, no outside reference, so that it works under
 * the strictest Content-Security-Policy that allows inline style; reloads itself. Who calls: web/status.
 * Owns: nothing; a few kilobytes of stack.
 * Always true: every string from the board is escaped; the page is well formed whatever the board holds.
 */
#include "report/print.h"
#include "report/view.h"

void fcgipm_html_write(const fcgipm_board_t *board, fcgipm_view_now_t now, fcgipm_print_fn *out, void *ctx);
/* A heading and a table, one row for each pool, for mod_status' page. tables: false: its "?notable". */
void fcgipm_html_section(const fcgipm_board_t *board, fcgipm_view_now_t now, bool tables,
                         fcgipm_print_fn *out, void *ctx);
#endif
