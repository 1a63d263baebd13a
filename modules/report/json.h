/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_REPORT_JSON_H
#define FCGIPM_REPORT_JSON_H
/*
 * What: the board as one JSON object, for monitoring. Names of keys are an interface: they are added to,
 * never changed. Who calls: web/status, ctl. Owns: nothing; a few kilobytes of stack.
 * Always true: valid JSON in UTF-8, whatever the board holds; numbers are integers of at most 2^53 - 1.
 */
#include "report/print.h"
#include "report/view.h"

void fcgipm_json_write(const fcgipm_board_t *board, fcgipm_view_now_t now, fcgipm_print_fn *out, void *ctx);
/* The same of the pools that `only` means (see fcgipm_table_means), NULL: of all. How many there were. */
unsigned fcgipm_json_write_only(const fcgipm_board_t *board, fcgipm_view_now_t now, const char *only,
                                fcgipm_print_fn *out, void *ctx);
#endif
