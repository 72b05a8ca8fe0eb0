/* loss_ce on the GPU. */
#include "kernels/common/cuda_logits.h"
#include "kernels/common/cuda_sums.h"
extern "C" {
#include "kernels/loss_ce/loss_ce.h"
}

/* --- forward --- */

/* -log p of the label, times (1 - p)^gamma. */
__device__ inline float label_loss(float *row, int classes, int label, float gamma) {
  const float own = row[label];
  float largest, others = 0;
  const float sum = logits_powers(row, classes, &largest);
  const float nll = logf(sum) - (own - largest);
  if (gamma == 0) return nll;
  for (int k = 0; k < classes; k++) others += k == label ? 0 : row[k];
  return nll * powf(others / sum, gamma);
}

/* partial [LOSS_CE_SUMS][samples][chunks] */
template <typename T, bool FINER>
__global__ void __launch_bounds__(LOGITS_THREADS)
    ce_forward(const __grid_constant__ struct cuda_logits logits, const T *x,
               const unsigned char *labels, const __grid_constant__ struct loss_ce_terms terms,
               double *partial) {
  CUDA_DYNAMIC_SHARED(float, rows);
  float *row = rows + threadIdx.x * logits.pitch;
  const int end = min((int)(blockIdx.x + 1) * logits.chunk, logits.voxels);
  double sum = 0, weights = 0;
  for (int first = blockIdx.x * logits.chunk; first < end; first += LOGITS_THREADS) {
    const int label = logits_begin_tile<T, FINER>(logits, x, labels, first, rows);
    if (label >= logits.shape.classes) continue;
    const float weight = terms.weight[label];
    sum += (double)(weight * label_loss(row, logits.shape.classes, label, terms.gamma));
    weights += (double)weight;
  }
  sum = block_sum<LOGITS_THREADS>(sum);
  weights = block_sum<LOGITS_THREADS>(weights);
  if (threadIdx.x != 0) return;
  const int64_t at = (int64_t)blockIdx.y * gridDim.x + blockIdx.x;
  partial[at] = sum;
  partial[at + (int64_t)gridDim.x * gridDim.y] = weights;
}

/* at: the place of the batch's denominator. */
template <typename T>
__global__ void ce_conclude(const double *sums, const __grid_constant__ struct cuda_sums<T> batch,
                            int at, double *denominator, double *y) {
  double below = sums[LOSS_CE_WEIGHT];
  if (batch.given()) below = batch.at(at) / batch.at(batch.calls);
  *denominator = below;
  *y = loss_ce_of(sums[LOSS_CE_SUM], below);
}

/* The workspace: the sums, then partial sums. */
static size_t partial_count(const struct node *node) {
  const dim3 grid = cuda_logits_grid(cuda_logits_of(node));
  return (size_t)grid.x * grid.y;
}

static void prepare(struct node *node) {
  node->forward_workspace = sizeof(double) * LOSS_CE_SUMS * (1 + partial_count(node));
}

template <typename T>
static enum status forward(const struct node *node, const struct io *io, struct stream *stream) {
  const struct cuda_logits logits = cuda_logits_of(node);
  const unsigned char *labels = (const unsigned char *)io->x[1];
  double *sums = (double *)io->workspace, *partial = sums + LOSS_CE_SUMS;
  if (logits.finer)
    CUDA_LAUNCH((ce_forward<T, true>), cuda_logits_grid(logits), LOGITS_THREADS,
                cuda_logits_rows(logits), stream, logits, (const T *)io->x[0], labels,
                loss_ce_terms_of(node), partial);
  else
    CUDA_LAUNCH((ce_forward<T, false>), cuda_logits_grid(logits), LOGITS_THREADS,
                cuda_logits_rows(logits), stream, logits, (const T *)io->x[0], labels,
                loss_ce_terms_of(node), partial);
  cuda_fold(partial, (int64_t)partial_count(node), LOSS_CE_SUMS, 1.0, sums, stream);
  CUDA_LAUNCH(ce_conclude<T>, 1, 1, 0, stream, sums, cuda_sums_of<T>(node, io),
              loss_ce_arguments_of(node)->sum, (double *)io->saved[0], (double *)io->y);
  return cuda_launched(node->name);
}

/* --- backward --- */

struct ce_loss {
  enum { FLOATS = 1 };
  struct loss_ce_terms terms;
  const double *dy, *denominator;

  __device__ void begin(const struct logits &, int, float *own) const {
    if (threadIdx.x == 0) *own = (float)loss_ce_of(*dy, *denominator);
    __syncthreads();
  }

  /* The slope of (1 - p)^gamma (-log p) by logit k is (p_k - [k is the label]) times
   * (1 - p)^gamma (1 + gamma p (-log p) / (1 - p)). */
  __device__ void slopes(float *row, int classes, int label, const float *own) const {
    const float logit = row[label], gamma = terms.gamma;
    float largest, factor = *own * terms.weight[label], others = 0;
    const float sum = logits_powers(row, classes, &largest);
    if (gamma > 0) {
      for (int k = 0; k < classes; k++) others += k == label ? 0 : row[k];
      const float rest = fmaxf(others / sum, 1.2e-38f), nll = logf(sum) - (logit - largest);
      factor *= powf(rest, gamma) * (1 + gamma * (1 - rest) * nll / rest);
    }
    const float share = factor / sum;
    for (int k = 0; k < classes; k++) row[k] *= share;
    row[label] -= factor;
  }
};

template <typename T>
static enum status backward(const struct node *node, const struct io *io, struct stream *stream) {
  if (!io->dx[0]) return STATUS_OK;
  struct ce_loss loss;
  loss.terms = loss_ce_terms_of(node);
  loss.dy = (const double *)io->dy;
  loss.denominator = (const double *)io->saved[0];
  return logits_backward<T>(node, io, loss, stream);
}

#define LOSS_CE_CUDA(suffix, type, element) \
  CUDA_KERNEL(loss_ce_cuda, suffix) = {     \
      .name = "hand",                       \
      .device = DEVICE_CUDA,                \
      .dtype = type,                        \
      .training = true,                     \
      .applies = cuda_logits_applies,       \
      .prepare = prepare,                   \
      .forward = forward<element>,          \
      .backward = backward<element>,        \
  }
LOSS_CE_CUDA(f32, DTYPE_F32, float);
LOSS_CE_CUDA(bf16, DTYPE_BF16, __nv_bfloat16);
LOSS_CE_CUDA(f16, DTYPE_F16, __half);
