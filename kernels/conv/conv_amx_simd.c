/* The kernel of blocked bfloat16 tensors where the processor has tiles. */
#include "kernels/conv/conv_amx_passes.h"
#if defined SIMD_ISA_AVX512

extern const struct kernel SIMD_NAME(conv_amx);

/* --- packings: those of pairs, with planar sources in groups of their own --- */

static int group_of(const struct tensor *tensor) {
  return tensor->layout == LAYOUT_BLOCKED ? CHANNEL_BLOCK : CONV_AMX_PLANAR;
}

static struct conv_packing output_packing(const struct node *node, int input) {
  struct conv_packing packing = SIMD_NAME(conv_bf16_output_packing)(node, input);
  packing.group = group_of(&node->x[input]);
  return packing;
}

static struct conv_packing data_packing(const struct node *node, int input) {
  struct conv_packing packing = SIMD_NAME(conv_bf16_data_packing)(node, input);
  packing.group = group_of(&node->y);
  return packing;
}

/* Taps along w of a planar source come in fours. */
static struct conv_packing weight_packing(const struct node *node, int input) {
  struct conv_packing packing = SIMD_NAME(conv_bf16_weight_packing)(node, input);
  packing.group = group_of(&node->x[input]);
  if (packing.group == CHANNEL_BLOCK) return packing;
  struct conv_axis *w = &packing.axis[2];
  for (int phase = 0; phase < w->phases; phase++)
    w->taps[phase] = conv_divide_up(w->taps[phase], CONV_AMX_PLANAR) * CONV_AMX_PLANAR;
  return packing;
}

/* As many words as an input's weights take as pairs, and behind them as tiles. */
static size_t packed_size(const struct conv_packing *packing) {
  return conv_packing_size(packing) + conv_amx_size(packing);
}

static struct conv_source pack(const struct node *node, const struct io *io, int input,
                               const struct conv_packing *packing, const struct tensor *tensor,
                               const float *data, float *packed) {
  float *tiles = packed + conv_packing_size(packing);
  SIMD_NAME(conv_bf16_pack)(packing, node, io, input, packed);
  conv_amx_arrange(packing, packed, tiles);
  return (struct conv_source){tensor, data, *packing, tiles};
}

static size_t output_size(const struct node *node) {
  size_t size = 0;
  for (int i = 0; i < node->input_count; i++) {
    struct conv_packing packing = output_packing(node, i);
    size += packed_size(&packing);
  }
  return size;
}

static size_t weights_size(const struct node *node, int input) {
  struct conv_packing packing = weight_packing(node, input);
  return SIMD_NAME(conv_amx_outer_size)(&node->y, &packing);
}

static size_t data_size(const struct node *node, int input) {
  struct conv_packing packing = data_packing(node, input);
  return packed_size(&packing);
}

static void compute_output(const struct node *node, const struct io *io,
                           const struct conv_target *target, float *packed) {
  struct conv_source sources[OP_MAX_INPUTS];
  for (int i = 0; i < node->input_count; i++) {
    struct conv_packing packing = output_packing(node, i);
    sources[i] = pack(node, io, i, &packing, &node->x[i], io->x[i], packed);
    packed += packed_size(&packing);
  }
  SIMD_NAME(conv_amx_rows)(target, sources, node->input_count);
}

static void compute_weights(const struct node *node, const struct io *io, int input,
                            float *workspace) {
  struct conv_packing packing = weight_packing(node, input);
  float *dw = (float *)io->dw[CONV_WEIGHT] + SIMD_NAME(conv_weight_offset)(node, input);
  struct conv_source x = {&node->x[input], io->x[input], packing, NULL};
  SIMD_NAME(conv_amx_outer)(&node->y, io->dy, &x, workspace);
  conv_unpack(&packing, workspace, dw);
}

static void compute_data(const struct node *node, const struct io *io, int input,
                         const struct conv_target *target, float *workspace) {
  struct conv_packing packing = data_packing(node, input);
  struct conv_source dy = pack(node, io, input, &packing, &node->y, io->dy, workspace);
  SIMD_NAME(conv_amx_rows)(target, &dy, 1);
}

/* Whether a thread's memory holds what a few voxels of each pass see. */
static bool fits(const struct node *node) {
  struct conv_source sources[OP_MAX_INPUTS];
  struct conv_target y = {.tensor = &node->y};
  for (int i = 0; i < node->input_count; i++) {
    struct conv_packing weights = weight_packing(node, i);
    struct conv_target dx = {.tensor = &node->x[i]};
    struct conv_source dy = {&node->y, NULL, data_packing(node, i), NULL};
    if (!SIMD_NAME(conv_amx_outer_fits)(&node->y, &weights)) return false;
    if (!SIMD_NAME(conv_amx_rows_fits)(&dx, &dy, 1)) return false;
    sources[i] = (struct conv_source){&node->x[i], NULL, output_packing(node, i), NULL};
  }
  return SIMD_NAME(conv_amx_rows_fits)(&y, sources, node->input_count);
}

/* A planar output is a head's: float32. */
static bool is_taken(const struct node *node) {
  const struct conv_arguments *a = conv_arguments_of(node);
  for (int i = 0; i < 3; i++)
    if (a->kernel[i] > CONV_MOST_KERNEL || a->stride[i] > 2) return false;
  return node->y.layout == LAYOUT_BLOCKED || node->y.dtype == DTYPE_F32;
}

bool SIMD_NAME(conv_amx_applies)(const struct node *node) {
  return is_taken(node) && simd_available() && __builtin_cpu_supports("avx512bf16") &&
         conv_amx_available() && fits(node);
}

const struct conv_passes SIMD_NAME(conv_amx_passes) = {
    .output_size = output_size,
    .weights_size = weights_size,
    .data_size = data_size,
    .output = compute_output,
    .weights = compute_weights,
    .data = compute_data,
};

CONV_PASSES_KERNEL(conv_amx, SIMD_NAME(conv_amx_passes), .name = SIMD_LABEL("amx"),
                   .dtype = DTYPE_BF16, .applies = SIMD_NAME(conv_amx_applies));
#endif
