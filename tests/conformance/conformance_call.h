/* What conformance.h is made of: a case with its values, and one call of a kernel on fresh buffers
 * between guards, checking all that must hold for any call. */
#pragma once
#include <omp.h>
#include <stdint.h>
#include "base/random.h"
#include "check.h"
#include "conformance_memory.h"
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
  double tolerance; /* of float32 kernels, on ||a-b||/||b||; 0: from the reduction length */
  double gradient_tolerance; /* of finite differences, relative; 0: 1e-6 */
};

enum { CONFORMANCE_TENSORS = OP_MAX_INPUTS + OP_MAX_PARAMETERS };

/* DEVICE is what graphs have on the kernel's device; the others are for reference kernels. */
enum conformance_layouts { LAYOUTS_DEVICE, LAYOUTS_PLANAR, LAYOUTS_BLOCKED, LAYOUTS_COUNT };

struct rounded_trial;

/* A case with its values, in the order n c d h w, exact in float. Differentiable tensors are
 * numbered: inputs first, then parameters from OP_MAX_INPUTS on. */
struct trial {
  const struct op_case *test;
  struct node node; /* float64, planar */
  double *value[CONFORMANCE_TENSORS], *prefill[OP_MAX_INPUTS], *dy;
  int64_t count[CONFORMANCE_TENSORS], y_count;
  const struct kernel *tried; /* the last kernel, and how many variants of its inputs before */
  int variants;
  struct rounded_trial *rounded; /* of this trial, for kernels of 16-bit types */
};

/* How a kernel is called once. */
struct attempt {
  const struct kernel *kernel;
  enum conformance_layouts layouts;
  int threads;
  bool backward, add, in_place;
  int only;        /* the one input whose gradient is wanted; -1: all */
  const double *y; /* what backward reads as y; NULL: what forward wrote */
  /* sets of inputs, one bit each: float32 for a kernel of a 16-bit type, and planar on CUDA */
  unsigned wide, planar;
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

/* --- elements of any type --- */

static double element_read(const void *memory, enum dtype dtype, int64_t at) {
  switch (dtype) {
    case DTYPE_F32:
      return ((const float *)memory)[at];
    case DTYPE_F64:
      return ((const double *)memory)[at];
    case DTYPE_U8:
      return ((const unsigned char *)memory)[at];
    case DTYPE_BF16:
      return bf16_to_float(((const uint16_t *)memory)[at]);
    case DTYPE_F16:
      return f16_to_float(((const uint16_t *)memory)[at]);
  }
  abort();
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
    case DTYPE_BF16:
      ((uint16_t *)memory)[at] = bf16_from_float((float)value);
      break;
    case DTYPE_F16:
      ((uint16_t *)memory)[at] = f16_from_float((float)value);
      break;
  }
}

static bool dtype_is_narrow(enum dtype dtype) {
  return dtype == DTYPE_BF16 || dtype == DTYPE_F16;
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
  if (node->y.dtype != DTYPE_U8 || layouts != LAYOUTS_DEVICE)
    node->y.layout = conformance_layout(layouts, node->y.shape.c);
  for (int i = 0; i < node->saved_count; i++) {
    struct shape shape = node->saved[i].shape;
    shape.n = node->y.shape.n;
    if (shape_equal(shape, node->y.shape)) node->saved[i].layout = node->y.layout;
  }
}

/* The type and layout of an input in an attempt. */
static struct tensor attempt_input(const struct op_case *test, const struct attempt *attempt,
                                   int i) {
  enum dtype real = attempt->kernel->dtype;
  if (attempt->wide >> i & 1) real = DTYPE_F32;
  enum dtype dtype = test->x_dtype[i] == DTYPE_U8 ? DTYPE_U8 : real;
  if (dtype == DTYPE_U8 && attempt->layouts == LAYOUTS_DEVICE &&
      attempt->kernel->device == DEVICE_CPU)
    return tensor_input(DEVICE_CPU, test->x[i], dtype);
  if (attempt->kernel->device == DEVICE_CPU)
    return (struct tensor){test->x[i], dtype, conformance_layout(attempt->layouts, test->x[i].c)};
  bool planar = attempt->planar >> i & 1;
  return (struct tensor){test->x[i], dtype, planar ? LAYOUT_PLANAR : LAYOUT_LAST};
}

