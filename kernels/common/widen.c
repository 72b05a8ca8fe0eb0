/* The kernels `widened`. A call works on a copy of the node, or of parts of it one after another
 * (op->slab), in which 16-bit tensors are float32; their memory lies in the workspace, behind that
 * of the float32 kernel. Of a whole node, tensors of other types are passed through. */
#include "kernels/common/widen.h"
#include <string.h>
#include "kernels/common/widen_slices.h"

enum { PART = 16 /* slices of y in a part */, ALIGNMENT = 64 };

struct part {
  struct node node; /* in float32, with its best kernel and that kernel's workspace */
  struct slab slab;
  struct slices wanted; /* of y */
};

static int count_parts(const struct node *node) {
  return node->op->slab ? (node->y.shape.d + PART - 1) / PART : 1;
}

static bool is_narrow(enum dtype dtype) {
  return dtype == DTYPE_BF16 || dtype == DTYPE_F16;
}

static void widen_type(enum dtype *dtype) {
  if (is_narrow(*dtype)) *dtype = DTYPE_F32;
}

static void widen_node(struct node *node) {
  widen_type(&node->dtype);
  widen_type(&node->activation);
  widen_type(&node->y.dtype);
  for (int i = 0; i < node->input_count; i++) widen_type(&node->x[i].dtype);
  for (int i = 0; i < node->saved_count; i++) widen_type(&node->saved[i].dtype);
  node->forward_workspace = node->backward_workspace = 0;
  node->kernel = NULL;
  for (int i = 0; node->op->kernels[i] && !node->kernel; i++)
    if (node->op->kernels[i]->training && op_kernel_eligible(node->op->kernels[i], node, NULL))
      node->kernel = node->op->kernels[i];
  if (node->kernel && node->kernel->prepare) node->kernel->prepare(node);
}

static struct slices all_slices(const struct tensor *tensor) {
  return (struct slices){0, tensor->shape.d};
}

static struct part part_make(const struct node *node, int number) {
  struct part part = {.node = *node};
  if (count_parts(node) == 1) {
    part.wanted = part.slab.y = all_slices(&node->y);
    for (int i = 0; i < node->input_count; i++) part.slab.x[i] = all_slices(&node->x[i]);
  } else {
    int first = number * PART, left = node->y.shape.d - first;
    part.wanted = (struct slices){first, left < PART ? left : PART};
    node->op->slab(node, part.wanted, &part.slab, &part.node);
  }
  widen_node(&part.node);
  return part;
}

/* What all parts fit into: the first has the largest tensors. */
static struct part largest_part(const struct node *node) {
  struct part largest = part_make(node, 0);
  for (int p = 1; p < count_parts(node); p++) {
    struct part part = part_make(node, p);
    if (part.node.forward_workspace > largest.node.forward_workspace)
      largest.node.forward_workspace = part.node.forward_workspace;
    if (part.node.backward_workspace > largest.node.backward_workspace)
      largest.node.backward_workspace = part.node.backward_workspace;
  }
  return largest;
}

/* A call, and what the float32 kernel is called with. Without io it only counts workspace. */
struct call {
  const struct node *node;
  const struct io *io;
  struct io wide;
  int parts;
  size_t used;                       /* bytes of workspace */
  float *more_dw[OP_MAX_PARAMETERS]; /* of parts after the first */
};

