/* The contract between the graph and the operators. An operator (struct op) says what is computed:
 * shapes, parameters, what backward reads. A kernel (struct kernel) says how, on one device and
 * element type. Each operator is a folder here plus one line in ops.def; its arguments are private
 * to its folder. */
#pragma once
#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>
#include "base/status.h"
#include "device/device.h"
#include "device/tensor.h"

enum {
  OP_MAX_INPUTS = 6,
  OP_MAX_PARAMETERS = 4,
  OP_MAX_SAVED = 2,
  OP_ARGUMENT_BYTES = 192,
  OP_NAME_BYTES = 96,
};

/* What backward reads of forward's tensors, a set of bits. dy, parameters and `saved` are always
 * there. */
enum backward_reads {
  READS_NOTHING = 0,
  READS_X = 1 << 0, /* all inputs */
  READS_Y = 1 << 1,
  READS_FIRST = 1 << 2, /* of the inputs only x[0] */
};

enum initial {
  INITIAL_UNIFORM_FAN_IN, /* uniform in +-scale/sqrt(fan in): PyTorch's default for conv and linear
                           */
  INITIAL_NORMAL,         /* mean 0, deviation scale */
  INITIAL_CONSTANT,       /* scale */
};

/* A tensor of a node that outlives a step: stored in PyTorch's own order, in the flat parameter
 * block. */
struct parameter {
  const char *suffix; /* "weight", "bias": follows the node's name and a dot */
  int extent[5];      /* as PyTorch shows it; `rank` of them count */
  int rank;
  enum initial initial;
  double scale;
  int fan_in;
  /* Not trained: what backward writes as its gradient is what it measured, and a step moves the
   * parameter towards the mean of that. */
  bool statistic;
};
int64_t parameter_count(const struct parameter *parameter);

/* A node of the graph as kernels see it. */
struct node {
  const struct op *op;
  const struct kernel *kernel;
  char name[OP_NAME_BYTES];
  enum device_kind device;
  enum dtype activation; /* what results have whose type is free (of convolutions); float64 in a
                            graph for gradient checks, else float32 or a 16-bit type */
  enum dtype dtype;      /* the kernel's: that of the first real input, unless infer changes it */
  int input_count;
  struct tensor x[OP_MAX_INPUTS];
  bool wants_dx[OP_MAX_INPUTS]; /* set by the graph; never for integer inputs */
  /* set by op->infer */
  struct tensor y;
  unsigned backward_reads; /* enum backward_reads */
  int parameter_count, saved_count;
  struct parameter parameter[OP_MAX_PARAMETERS];
  struct tensor saved[OP_MAX_SAVED]; /* small tensors that forward fills for backward */
  /* set by kernel->prepare; a one-step tenant of the arena, 64-byte aligned, contents unspecified
   */
  size_t forward_workspace, backward_workspace; /* bytes */
  alignas(16) unsigned char arguments[OP_ARGUMENT_BYTES];
};

/* The memory of one call, the device's. Parameters and their gradients are float32 (float64 in a
 * float64 graph) whatever the activations are. */
struct io {
  const void *x[OP_MAX_INPUTS]; /* backward: valid only when the node reads x */
  void *y;                      /* backward: valid only when the node reads y */
  const void *w[OP_MAX_PARAMETERS];
  void *saved[OP_MAX_SAVED];
  void *workspace;
  void *dy;                    /* gradient of y; backward may overwrite it */
  void *dx[OP_MAX_INPUTS];     /* NULL where no gradient is wanted */
  bool dx_add[OP_MAX_INPUTS];  /* add to dx instead of writing it */
  void *dw[OP_MAX_PARAMETERS]; /* always written, never added to */
};

