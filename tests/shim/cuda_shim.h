/* CUDA C++ for the CPU: what kernels/common/cuda.h includes where the compiler is not nvcc. Blocks
 * run one after another, the threads of a block as fibers (fiber.cpp); __shared__ is static memory.
 * Floating-point atomics are not there: sums here have a fixed order. What cannot be shown here:
 * unset static __shared__ memory, blocks that wait for each other, the memory model, speed. */
#pragma once
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <functional>
#include <string_view>
#include <tuple>
#include <type_traits>
#include "cuda_runtime_api.h"
#include "cuda_shim_types.h"

#define __global__
#define __device__
#define __host__
#define __constant__
#define __shared__ static
#define __forceinline__ inline __attribute__((always_inline))
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __launch_bounds__(...)
#define __grid_constant__

inline constexpr int warpSize = 32;
inline uint3 threadIdx, blockIdx; /* set by fiber.cpp before a thread goes on */
inline dim3 blockDim, gridDim;

/* --- launches --- */

/* One launch, its arguments bound. Aborts on a configuration that a GPU would refuse. */
struct cuda_shim_launch {
  std::string_view name, within; /* the kernel as written, and __PRETTY_FUNCTION__ there */
  const void *function;
  dim3 grid, block;
  size_t shared_bytes;
  std::function<void()> thread;
};
void cuda_shim_queue(cudaStream_t stream, cuda_shim_launch launch);
/* Aborts unless `memory` is NULL or memory that kernels may use; `name` for the message. */
void cuda_shim_check_argument(const cuda_shim_launch &launch, const void *memory);
unsigned char *cuda_shim_dynamic_shared(size_t alignment);

template <typename... P, typename... A>
void cuda_shim_start(cuda_shim_launch launch, cudaStream_t stream, void (*kernel)(P...),
                     A &&...arguments) {
  static_assert(sizeof...(P) == sizeof...(A), "a kernel needs all its arguments");
  std::tuple<std::remove_cv_t<P>...> values(static_cast<P>(arguments)...);
  auto check = [&](const auto &value) {
    if constexpr (std::is_pointer_v<std::remove_cvref_t<decltype(value)>>)
      cuda_shim_check_argument(launch, (const void *)value);
  };
  std::apply([&](const auto &...value) { (check(value), ...); }, values);
  launch.function = (const void *)kernel;
  launch.thread = [kernel, values] { std::apply(kernel, values); };
  cuda_shim_queue(stream, std::move(launch));
}

#define CUDA_LAUNCH(kernel, grid, block, shared_bytes, stream, ...)                       \
  cuda_shim_start({#kernel, __PRETTY_FUNCTION__, nullptr, grid, block, shared_bytes, {}}, \
                  cuda_stream(stream), kernel __VA_OPT__(, ) __VA_ARGS__)
#define CUDA_DYNAMIC_SHARED(type, name) \
  type *name = reinterpret_cast<type *>(cuda_shim_dynamic_shared(alignof(type)))

template <typename... P>
cudaError_t cudaFuncSetAttribute(void (*kernel)(P...), cudaFuncAttribute attribute, int value) {
  return cudaFuncSetAttribute((const void *)kernel, attribute, value);
}

/* --- barriers --- */

struct cuda_shim_line {
  const char *file;
  int line;
};

/* Counts the threads of the block for which `vote` is not 0. All must come, to the same line. */
int cuda_shim_barrier(int vote, cuda_shim_line here);

#define CUDA_SHIM_HERE cuda_shim_line here = {__builtin_FILE(), __builtin_LINE()}
inline void __syncthreads(CUDA_SHIM_HERE) {
  cuda_shim_barrier(0, here);
}
inline int __syncthreads_count(int predicate, CUDA_SHIM_HERE) {
  return cuda_shim_barrier(predicate, here);
}
inline int __syncthreads_or(int predicate, CUDA_SHIM_HERE) {
  return cuda_shim_barrier(predicate, here) != 0;
}
inline int __syncthreads_and(int predicate, CUDA_SHIM_HERE) {
  return cuda_shim_barrier(!predicate, here) == 0;
}
inline void __threadfence() {
}
inline void __threadfence_block() {
}
inline void __threadfence_system() {
}

/* --- warps --- */

enum { CUDA_SHIM_EXCHANGE_BYTES = 256 }; /* what a lane brings at most */

/* Waits for all lanes of `mask` that have not returned, which must name the same mask, operation
 * and bytes; each brings `mine`. */
void cuda_shim_warp(unsigned mask, const char *operation, const void *mine, size_t bytes);
/* What a lane brought to the calling lane's last warp operation; all bits set if it was not there.
 */
const void *cuda_shim_lane(int lane);
int cuda_shim_lane_id();

/* For instructions of full warps: waits as cuda_shim_warp; the last lane to come calls `finish` for
 * all, with each lane's `mine`, which stays in the lane's own memory. */
using cuda_shim_finish = void(void *const (&lanes)[warpSize]);
void cuda_shim_warp_together(const char *operation, void *mine, cuda_shim_finish *finish);

/* Gives every lane of a full warp what all 32 lanes have: `all` is 32 times `bytes`, by lane. */
inline void cuda_shim_exchange(const void *mine, size_t bytes, void *all) {
  cuda_shim_warp(0xffffffff, "a warp-wide instruction", mine, bytes);
  for (int lane = 0; lane < warpSize; lane++)
    memcpy((char *)all + (size_t)lane * bytes, cuda_shim_lane(lane), bytes);
}

inline void __syncwarp(unsigned mask = 0xffffffff) {
  cuda_shim_warp(mask, "__syncwarp", nullptr, 0);
}

template <typename T>
T cuda_shim_shuffle(unsigned mask, const char *operation, T value, int source) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8 || sizeof(T) == 2, "shuffles move 2 to 8 bytes");
  cuda_shim_warp(mask, operation, &value, sizeof value);
  memcpy(&value, cuda_shim_lane(source), sizeof value);
  return value;
}
template <typename T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
  int segment = cuda_shim_lane_id() & -width;
  return cuda_shim_shuffle(mask, "__shfl_sync", value, segment + (source & (width - 1)));
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  int lane = cuda_shim_lane_id(), source = lane - (int)delta;
  return cuda_shim_shuffle(mask, "__shfl_up_sync", value, source < (lane & -width) ? lane : source);
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  int lane = cuda_shim_lane_id(), source = lane + (int)delta;
  return cuda_shim_shuffle(mask, "__shfl_down_sync", value,
                           source >= (lane & -width) + width ? lane : source);
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32) {
  int lane = cuda_shim_lane_id(), source = lane ^ bits;
  return cuda_shim_shuffle(mask, "__shfl_xor_sync", value,
                           source >= (lane & -width) + width ? lane : source);
}

