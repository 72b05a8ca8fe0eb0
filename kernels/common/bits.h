/* Logits of structures that may overlap against a truth of one bit each: what loss_bce and
 * loss_dice share. Logits are [n K d h w], the truth uint8 [n ceil(K/8) d h w] whose channel c/8
 * holds channel c in bit c%8 (counted from the lowest); bits past K are not read. */
#pragma once
#include "kernels/op.h"

/* Checks x[0] against x[1]; `loss` names the operator in messages. */
CHECKED enum status bits_check(const struct node *node, const char *loss);