/* One way of computing an operator. All calls are deterministic for any number of threads. */
struct kernel {
  const char *name;
  enum device_kind device;
  enum dtype dtype; /* the node's that it computes */
  bool training;    /* has a backward */
  /* May be NULL: applies to every node of its device and dtype. Also asks the processor. */
  bool (*applies)(const struct node *node);
  /* May be NULL: worth it for every node it applies to. Asked, from the shape alone, unless the
   * kernel is asked for by name. */
  bool (*pays)(const struct node *node);
  /* May be NULL: needs no workspace. Sets the node's workspace sizes. */
  void (*prepare)(struct node *node);
  enum status (*forward)(const struct node *node, const struct io *io, struct stream *stream);
  enum status (*backward)(const struct node *node, const struct io *io, struct stream *stream);
  /* May be NULL: forward is called. Of an op that is cheap: y once more, bit for bit, from x and
   * what forward has saved, with forward's workspace. */
  enum status (*again)(const struct node *node, const struct io *io, struct stream *stream);
};

/* Slices of a tensor along d. Those that it does not have are zeros. */
struct slices {
  int first, count;
};

/* Slices of y, and those of the inputs that they are computed from. */
struct slab {
  struct slices y, x[OP_MAX_INPUTS];
};

struct op {
  const char *name;
  const char *help; /* one line, for --list */
  /* Checks inputs and arguments; sets y, backward_reads, parameters and saved. */
  enum status (*infer)(struct node *node);
  /* Multiply-adds times two of one forward call, and of one backward call. NULL: memory bound,
   * counted 0. */
  double (*forward_flops)(const struct node *node);
  double (*backward_flops)(const struct node *node);
  /* OPTIONAL: takes the work of `producer`, whose output is input `input` of `node` and is read by
   * nobody else, into `node`: changes node's arguments, replaces that input by the producer's
   * inputs (updates x and input_count) and returns true. So a concat or an upsampling in front of a
   * conv need not be stored. */
  bool (*fold)(struct node *node, int input, const struct node *producer);
  /* OPTIONAL: a node in parts, so that less of it is in float32 at a time: `part` becomes the node
   * on tensors of nothing but the slices of `slab`, whose y holds at least the slices `wanted`.
   * Later slices need no earlier inputs and, but for the last ones, as many of them. Such an
   * operator saves nothing. */
  void (*slab)(const struct node *node, struct slices wanted, struct slab *slab, struct node *part);
  /* OPTIONAL: writes values as training has them into input `input`, numbers of samples (host
   * memory, as the tensor is stored), for measurements: a kernel's time may depend on them. */
  void (*example)(const struct node *node, int input, void *values);
  bool in_place; /* y may take the memory of x[0] (backward then must not read x) */
  bool cheap;    /* y may be computed once more for backward instead of being kept till then */
  bool is_loss;  /* y is one float64, whatever the inputs' type */
  const struct kernel *const *kernels; /* best first, reference, by name only; NULL-terminated */
};

/* Whether backward reads input `input`. */
static inline bool node_reads_x(const struct node *node, int input) {
  return node->backward_reads & READS_X || (input == 0 && node->backward_reads & READS_FIRST);
}

/* Calls the operator's infer on a node whose device, activation and inputs are set. */
CHECKED enum status node_infer(struct node *node);

/* Every operator, NULL-terminated, from ops.def. */
extern const struct op *const ops[];
CHECKED enum status op_find(const char *name, const struct op **op);

/* The best eligible kernel for a node's device and dtype.
 * STATUS_USAGE with the names there are when there is no such kernel or it does not apply. */
CHECKED enum status op_choose_kernel(const struct node *node, const char *name,
                                     const struct kernel **kernel);

/* Whether a kernel computes a node; whether it may be chosen for it, where kernels called `name`
 * are wanted: "direct" is also direct_avx512, direct_avx2 and so on; NULL: no choice. */
bool op_kernel_fits(const struct kernel *kernel, const struct node *node);
bool op_kernel_eligible(const struct kernel *kernel, const struct node *node, const char *name);

/* The y of a loss: one float64. */
struct tensor op_scalar(void);
