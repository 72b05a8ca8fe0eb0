/* Tables in comma-separated text (RFC 4180): quoted fields, "" for a quote, LF or CRLF, with a
 * header line that names the columns. */
#pragma once
#include "base/status.h"

struct csv {
  int rows, columns; /* rows without the header */
  char **fields;     /* [1 + rows][columns], the header first; they point into text */
  int *lines;        /* [1 + rows]: the line of the file that a row begins on */
  char *text, *path;
  char separator;
};

/* Every row must have as many fields as the header; empty lines are passed over. At most 256 MiB.
 * On failure *csv is left zeroed. */
CHECKED enum status csv_read(struct csv *csv, const char *path);

/* The same with another character than the comma between fields. */
CHECKED enum status csv_read_separated(struct csv *csv, const char *path, char separator);

/* The number of the column of that name, or -1. */
int csv_find(const struct csv *csv, const char *column);

/* A field of a row (0 is the first after the header). */
const char *csv_get(const struct csv *csv, int row, int column);

/* The line of the file that a row begins on, for messages. */
int csv_line(const struct csv *csv, int row);

/* Accepts a zeroed one. */
void csv_close(struct csv *csv);
