/* Dropout (Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov, JMLR 15, 2014): each element
 * becomes 0 with a probability p, and 1/(1-p) times itself else. Inputs: x [n c d h w]; key
 * [n DROPOUT_KEY 1 1 1] float32, a row for each sample, which has no gradient. y like x.
 *
 * Channel c of voxel v, v = (d*H + h)*W + w, is dropped where word c%4 of the block of
 * Philox4x32-10 of the counter (v, c/4, number, 0) under the sample's key is below p * 2^32. So
 * what is dropped does not depend on layout, device, threads, or the other samples, and backward
 * needs nothing but the key: it draws again. */
#pragma once
#include "kernels/op.h"

struct dropout_arguments {
  float probability; /* 0 <= p < 1 */
  unsigned number;   /* of the node in its network, so that no two drop alike */
};

/* A sample's row of the key: two whole numbers below 2^24; the others are not read. DROPOUT_KEY is
 * a multiple of 16, so that they lie side by side in every layout. */
enum { DROPOUT_KEY = CHANNEL_BLOCK };
