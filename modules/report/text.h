/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_REPORT_TEXT_H
#define FCGIPM_REPORT_TEXT_H
/*
 * What: the board as lines "key: value", for grep and awk. Keys are the path of the same value in JSON with
 * the pool's index and the worker's slot number: "pool.3.worker.0.pid: 4711". Who calls: web/status, ctl.
 * Owns: nothing; a few kilobytes of stack.
 * Always true: one value is one line, whatever the board holds: strange bytes come as \xHH.
 */
#include "report/print.h"
#include "report/view.h"

void fcgipm_text_write(const fcgipm_board_t *board, fcgipm_view_now_t now, fcgipm_print_fn *out, void *ctx);
/* A few lines of totals, for mod_status' "?auto". */
void fcgipm_text_section(const fcgipm_board_t *board, fcgipm_view_now_t now, fcgipm_print_fn *out, void *ctx);
#endif
