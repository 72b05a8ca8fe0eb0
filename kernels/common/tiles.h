/* The matrix tiles of x86 processors (AMX: Intel 64 and IA-32 Architectures Software Developer's
 * Manual, volume 1, chapter 18): tdpbf16ps adds the products of 16 rows of 32 values and 16 columns
 * of as many, summed in float32; it takes subnormal numbers for zeros. Whether the processor has
 * them, and the system lets this process use them, is asked at run time. */
#pragma once
#include <stdbool.h>
#if defined __x86_64__
#include <immintrin.h>
#define TILES_TARGET __attribute__((target("amx-tile,amx-bf16")))
#else
#define TILES_TARGET
#endif

/* Whether there are tiles; asks the system for them once. */
bool tiles_available(void);

/* Around a thread's use of tiles: all eight are 16 rows of 64 bytes. */
TILES_TARGET void tiles_begin(void);
TILES_TARGET void tiles_end(void);
