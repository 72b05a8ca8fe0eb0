/* What resize_simd.c looks up: for each axis sources and weights of what is made, and how vectors
 * of a row are permuted out of another one. */
#pragma once
#include <string.h>
#include "kernels/common/simd_cells.h"
#include "kernels/resize/resize.h"

/* One axis: sources and weights of the outputs, and for input i the outputs first[i] ..
 * first[i+2]-1 that read it. */
struct axis {
  int *low, *high, *first;
  float *low_weight, *high_weight;
};

static size_t axis_bytes(int input, int output) {
  return ((size_t)output * 4 + (size_t)input + 2) * sizeof(float);
}

static struct axis axis_fill(void *memory, const struct resize_arguments *a, int input, int output,
                             double multiply) {
  struct axis axis;
  axis.low = memory;
  axis.high = axis.low + output;
  axis.first = axis.high + output;
  axis.low_weight = (float *)(axis.first + input + 2);
  axis.high_weight = axis.low_weight + output;
  int next = 0;
  for (int o = 0; o < output; o++) {
    struct resize_source source = resize_source(a, input, output, o);
    axis.low[o] = source.low;
    axis.high[o] = source.high;
    bool alone = source.high == source.low;
    axis.low_weight[o] = (float)(multiply * (alone ? 1 : 1 - source.weight));
    axis.high_weight[o] = (float)(multiply * (alone ? 0 : source.weight));
    while (next <= source.low + 1) axis.first[next++] = o;
  }
  while (next < input + 2) axis.first[next++] = output;
  /* first[i] is now the first output with low >= i-1; those with low i-1 or i may read input i */
  return axis;
}

/* Weight with which output o, one of those that may, reads input i. */
static inline float axis_weight(const struct axis *axis, int o, int i) {
  return axis->low[o] == i ? axis->low_weight[o] : axis->high_weight[o];
}

/* One axis of what is made, forward y and backward dx: element i is the sum of two others with
 * these weights. */
struct duo {
  int *low, *high; /* NULL: some are made of more */
  float *low_weight, *high_weight;
};

static size_t duo_bytes(int made) {
  return (size_t)made * 4 * sizeof(float);
}

static struct duo duo_forward(const struct axis *axis) {
  return (struct duo){axis->low, axis->high, axis->low_weight, axis->high_weight};
}

static struct duo duo_backward(void *memory, const struct axis *axis, int input, int output) {
  float *weights = (float *)memory + 2 * input;
  struct duo duo = {memory, (int *)memory + input, weights, weights + input};
  for (int i = 0; i < input; i++) {
    const int from = axis->first[i], count = axis->first[i + 2] - from;
    if (count > 2) return (struct duo){0};
    duo.low[i] = from < output ? from : output - 1;
    duo.high[i] = from + (count > 1) < output ? from + (count > 1) : output - 1;
    duo.low_weight[i] = count > 0 ? axis_weight(axis, from, i) : 0;
    duo.high_weight[i] = count > 1 ? axis_weight(axis, from + 1, i) : 0;
  }
  return duo;
}

enum { MOST_TAPS = 8, SIMD_WEAVES = SIMD_WIDTH == 16 /* rows are permuted with AVX-512 */ };

/* A row made of another one by vectors: lane i of a vector is the sum over k of weight[k] times
 * element start + place + k of the other row. */
struct weave {
  int taps;    /* 0: not for vectors */
  bool narrow; /* what a vector is made of fits one */
  int *start, *place;
  float *weight[MOST_TAPS];
};

static int whole_vectors(int count) {
  return (count + SIMD_WIDTH - 1) / SIMD_WIDTH * SIMD_WIDTH;
}

static size_t weave_bytes(int count) {
  return (size_t)whole_vectors(count) * (MOST_TAPS + 2) * sizeof(float);
}

static struct weave weave_take(void *memory, int count) {
  const int padded = whole_vectors(count);
  struct weave weave = {.start = memory, .place = (int *)memory + padded};
  for (int k = 0; k < MOST_TAPS; k++) weave.weight[k] = (float *)memory + (k + 2) * padded;
  memset(memory, 0, weave_bytes(count));
  return weave;
}

/* Element i begins at `first`. False where it is too far from its vector's first one. */
static bool weave_place(struct weave *weave, int i, int first) {
  const int vector = i / SIMD_WIDTH;
  if (i % SIMD_WIDTH == 0) weave->start[vector] = first;
  weave->place[i] = first - weave->start[vector];
  return weave->place[i] < SIMD_WINDOW;
}

static void weave_measure(struct weave *weave, int count) {
  weave->narrow = weave->taps > 0 && weave->taps <= 4;
  for (int i = 0; i < count; i++)
    if (weave->place[i] + weave->taps > SIMD_WIDTH) weave->narrow = false;
}

static struct weave weave_forward(void *memory, const struct axis *w, int output) {
  struct weave weave = weave_take(memory, output);
  bool fits = SIMD_WEAVES;
  for (int o = 0; o < output; o++) {
    fits = weave_place(&weave, o, w->low[o]) && fits;
    weave.weight[w->high[o] - w->low[o]][o] += w->high_weight[o];
    weave.weight[0][o] += w->low_weight[o];
  }
  weave.taps = fits ? 2 : 0;
  weave_measure(&weave, output);
  return weave;
}

static struct weave weave_backward(void *memory, const struct axis *w, int input) {
  struct weave weave = weave_take(memory, input);
  bool fits = SIMD_WEAVES;
  for (int i = 0; i < input; i++) {
    int count = w->first[i + 2] - w->first[i];
    fits = weave_place(&weave, i, w->first[i]) && count <= MOST_TAPS && fits;
    for (int k = 0; k < count && k < MOST_TAPS; k++)
      weave.weight[k][i] = axis_weight(w, w->first[i] + k, i);
    if (count > weave.taps) weave.taps = count;
  }
  if (!fits) weave.taps = 0;
  weave_measure(&weave, input);
  return weave;
}
