/* The tree over small vectors of doubles: rank 0 gets all leaves, folds them, and tells everybody.
 */
#include <stdlib.h>
#include <string.h>
#include "comm/fold.h"
#include "comm/transport.h"
#include "comm/tree.h"

/* A leaf in a message: 1 or 0 for present, then its doubles. */
static size_t leaf_doubles(int width) {
  return (size_t)width + 1;
}

static int most_items(int items, int size) {
  return items > size ? (items + size - 1) / size : 1;
}

static void pack(struct slot_range own, int width, const double *values, const bool *present,
                 double *message) {
  for (int i = 0; i < own.count; i++) {
    double *leaf = message + (size_t)i * leaf_doubles(width);
    leaf[0] = !present || present[i];
    memcpy(leaf + 1, values + (size_t)i * (size_t)width, sizeof(double) * (size_t)width);
  }
}

static void add_doubles(void *context, void *left, const void *right) {
  double *to = left;
  const double *from = right;
  for (int i = 0; i < *(const int *)context; i++) to[i] = to[i] + from[i];
}

static void fold(struct comm *comm, int items, int width, double *all, double *sum) {
  size_t message = (size_t)most_items(items, comm->size) * leaf_doubles(width);
  struct tree_stack stack = {.add = add_doubles, .context = &width};
  for (int rank = 0; rank < comm->size; rank++) {
    struct slot_range share = comm_share(items, rank, comm->size);
    for (int i = 0; i < share.count; i++) {
      double *leaf = all + (size_t)rank * message + (size_t)i * leaf_doubles(width);
      struct tree_node node = {.lo = share.first + i, .present = leaf[0] != 0, .data = leaf + 1};
      tree_stack_push(&stack, node);
    }
  }
  struct tree_node root = tree_stack_finish(&stack);
  if (root.present)
    memcpy(sum, root.data, sizeof(double) * (size_t)width);
  else
    memset(sum, 0, sizeof(double) * (size_t)width);
}

enum status comm_tree_sum(struct comm *comm, int items, int width, const double *values,
                          const bool *present, double *sum) {
  size_t message = (size_t)most_items(items, comm->size) * leaf_doubles(width);
  double *memory;
  size_t doubles = message * ((size_t)comm->size + 1);
  TRY(comm_scratch_bytes(comm, sizeof(double) * doubles, (void **)&memory));
  double *mine = memory + message * (size_t)comm->size;
  memset(mine, 0, sizeof(double) * message);
  pack(comm_share(items, comm->rank, comm->size), width, values, present, mine);
  TRY(comm_collect(comm, "sum of losses or metrics", mine, sizeof(double) * message, 0, memory));
  if (comm->rank == 0) fold(comm, items, width, memory, sum);
  return comm_broadcast(comm, sum, sizeof(double) * (size_t)width, 0);
}