static enum status attempt_node(const struct op_case *test, const struct attempt *attempt,
                                struct node *node) {
  memset(node, 0, sizeof *node);
  node->op = test->op;
  snprintf(node->name, sizeof node->name, "%s", test->label);
  node->device = attempt->kernel->device;
  node->activation = attempt->kernel->dtype;
  node->input_count = test->input_count;
  for (int i = 0; i < test->input_count; i++) {
    node->x[i] = attempt_input(test, attempt, i);
    node->wants_dx[i] = differentiable(test, i) && (attempt->only < 0 || attempt->only == i);
  }
  if (test->arguments) memcpy(node->arguments, test->arguments, test->argument_bytes);
  TRY(node_infer(node));
  if (node->device == DEVICE_CPU) node_relayout(node, attempt->layouts);
  return STATUS_OK;
}

/* The node as CPU kernels of type `real` get it. */
static enum status conformance_node(const struct op_case *test, enum dtype real,
                                    enum conformance_layouts layouts, int only, struct node *node) {
  struct kernel kernel = {.device = DEVICE_CPU, .dtype = real};
  struct attempt attempt = {.kernel = &kernel, .layouts = layouts, .only = only};
  return attempt_node(test, &attempt, node);
}

/* The operator must refuse the node, with a message that contains `part`. */
static inline void conformance_refuses(const struct op_case *bad, const char *part) {
  struct node node;
  CHECK_FAILS(conformance_node(bad, DTYPE_F32, LAYOUTS_DEVICE, -1, &node), part);
}

/* Whether there is such a device here and the kernel computes such a node. */
static bool attempt_fits(const struct op_case *test, const struct attempt *attempt) {
  struct node node;
  if (!conformance_stream(attempt->kernel->device)) return false;
  enum status status = attempt_node(test, attempt, &node);
  CHECK_SAY(status == STATUS_OK || attempt->wide || attempt->planar, " (%s: %s)", test->label,
            status_trace());
  status_clear();
  return status == STATUS_OK && op_kernel_fits(attempt->kernel, &node);
}

static int64_t conformance_parameter_count(const struct parameter *parameter) {
  int64_t count = 1;
  for (int i = 0; i < parameter->rank; i++) count *= parameter->extent[i];
  return count;
}

static struct guarded rig_make(const struct rig *rig, size_t bytes) {
  return guarded_make(rig->node.device, bytes);
}

/* Parameters are float32 for kernels of 16-bit types, too. */
static enum dtype rig_parameter_dtype(const struct rig *rig) {
  return rig->node.kernel->dtype == DTYPE_F64 ? DTYPE_F64 : DTYPE_F32;
}

static void rig_open_inputs(struct rig *rig, const struct trial *trial) {
  const struct node *node = &rig->node;
  size_t largest = tensor_bytes(&node->y);
  for (int i = 0; i < node->input_count; i++) {
    rig->x[i] = rig_make(rig, tensor_bytes(&node->x[i]));
    tensor_pack(&node->x[i], trial->value[i], rig->x[i].memory);
    rig->io.x[i] = rig->x[i].address;
    if (rig->x[i].bytes > largest) largest = rig->x[i].bytes;
  }
  rig->poison = rig_make(rig, largest);
}

static void rig_open(struct rig *rig, const struct trial *trial, const struct attempt *attempt) {
  struct node *node = &rig->node;
  node->kernel = attempt->kernel;
  if (node->kernel->prepare) node->kernel->prepare(node);
  rig_open_inputs(rig, trial);
  enum dtype real = rig_parameter_dtype(rig);
  for (int j = 0; j < node->parameter_count; j++) {
    int64_t count = trial->count[OP_MAX_INPUTS + j];
    rig->w[j] = rig_make(rig, (size_t)count * dtype_bytes(real));
    for (int64_t k = 0; k < count; k++)
      element_write(rig->w[j].memory, real, k, trial->value[OP_MAX_INPUTS + j][k]);
    rig->io.w[j] = rig->w[j].address;
  }
  for (int i = 0; i < node->saved_count; i++) {
    rig->saved[i] = rig_make(rig, tensor_bytes(&node->saved[i]));
    rig->io.saved[i] = rig->saved[i].address;
  }
  rig->y = rig_make(rig, tensor_bytes(&node->y));
  rig->io.y = rig->y.address;
  rig->workspace[0] = rig_make(rig, node->forward_workspace);
  rig->workspace[1] = rig_make(rig, node->backward_workspace);
  rig->io.workspace = rig->workspace[0].address;
  if (!attempt->in_place) return;
  memcpy(rig->y.memory, rig->x[0].memory, rig->y.bytes);
  rig->io.x[0] = rig->io.y;
}

