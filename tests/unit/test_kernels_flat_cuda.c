/* The operators over flat blocks on the GPU: the bits of the CPU, for every length and alignment.
 */
#include "device/device.h"
#include "flat_blocks.h"

enum { SKIPPED = 77 };

static struct device cpu, gpu;
static struct stream host = {.device = &cpu}, stream;
static float array[ARRAYS][COUNT], result[ARRAYS][COUNT];
static float *memory[ARRAYS]; /* on the GPU */

static void copy(void *to, const void *from, size_t bytes) {
  CHECK_OK(gpu.ops->copy(&stream, to, from, bytes));
}

static void upload(void) {
  for (int a = 0; a < ARRAYS; a++) copy(memory[a], array[a], sizeof array[a]);
}

static void check_equal(const char *label, int from, int count) {
  for (int a = 0; a < ARRAYS; a++) copy(result[a], memory[a], sizeof result[a]);
  CHECK_OK(gpu.ops->synchronize(&stream));
  CHECK_SAY(memcmp(array, result, sizeof array) == 0, " (%s from %d, %d elements)", label, from,
            count);
}

static void adam_alike(int from, int count) {
  for (int s = 0; s < 2; s++) {
    CHECK_OK(adam_update(&adam_steps[s], &host, array[W] + from, array[G] + from, array[M] + from,
                         array[V] + from, count));
    CHECK_OK(adam_update(&adam_steps[s], &stream, memory[W] + from, memory[G] + from,
                         memory[M] + from, memory[V] + from, count));
    check_equal("adam", from, count);
  }
}

static void sgd_alike(int from, int count) {
  for (int s = 0; s < 3; s++) {
    bool momentum = sgd_steps[s].momentum > 0;
    CHECK_OK(sgd_update(&sgd_steps[s], &host, array[W] + from, array[G] + from,
                        momentum ? array[M] + from : NULL, count));
    CHECK_OK(sgd_update(&sgd_steps[s], &stream, memory[W] + from, memory[G] + from,
                        momentum ? memory[M] + from : NULL, count));
    check_equal("sgd", from, count);
  }
}

static void ema_alike(int from, int count) {
  CHECK_OK(ema_update(&host, array[V] + from, array[W] + from, count, 0.99));
  CHECK_OK(ema_update(&stream, memory[V] + from, memory[W] + from, count, 0.99));
  check_equal("ema", from, count);
}

TEST(updates_have_the_bits_of_the_cpu) {
  const int counts[] = {0, 1, 3, 4, 1021, 4096, COUNT - 3};
  for (int from = 0; from < 3; from += 2)
    for (int c = 0; c < 7; c++) {
      fill_blocks(array);
      upload();
      adam_alike(from, counts[c]);
      sgd_alike(from, counts[c]);
      ema_alike(from, counts[c]);
    }
}

static void norm_alike(struct grad_norm *on_cpu, struct grad_norm *on_gpu, int count) {
  double expected, squared;
  copy(memory[G], array[G], sizeof array[G]);
  CHECK_OK(grad_norm_squared(on_cpu, &host, array[G], count, &expected));
  CHECK_OK(grad_norm_squared(on_gpu, &stream, memory[G], count, &squared));
  CHECK_SAY(squared == expected || (isnan(squared) && isnan(expected)),
            " (%d elements: %.17g, expected %.17g)", count, squared, expected);
}

TEST(norms_have_the_bits_of_the_cpu) {
  const int counts[] = {0, 1, 15, 17, 4096, 4097, 3 * 4096 + 31, COUNT};
  struct grad_norm on_cpu, on_gpu;
  CHECK_OK(grad_norm_open(&on_cpu, &cpu, COUNT));
  CHECK_OK(grad_norm_open(&on_gpu, &gpu, COUNT));
  fill_blocks(array);
  for (int c = 0; c < 8; c++) norm_alike(&on_cpu, &on_gpu, counts[c]);
  array[G][COUNT - 1] = 3e38f; /* the square does not fit a float */
  norm_alike(&on_cpu, &on_gpu, COUNT);
  array[G][77] = INFINITY;
  norm_alike(&on_cpu, &on_gpu, COUNT);
  array[G][COUNT / 2] = NAN;
  norm_alike(&on_cpu, &on_gpu, COUNT);
  grad_norm_close(&on_cpu);
  grad_norm_close(&on_gpu);
}

int main(void) {
  setenv("CUDA_SHIM_DEVICES", "1", 0);
  if (device_open(&gpu, "cuda", 0, 1, false, 1) != STATUS_OK) return SKIPPED;
  CHECK_OK(device_open(&cpu, "cpu", 0, 1, false, 1));
  CHECK_OK(gpu.ops->stream_open(&gpu, &stream));
  for (int a = 0; a < ARRAYS; a++)
    CHECK_OK(gpu.ops->allocate(&gpu, sizeof array[a], (void **)&memory[a]));
  RUN(updates_have_the_bits_of_the_cpu);
  RUN(norms_have_the_bits_of_the_cpu);
  for (int a = 0; a < ARRAYS; a++) gpu.ops->release(&gpu, memory[a], sizeof array[a]);
  gpu.ops->stream_close(&stream);
  device_close(&gpu);
  device_close(&cpu);
  return check_result();
}
