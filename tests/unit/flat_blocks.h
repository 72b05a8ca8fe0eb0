/* Weights and gradients for the tests of operators over flat blocks, and the steps that they take.
 */
#pragma once
#include "base/random.h"
#include "check.h"
#include "kernels/adam/adam.h"
#include "kernels/ema/ema.h"
#include "kernels/grad_norm/kernels.h"
#include "kernels/sgd/sgd.h"

enum { COUNT = 40003, STEPS = 5, ARRAYS = 4 };

enum { W, G, M, V };

static const struct adam_step adam_steps[] = {{1e-2, 0.9, 0.999, 1e-8, 0.1, false, 1, 0.5},
                                              {1e-2, 0.8, 0.99, 1e-6, 0.1, true, 1, 0.125}};
static const struct sgd_step sgd_steps[] = {
    {1e-2, 0.1, 0, false, 0.5}, {1e-2, 0.1, 0.9, false, 0.5}, {1e-2, 0, 0.9, true, 0.125}};

/* Weights and gradients over several orders of magnitude; state zero. */
static void fill_blocks(float array[ARRAYS][COUNT]) {
  struct random random = random_stream(3, RANDOM_TEST, 0, 0);
  memset(array[M], 0, sizeof array[M]);
  memset(array[V], 0, sizeof array[V]);
  for (int i = 0; i < COUNT; i++) {
    array[W][i] = (float)random_normal(&random);
    array[G][i] = (float)(random_normal(&random) * pow(10, random_range(&random, -6, 2)));
  }
}
