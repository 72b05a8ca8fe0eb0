/* How an operator's table lists its CUDA kernels: present in builds with the CUDA device, absent in
 * others. NAME_cuda.cu defines them with CUDA_KERNEL (kernels/common/cuda.h). Best first. */
#pragma once

#ifdef MEDTRAIN_HAS_CUDA
/* for float32 activations */
#define CUDA_DECLARE_F32(name) extern const struct kernel name##_f32
#define CUDA_KERNELS_F32(name) &name##_f32,
/* for float32, bfloat16 and float16 */
#define CUDA_DECLARE(name) extern const struct kernel name##_f32, name##_bf16, name##_f16
#define CUDA_KERNELS(name) &name##_f32, &name##_bf16, &name##_f16,
/* for tables of another struct */
#define CUDA_DECLARE_OTHER(type, name) extern const struct type name
#define CUDA_OTHER(name) &name,
#else
#define CUDA_DECLARE_F32(name) struct kernel
#define CUDA_KERNELS_F32(name)
#define CUDA_DECLARE(name) struct kernel
#define CUDA_KERNELS(name)
#define CUDA_DECLARE_OTHER(type, name) struct type
#define CUDA_OTHER(name)
#endif

#ifdef MEDTRAIN_HAS_CUDNN
#define CUDNN_DECLARE(name) CUDA_DECLARE(name)
#define CUDNN_KERNELS(name) CUDA_KERNELS(name)
#else
#define CUDNN_DECLARE(name) struct kernel
#define CUDNN_KERNELS(name)
#endif
