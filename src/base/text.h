/* Words: the nearest right name for a wrong one, human sizes, quotes. */
#pragma once
#include <stddef.h>
#include <stdio.h>

/* The number of single-character edits (insert, delete, replace) between two words. */
int text_distance(const char *a, const char *b);

/* The candidate nearest to `word`, or NULL if none is near enough to be what was meant. */
const char *text_nearest(const char *word, const char *const *candidates, int count);

/* "1.50 GiB" into `text` (at least 32 bytes); returns text. */
char *text_bytes(double bytes, char *text);

/* A field of a CSV file, in quotes, its own quotes doubled (RFC 4180). */
void text_print_quoted(FILE *out, const char *text);
