/* Networks: a table of builders that add nodes to a graph. A network sees logical n c d h w only.
 */
#pragma once
#include "base/status.h"
#include "config/config.h"
#include "graph/graph.h"

struct model {
  const char *name;
  const char *help; /* one line, for --list */
  /* Adds the network that reads `inputs` (concatenated by channel, in order) and gives its raw
   * output: for vxm the velocity field [n 3 d h w] in voxels at full resolution. Parameters are
   * called `prefix` + the names of the PyTorch original. */
  enum status (*build)(struct graph *graph, const struct config *config, const char *prefix,
                       const int *inputs, int input_count, int *output);
  /* What every extent of the inputs must be a multiple of. */
  int (*multiple)(const struct config *config);
};

/* Every network, NULL-terminated, from models.def. */
extern const struct model *const models[];
/* `given`, or, where it is empty, a network's own numbers. */
struct int_list model_numbers(const struct int_list *given, const struct int_list *own);

/* STATUS_USAGE with the nearest right name when there is none called `name`. */
CHECKED enum status model_find(const char *name, const struct model **model);
