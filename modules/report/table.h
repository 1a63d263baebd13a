/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_REPORT_TABLE_H
#define FCGIPM_REPORT_TABLE_H
/*
 * What: the board as a table for a terminal: a line for each pool, below it what is wrong with it, and for
 * one that was named its workers. Who calls: ctl. Owns: nothing. Always true: only printable bytes, whatever
 * the board holds.
 */
#include "report/print.h"
#include "report/view.h"

/* Does `word` ("name" or "name@vhost") mean this pool? */
bool fcgipm_table_means(const char *word, const fcgipm_view_pool_t *pool);
/* word: only these, with their workers; NULL: all, without. Returns the number of pools. */
unsigned fcgipm_table_write(const fcgipm_board_t *board, fcgipm_view_now_t now, const char *word,
                            fcgipm_print_fn *out, void *ctx);
#endif
