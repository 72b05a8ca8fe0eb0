/* The kernel of blocked bfloat16 tensors: the passes of the direct kernel, on pairs. */
#include "kernels/conv/conv_bf16.h"
#if defined SIMD_ISA_AVX512

extern const struct kernel SIMD_NAME(conv_bf16);

static bool is_pairs(const struct tensor *tensor) {
  return tensor->dtype == DTYPE_BF16 && tensor->layout == LAYOUT_BLOCKED;
}

bool SIMD_NAME(conv_bf16_applies)(const struct node *node) {
  for (int i = 0; i < node->input_count; i++)
    if (!is_pairs(&node->x[i])) return false;
  return is_pairs(&node->y) && SIMD_NAME(conv_direct_applies)(node) &&
         __builtin_cpu_supports("avx512bf16");
}

/* --- packings: source channels in groups of 16 --- */

static struct conv_extent extent_of(const struct node *node, int input, int axis) {
  const struct conv_arguments *a = conv_arguments_of(node);
  return (struct conv_extent){a->kernel[axis], a->stride[axis], a->padding[axis],
                              a->upsample[input]};
}

static struct conv_packing forward_packing(const struct node *node, int input, int phases) {
  struct conv_packing packing = SIMD_NAME(conv_packing_of)(node, input, true);
  packing.group = CHANNEL_BLOCK;
  for (int i = 0; i < 3; i++)
    packing.axis[i] = conv_axis_forward(extent_of(node, input, i), phases);
  return packing;
}

struct conv_packing SIMD_NAME(conv_bf16_data_packing)(const struct node *node, int input) {
  struct conv_packing packing = SIMD_NAME(conv_packing_of)(node, input, false);
  packing.group = CHANNEL_BLOCK;
  for (int i = 0; i < 3; i++) packing.axis[i] = conv_axis_gradient(extent_of(node, input, i));
  return packing;
}

struct conv_packing SIMD_NAME(conv_bf16_weight_packing)(const struct node *node, int input) {
  return forward_packing(node, input, conv_arguments_of(node)->upsample[input] ? 2 : 1);
}

struct conv_packing SIMD_NAME(conv_bf16_output_packing)(const struct node *node, int input) {
  return forward_packing(node, input, conv_any_upsampled(node) ? 2 : 1);
}

/* --- weights as pairs --- */

static CONV_BF16_TARGET void pair_lines(float *packed, size_t size) {
  float *to = packed;
  for (size_t i = 0; i < size; i += 2 * CHANNEL_BLOCK, to += CHANNEL_BLOCK)
    conv_bf16_pair(packed + i, to);
}

/* packed := the weights of an input as conv_source takes them. */
static void pack(const struct conv_packing *packing, const struct node *node, const struct io *io,
                 int input, float *packed) {
  int blocks = conv_packing_lane_blocks(packing), groups = conv_packing_groups(packing);
  conv_pack(packing, (const float *)io->w[CONV_WEIGHT] + SIMD_NAME(conv_weight_offset)(node, input),
            packed);
#pragma omp parallel for schedule(static)
  for (int unit = 0; unit < blocks * groups; unit++)
    for (int index = 0; index < conv_packing_phases(packing); index++) {
      int phase[3];
      conv_packing_split_phase(packing, index, phase);
      pair_lines(packed + conv_packing_at(packing, phase, unit / groups, unit % groups),
                 conv_packing_group_size(packing, phase));
    }
}

/* --- passes --- */

static size_t output_size(const struct node *node) {
  size_t size = 0;
  for (int i = 0; i < node->input_count; i++) {
    struct conv_packing packing = SIMD_NAME(conv_bf16_output_packing)(node, i);
    size += conv_packing_size(&packing);
  }
  return size;
}

static size_t weights_size(const struct node *node, int input) {
  struct conv_packing packing = SIMD_NAME(conv_bf16_weight_packing)(node, input);
  return SIMD_NAME(conv_bf16_outer_size)(&node->y, &packing);
}

static size_t data_size(const struct node *node, int input) {
  struct conv_packing packing = SIMD_NAME(conv_bf16_data_packing)(node, input);
  return conv_packing_size(&packing);
}

static void compute(const struct conv_target *target, const struct conv_source *sources,
                    int count) {
  SIMD_NAME(conv_rows_of_pairs)(target, sources, count, SIMD_NAME(conv_bf16_accumulator));
}

static void compute_output(const struct node *node, const struct io *io,
                           const struct conv_target *target, float *packed) {
  struct conv_source sources[OP_MAX_INPUTS];
  for (int i = 0; i < node->input_count; i++) {
    struct conv_packing packing = SIMD_NAME(conv_bf16_output_packing)(node, i);
    pack(&packing, node, io, i, packed);
    sources[i] = (struct conv_source){&node->x[i], io->x[i], packing, packed};
    packed += conv_packing_size(&packing);
  }
  compute(target, sources, node->input_count);
}

static void compute_weights(const struct node *node, const struct io *io, int input,
                            float *workspace) {
  struct conv_packing packing = SIMD_NAME(conv_bf16_weight_packing)(node, input);
  float *dw = (float *)io->dw[CONV_WEIGHT] + SIMD_NAME(conv_weight_offset)(node, input);
  struct conv_source x = {&node->x[input], io->x[input], packing, NULL};
  SIMD_NAME(conv_bf16_outer)(&node->y, io->dy, &x, workspace);
  conv_unpack(&packing, workspace, dw);
}

static void compute_data(const struct node *node, const struct io *io, int input,
                         const struct conv_target *target, float *workspace) {
  struct conv_packing packing = SIMD_NAME(conv_bf16_data_packing)(node, input);
  pack(&packing, node, io, input, workspace);
  struct conv_source dy = {&node->y, io->dy, packing, workspace};
  compute(target, &dy, 1);
}

const struct conv_passes SIMD_NAME(conv_bf16_passes) = {
    .output_size = output_size,
    .weights_size = weights_size,
    .data_size = data_size,
    .output = compute_output,
    .weights = compute_weights,
    .data = compute_data,
};

CONV_PASSES_KERNEL(conv_bf16, SIMD_NAME(conv_bf16_passes), .name = SIMD_LABEL("bf16"),
                   .dtype = DTYPE_BF16, .applies = SIMD_NAME(conv_bf16_applies));
#endif
