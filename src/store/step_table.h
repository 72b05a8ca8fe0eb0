/* metrics.csv: one row per step, appended with one write each, so that it can be followed while the
 * run goes on and survives its end at any moment. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "base/status.h"

struct step_table {
  char *path;
  int descriptor;
  int columns;
  char *row; /* being made: appending allocates nothing */
};

/* Opens the file for rows of "step" and `count` named columns. Of an existing file the rows before
 * `first_step` stay; later ones (of a run that is being resumed) and a half-written last line go. A
 * file with other columns is kept under the name FILE.before-STEP. */
CHECKED enum status step_table_open(struct step_table *table, const char *path,
                                    const char *const *names, int count, int64_t first_step);

/* Appends a row; NaN is an empty field. Numbers are written so that reading gives the same bits. */
CHECKED enum status step_table_append(struct step_table *table, int64_t step, const double *values);

/* Accepts a zeroed one. */
void step_table_close(struct step_table *table);
