/* What conformance.h is made of: a case with its values, and one call of a kernel on fresh buffers
 * between guards, checking all that must hold for any call. */
#pragma once
#include <omp.h>
#include <stdint.h>
#include "base/random.h"
#include "check.h"
#include "kernels/op.h"

/* One node to check. Zeroed members mean the usual: real inputs in [-1, 1), labels in 0..3. */
struct op_case {
  const char *label;
  const struct op *op;
  int input_count;
  struct shape x[OP_MAX_INPUTS];
  enum dtype x_dtype[OP_MAX_INPUTS]; /* DTYPE_U8: labels, never differentiated; others: real */
  const void *arguments;
  size_t argument_bytes;
  bool linear; /* in all inputs with a gradient, up to a constant: the adjoint is checked */
  bool no_gradient[OP_MAX_INPUTS];
  double low[OP_MAX_INPUTS], high[OP_MAX_INPUTS]; /* labels: both included */
  /* Sets the values of an input, in the order n c d h w; they are rounded to float. Keeps inputs
   * away from kinks by more than 1e-4. May be NULL. */
  void (*fill)(int input, const struct shape *shape, double *values);
  double tolerance;          /* of float kernels, on ||a-b||/||b||; 0: from the reduction length */
  double gradient_tolerance; /* of finite differences, relative; 0: 1e-6 */
};

enum {
  CONFORMANCE_GUARD = 256, /* bytes of NaN before and behind every buffer */
  CONFORMANCE_TENSORS = OP_MAX_INPUTS + OP_MAX_PARAMETERS,
};

enum conformance_layouts { LAYOUTS_DEVICE, LAYOUTS_PLANAR, LAYOUTS_BLOCKED, LAYOUTS_COUNT };

/* Memory between guards, all bytes 0xff: a NaN in every element type. */
struct guarded {
  unsigned char *base, *memory;
  size_t bytes;
};

/* A case with its values, in the order n c d h w, exact in float. Differentiable tensors are
 * numbered: inputs first, then parameters from OP_MAX_INPUTS on. */
struct trial {
  const struct op_case *test;
  struct node node; /* float64, planar */
  double *value[CONFORMANCE_TENSORS], *prefill[OP_MAX_INPUTS], *dy;
  int64_t count[CONFORMANCE_TENSORS], y_count;
  int variants; /* kernels times layouts that were tried */
};

/* How a kernel is called once. */
struct attempt {
  const struct kernel *kernel;
  enum conformance_layouts layouts;
  int threads;
  bool backward, add, in_place;
  int only; /* the one input whose gradient is wanted; -1: all */
};

/* What came of it. */
struct outcome {
  double *y, *gradient[CONFORMANCE_TENSORS];
  uint64_t bits; /* checksum of all results as stored */
};

/* The buffers of one call. */
struct rig {
  struct node node;
  struct io io;
  struct guarded x[OP_MAX_INPUTS], w[OP_MAX_PARAMETERS], saved[OP_MAX_SAVED];
  struct guarded y, dy, dx[OP_MAX_INPUTS], dw[OP_MAX_PARAMETERS], workspace[2], poison;
};

static void *conformance_allocate(size_t bytes) {
  void *memory = NULL;
  if (posix_memalign(&memory, 64, bytes + 64) != 0) abort();
  return memory;
}

static double *conformance_doubles(int64_t count) {
  double *values = conformance_allocate((size_t)count * sizeof(double));
  memset(values, 0, (size_t)count * sizeof(double));
  return values;
}

static struct guarded guarded_make(size_t bytes) {
  unsigned char *base = conformance_allocate(bytes + 2 * CONFORMANCE_GUARD);
  memset(base, 0xff, bytes + 2 * CONFORMANCE_GUARD);
  return (struct guarded){base, base + CONFORMANCE_GUARD, bytes};
}

static bool guarded_intact(const struct guarded *guarded) {
  for (size_t i = 0; i < CONFORMANCE_GUARD; i++)
    if (guarded->base[i] != 0xff || guarded->memory[guarded->bytes + i] != 0xff) return false;
  return true;
}

