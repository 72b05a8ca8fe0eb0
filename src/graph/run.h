/* Run many: executes a plan's steps on memory fixed beforehand. Nothing here allocates after
 * run_open. */
#pragma once
#include "graph/plan.h"

struct run_part;
struct run_recordings;

struct run {
  const struct plan *plan;
  struct device *device;
  struct stream stream;
  void *arena;
  bool owns_arena;
  const void *weights; /* flat block, borrowed */
  void *gradients;     /* flat block, borrowed; NULL for plans that do not train */
  const void **inputs; /* per value index; NULL until bound */
  bool forward_done;   /* and no backward since */
  double *loss_values; /* on the host: of each loss, and what its gradient starts from */
  double *loss_seeds;
  double *step_seconds; /* accumulated per step when timing is on, else NULL */
  struct event *step_events;
  struct run_part *parts; /* what is given to the device between two reports of buckets */
  int part_count;
  struct run_recordings *recordings; /* NULL: steps are given to the device one by one */
};

/* `arena` may be given (at least plan->arena_bytes, aligned to 64) to share one block between plans
 * that never run at the same time; NULL: allocated on the device. weights and gradients: flat
 * blocks on the device (NULL where the plan has no parameters, or does not train); the gaps between
 * gradients are set to 0 once, here. STATUS_USAGE: debugging options on a device other than the
 * CPU. */
CHECKED enum status run_open(struct run *run, const struct plan *plan, struct device *device,
                             void *arena, const void *weights, void *gradients);
/* Accepts a zeroed run. */
void run_close(struct run *run);

/* Gives an input its memory (in the input's layout) for the runs that follow; not copied. */
CHECKED enum status run_bind(struct run *run, const char *input, const void *memory);

/* The memory of an input or output, and its descriptor (may be NULL). STATUS_FAILED when there is
 * none. */
CHECKED enum status run_value(const struct run *run, const char *name, const struct tensor **tensor,
                              const void **memory);

/* All forward steps. From the second time on the device may be given them as one recording
 * (plan_options.capture), with the same results. STATUS_FAILED: an input that is read has not been
 * bound; a guard was overwritten. */
CHECKED enum status run_forward(struct run *run);

/* Called during backward when a bucket's gradients are complete, and (bucket NULL) between steps,
 * so that pending communication moves. */
struct run_hooks {
  enum status (*bucket_ready)(void *context, const struct plan_bucket *bucket);
  enum status (*between_steps)(void *context);
  void *context;
};
/* After run_forward, once for each. Gradients of the total loss times `scale` are written to the
 * flat gradient block. hooks may be NULL. `scale` may change only when the device has done what it
 * was given before (run_losses waits for it). */
CHECKED enum status run_backward(struct run *run, double scale, const struct run_hooks *hooks);

/* The gradient of an input made with wants_gradient, after run_backward: for tests. */
CHECKED enum status run_input_gradient(const struct run *run, const char *name,
                                       const void **memory);

/* Loss values after run_forward, in the order of graph_loss calls: names, weights, values; returns
 * their count. Waits for the device: best called after run_backward. NaN if the device fails. */
struct run_loss {
  const char *name;
  double weight, value;
};
int run_losses(const struct run *run, struct run_loss *losses, int capacity);

/* Starts or stops adding up the time of each step (step_seconds). */
CHECKED enum status run_timing(struct run *run, bool on);

/* The time added up so far of each kind of step (direction, operator, kernel). */
struct run_kind {
  enum step_kind kind;
  const struct kernel *kernel;
  const struct op *op;
  int steps;             /* of the plan */
  double seconds, flops; /* all that was timed; of one run of the plan */
};
/* Slowest first, into at most plan->step_count kinds; returns how many, 0 if timing is off. */
int run_timing_kinds(const struct run *run, struct run_kind *kinds);

/* "forward", "backward", "again" */
const char *step_kind_name(enum step_kind kind);

/* The share of each kind of step in the time added up so far; nothing if timing is off. */
void run_print_timing(const struct run *run, FILE *out);

/* Turns a tensor of any type in any layout into plain [n c d h w] float32, and
 * back (padding channels become 0; uint8 takes the nearest whole number in 0..255). */
void tensor_to_planar(const struct tensor *tensor, const void *from, float *to);
void tensor_from_planar(const struct tensor *tensor, const float *from, void *to);
