/* Tensors joined along their channels, in the order of the inputs; no arguments. */
#pragma once
#include "kernels/op.h"

/* The first channel of y that comes from an input. */
int concat_first_channel(const struct node *node, int input);
