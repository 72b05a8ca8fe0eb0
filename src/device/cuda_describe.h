/* The CUDA devices of a node in words. Private to this room. */
#pragma once
#include <stdio.h>

void cuda_describe(FILE *out);
