/* Values to classes. */
#include "data/classes.h"

static float class_of(const struct int_list *labels, float value) {
  for (int i = 0; i < labels->count; i++)
    if ((float)labels->value[i] == value) return (float)(i + 1);
  return 0;
}

/* Neighbours mostly have the same label, hence the memory of the last one. */
static void remap(const struct int_list *labels, struct volume *label) {
  size_t count = volume_count(label);
  float before = 0, class = class_of(labels, 0);
  for (size_t i = 0; i < count; i++) {
    if (label->values[i] != before) class = class_of(labels, before = label->values[i]);
    label->values[i] = class;
  }
}

/* Pairs: an old value, and the one that takes its place. */
static void replace_values(const struct int_list *pairs, struct volume *label) {
  size_t count = volume_count(label);
  for (size_t i = 0; pairs->count && i < count; i++)
    for (int pair = 0; pair + 1 < pairs->count; pair += 2)
      if (label->values[i] == (float)pairs->value[pair]) {
        label->values[i] = (float)pairs->value[pair + 1];
        break;
      }
}

void classes_make(const struct config *config, struct volume *label) {
  replace_values(&config->data.relabel, label);
  if (config->data.labels.count) remap(&config->data.labels, label);
}
