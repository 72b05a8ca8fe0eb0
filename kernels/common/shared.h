/* HOST_DEVICE stands in front of small functions that kernels of the CPU and of the GPU share, so
 * that a formula is written once. Such functions are plain C that is C++, too. */
#pragma once

#ifdef __CUDACC__
#define HOST_DEVICE __host__ __device__
#else
#define HOST_DEVICE
#endif
