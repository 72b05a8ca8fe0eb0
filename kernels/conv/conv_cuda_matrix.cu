/* Convolution passes on tensor cores: the kernel, and the parts of conv that are passes. */
#include "kernels/conv/conv_cuda_matrix_multiply.h"
#include "kernels/conv/conv_cuda_matrix_store.h"

/* What the registers of a multiprocessor are cut for: nothing is kept in local memory. */
template <typename T>
constexpr int most_threads(int rows, int groups, bool phased) {
  return rows == 8 && groups == 2 && sizeof(T) == 2 && !phased ? 128 : 32 * MATRIX_MOST_WARPS;
}
template <typename T>
constexpr int least_blocks(int rows, int groups, bool phased) {
  if (most_threads<T>(rows, groups, phased) == 128) return 3;
  return rows == 4 && sizeof(T) == 2 ? 2 : 1;
}

/* A block takes tile after tile. While a slice is multiplied, the next one arrives, and where there
 * are two places for windows the window of the next chunk (of the next tile after the last one),
 * for which all but the last slice of this chunk need not wait. */
template <typename T, int ROWS, int GROUPS, bool PHASED>
__global__ void __launch_bounds__(most_threads<T>(ROWS, GROUPS, PHASED),
                                  least_blocks<T>(ROWS, GROUPS, PHASED))
    compute_pass(const __grid_constant__ struct matrix_pass pass) {
  CUDA_DYNAMIC_SHARED(unsigned char, shared);
  const cuda_shared windows = cuda_shared_of(shared);
  const cuda_shared slices = windows + pass.stages * pass.window_bytes;
  const struct share share = find_share(pass);
  float sums[ROWS][GROUPS][4] = {};
  struct cursor at = {(int)blockIdx.x, 0, 0, 0, 0};
  load_window(pass, at, windows);
  load_slice(pass, at, slices);
  cuda_copy_close();
  bool inside = is_inside(pass, find_place(pass, at.tile), share);
  bool later = false; /* the last group need not have arrived yet */
  for (int slice = 0; at.tile < pass.tile_count; slice = 1 - slice) {
    if (later)
      cuda_copy_wait<1>();
    else
      cuda_copy_wait<0>();
    __syncthreads();
    const struct cursor next = cursor_next(pass, at);
    if (next.tile < pass.tile_count)
      load_slice(pass, next, slices + (1 - slice) * pass.slice_bytes);
    cuda_copy_close();
    later = pass.stages == 2 && at.tap == 0;
    if (later) {
      const struct cursor chunk = cursor_next_chunk(pass, at);
      if (chunk.tile < pass.tile_count) load_window(pass, chunk, windows);
      cuda_copy_close();
      later = next.tap > 0;
    }
    if (inside)
      accumulate_slice<T, ROWS, GROUPS, PHASED>(sums, pass, share, at,
                                                windows + at.window * pass.window_bytes,
                                                slices + slice * pass.slice_bytes);
    if (pass.stages == 1 && next.tap == 0 && next.tile < pass.tile_count) {
      __syncthreads();
      load_window(pass, next, windows);
      cuda_copy_close();
    }
    if (next.tile != at.tile) {
      if (inside) store_sums<T>(sums, pass, find_place(pass, at.tile), share);
      inside = is_inside(pass, find_place(pass, next.tile), share);
    }
    at = next;
  }
}

/* --- launching --- */

template <typename T, int ROWS, int GROUPS, bool PHASED>
static void launch_as(const struct matrix_pass *pass, struct stream *stream) {
  int blocks = pass->tile_count < pass->blocks ? pass->tile_count : pass->blocks;
  size_t bytes = conv_cuda_matrix_shared(pass);
  cudaFuncSetAttribute(compute_pass<T, ROWS, GROUPS, PHASED>,
                       cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes);
  CUDA_LAUNCH((compute_pass<T, ROWS, GROUPS, PHASED>), (unsigned)blocks,
              (unsigned)conv_cuda_matrix_threads(pass), bytes, stream, *pass);
}

/* The cuts that conv_cuda_matrix_plan makes. */
template <typename T>
static void launch(const struct matrix_pass *pass, struct stream *stream) {
  bool phased = pass->phases[0] * pass->phases[1] * pass->phases[2] > 1;
  bool wide = pass->warp_channels == 32;
  if (pass->rows == 4) return launch_as<T, 4, 2, false>(pass, stream);
  if constexpr (sizeof(T) == 2) {
    if (wide && phased) return launch_as<T, 8, 4, true>(pass, stream);
    if (wide) return launch_as<T, 8, 4, false>(pass, stream);
  }
  if (phased) return launch_as<T, 8, 2, true>(pass, stream);
  launch_as<T, 8, 2, false>(pass, stream);
}

static void compute(const struct node *node, const struct io *io, bool forward, int input,
                    const struct conv_cuda_end *end, struct matrix_pass *pass, void *workspace,
                    struct stream *stream) {
  pass->bias = end->bias;
  pass->slope = end->slope;
  pass->add = end->add;
  conv_cuda_matrix_pack(node, io, forward, input, pass, workspace, stream);
  if (node->activation == DTYPE_F32)
    launch<float>(pass, stream);
  else if (node->activation == DTYPE_BF16)
    launch<__nv_bfloat16>(pass, stream);
  else
    launch<__half>(pass, stream);
}

/* --- the parts of the conv kernel --- */

static bool forward_applies(const struct node *node, int input) {
  struct matrix_pass pass;
  (void)input;
  return conv_cuda_matrix_plan(node, true, 0, &pass);
}

static bool data_applies(const struct node *node, int input) {
  struct matrix_pass pass;
  return conv_cuda_matrix_plan(node, false, input, &pass);
}

static size_t workspace_of(const struct node *node, bool forward, int input) {
  struct matrix_pass pass;
  size_t bytes = 0;
  if (!conv_cuda_matrix_plan(node, forward, input, &pass)) return 0;
  for (int i = 0; i < pass.count; i++) bytes += conv_cuda_round(conv_cuda_matrix_packed(&pass, i));
  return bytes;
}

static size_t forward_workspace(const struct node *node, int input) {
  return workspace_of(node, true, input);
}

static size_t data_workspace(const struct node *node, int input) {
  return workspace_of(node, false, input);
}

static void forward_run(const struct node *node, const struct io *io, int input,
                        const struct conv_cuda_end *end, void *workspace, struct stream *stream) {
  struct matrix_pass pass;
  if (!conv_cuda_matrix_plan(node, true, input, &pass)) return;
  for (int i = 0; i < pass.count; i++) pass.source[i].data = (const unsigned char *)io->x[i];
  pass.target = io->y;
  compute(node, io, true, input, end, &pass, workspace, stream);
}

static void data_run(const struct node *node, const struct io *io, int input,
                     const struct conv_cuda_end *end, void *workspace, struct stream *stream) {
  struct matrix_pass pass;
  if (!conv_cuda_matrix_plan(node, false, input, &pass)) return;
  pass.source[0].data = (const unsigned char *)io->dy;
  pass.target = io->dx[input];
  compute(node, io, false, input, end, &pass, workspace, stream);
}

const struct conv_cuda_part conv_cuda_matrix_forward = {forward_applies, forward_workspace,
                                                        forward_run};
const struct conv_cuda_part conv_cuda_matrix_data = {data_applies, data_workspace, data_run};
