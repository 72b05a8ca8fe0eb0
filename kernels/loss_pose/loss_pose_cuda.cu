/* loss_pose on the GPU: a thread finds the loss of a sample, and one thread adds them in order. */
#include "kernels/common/cuda.h"
extern "C" {
#include "kernels/loss_pose/pose_gradient.h"
}

enum { THREADS = 32 };

/* One call, by value. */
struct job {
  struct loss_pose_arguments arguments;
  struct cuda_strides value, target;
  int samples, count;
};

static struct job job_make(const struct node *node) {
  struct job job;
  job.arguments = *loss_pose_arguments_of(node);
  job.value = cuda_strides_of(&node->x[0]);
  job.target = cuda_strides_of(&node->x[1]);
  job.samples = node->x[0].shape.n;
  job.count = node->x[0].shape.c;
  return job;
}

__device__ static struct pose_sample load_sample(const struct job &job, const float *value,
                                                 const float *target, int n) {
  double own[POSE_MATRIX], aim[POSE_TARGET];
  for (int c = 0; c < job.count; c++)
    own[c] = (double)value[n * job.value.sample + c * job.value.channel];
  for (int c = 0; c < POSE_TARGET; c++)
    aim[c] = (double)target[n * job.target.sample + c * job.target.channel];
  return pose_sample_make(&job.arguments, job.count, own, aim);
}

__global__ void __launch_bounds__(THREADS)
    pose_forward(struct job job, const float *value, const float *target, double *losses,
                 double *y) {
  double sum = 0;
  for (int n = (int)threadIdx.x; n < job.samples; n += THREADS) {
    const struct pose_sample sample = load_sample(job, value, target, n);
    losses[n] = pose_loss_find(&job.arguments, &sample, NULL);
  }
  __syncthreads();
  if (threadIdx.x > 0) return;
  for (int n = 0; n < job.samples; n++) sum += losses[n];
  *y = sum / job.samples;
}

__global__ void __launch_bounds__(THREADS)
    pose_backward(struct job job, const float *value, const float *target, const double *dy,
                  float *dx, bool add) {
  const int n = (int)(blockIdx.x * THREADS + threadIdx.x);
  if (n >= job.samples) return;
  const struct pose_sample sample = load_sample(job, value, target, n);
  double slope[POSE_MATRIX];
  pose_loss_find(&job.arguments, &sample, slope);
  for (int c = 0; c < job.count; c++) {
    float *to = dx + n * job.value.sample + c * job.value.channel;
    *to = (float)(*dy / job.samples * slope[c] + (add ? (double)*to : 0));
  }
}

static void loss_pose_prepare(struct node *node) {
  node->forward_workspace = (size_t)node->x[0].shape.n * sizeof(double);
}

static enum status loss_pose_forward(const struct node *node, const struct io *io,
                                     struct stream *stream) {
  CUDA_LAUNCH(pose_forward, 1, THREADS, 0, stream, job_make(node), (const float *)io->x[0],
              (const float *)io->x[1], (double *)io->workspace, (double *)io->y);
  return cuda_launched(node->name);
}

static enum status loss_pose_backward(const struct node *node, const struct io *io,
                                      struct stream *stream) {
  const struct job job = job_make(node);
  if (!io->dx[0]) return STATUS_OK;
  CUDA_LAUNCH(pose_backward, cuda_blocks(job.samples, THREADS), THREADS, 0, stream, job,
              (const float *)io->x[0], (const float *)io->x[1], (const double *)io->dy,
              (float *)io->dx[0], io->dx_add[0]);
  return cuda_launched(node->name);
}

CUDA_KERNEL(loss_pose_cuda, f32) = {
    .name = "hand",
    .device = DEVICE_CUDA,
    .dtype = DTYPE_F32,
    .training = true,
    .applies = NULL,
    .prepare = loss_pose_prepare,
    .forward = loss_pose_forward,
    .backward = loss_pose_backward,
};
