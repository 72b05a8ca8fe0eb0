/* Moving slices. A plane is one channel of one sample, or a block of 16. */
#include "kernels/common/widen_slices.h"
#include <string.h>
#include "kernels/common/simd.h"

enum { CHUNK = 1 << 14 }; /* elements per piece of work */

SIMD_DECLARE_OTHER(widening, widening);
static const struct widening *const widenings[] = {SIMD_KERNELS(widening)};

static const struct widening *choose_widening(void) {
  int i = 0;
  while (!widenings[i]->available()) i++; /* the last one always is */
  return widenings[i];
}

int64_t slices_area(const struct tensor *tensor) {
  return (int64_t)tensor->shape.h * tensor->shape.w * tensor_voxel_stride(tensor);
}

int64_t slices_planes(const struct tensor *tensor) {
  return (int64_t)tensor->shape.n * tensor_stored_channels(tensor) / tensor_voxel_stride(tensor);
}

static int larger(int a, int b) {
  return a > b ? a : b;
}
static int smaller(int a, int b) {
  return a < b ? a : b;
}

/* The slices that both have; count 0 where there are none. */
static struct slices meet(struct slices a, struct slices b) {
  int first = larger(a.first, b.first);
  int end = smaller(a.first + a.count, b.first + b.count);
  return (struct slices){first, larger(end - first, 0)};
}

/* A run of elements in the tensor's memory and in that of the slices. */
struct move {
  const struct widening *widening;
  enum dtype dtype;
  unsigned char *memory;
  float *slices;
  bool add;
};

static void load_run(const struct move *move, int count) {
  if (move->dtype == DTYPE_F32)
    memcpy(move->slices, move->memory, (size_t)count * sizeof(float));
  else
    move->widening->widen(move->dtype, (const uint16_t *)move->memory, move->slices, count);
}

static void store_run(const struct move *move, int count) {
  float *memory = (float *)move->memory;
  if (move->dtype != DTYPE_F32)
    move->widening->narrow(move->dtype, move->slices, (uint16_t *)memory, count, move->add);
  else if (!move->add)
    memcpy(memory, move->slices, (size_t)count * sizeof(float));
  else
    for (int i = 0; i < count; i++) memory[i] += move->slices[i];
}

/* Calls `run` for all chunks of the slices `common` of every plane. */
static void each_run(const struct tensor *tensor, const struct move *start, struct slices slices,
                     struct slices common, void (*run)(const struct move *, int)) {
  int64_t area = slices_area(tensor), planes = slices_planes(tensor);
  int64_t length = common.count * area, chunks = (length + CHUNK - 1) / CHUNK;
  size_t element = dtype_bytes(tensor->dtype);
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < planes * chunks; i++) {
    int64_t plane = i / chunks, at = i % chunks * CHUNK;
    struct move move = *start;
    move.memory += (size_t)((plane * tensor->shape.d + common.first) * area + at) * element;
    move.slices += (plane * slices.count + common.first - slices.first) * area + at;
    run(&move, length - at < CHUNK ? (int)(length - at) : CHUNK);
  }
}

/* Zeros in slices [first, end) of every plane. */
static void clear(const struct tensor *tensor, float *slices, int count, int first, int end) {
  int64_t area = slices_area(tensor);
  if (end <= first) return;
  for (int64_t plane = 0; plane < slices_planes(tensor); plane++)
    memset(slices + (plane * count + first) * area, 0,
           (size_t)((end - first) * area) * sizeof(float));
}

void slices_load(const struct tensor *tensor, const void *memory, struct slices slices,
                 struct slices valid, float *to) {
  struct slices common = meet(meet(slices, valid), (struct slices){0, tensor->shape.d});
  struct move move = {choose_widening(), tensor->dtype, (unsigned char *)(uintptr_t)memory, to,
                      false};
  int first = common.count ? common.first - slices.first : 0;
  clear(tensor, to, slices.count, 0, first);
  clear(tensor, to, slices.count, first + common.count, slices.count);
  each_run(tensor, &move, slices, common, load_run);
}

void slices_store(const struct tensor *tensor, const float *from, struct slices slices,
                  struct slices wanted, void *memory, bool add) {
  struct slices common = meet(meet(slices, wanted), (struct slices){0, tensor->shape.d});
  struct move move = {choose_widening(), tensor->dtype, memory, (float *)(uintptr_t)from, add};
  each_run(tensor, &move, slices, common, store_run);
}

void slices_advance(const struct tensor *tensor, float *memory, struct slices slices,
                    struct slices next) {
  int64_t area = slices_area(tensor);
  int kept = larger(slices.first + slices.count - next.first, 0);
  for (int64_t plane = 0; plane < slices_planes(tensor); plane++) {
    float *to = memory + plane * next.count * area;
    const float *from = memory + (plane * slices.count + next.first - slices.first) * area;
    if (kept) memmove(to, from, (size_t)(kept * area) * sizeof *to);
    memset(to + kept * area, 0, (size_t)((next.count - kept) * area) * sizeof *to);
  }
}
