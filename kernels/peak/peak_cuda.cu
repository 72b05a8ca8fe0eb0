/* Matrix instructions on registers: what tensor cores give through mma.sync. float32 is three TF32
 * products (kernels/conv computes it so), and counts as one. */
#include "kernels/common/cuda_matrix.h"
extern "C" {
#include "kernels/peak/peak.h"
}

#ifdef __CUDACC__
static const int CHAINS = 8, TURNS = 1 << 13, THREADS = 256, BLOCKS = 132 * 8;
#else
static const int CHAINS = 2, TURNS = 4, THREADS = 64, BLOCKS = 2; /* to see that it runs */
#endif

template <typename T>
__global__ void multiply(float *out) {
  float sums[CHAINS][4] = {};
  unsigned a[4], b[2];
  for (int i = 0; i < 4; i++) a[i] = threadIdx.x + i;
  for (int i = 0; i < 2; i++) b[i] = threadIdx.x * 3 + i;
  for (int turn = 0; turn < TURNS; turn++)
#pragma unroll
    for (int k = 0; k < CHAINS; k++) cuda_matrix_multiply<T>(sums[k], a, b);
  float sum = 0;
#pragma unroll
  for (int k = 0; k < CHAINS; k++) sum += sums[k][0] + sums[k][3];
  if (blockIdx.x == 0) out[threadIdx.x] = sum;
}

static bool applies(void) {
  return true;
}

static enum status work(struct stream *stream, enum dtype dtype, void *out, double *flops) {
  /* an instruction of 32 lanes multiplies 16 x 8 x 16 (8 for TF32, of which it takes three) */
  double each = dtype == DTYPE_F32 ? 2.0 * 16 * 8 * 8 / 3 : 2.0 * 16 * 8 * 16;
  *flops = each * CHAINS * TURNS * (THREADS / 32) * BLOCKS;
  if (dtype == DTYPE_F32)
    CUDA_LAUNCH(multiply<float>, BLOCKS, THREADS, 0, stream, (float *)out);
  else if (dtype == DTYPE_BF16)
    CUDA_LAUNCH(multiply<__nv_bfloat16>, BLOCKS, THREADS, 0, stream, (float *)out);
  else if (dtype == DTYPE_F16)
    CUDA_LAUNCH(multiply<__half>, BLOCKS, THREADS, 0, stream, (float *)out);
  else
    *flops = 0;
  return cuda_launched("peak");
}

extern "C" const struct peak_kernel peak_cuda;
const struct peak_kernel peak_cuda = {
    .name = "peak", .device = DEVICE_CUDA, .applies = applies, .work = work};
