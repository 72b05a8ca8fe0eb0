/* Products of bfloat16 on the CPU. */
#pragma once
#include "kernels/common/simd.h"

/* A piece of work by all threads, the fastest that there is: its arithmetic, 0 where the processor
 * multiplies no bfloat16. */
double SIMD_NAME(peak_bf16)(void);
