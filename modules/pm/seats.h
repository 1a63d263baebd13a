/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_PM_SEATS_H
#define FCGIPM_PM_SEATS_H
/*
 * What: all seats of one worker at once: open, drain, shut, look. Who calls: the manager.
 * Always true: indexes come from the manager's own geometry; whatever the words on the board say, every loop
 * ends.
 */
#include <stdbool.h>
#include "share/queue.h"

/* Every CLOSED seat among the first `places`: opened and offered to who waits. */
void fcgipm_seats_open(fcgipm_board_t *board, uint32_t pool, const fcgipm_geometry_t *g, uint32_t slot,
                       uint32_t places);
void fcgipm_seats_drain(fcgipm_board_t *board, const fcgipm_geometry_t *g, uint32_t slot);
void fcgipm_seats_shut(fcgipm_board_t *board, const fcgipm_geometry_t *g, uint32_t slot);
/* A manager that died while it offered a seat still owns it. */
void fcgipm_seats_inherit(fcgipm_board_t *board, const fcgipm_geometry_t *g, uint32_t slot);
/* Words that no process will ever move again (only a scribbler makes them): shut, so that they can be opened
 * anew. How many. */
uint32_t fcgipm_seats_mend(fcgipm_board_t *board, const fcgipm_geometry_t *g, uint32_t slot);
bool fcgipm_seats_closed(const fcgipm_board_t *board, const fcgipm_geometry_t *g, uint32_t slot);
/* Seats with a request in them. */
uint32_t fcgipm_seats_busy(const fcgipm_board_t *board, const fcgipm_geometry_t *g, uint32_t slot);
#endif
