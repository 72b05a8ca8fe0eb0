/* Bounding boxes of labels. */
#include <limits.h>
#include "metrics/metrics.h"

struct metrics_box metrics_box_empty(void) {
  return (struct metrics_box){{INT_MAX, INT_MAX, INT_MAX}, {-1, -1, -1}};
}

bool metrics_box_is_empty(const struct metrics_box *box) {
  for (int axis = 0; axis < 3; axis++)
    if (box->high[axis] < box->low[axis]) return true;
  return false;
}

/* A run of one value in a row. */
static void include(struct metrics_box *box, int i, int j, int first, int last) {
  const int low[3] = {i, j, first}, high[3] = {i, j, last};
  for (int axis = 0; axis < 3; axis++) {
    if (low[axis] < box->low[axis]) box->low[axis] = low[axis];
    if (high[axis] > box->high[axis]) box->high[axis] = high[axis];
  }
}

void metrics_find_boxes(const uint8_t *map, const int extent[3], int classes,
                        struct metrics_box *boxes) {
  const uint8_t *row = map;
  for (int i = 0; i < extent[0]; i++)
    for (int j = 0; j < extent[1]; j++, row += extent[2])
      for (int first = 0, next; first < extent[2]; first = next) {
        for (next = first + 1; next < extent[2] && row[next] == row[first]; next++) continue;
        if (row[first] < classes) include(&boxes[row[first]], i, j, first, next - 1);
      }
}
