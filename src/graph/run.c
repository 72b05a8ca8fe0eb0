/* Executes the list: every step's memory follows from the plan, so that a step is one look-up and
 * one call. */
#include "graph/run.h"
#include <stdlib.h>
#include "graph/access.h"
#include "graph/arena.h"
#include "graph/debug.h"
#include "graph/record.h"
#include "graph/timing.h"

enum { LOSS_BYTES = 2 * GRAPH_MAX_LOSSES * sizeof(double) };

static enum status check_arguments(const struct run *run) {
  const struct plan *plan = run->plan;
  const struct plan_options *options = &plan->options;
  REQUIRE(run->device->ops->kind == plan->graph->device, STATUS_FAILED,
          "the network was planned for another device than %s", run->device->ops->name);
  REQUIRE(!(options->poison || options->guard) || run->device->ops->host_memory, STATUS_USAGE,
          "debug.poison and debug.guard work on the cpu only, found %s", run->device->ops->name);
  REQUIRE(run->weights || plan->parameter_count == 0, STATUS_FAILED, "no weights were given");
  REQUIRE(run->gradients || plan->parameter_count == 0 || !options->training, STATUS_FAILED,
          "no memory for gradients was given");
  REQUIRE((uintptr_t)run->arena % ARENA_ALIGNMENT == 0, STATUS_FAILED,
          "the arena is not aligned to %d bytes", ARENA_ALIGNMENT);
  return STATUS_OK;
}

/* Nobody writes between the gradients of parameters, but their norm is taken over the whole block.
 */
static enum status clear_gaps(struct run *run) {
  const struct plan *plan = run->plan;
  if (!plan->options.training) return STATUS_OK;
  size_t element = dtype_bytes(plan->graph->dtype);
  for (int i = 0; i < plan->parameter_count; i++) {
    const struct plan_parameter *parameter = &plan->parameters[i];
    int64_t end = parameter->offset + parameter->count;
    int64_t next = i + 1 < plan->parameter_count ? parameter[1].offset : plan->parameter_elements;
    unsigned char *gap = (unsigned char *)run->gradients + (size_t)end * element;
    if (next > end)
      TRY(run->device->ops->fill(&run->stream, gap, 0, (size_t)(next - end) * element));
  }
  return STATUS_OK;
}

/* The losses and the seeds of their gradients pass between host and device while a step runs. */
static enum status open_losses(struct run *run) {
  void *memory;
  TRY(run->device->ops->allocate_host(run->device, LOSS_BYTES, &memory));
  run->loss_values = memory;
  run->loss_seeds = run->loss_values + GRAPH_MAX_LOSSES;
  return STATUS_OK;
}

enum status run_open(struct run *run, const struct plan *plan, struct device *device, void *arena,
                     const void *weights, void *gradients) {
  *run = (struct run){.plan = plan, .device = device};
  run->arena = arena;
  run->weights = weights;
  run->gradients = gradients;
  TRY(check_arguments(run));
  run->inputs = calloc((size_t)plan->graph->value_count, sizeof *run->inputs);
  REQUIRE(run->inputs, STATUS_FAILED, "out of memory");
  TRY(device->ops->stream_open(device, &run->stream));
  TRY(open_losses(run));
  TRY(record_open(run));
  if (!arena) {
    TRY(device->ops->allocate(device, plan->arena_bytes, &run->arena));
    run->owns_arena = true;
  }
  return clear_gaps(run);
}

void run_close(struct run *run) {
  const struct device_ops *device = run->device ? run->device->ops : NULL;
  if (run->stream.device && device->synchronize(&run->stream)) status_clear();
  if (run_timing(run, false)) status_clear();
  record_close(run);
  if (run->owns_arena) device->release(run->device, run->arena, run->plan->arena_bytes);
  if (run->loss_values) device->release_host(run->device, run->loss_values, LOSS_BYTES);
  if (device) device->stream_close(&run->stream);
  free(run->inputs);
  *run = (struct run){0};
}

static void gather_common(const struct run *run, const struct plan_step *step, struct io *io) {
  const struct plan *plan = run->plan;
  const struct node *node = &plan->graph->nodes[step->node].node;
  size_t element = dtype_bytes(plan->graph->dtype);
  for (int i = 0; i < node->parameter_count; i++) {
    int number = plan->node_parameter[step->node * OP_MAX_PARAMETERS + i];
    int64_t offset = plan->parameters[number].offset;
    io->w[i] = (const unsigned char *)run->weights + (size_t)offset * element;
    if (step->kind == STEP_BACKWARD)
      io->dw[i] = (unsigned char *)run->gradients + (size_t)offset * element;
  }
  for (int i = 0; i < node->saved_count; i++)
    io->saved[i] = run_tenant(run, plan->saved_tenant[step->node * OP_MAX_SAVED + i]);
  io->workspace = run_tenant(run, step->workspace);
}

/* Where a step of this kind has a value: after forward, where it has been computed again, if it
 * has.
 */
static void *value_of(const struct run *run, enum step_kind kind, int value) {
  int again = kind == STEP_FORWARD ? -1 : run->plan->again_tenant[value];
  return again < 0 ? (void *)(uintptr_t)run_value_at(run, value) : run_tenant(run, again);
}

