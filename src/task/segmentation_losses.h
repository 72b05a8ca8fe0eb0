/* The losses of segmentation as segmentation.loss names them. */
#pragma once
#include "task/segmentation.h"

/* Training: adds the losses of logits against truth (segmentation_inputs) and, where segmentation.
 * scope asks for it and more than one slot makes it matter, the input TASK_SUMS. PURPOSE_SUMS: adds
 * the output of that name. */
CHECKED enum status segmentation_add_losses(const struct segmentation_view *view,
                                            enum purpose purpose, int logits, int truth,
                                            struct graph *graph);