static uint64_t conformance_hash(uint64_t hash, const struct guarded *guarded) {
  for (size_t i = 0; i < guarded->bytes; i++)
    hash = (hash ^ guarded->memory[i]) * UINT64_C(1099511628211);
  return hash;
}

/* --- elements of any type --- */

static double element_read(const void *memory, enum dtype dtype, int64_t at) {
  switch (dtype) {
    case DTYPE_F32:
      return ((const float *)memory)[at];
    case DTYPE_F64:
      return ((const double *)memory)[at];
    case DTYPE_U8:
      return ((const unsigned char *)memory)[at];
    default:
      abort();
  }
}

static void element_write(void *memory, enum dtype dtype, int64_t at, double value) {
  switch (dtype) {
    case DTYPE_F32:
      ((float *)memory)[at] = (float)value;
      break;
    case DTYPE_F64:
      ((double *)memory)[at] = value;
      break;
    case DTYPE_U8:
      ((unsigned char *)memory)[at] = (unsigned char)value;
      break;
    default:
      abort();
  }
}

/* Where logical element `index` (order n c d h w) is stored. */
static int64_t conformance_at(const struct tensor *tensor, int64_t index) {
  const struct shape *s = &tensor->shape;
  int64_t voxels = shape_voxels(*s), voxel = index % voxels, plane = index / voxels;
  return tensor_at(tensor, (int)(plane / s->c), (int)(plane % s->c), 0, 0, 0) +
         voxel * tensor_voxel_stride(tensor);
}

static int64_t logical_count(const struct shape *shape) {
  return (int64_t)shape->n * shape->c * shape_voxels(*shape);
}

/* Stores values with zeros in the padding channels. */
static void tensor_pack(const struct tensor *tensor, const double *values, void *memory) {
  memset(memory, 0, tensor_bytes(tensor));
  for (int64_t i = 0; i < logical_count(&tensor->shape); i++)
    element_write(memory, tensor->dtype, conformance_at(tensor, i), values[i]);
}

/* Reads values back; `what` is for the complaint about padding channels that are not zero. */
static void tensor_unpack(const struct tensor *tensor, const void *memory, double *values,
                          const char *name, const char *what) {
  int64_t stored = tensor_elements(tensor), logical = logical_count(&tensor->shape), zeros = 0;
  for (int64_t i = 0; i < stored; i++) zeros += element_read(memory, tensor->dtype, i) == 0;
  for (int64_t i = 0; i < logical; i++) {
    values[i] = element_read(memory, tensor->dtype, conformance_at(tensor, i));
    zeros -= values[i] == 0;
  }
  CHECK_SAY(zeros == stored - logical, " (%s: padding channels of %s are not zero)", name, what);
}

/* --- the node and its buffers --- */

static bool differentiable(const struct op_case *test, int input) {
  return input < test->input_count && test->x_dtype[input] != DTYPE_U8 && !test->no_gradient[input];
}

static enum layout conformance_layout(enum conformance_layouts layouts, int channels) {
  if (layouts == LAYOUTS_DEVICE) return tensor_layout(DEVICE_CPU, channels);
  return layouts == LAYOUTS_PLANAR ? LAYOUT_PLANAR : LAYOUT_BLOCKED;
}

static void node_relayout(struct node *node, enum conformance_layouts layouts) {
  if (node->op->is_loss) return;
  node->y.layout = conformance_layout(layouts, node->y.shape.c);
  for (int i = 0; i < node->saved_count; i++) {
    struct shape shape = node->saved[i].shape;
    shape.n = node->y.shape.n;
    if (shape_equal(shape, node->y.shape)) node->saved[i].layout = node->y.layout;
  }
}

static enum status conformance_node(const struct op_case *test, enum dtype real,
                                    enum conformance_layouts layouts, int only, struct node *node) {
  memset(node, 0, sizeof *node);
  node->op = test->op;
  snprintf(node->name, sizeof node->name, "%s", test->label);
  node->device = DEVICE_CPU;
  node->activation = real;
  node->input_count = test->input_count;
  for (int i = 0; i < test->input_count; i++) {
    enum dtype dtype = test->x_dtype[i] == DTYPE_U8 ? DTYPE_U8 : real;
    node->x[i] = (struct tensor){test->x[i], dtype, conformance_layout(layouts, test->x[i].c)};
    node->wants_dx[i] = differentiable(test, i) && (only < 0 || only == i);
  }
  if (test->arguments) memcpy(node->arguments, test->arguments, test->argument_bytes);
  TRY(node_infer(node));
  node_relayout(node, layouts);
  return STATUS_OK;
}