/* What a step may not read is NULL. */
static struct io gather(const struct run *run, const struct plan_step *step) {
  const struct graph_node *node = &run->plan->graph->nodes[step->node];
  bool backward = step->kind == STEP_BACKWARD;
  bool has_y = !backward || (node->node.backward_reads & READS_Y);
  struct io io = {0};
  gather_common(run, step, &io);
  if (has_y) io.y = value_of(run, step->kind, node->output);
  if (backward) io.dy = run_gradient(run, node->output);
  for (int i = 0; i < node->node.input_count; i++) {
    if (!backward || node_reads_x(&node->node, i))
      io.x[i] = value_of(run, step->kind, node->input[i]);
    if (backward && node->node.wants_dx[i]) io.dx[i] = run_gradient(run, node->input[i]);
    io.dx_add[i] = step->dx_add >> i & 1;
  }
  return io;
}

static enum status call_kernel(struct run *run, const struct plan_step *step) {
  const struct node *node = &run->plan->graph->nodes[step->node].node;
  const struct kernel *kernel = node->kernel;
  struct io io = gather(run, step);
  enum status (*call)(const struct node *, const struct io *, struct stream *) =
      step->kind == STEP_BACKWARD ? kernel->backward : kernel->forward;
  if (step->kind == STEP_AGAIN && kernel->again) call = kernel->again;
  enum status status = call(node, &io, &run->stream);
  return status == STATUS_OK ? status : status_pass(status, node->name, __FILE__, __LINE__);
}

static int loss_number(const struct graph *graph, int node) {
  int number = 0;
  while (number < graph->loss_count && graph->losses[number] != node) number++;
  return number;
}

/* Into the gradient of a loss, its share in the total; out of its value, to the host. */
static enum status copy_loss(struct run *run, const struct plan_step *step) {
  const struct graph *graph = run->plan->graph;
  const struct graph_node *node = &graph->nodes[step->node];
  int number = node->node.op->is_loss ? loss_number(graph, step->node) : graph->loss_count;
  if (number == graph->loss_count) return STATUS_OK;
  bool forward = step->kind == STEP_FORWARD;
  void *to = forward ? run->loss_values + number : run_gradient(run, node->output);
  const void *from = forward ? run_value_at(run, node->output) : run->loss_seeds + number;
  return run->device->ops->copy(&run->stream, to, from, sizeof(double));
}

static enum status execute(struct run *run, int s) {
  const struct plan_options *options = &run->plan->options;
  bool debugged = options->poison || options->guard;
  const struct plan_step *step = &run->plan->steps[s];
  if (debugged) debug_before(run, s);
  if (step->kind == STEP_BACKWARD) TRY(copy_loss(run, step));
  TRY(timing_before(run, s));
  TRY(call_kernel(run, step));
  TRY(timing_after(run, s));
  if (step->kind == STEP_FORWARD) TRY(copy_loss(run, step));
  if (debugged) TRY(debug_after(run, s));
  return STATUS_OK;
}

static enum status check_inputs(const struct run *run) {
  const struct plan *plan = run->plan;
  for (int s = 0; s < plan->forward_step_count; s++) {
    const struct graph_node *node = &plan->graph->nodes[plan->steps[s].node];
    for (int i = 0; i < node->node.input_count; i++)
      REQUIRE(run_value_at(run, node->input[i]), STATUS_FAILED, "input %s has not been bound",
              plan->graph->values[node->input[i]].name);
  }
  return STATUS_OK;
}

static enum status execute_part(struct run *run, int part) {
  for (int s = run->parts[part].first; s < run->parts[part].end; s++) TRY(execute(run, s));
  return STATUS_OK;
}

enum status run_forward(struct run *run) {
  bool done;
  run->forward_done = false;
  TRY(check_inputs(run));
  debug_start(run);
  TRY(record_launch(run, 0, execute_part, &done));
  if (!done) TRY(execute_part(run, 0));
  TRY(timing_collect(run, 0, run->plan->forward_step_count));
  run->parts[0].warm = run->forward_done = true;
  return STATUS_OK;
}

/* Reports the buckets that step s has completed, from *bucket on. */
static enum status call_hooks(const struct run *run, int s, const struct run_hooks *hooks,
                              int *bucket) {
  if (!hooks) return STATUS_OK;
  const struct plan *plan = run->plan;
  for (; *bucket < plan->bucket_count && plan->buckets[*bucket].last_step == s; ++*bucket)
    if (hooks->bucket_ready) TRY(hooks->bucket_ready(hooks->context, &plan->buckets[*bucket]));
  if (hooks->between_steps) TRY(hooks->between_steps(hooks->context));
  return STATUS_OK;
}

/* A part of backward: recorded, or step by step with hooks in between. */
static enum status backward_part(struct run *run, int part, const struct run_hooks *hooks,
                                 int *bucket) {
  bool done;
  int first = run->parts[part].first, end = run->parts[part].end;
  TRY(record_launch(run, part, execute_part, &done));
  for (int s = first; s < end && !done; s++) {
    TRY(execute(run, s));
    if (s < end - 1) TRY(call_hooks(run, s, hooks, bucket));
  }
  run->parts[part].warm = true;
  return call_hooks(run, end - 1, hooks, bucket);
}

enum status run_backward(struct run *run, double scale, const struct run_hooks *hooks) {
  const struct plan *plan = run->plan;
  REQUIRE(plan->options.training, STATUS_FAILED, "this plan has no backward");
  REQUIRE(run->forward_done, STATUS_FAILED, "backward needs a forward before it");
  run->forward_done = false;
  for (int i = 0; i < plan->graph->loss_count; i++)
    run->loss_seeds[i] = plan->graph->nodes[plan->graph->losses[i]].loss_weight * scale;
  int bucket = 0;
  for (int part = 1; part < run->part_count; part++) TRY(backward_part(run, part, hooks, &bucket));
  return timing_collect(run, plan->forward_step_count, plan->step_count);
}