unsigned cuda_shim_ballot(unsigned mask, const char *operation, bool vote);
inline unsigned __ballot_sync(unsigned mask, int predicate) {
  return cuda_shim_ballot(mask, "__ballot_sync", predicate != 0);
}
inline int __any_sync(unsigned mask, int predicate) {
  return cuda_shim_ballot(mask, "__any_sync", predicate != 0) != 0;
}
inline int __all_sync(unsigned mask, int predicate) {
  return cuda_shim_ballot(mask, "__all_sync", predicate == 0) == 0;
}
/* The lanes that have not returned. */
unsigned __activemask();

template <typename T, typename F>
T cuda_shim_reduce(unsigned mask, const char *operation, T value, F fold) {
  cuda_shim_warp(mask, operation, &value, sizeof value);
  for (int lane = 0, own = cuda_shim_lane_id(); lane < warpSize; lane++) {
    T other;
    memcpy(&other, cuda_shim_lane(lane), sizeof other);
    if (lane != own && mask >> lane & 1) value = fold(value, other);
  }
  return value;
}
template <typename T>
T __reduce_add_sync(unsigned mask, T value) {
  static_assert(std::is_integral_v<T> && sizeof(T) == 4);
  return cuda_shim_reduce(mask, "__reduce_add_sync", value, [](T a, T b) { return a + b; });
}
template <typename T>
T __reduce_max_sync(unsigned mask, T value) {
  return cuda_shim_reduce(mask, "__reduce_max_sync", value, [](T a, T b) { return a < b ? b : a; });
}
template <typename T>
T __reduce_min_sync(unsigned mask, T value) {
  return cuda_shim_reduce(mask, "__reduce_min_sync", value, [](T a, T b) { return b < a ? b : a; });
}

/* --- atomics of integers; threads of a process take turns, so these need not be atomic --- */

#define CUDA_SHIM_ATOMIC(name, expression)                  \
  template <typename T>                                     \
  T name(T *memory, std::type_identity_t<T> value) {        \
    static_assert(std::is_integral_v<T> && sizeof(T) >= 4); \
    T old = *memory;                                        \
    *memory = expression;                                   \
    return old;                                             \
  }
CUDA_SHIM_ATOMIC(atomicAdd, old + value)
CUDA_SHIM_ATOMIC(atomicSub, old - value)
CUDA_SHIM_ATOMIC(atomicMin, value < old ? value : old)
CUDA_SHIM_ATOMIC(atomicMax, old < value ? value : old)
CUDA_SHIM_ATOMIC(atomicAnd, old &value)
CUDA_SHIM_ATOMIC(atomicOr, old | value)
CUDA_SHIM_ATOMIC(atomicXor, old ^ value)
CUDA_SHIM_ATOMIC(atomicExch, value)
CUDA_SHIM_ATOMIC(atomicInc, old >= value ? 0 : old + 1)
#undef CUDA_SHIM_ATOMIC
template <typename T>
T atomicCAS(T *memory, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
  T old = *memory;
  if (old == expected) *memory = value;
  return old;
}

/* --- loads, stores, bits, arithmetic --- */

#define CUDA_SHIM_LOAD(name) \
  template <typename T>      \
  T name(const T *memory) {  \
    return *memory;          \
  }