static int64_t conformance_parameter_count(const struct parameter *parameter) {
  int64_t count = 1;
  for (int i = 0; i < parameter->rank; i++) count *= parameter->extent[i];
  return count;
}

static void rig_open_inputs(struct rig *rig, const struct trial *trial) {
  const struct node *node = &rig->node;
  size_t largest = tensor_bytes(&node->y);
  for (int i = 0; i < node->input_count; i++) {
    rig->x[i] = guarded_make(tensor_bytes(&node->x[i]));
    tensor_pack(&node->x[i], trial->value[i], rig->x[i].memory);
    rig->io.x[i] = rig->x[i].memory;
    if (rig->x[i].bytes > largest) largest = rig->x[i].bytes;
  }
  rig->poison = guarded_make(largest);
}

static void rig_open(struct rig *rig, const struct trial *trial, const struct attempt *attempt) {
  struct node *node = &rig->node;
  enum dtype real = attempt->kernel->dtype;
  node->kernel = attempt->kernel;
  if (node->kernel->prepare) node->kernel->prepare(node);
  rig_open_inputs(rig, trial);
  for (int j = 0; j < node->parameter_count; j++) {
    int64_t count = trial->count[OP_MAX_INPUTS + j];
    rig->w[j] = guarded_make((size_t)count * dtype_bytes(real));
    for (int64_t k = 0; k < count; k++)
      element_write(rig->w[j].memory, real, k, trial->value[OP_MAX_INPUTS + j][k]);
    rig->io.w[j] = rig->w[j].memory;
  }
  for (int i = 0; i < node->saved_count; i++) {
    rig->saved[i] = guarded_make(tensor_bytes(&node->saved[i]));
    rig->io.saved[i] = rig->saved[i].memory;
  }
  rig->y = guarded_make(tensor_bytes(&node->y));
  rig->io.y = rig->y.memory;
  rig->workspace[0] = guarded_make(node->forward_workspace);
  rig->workspace[1] = guarded_make(node->backward_workspace);
  rig->io.workspace = rig->workspace[0].memory;
  if (!attempt->in_place) return;
  memcpy(rig->y.memory, rig->x[0].memory, rig->y.bytes);
  rig->io.x[0] = rig->io.y;
}

/* Gradients, and NaN in place of what backward says it does not read. */
static void rig_open_backward(struct rig *rig, const struct trial *trial,
                              const struct attempt *attempt) {
  struct node *node = &rig->node;
  enum dtype real = attempt->kernel->dtype;
  rig->dy = guarded_make(tensor_bytes(&node->y));
  tensor_pack(&node->y, trial->dy, rig->dy.memory);
  rig->io.dy = rig->dy.memory;
  rig->io.workspace = rig->workspace[1].memory;
  if (!(node->backward_reads & READS_Y)) rig->io.y = rig->poison.memory;
  for (int i = 0; i < node->input_count; i++) {
    if (!(node->backward_reads & READS_X)) rig->io.x[i] = rig->poison.memory;
    if (!node->wants_dx[i]) continue;
    rig->dx[i] = guarded_make(tensor_bytes(&node->x[i]));
    if (attempt->add) tensor_pack(&node->x[i], trial->prefill[i], rig->dx[i].memory);
    rig->io.dx[i] = rig->dx[i].memory;
    rig->io.dx_add[i] = attempt->add;
  }
  for (int j = 0; j < node->parameter_count; j++) {
    rig->dw[j] = guarded_make((size_t)trial->count[OP_MAX_INPUTS + j] * dtype_bytes(real));
    rig->io.dw[j] = rig->dw[j].memory;
  }
}

/* Calls `each` on every buffer that is open. */
static void rig_visit(struct rig *rig, void (*each)(struct guarded *, const char *),
                      const char *name) {
  struct guarded *first = rig->x;
  size_t count = (sizeof *rig - offsetof(struct rig, x)) / sizeof *first;
  for (size_t i = 0; i < count; i++)
    if (first[i].base) each(&first[i], name);
}

