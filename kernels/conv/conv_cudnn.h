/* What stands around cuDNN's convolutions: cuDNN sees one input and one weight tensor of one type,
 * channels last; a node has several inputs, read through upsamplings, in any type and layout, and
 * parameters in float32. Kernels of conv_cudnn_data.cu. Internal to the folder. */
#pragma once
#include "kernels/op.h"

#ifdef __cplusplus
extern "C" {
#endif

/* to [n d h w ci] := all inputs side by side, upsampled where marked, in the node's type. */
CHECKED enum status conv_cudnn_gather(const struct node *node, const struct io *io, void *to,
                                      struct stream *stream);

/* The adjoint: the inputs' wanted gradients from that of the gathered input. */
CHECKED enum status conv_cudnn_scatter(const struct node *node, const struct io *io,
                                       const void *from, struct stream *stream);

/* to [co kd kh kw ci] := the weights [co ci kd kh kw], in the node's type. */
CHECKED enum status conv_cudnn_pack(const struct node *node, const void *w, void *to,
                                    struct stream *stream);

/* dw [co ci kd kh kw] := from [co kd kh kw ci], both float32. */
CHECKED enum status conv_cudnn_unpack(const struct node *node, const void *from, void *dw,
                                      struct stream *stream);

/* y := leaky(y + bias); bias may be NULL. */
CHECKED enum status conv_cudnn_finish(const struct node *node, const void *bias, void *y,
                                      struct stream *stream);

#ifdef __cplusplus
}
#endif
