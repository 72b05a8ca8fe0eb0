/* What the reference of conv computes, for operators that are made of it. */
#pragma once
#include "kernels/common/real.h"
#include "kernels/conv/conv.h"

/* io->y from all inputs (`add`: to what is there); io->dw of the bias, and of input i, whose
 * channels begin at `first` of all; io->dx[i], added to where io->dx_add says so. io->dy is the
 * gradient in front of the activation. */
void REAL_NAME(conv_reference_output)(const struct node *node, const struct io *io, bool add);
void REAL_NAME(conv_reference_bias)(const struct node *node, const struct io *io);
void REAL_NAME(conv_reference_weights)(const struct node *node, const struct io *io, int i,
                                       int first);
void REAL_NAME(conv_reference_data)(const struct node *node, const struct io *io, int i, int first);