static void visit_check(struct guarded *guarded, const char *name) {
  CHECK_SAY(guarded_intact(guarded), " (%s: written outside a buffer)", name);
}

static void visit_free(struct guarded *guarded, const char *name) {
  (void)name;
  free(guarded->base);
}

static uint64_t rig_inputs_hash(const struct rig *rig) {
  uint64_t hash = 0;
  for (int i = 0; i < rig->node.input_count; i++) hash = conformance_hash(hash, &rig->x[i]);
  for (int j = 0; j < rig->node.parameter_count; j++) hash = conformance_hash(hash, &rig->w[j]);
  return conformance_hash(hash, &rig->poison);
}

/* --- one call --- */

static void outcome_free(struct outcome *outcome) {
  free(outcome->y);
  for (int t = 0; t < CONFORMANCE_TENSORS; t++) free(outcome->gradient[t]);
  memset(outcome, 0, sizeof *outcome);
}

static void outcome_forward(struct rig *rig, const struct trial *trial, struct outcome *outcome) {
  outcome->y = conformance_doubles(trial->y_count);
  tensor_unpack(&rig->node.y, rig->y.memory, outcome->y, trial->test->label, "y");
  outcome->bits = conformance_hash(1, &rig->y);
  for (int i = 0; i < rig->node.saved_count; i++)
    outcome->bits = conformance_hash(outcome->bits, &rig->saved[i]);
}

static void outcome_backward(struct rig *rig, const struct trial *trial, struct outcome *outcome) {
  struct node *node = &rig->node;
  for (int i = 0; i < node->input_count; i++) {
    if (!node->wants_dx[i]) continue;
    outcome->gradient[i] = conformance_doubles(trial->count[i]);
    tensor_unpack(&node->x[i], rig->dx[i].memory, outcome->gradient[i], trial->test->label, "dx");
    outcome->bits = conformance_hash(outcome->bits, &rig->dx[i]);
  }
  for (int j = 0; j < node->parameter_count; j++) {
    int t = OP_MAX_INPUTS + j;
    outcome->gradient[t] = conformance_doubles(trial->count[t]);
    for (int64_t k = 0; k < trial->count[t]; k++)
      outcome->gradient[t][k] = element_read(rig->dw[j].memory, node->kernel->dtype, k);
    outcome->bits = conformance_hash(outcome->bits, &rig->dw[j]);
  }
}

static void attempt_backward(struct rig *rig, const struct trial *trial,
                             const struct attempt *attempt, struct outcome *outcome) {
  struct stream stream = {0};
  rig_open_backward(rig, trial, attempt);
  uint64_t y_before = conformance_hash(0, &rig->y);
  CHECK_OK(attempt->kernel->backward(&rig->node, &rig->io, &stream));
  CHECK_SAY(conformance_hash(0, &rig->y) == y_before, " (%s: backward changed y)",
            trial->test->label);
  outcome_backward(rig, trial, outcome);
}

/* Calls the kernel on fresh buffers and checks all that holds for any call. The caller frees the
 * outcome. */
static struct outcome attempt_run(const struct trial *trial, const struct attempt *attempt) {
  struct outcome outcome = {0};
  struct rig *rig = conformance_allocate(sizeof *rig);
  memset(rig, 0, sizeof *rig);
  CHECK_OK(conformance_node(trial->test, attempt->kernel->dtype, attempt->layouts, attempt->only,
                            &rig->node));
  rig_open(rig, trial, attempt);
  struct stream stream = {0};
  omp_set_num_threads(attempt->threads);
  uint64_t before = rig_inputs_hash(rig);
  CHECK_OK(attempt->kernel->forward(&rig->node, &rig->io, &stream));
  outcome_forward(rig, trial, &outcome);
  if (attempt->backward) attempt_backward(rig, trial, attempt, &outcome);
  CHECK_SAY(rig_inputs_hash(rig) == before, " (%s, %s: an input was changed)", trial->test->label,
            attempt->kernel->name);
  rig_visit(rig, visit_check, trial->test->label);
  rig_visit(rig, visit_free, NULL);
  free(rig);
  return outcome;
}
