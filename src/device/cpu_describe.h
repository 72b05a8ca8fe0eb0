/* The CPU of a node in words. */
#pragma once
#include <stdio.h>

/* The processor's name; "unknown" if the system does not say. */
void cpu_model(char *name, size_t bytes);

/* "AVX-512", "AVX2" or "plain vectors": what the kernels use of it. */
const char *cpu_instruction_set(void);

void cpu_describe(FILE *out);
