/* What classes 1, 2, ... of label maps are called: data.label_names. */
#pragma once
#include "base/status.h"
#include "config/config.h"

/* The names between the commas of data.label_names, blanks around them left out (caller frees the
 * names and the list); NULL and 0 without any. STATUS_USAGE for empty or repeated names, more than
 * classes can be, and another number of them than data.labels has. */
CHECKED enum status label_names_parse(const struct config *config, char ***names, int *count);

/* How many there are, without looking at them; 0: no names. */
int label_names_count(const struct config *config);

/* Accepts NULL. */
void label_names_free(char **names, int count);