static void *take(struct call *call, size_t bytes) {
  unsigned char *memory = call->wide.workspace;
  if (memory) memory += call->used;
  call->used += (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  return memory;
}

/* Parts are copied whatever their type. */
static bool is_copied(const struct call *call, const struct tensor *tensor) {
  return is_narrow(tensor->dtype) || call->parts > 1;
}

/* y takes the memory of x[0] where the operator allows it. */
static bool shares_input(const struct node *node) {
  const struct tensor *x = &node->x[0], *y = &node->y;
  return node->op->in_place && is_narrow(x->dtype) && shape_equal(x->shape, y->shape) &&
         x->layout == y->layout;
}

static struct call call_make(const struct node *node, const struct io *io, size_t workspace) {
  struct call call = {.node = node, .io = io, .parts = count_parts(node)};
  if (io) call.wide = *io;
  take(&call, workspace);
  return call;
}

static void bind_saved(struct call *call) {
  const struct node *node = call->node;
  for (int i = 0; i < node->saved_count; i++)
    if (is_narrow(node->saved[i].dtype))
      call->wide.saved[i] = take(call, (size_t)tensor_elements(&node->saved[i]) * sizeof(float));
}

static struct call bind_forward(const struct node *node, const struct io *io) {
  struct part part = largest_part(node);
  struct call call = call_make(node, io, part.node.forward_workspace);
  for (int i = 0; i < node->input_count; i++)
    if (is_copied(&call, &node->x[i])) call.wide.x[i] = take(&call, tensor_bytes(&part.node.x[i]));
  if (shares_input(node))
    call.wide.y = (void *)(uintptr_t)call.wide.x[0];
  else if (is_copied(&call, &node->y))
    call.wide.y = take(&call, tensor_bytes(&part.node.y));
  bind_saved(&call);
  return call;
}

static void bind_inputs(struct call *call, const struct part *part) {
  const struct node *node = call->node;
  for (int i = 0; i < node->input_count; i++) {
    if (!is_copied(call, &node->x[i])) continue;
    size_t bytes = tensor_bytes(&part->node.x[i]);
    if (node_reads_x(node, i)) call->wide.x[i] = take(call, bytes);
    if (node->wants_dx[i]) call->wide.dx[i] = take(call, bytes);
    call->wide.dx_add[i] = call->parts > 1;
  }
}

static struct call bind_backward(const struct node *node, const struct io *io) {
  struct part part = largest_part(node);
  struct call call = call_make(node, io, part.node.backward_workspace);
  bind_inputs(&call, &part);
  if (is_copied(&call, &node->y)) {
    size_t bytes = tensor_bytes(&part.node.y);
    if (node->backward_reads & READS_Y) call.wide.y = take(&call, bytes);
    call.wide.dy = take(&call, bytes);
  }
  for (int i = 0; i < node->parameter_count && call.parts > 1; i++)
    call.more_dw[i] = take(&call, (size_t)parameter_count(&node->parameter[i]) * sizeof(float));
  bind_saved(&call);
  return call;
}

/* Nothing for what is passed through. */
static void load(const struct tensor *tensor, const void *from, struct slices slices,
                 struct slices valid, const void *to) {
  if (from != to) slices_load(tensor, from, slices, valid, (float *)(uintptr_t)to);
}

static void store(const struct tensor *tensor, const void *from, struct slices slices,
                  struct slices wanted, void *to, bool add) {
  if (from != to) slices_store(tensor, from, slices, wanted, to, add);
}

static void load_inputs(const struct call *call, const struct part *part) {
  for (int i = 0; i < call->node->input_count; i++)
    load(&call->node->x[i], call->io->x[i], part->slab.x[i], part->slab.x[i], call->wide.x[i]);
}

static void load_saved(const struct call *call) {
  for (int i = 0; i < call->node->saved_count; i++) {
    const struct tensor *saved = &call->node->saved[i];
    load(saved, call->io->saved[i], all_slices(saved), all_slices(saved), call->wide.saved[i]);
  }
}

/* Slices that are not wanted have a gradient of 0. */
static void load_gradient(const struct call *call, const struct part *part) {
  const struct tensor *y = &call->node->y;
  load(y, call->io->y, part->slab.y, part->wanted, call->wide.y);
  load(y, call->io->dy, part->slab.y, part->wanted, call->wide.dy);
  load_saved(call);
}

typedef enum status kernel_call(const struct node *node, const struct io *io,
                                struct stream *stream);

static enum status call_forward(struct call *call, bool again, struct stream *stream) {
  const struct node *node = call->node;
  for (int p = 0; p < call->parts; p++) {
    struct part part = part_make(node, p);
    const struct kernel *kernel = part.node.kernel;
    kernel_call *compute = again && kernel->again ? kernel->again : kernel->forward;
    load_inputs(call, &part);
    TRY(compute(&part.node, &call->wide, stream));
    store(&node->y, call->wide.y, part.slab.y, part.wanted, call->io->y, false);
  }
  return STATUS_OK;
}

static enum status forward(const struct node *node, const struct io *io, struct stream *stream) {
  struct call call = bind_forward(node, io);
  TRY(call_forward(&call, false, stream));
  for (int i = 0; i < node->saved_count; i++) {
    struct slices all = all_slices(&node->saved[i]);
    store(&node->saved[i], call.wide.saved[i], all, all, io->saved[i], false);
  }
  return STATUS_OK;
}

static enum status again(const struct node *node, const struct io *io, struct stream *stream) {
  struct call call = bind_forward(node, io);
  load_saved(&call);
  return call_forward(&call, true, stream);
}

/* Gradients of inputs are summed over the parts, which overlap. */
static void clear_input_gradients(const struct call *call, const struct part *first) {
  for (int i = 0; i < call->node->input_count; i++)
    if (call->parts > 1 && call->wide.dx[i])
      memset(call->wide.dx[i], 0, tensor_bytes(&first->node.x[i]));
}

/* Slices that no later part adds to are done. */
static void store_input_gradients(const struct call *call, const struct part *part,
                                  const struct part *next) {
  const struct node *node = call->node;
  for (int i = 0; i < node->input_count; i++) {
    struct slices slices = part->slab.x[i], done = slices;
    if (!call->io->dx[i]) continue;
    if (next) done.count = next->slab.x[i].first - slices.first;
    store(&node->x[i], call->wide.dx[i], slices, done, call->io->dx[i], call->io->dx_add[i]);
    if (next) slices_advance(&node->x[i], call->wide.dx[i], slices, next->slab.x[i]);
  }
}

/* Those of the first part are written in place, the others added to them in order. */
static void add_parameter_gradients(const struct call *call) {
  for (int i = 0; i < call->node->parameter_count; i++) {
    float *dw = call->io->dw[i];
    for (int64_t k = 0; k < parameter_count(&call->node->parameter[i]); k++)
      dw[k] += call->more_dw[i][k];
  }
}

static enum status backward(const struct node *node, const struct io *io, struct stream *stream) {
  struct call call = bind_backward(node, io);
  struct part part = part_make(node, 0);
  clear_input_gradients(&call, &part);
  for (int p = 0; p < call.parts; p++) {
    bool last = p + 1 == call.parts;
    struct part next = part_make(node, last ? p : p + 1);
    load_inputs(&call, &part);
    load_gradient(&call, &part);
    TRY(part.node.kernel->backward(&part.node, &call.wide, stream));
    if (p > 0) add_parameter_gradients(&call);
    store_input_gradients(&call, &part, last ? NULL : &next);
    for (int i = 0; i < node->parameter_count; i++) call.wide.dw[i] = call.more_dw[i];
    part = next;
  }
  return STATUS_OK;
}

static void prepare(struct node *node) {
  node->forward_workspace = bind_forward(node, NULL).used;
  node->backward_workspace = bind_backward(node, NULL).used;
}

static bool applies(const struct node *node) {
  return part_make(node, 0).node.kernel != NULL;
}

#define WIDENED(suffix, type)              \
  const struct kernel widened_##suffix = { \
      .name = "widened",                   \
      .device = DEVICE_CPU,                \
      .dtype = type,                       \
      .training = true,                    \
      .applies = applies,                  \
      .prepare = prepare,                  \
      .forward = forward,                  \
      .backward = backward,                \
      .again = again,                      \
  }

WIDENED(bf16, DTYPE_BF16);
WIDENED(f16, DTYPE_F16);