/* Gradients, and NaN in place of what backward says it does not read. */
static void rig_open_backward(struct rig *rig, const struct trial *trial,
                              const struct attempt *attempt) {
  struct node *node = &rig->node;
  rig->dy = rig_make(rig, tensor_bytes(&node->y));
  tensor_pack(&node->y, trial->dy, rig->dy.memory);
  rig->io.dy = rig->dy.address;
  rig->io.workspace = rig->workspace[1].address;
  if (!(node->backward_reads & READS_Y)) rig->io.y = rig->poison.address;
  for (int i = 0; i < node->input_count; i++) {
    if (!node_reads_x(node, i)) rig->io.x[i] = rig->poison.address;
    if (!node->wants_dx[i]) continue;
    rig->dx[i] = rig_make(rig, tensor_bytes(&node->x[i]));
    if (attempt->add) tensor_pack(&node->x[i], trial->prefill[i], rig->dx[i].memory);
    rig->io.dx[i] = rig->dx[i].address;
    rig->io.dx_add[i] = attempt->add;
  }
  for (int j = 0; j < node->parameter_count; j++) {
    size_t each = dtype_bytes(rig_parameter_dtype(rig));
    rig->dw[j] = rig_make(rig, (size_t)trial->count[OP_MAX_INPUTS + j] * each);
    rig->io.dw[j] = rig->dw[j].address;
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

static void visit_upload(struct guarded *guarded, const char *name) {
  (void)name;
  guarded_upload(guarded);
}

static void visit_download(struct guarded *guarded, const char *name) {
  (void)name;
  guarded_download(guarded);
}

static void visit_free(struct guarded *guarded, const char *name) {
  (void)name;
  guarded_free(guarded);
}

typedef enum status kernel_call(const struct node *node, const struct io *io,
                                struct stream *stream);

/* Calls the kernel between copies of all buffers to its device and back. */
static void rig_call(struct rig *rig, kernel_call *call) {
  struct stream *stream = conformance_stream(rig->node.device);
  rig_visit(rig, visit_upload, NULL);
  CHECK_OK(call(&rig->node, &rig->io, stream));
  CHECK_OK(stream->device->ops->synchronize(stream));
  rig_visit(rig, visit_download, NULL);
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
      outcome->gradient[t][k] = element_read(rig->dw[j].memory, rig_parameter_dtype(rig), k);
    outcome->bits = conformance_hash(outcome->bits, &rig->dw[j]);
  }
}

static void attempt_backward(struct rig *rig, const struct trial *trial,
                             const struct attempt *attempt, struct outcome *outcome) {
  rig_open_backward(rig, trial, attempt);
  if (attempt->y) tensor_pack(&rig->node.y, attempt->y, rig->y.memory);
  uint64_t y_before = conformance_hash(0, &rig->y);
  rig_call(rig, attempt->kernel->backward);
  CHECK_SAY(conformance_hash(0, &rig->y) == y_before, " (%s: backward changed y)",
            trial->test->label);
  outcome_backward(rig, trial, outcome);
}

/* Of an operator that is cheap: y, spoilt, comes back by another call. */
static void check_again(struct rig *rig, const struct trial *trial, const struct attempt *attempt,
                        const struct outcome *outcome) {
  const struct kernel *kernel = attempt->kernel;
  struct outcome again = {0};
  if (!rig->node.op->cheap || attempt->in_place) return;
  memset(rig->y.memory, 0xa5, rig->y.bytes);
  memset(rig->workspace[0].memory, 0xa5, rig->workspace[0].bytes);
  rig_call(rig, kernel->again ? kernel->again : kernel->forward);
  outcome_forward(rig, trial, &again);
  CHECK_SAY(again.bits == outcome->bits, " (%s, %s: other bits when computed again)",
            trial->test->label, kernel->name);
  outcome_free(&again);
}

/* Calls the kernel on fresh buffers and checks all that holds for any call. The caller frees the
 * outcome. */
static struct outcome attempt_run(const struct trial *trial, const struct attempt *attempt) {
  struct outcome outcome = {0};
  struct rig *rig = conformance_allocate(sizeof *rig);
  memset(rig, 0, sizeof *rig);
  CHECK_OK(attempt_node(trial->test, attempt, &rig->node));
  rig_open(rig, trial, attempt);
  omp_set_num_threads(attempt->threads);
  uint64_t before = rig_inputs_hash(rig);
  rig_call(rig, attempt->kernel->forward);
  outcome_forward(rig, trial, &outcome);
  check_again(rig, trial, attempt, &outcome);
  if (attempt->backward) attempt_backward(rig, trial, attempt, &outcome);
  CHECK_SAY(rig_inputs_hash(rig) == before, " (%s, %s: an input was changed)", trial->test->label,
            attempt->kernel->name);
  rig_visit(rig, visit_check, trial->test->label);
  rig_visit(rig, visit_free, NULL);
  free(rig);
  return outcome;
}
