/* Edit distance (Levenshtein, one row at a time) and byte counts for people. */
#include "base/text.h"
#include <stdio.h>
#include <string.h>

enum { LONGEST_WORD = 64 };

int text_distance(const char *a, const char *b) {
  size_t rows = strnlen(a, LONGEST_WORD), columns = strnlen(b, LONGEST_WORD);
  int row[LONGEST_WORD + 1];
  for (size_t j = 0; j <= columns; j++) row[j] = (int)j;
  for (size_t i = 1; i <= rows; i++) {
    int diagonal = row[0];
    row[0] = (int)i;
    for (size_t j = 1; j <= columns; j++) {
      int replace = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      int insert_or_delete = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
      row[j] = replace < insert_or_delete ? replace : insert_or_delete;
    }
  }
  return row[columns];
}

const char *text_nearest(const char *word, const char *const *candidates, int count) {
  const char *best = NULL;
  int best_distance = (int)strlen(word) / 2 + 2;
  for (int i = 0; i < count; i++) {
    int distance = text_distance(word, candidates[i]);
    if (distance < best_distance) {
      best_distance = distance;
      best = candidates[i];
    }
  }
  return best;
}

char *text_bytes(double bytes, char *text) {
  static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  int unit = 0;
  while (bytes >= 1024 && unit < 4) {
    bytes /= 1024;
    unit++;
  }
  snprintf(text, 32, unit == 0 ? "%.0f %s" : "%.2f %s", bytes, units[unit]);
  return text;
}

void text_print_quoted(FILE *out, const char *text) {
  fputc('"', out);
  for (; *text; text++) {
    if (*text == '"') fputc('"', out);
    fputc(*text, out);
  }
  fputc('"', out);
}
