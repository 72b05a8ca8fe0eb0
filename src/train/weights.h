/* Weights between checkpoints and a plan's flat block. */
#pragma once
#include "graph/plan.h"
#include "store/checkpoint.h"

/* What checkpoint tensors of a kind are called: "weights/" + the parameter's name. */
#define WEIGHTS_PREFIX "weights/"
#define AVERAGE_PREFIX "average/"

/* Copies the tensors prefix + parameter name into the flat block (float32), those of statistics
 * only if asked for. A missing tensor or another shape is an error that names file and tensor,
 * expected and found. */
CHECKED enum status weights_take(const struct checkpoint *checkpoint, const struct plan *plan,
                                 const char *prefix, bool statistics, float *block);

/* Reads the weights of a checkpoint file: the moving average if it holds one, else the weights. The
 * block lies on the host. */
CHECKED enum status weights_read(const char *path, const struct plan *plan, float *block);

/* The same to a block in the device's memory. */
CHECKED enum status weights_load(const char *path, const struct plan *plan, struct device *device,
                                 float *block);

/* The flat block, with or without its statistics, as named tensors that point into it; names are
 * new strings. Appends to tensors[*count ...]. */
CHECKED enum status weights_list(const struct plan *plan, const char *prefix, bool statistics,
                                 float *block, struct stored_tensor *tensors, int *count);
