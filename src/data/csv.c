/* Fields are cut out of the file's text in place: unquoting only ever shortens it. */
#include "data/csv.h"
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"

struct cursor {
  char *at;
  int line;
  char separators[5]; /* what a plain field ends at: the separator first */
};

/* What ended a field. */
enum ending { ENDING_FIELD, ENDING_LINE, ENDING_FILE, ENDING_BAD };

static enum ending pass_ending(struct cursor *cursor, char *terminate) {
  char found = *cursor->at;
  if (found == '\r' && cursor->at[1] == '\n') cursor->at++;
  enum ending ending = found == cursor->separators[0] ? ENDING_FIELD
                       : *cursor->at == '\n'          ? ENDING_LINE
                                                      : ENDING_BAD;
  if (!*cursor->at) ending = ENDING_FILE;
  if (ending == ENDING_FIELD || ending == ENDING_LINE) cursor->at++;
  if (ending == ENDING_LINE) cursor->line++;
  *terminate = 0;
  return ending;
}

static enum ending cut_quoted(struct cursor *cursor, char **field) {
  char *to = ++cursor->at;
  *field = to;
  for (; *cursor->at; cursor->at++) {
    if (*cursor->at == '"' && *++cursor->at != '"') return pass_ending(cursor, to);
    if (*cursor->at == '\n') cursor->line++;
    *to++ = *cursor->at;
  }
  return ENDING_BAD;
}

static enum ending cut_field(struct cursor *cursor, char **field) {
  if (*cursor->at == '"') return cut_quoted(cursor, field);
  *field = cursor->at;
  cursor->at += strcspn(cursor->at, cursor->separators);
  return pass_ending(cursor, cursor->at);
}

static enum status add_field(struct csv *csv, int index, char *field, int line) {
  char **longer = realloc(csv->fields, sizeof(char *) * (size_t)(index + 1));
  REQUIRE(longer, STATUS_FAILED, "%s: out of memory", csv->path);
  csv->fields = longer;
  longer[index] = field;
  if (csv->columns && index % csv->columns) return STATUS_OK;
  int row = csv->columns ? index / csv->columns : 0;
  int *lines = realloc(csv->lines, sizeof(int) * (size_t)(row + 1));
  REQUIRE(lines, STATUS_FAILED, "%s: out of memory", csv->path);
  csv->lines = lines;
  lines[row] = line;
  return STATUS_OK;
}

/* One line's fields, from number `first` on. */
static enum status cut_row(struct csv *csv, struct cursor *cursor, int first) {
  int line = cursor->line, found = 0;
  enum ending ending = ENDING_FIELD;
  while (ending == ENDING_FIELD) {
    char *field;
    ending = cut_field(cursor, &field);
    REQUIRE(ending != ENDING_BAD, STATUS_FAILED,
            "%s:%d: expected '%c' or the end of the line after a field, found a stray quote or "
            "character",
            csv->path, line, csv->separator);
    REQUIRE(!csv->columns || found < csv->columns, STATUS_FAILED,
            "%s:%d: expected %d fields as in the header, found more", csv->path, line,
            csv->columns);
    TRY(add_field(csv, first + found++, field, line));
  }
  if (!csv->columns) csv->columns = found;
  REQUIRE(found == csv->columns, STATUS_FAILED,
          "%s:%d: expected %d fields as in the header, found %d", csv->path, line, csv->columns,
          found);
  return STATUS_OK;
}

static void pass_empty_lines(struct cursor *cursor) {
  while (*cursor->at == '\n' || (*cursor->at == '\r' && cursor->at[1] == '\n')) {
    cursor->at += *cursor->at == '\r' ? 2 : 1;
    cursor->line++;
  }
}

static enum status parse(struct csv *csv, size_t bytes) {
  REQUIRE(!memchr(csv->text, 0, bytes), STATUS_FAILED, "%s: expected text, found a zero byte",
          csv->path);
  struct cursor cursor = {
      .at = csv->text, .line = 1, .separators = {csv->separator, '\r', '\n', '"', 0}};
  if (strncmp(csv->text, "\xEF\xBB\xBF", 3) == 0) cursor.at += 3; /* byte order mark */
  int rows = 0;
  for (pass_empty_lines(&cursor); *cursor.at; pass_empty_lines(&cursor), rows++)
    TRY(cut_row(csv, &cursor, rows * csv->columns));
  REQUIRE(rows > 0, STATUS_FAILED, "%s: expected a header line, found an empty file", csv->path);
  csv->rows = rows - 1;
  return STATUS_OK;
}

enum status csv_read(struct csv *csv, const char *path) {
  return csv_read_separated(csv, path, ',');
}

enum status csv_read_separated(struct csv *csv, const char *path, char separator) {
  *csv = (struct csv){.separator = separator};
  size_t bytes;
  TRY(file_read(path, (size_t)256 << 20, &csv->text, &bytes));
  enum status status;
  if (!(csv->path = strdup(path)))
    status = status_fail(STATUS_FAILED, __FILE__, __LINE__, "%s: out of memory", path);
  else
    status = parse(csv, bytes);
  if (status) csv_close(csv);
  return status;
}

int csv_find(const struct csv *csv, const char *column) {
  for (int i = 0; i < csv->columns; i++)
    if (strcmp(csv->fields[i], column) == 0) return i;
  return -1;
}

const char *csv_get(const struct csv *csv, int row, int column) {
  return csv->fields[(row + 1) * csv->columns + column];
}

int csv_line(const struct csv *csv, int row) {
  return csv->lines[row + 1];
}

void csv_close(struct csv *csv) {
  free(csv->fields);
  free(csv->lines);
  free(csv->text);
  free(csv->path);
  *csv = (struct csv){0};
}
