/* Slices of tensors of any real type, and as float32 in memory of their own; and the conversions,
 * for kernels that compute on 16-bit tensors piece by piece. */
#pragma once
#include "kernels/op.h"

/* Conversions, compiled for each instruction set; `dtype` is that of the 16-bit side. */
struct widening {
  bool (*available)(void);
  void (*widen)(enum dtype dtype, const uint16_t *from, float *to, int count);
  /* Rounds to nearest, ties to even. `add`: what is in `to` is added in float32 first. */
  void (*narrow)(enum dtype dtype, const float *from, uint16_t *to, int count, bool add);
};

/* Float32 elements of one slice of a tensor's planes; a tensor has slices_planes of them. */
int64_t slices_area(const struct tensor *tensor);
int64_t slices_planes(const struct tensor *tensor);

/* Fills `slices` [plane][slice] from the tensor's memory: those of `valid` that the tensor has, and
 * zeros elsewhere. */
void slices_load(const struct tensor *tensor, const void *memory, struct slices slices,
                 struct slices valid, float *to);

/* Writes those of `slices` to the tensor's memory that are in `wanted` and that it has, or adds
 * them to what is there. */
void slices_store(const struct tensor *tensor, const float *from, struct slices slices,
                  struct slices wanted, void *memory, bool add);

/* Turns `slices` in memory into `next`, which begin and end no earlier and are no more: what both
 * have moves, what is new becomes zero. */
void slices_advance(const struct tensor *tensor, float *memory, struct slices slices,
                    struct slices next);