CUDA_SHIM_LOAD(__ldg)
CUDA_SHIM_LOAD(__ldca)
CUDA_SHIM_LOAD(__ldcg)
CUDA_SHIM_LOAD(__ldcs)
CUDA_SHIM_LOAD(__ldlu)
CUDA_SHIM_LOAD(__ldcv)
#undef CUDA_SHIM_LOAD
#define CUDA_SHIM_STORE(name)                           \
  template <typename T>                                 \
  void name(T *memory, std::type_identity_t<T> value) { \
    *memory = value;                                    \
  }
CUDA_SHIM_STORE(__stwb)
CUDA_SHIM_STORE(__stcg)
CUDA_SHIM_STORE(__stcs)
CUDA_SHIM_STORE(__stwt)
#undef CUDA_SHIM_STORE
inline size_t __cvta_generic_to_shared(const void *memory) {
  return (size_t)memory;
}

template <typename To, typename From>
To cuda_shim_cast(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  memcpy(&to, &from, sizeof to);
  return to;
}
#define CUDA_SHIM_FUNCTION(result, name, argument, expression) \
  inline result name(argument x) {                             \
    return expression;                                         \
  }
CUDA_SHIM_FUNCTION(int, __float_as_int, float, cuda_shim_cast<int>(x))
CUDA_SHIM_FUNCTION(unsigned, __float_as_uint, float, cuda_shim_cast<unsigned>(x))
CUDA_SHIM_FUNCTION(float, __int_as_float, int, cuda_shim_cast<float>(x))
CUDA_SHIM_FUNCTION(float, __uint_as_float, unsigned, cuda_shim_cast<float>(x))
CUDA_SHIM_FUNCTION(long long, __double_as_longlong, double, cuda_shim_cast<long long>(x))
CUDA_SHIM_FUNCTION(double, __longlong_as_double, long long, cuda_shim_cast<double>(x))
CUDA_SHIM_FUNCTION(int, __popc, unsigned, __builtin_popcount(x))
CUDA_SHIM_FUNCTION(int, __popcll, unsigned long long, __builtin_popcountll(x))
CUDA_SHIM_FUNCTION(int, __clz, int, x ? __builtin_clz((unsigned)x) : 32)
CUDA_SHIM_FUNCTION(int, __clzll, long long, x ? __builtin_clzll((unsigned long long)x) : 64)
CUDA_SHIM_FUNCTION(int, __ffs, int, __builtin_ffs(x))
CUDA_SHIM_FUNCTION(int, __ffsll, long long, __builtin_ffsll(x))
CUDA_SHIM_FUNCTION(int, __float2int_rd, float, (int)floorf(x))
CUDA_SHIM_FUNCTION(int, __float2int_ru, float, (int)ceilf(x))
CUDA_SHIM_FUNCTION(int, __float2int_rz, float, (int)x)
CUDA_SHIM_FUNCTION(int, __float2int_rn, float, (int)rintf(x))
CUDA_SHIM_FUNCTION(float, __int2float_rn, int, (float)x)
CUDA_SHIM_FUNCTION(float, __uint2float_rn, unsigned, (float)x)
CUDA_SHIM_FUNCTION(float, __double2float_rn, double, (float)x)
CUDA_SHIM_FUNCTION(float, rsqrtf, float, 1 / sqrtf(x))
CUDA_SHIM_FUNCTION(double, rsqrt, double, 1 / sqrt(x))
CUDA_SHIM_FUNCTION(float, __frcp_rn, float, 1 / x)
CUDA_SHIM_FUNCTION(float, __fsqrt_rn, float, sqrtf(x))
CUDA_SHIM_FUNCTION(float, __saturatef, float, fminf(fmaxf(x, 0), 1))
#undef CUDA_SHIM_FUNCTION
inline float __fmaf_rn(float x, float y, float z) {
  return fmaf(x, y, z);
}
inline float __fmul_rn(float x, float y) {
  return x * y;
}
inline float __fadd_rn(float x, float y) {
  return x + y;
}
inline float __fsub_rn(float x, float y) {
  return x - y;
}
inline float __fdiv_rn(float x, float y) {
  return x / y;
}
inline double __dmul_rn(double x, double y) {
  return x * y;
}
inline double __dadd_rn(double x, double y) {
  return x + y;
}
inline unsigned __umulhi(unsigned x, unsigned y) {
  return (unsigned)((uint64_t)x * y >> 32);
}
inline int __mul24(int x, int y) {
  return x * y;
}
/* Of mixed types, too, like CUDA's; fmin and fmax of floating point: a NaN loses. */
template <typename A, typename B>
requires std::is_arithmetic_v<A> && std::is_arithmetic_v<B>
auto min(A a, B b) {
  using T = std::common_type_t<A, B>;
  if constexpr (std::is_floating_point_v<T>)
    return (T)std::fmin((T)a, (T)b);
  else
    return (T)a < (T)b ? (T)a : (T)b;
}
template <typename A, typename B>
requires std::is_arithmetic_v<A> && std::is_arithmetic_v<B>
auto max(A a, B b) {
  using T = std::common_type_t<A, B>;
  if constexpr (std::is_floating_point_v<T>)
    return (T)std::fmax((T)a, (T)b);
  else
    return (T)a < (T)b ? (T)b : (T)a;
}
