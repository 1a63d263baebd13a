/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_SHARE_CHILDREN_H
#define FCGIPM_SHARE_CHILDREN_H
/*
 * What: which httpd child has which row of the board, and what becomes of what a dead one has left. The
 * board's child[].pid says it for whoever only reads; the truth is a lock on the row's byte of a file without
 * a name, which the kernel keeps for the child's process and takes back at its end. So no two children ever
 * have one row, nor is a dead one's left, whatever somebody has written over the board.
 * Who calls: parent (open, bury), children (claim), manager (bury).
 * Owns: nothing. The descriptor must stay open in a child, or its lock is gone (fcntl(2), record locks).
 */
#include <stdbool.h>
#include <sys/types.h>
#include "share/layout.h"

/* The file of the locks; close-on-exec, inherited by fork. Nobody can make it larger. -1 with errno. The
 * caller's to close. */
int fcgipm_children_open(void);
/* child_init: take a row for this process. locks: of fcgipm_children_open, -1: none, the board is believed.
 * FCGIPM_NO_CHILD if all are taken. */
unsigned fcgipm_children_claim(fcgipm_board_t *board, int locks, pid_t pid);
/* Rows whose child has ended: its cells are left, its seats go on to who waits, the row becomes free; rows
 * that have another's number get their owner's. all: rows that look free, too, for who knows that a child has
 * ended, or the board may be rubbish; the parent only (a child that begins waits for it). Ranges come from
 * the registry, never from the board. Returns the number of seats freed. */
unsigned fcgipm_children_bury(fcgipm_board_t *board, const fcgipm_registry_t *registry, int locks, bool all);
#endif
