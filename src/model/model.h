/* Networks: a table of builders that add nodes to a graph. A network sees logical n c d h w only.
 */
#pragma once
#include "base/status.h"
#include "config/config.h"
#include "graph/graph.h"

/* What a network reads, as values of the graph. */
struct model_request {
  const int *inputs; /* concatenated by channel, in order */
  int input_count;
  int dropout; /* [n DROPOUT_KEY 1 1 1], each sample's key; -1: nothing is dropped */
};

/* What it gives. */
struct model_result {
  int output;
  int bottleneck; /* the deepest features; -1: it has none */
};

struct model {
  const char *name;
  const char *help; /* one line, for --list */
  /* Adds the network. Its output is raw: for vxm the velocity field [n 3 d h w] in voxels at full
   * resolution, for networks that segment logits of classes. Parameters are called `prefix` + the
   * names of the PyTorch original. Networks without dropout (vxm, resnet_pose) ignore its key. */
  enum status (*build)(struct graph *graph, const struct config *config, const char *prefix,
                       const struct model_request *request, struct model_result *result);
  /* What every extent of the inputs must be a multiple of. */
  int (*multiple)(const struct config *config);
  /* Of networks that give logits of voxels: of how many voxels each is, along every axis that the
   * network works on; 0: it gives something else. */
  int coarser;
};

/* Every network, NULL-terminated, from models.def. */
extern const struct model *const models[];
/* `given`, or, where it is empty, a network's own numbers. */
struct int_list model_numbers(const struct int_list *given, const struct int_list *own);

/* STATUS_USAGE with the nearest right name when there is none called `name`. */
CHECKED enum status model_find(const char *name, const struct model **model);
