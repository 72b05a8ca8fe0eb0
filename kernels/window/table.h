/* Windows, ready to use: clip((x - low) * scale, 0, 1) * gain + from; those past the last
 * give 0. Also C++, and then for the device, too. */
#pragma once
#include "kernels/common/shared.h"
#include "kernels/window/window.h"

struct window_table {
  float low[WINDOW_MOST], scale[WINDOW_MOST], gain[WINDOW_MOST], from[WINDOW_MOST];
};

static inline struct window_table window_table_make(const struct node *node) {
  const struct window_arguments *a = window_arguments_of(node);
  struct window_table table;
  for (int k = 0; k < WINDOW_MOST; k++) {
    bool used = k < a->count;
    table.low[k] = used ? a->low[k] : 0;
    table.scale[k] = used ? (float)(1 / ((double)a->high[k] - (double)a->low[k])) : 0;
    table.gain[k] = used ? a->to - a->from : 0;
    table.from[k] = used ? a->from : 0;
  }
  return table;
}

HOST_DEVICE static inline float window_value(const struct window_table *table, int k, float x) {
  float share = (x - table->low[k]) * table->scale[k];
  share = share > 0 ? share : 0;
  share = share < 1 ? share : 1;
  return share * table->gain[k] + table->from[k];
}
