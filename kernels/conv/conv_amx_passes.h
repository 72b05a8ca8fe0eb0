/* The passes on tiles, for the kernels that are made of them. */
#pragma once
#include "kernels/conv/conv_amx.h"
#include "kernels/conv/conv_bf16.h"

/* Whether the passes apply, and those. */
bool SIMD_NAME(conv_amx_applies)(const struct node *node);
extern const struct conv_passes SIMD_NAME(conv_amx_passes);
