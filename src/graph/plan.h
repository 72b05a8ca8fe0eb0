/* Plan once: from a graph to one list of steps with every tensor at a fixed offset of one arena,
 * the parameters in one flat block, and kernels chosen. Deterministic: every rank finds the same
 * plan. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include "graph/graph.h"

struct plan_options {
  bool training; /* with backward; otherwise forward only */
  /* The kernel forced for an operator, NULL for the best: config keys kernels.*. May itself be
   * NULL. */
  const char *(*forced_kernel)(void *context, const char *op);
  void *context;
  /* Which of `count` > 1 kernels that can compute a node it gets, where none is forced; all ranks
   * must answer alike. NULL: the first, which is the operator's best. */
  int (*prefer)(void *context, const struct node *node, const struct kernel *const *candidates,
                int count);
  void *prefer_context;
  size_t bucket_bytes; /* a gradient bucket is closed once it holds this much; 0: one bucket */
  bool no_folding;     /* keep concat and upsampling as nodes of their own */
  bool capture;        /* record the steps and give them to the device as one, where it can */
  /* Training: values of cheap operators that only backward still needs are not kept but computed
   * again: as few as it takes until no more than memory_goal bytes live at a time, or until fewer
   * bytes cannot. Changes no bit of a result. */
  bool recompute;
  size_t memory_goal;
  /* Debugging; results must not change: every tensor its own memory; dead tensors filled with NaN;
   * a pattern between tenants checked after every step. */
  bool no_reuse, poison, guard;
};

/* A parameter in the flat block; offsets in elements of the graph's dtype. */
struct plan_parameter {
  char name[OP_NAME_BYTES + 16]; /* "unet_model.encoder.0.0.main.weight" */
  struct parameter parameter;
  int node, index; /* node.parameter[index] */
  int64_t offset, count;
};

/* A contiguous range of the flat block whose gradients are complete after step `last_step`, which
 * never falls from bucket to bucket. None holds both trained parameters and statistics. */
struct plan_bucket {
  int64_t first, count;
  int last_step;
};

/* STEP_AGAIN: between backward steps, a forward step once more. */
enum step_kind { STEP_FORWARD, STEP_BACKWARD, STEP_AGAIN };
struct plan_step {
  enum step_kind kind;
  int node;
  int workspace;   /* tenant, or -1 */
  unsigned dx_add; /* backward: bit i is io.dx_add[i] */
};

/* A tenant of the arena: a value (and those computed in its place), a gradient, a saved tensor or a
 * step's workspace. */
struct plan_tenant {
  size_t bytes, offset;      /* offset: a multiple of 64 */
  size_t reserved;           /* bytes, rounded up to 64, and the guard */
  int first_step, last_step; /* alive in [first, last], both included */
  enum { TENANT_VALUE, TENANT_GRADIENT, TENANT_SAVED, TENANT_WORKSPACE } kind;
  int owner; /* value index, or node index * OP_MAX_SAVED + i for saved, or step for workspace */
};

struct plan {
  struct graph *graph; /* borrowed; folded and with kernels chosen by plan_make */
  struct plan_options options;
  struct plan_step *steps;
  int step_count, forward_step_count;
  int *forward_step, *backward_step, *again_step; /* by node; -1: none */
  bool *computed_again; /* by node: not kept for backward, if that needs it */
  int again_count;      /* of the steps */
  struct plan_tenant *tenants;
  int tenant_count;
  /* Tenants by value (of forward, and where it is computed again), by value (of its gradient) and
   * by node * OP_MAX_SAVED + i; -1: none. */
  int *value_tenant, *again_tenant, *gradient_tenant, *saved_tenant;
  struct plan_parameter *parameters;
  int parameter_count;
  int *node_parameter;        /* by node * OP_MAX_PARAMETERS + index: the number in `parameters` */
  int64_t parameter_elements; /* of the flat block */
  int64_t trained_elements;   /* of its first part; what follows are statistics */
  struct plan_bucket *buckets;
  int bucket_count;
  size_t arena_bytes;     /* after packing */
  size_t peak_live_bytes; /* the lower bound: the most bytes alive in any step */
  size_t input_bytes;     /* of one set of inputs */
  double forward_flops, backward_flops;
};

/* Changes the graph (folding, kernel choice) and fills the plan: one graph, one plan. Parameters
 * are laid out in the order in which backward finishes them: reverse order of nodes, whether or not
 * the plan trains, so that the plans of training and of evaluation of one network share one block:
 * first all that are trained, then all statistics; each begins at a multiple of 16 elements.
 * STATUS_USAGE: a parameter that no loss depends on (training), a forced kernel that does not apply
 * or has no backward. */
CHECKED enum status plan_make(struct plan *plan, struct graph *graph,
                              const struct plan_options *options);
/* Accepts a zeroed plan. The graph stays. */
void plan_close(struct plan *plan);

/* The trainable numbers: trained_elements without the gaps between parameters. */
int64_t plan_trainable_count(const struct plan *plan);

/* The numbers in statistics. */
int64_t plan_statistic_count(const struct plan *plan);

/* The parameter called `name`, or NULL. */
const struct plan_parameter *plan_find_parameter(const struct plan *plan, const char *name);

/* Fills the flat block (float32 or float64, as the graph) with the initial values each parameter
 * asks for: a function of (seed, parameter name, element). Gaps between parameters become 0. */
void plan_initialize(const struct plan *plan, uint64_t seed, void *weights);

/* A hash of what decides the bits of a run: steps, shapes, kernels, losses, parameters (not the
 * arguments of operators: those follow from the config; neither buckets nor what is computed again:
 * those change no bit). Ranks compare it. */
uint64_t plan_hash(const struct plan *plan);

/* Tables for people: one line per step (kernel, shapes, bytes, GFLOP), parameters, totals. */
void plan_print(const struct plan *plan, FILE *out);
