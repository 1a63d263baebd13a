/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_REPORT_METRICS_H
#define FCGIPM_REPORT_METRICS_H
/*
 * What: the board in the OpenMetrics text format 1.0, for Prometheus and its like. Each application is one
 * series, labels pool and vhost, also while one definition replaces another; its counters go on over reloads.
 * Names are an interface: they are added to, never changed. Who calls: web/status, ctl. Owns: nothing.
 */
#include "report/print.h"
#include "report/view.h"

#define FCGIPM_METRICS_TYPE "application/openmetrics-text; version=1.0.0; charset=utf-8"

void fcgipm_metrics_write(const fcgipm_board_t *board, fcgipm_view_now_t now, fcgipm_print_fn *out,
                          void *ctx);
#endif
