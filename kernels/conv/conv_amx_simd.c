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

/* --- weights as tiles --- */

/* One block and group, floats [tap d][tap h][tap w][channel][16], to their places in a block's
 * tiles; the last group's turn sees to the zeros. */
static void put_group(const struct conv_packing *packing, const int phase[3], const float *taps,
                      int group, float *tiles) {
  const struct conv_axis *a = packing->axis;
  const int groups = conv_packing_groups(packing), across = a[2].taps[phase[2]];
  const int pairs = packing->group / 2; /* of a tap */
  const int row_lines = conv_amx_tiles(packing, phase) * CONV_AMX_ROWS;
  for (int row = 0; row < a[0].taps[phase[0]] * a[1].taps[phase[1]]; row++) {
    float *lines = tiles + (size_t)row * (size_t)row_lines * CHANNEL_BLOCK;
    for (int tap = 0; tap < across; tap++)
      for (int i = 0; i < pairs; i++, taps += 2 * CHANNEL_BLOCK)
        conv_bf16_pair(taps, lines + ((tap * groups + group) * pairs + i) * CHANNEL_BLOCK);
    const int used = across * groups * pairs;
    if (group == groups - 1)
      memset(lines + used * CHANNEL_BLOCK, 0,
             sizeof(float[CHANNEL_BLOCK]) * (size_t)(row_lines - used));
  }
}

enum {
  /* a group's floats in all phases: 7 taps along an axis, or twice 4 */
  MOST_FLOATS = 8 * 8 * 8 * CHANNEL_BLOCK * CHANNEL_BLOCK,
};

static void pack_group(const struct conv_packing *packing, const float *w, int block, int group,
                       float *tiles) {
  float floats[MOST_FLOATS], *copies[CONV_MOST_COPIES], *next = floats;
  int phase[3];
  for (int copy = 0; copy < conv_packing_phases(packing); copy++) {
    conv_packing_split_phase(packing, copy, phase);
    copies[copy] = next;
    next += conv_packing_group_size(packing, phase);
  }
  conv_pack_group(packing, w, block, group, copies);
  for (int copy = 0; copy < conv_packing_phases(packing); copy++) {
    conv_packing_split_phase(packing, copy, phase);
    put_group(
        packing, phase, copies[copy], group,
        tiles + conv_amx_at(packing, phase) + conv_amx_block_size(packing, phase) * (size_t)block);
  }
}

static struct conv_source pack(const struct node *node, const struct io *io, int input,
                               const struct conv_packing *packing, const struct tensor *tensor,
                               const float *data, float *tiles) {
  const float *w = (const float *)io->w[CONV_WEIGHT] + SIMD_NAME(conv_weight_offset)(node, input);
  const int groups = conv_packing_groups(packing), blocks = conv_packing_lane_blocks(packing);
#pragma omp parallel for schedule(static)
  for (int unit = 0; unit < blocks * groups; unit++)
    pack_group(packing, w, unit / groups, unit % groups, tiles);
  return (struct conv_source){tensor, data, *packing, tiles};
}

/* --- passes --- */

static size_t output_size(const struct node *node) {
  size_t size = 0;
  for (int i = 0; i < node->input_count; i++) {
    struct conv_packing packing = output_packing(node, i);
    size += conv_amx_size(&packing);
  }
  return size;
}

static size_t weights_size(const struct node *node, int input) {
  struct conv_packing packing = weight_packing(node, input);
  return SIMD_NAME(conv_amx_outer_size)(&node->y, &packing);
}

static size_t data_size(const struct node *node, int input) {
  struct conv_packing packing = data_packing(node, input);
  return conv_amx_size(&packing);
}

static void compute_output(const struct node *node, const struct io *io,
                           const struct conv_target *target, float *packed) {
  struct conv_source sources[OP_MAX_INPUTS];
  for (int i = 0; i < node->input_count; i++) {
    struct conv_packing packing = output_packing(node, i);
    sources[i] = pack(node, io, i, &packing, &node->x[i], io->x[i], packed);
    packed += conv_amx_size(&packing);
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
         tiles_available() && fits(node);
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
