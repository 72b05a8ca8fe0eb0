/* The CUDA Runtime API as far as this project calls it, for a "GPU" that is the CPU: the same
 * names, arguments and errors as CUDA 13's. There are as many devices as the environment variable
 * CUDA_SHIM_DEVICES says, by default none. Where CUDA leaves behaviour undefined (memory that is
 * not what it is said to be, barriers that not all threads reach) the shim says what is wrong and
 * aborts. Other variables:
 *   CUDA_SHIM_ORDER   in which order threads run between barriers, and blocks: ascending (default),
 *                     descending, or shuffled:SEED. Results must not depend on it
 *   CUDA_SHIM_LAZY=1  work on a stream is done when something waits for it, as late as CUDA may
 *   CUDA_SHIM_MEMORY  bytes of a device (16 GiB)
 *   CUDA_SHIM_REPORT  a file: at exit a line "launches kernel" is appended for each kernel */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CUDART_VERSION 13000

#define CUDA_SHIM_ERRORS(ERROR)                                                               \
  ERROR(cudaSuccess, 0, "no error")                                                           \
  ERROR(cudaErrorInvalidValue, 1, "invalid argument")                                         \
  ERROR(cudaErrorMemoryAllocation, 2, "out of memory")                                        \
  ERROR(cudaErrorInvalidConfiguration, 9, "invalid configuration argument")                   \
  ERROR(cudaErrorNoDevice, 100, "no CUDA-capable device is detected")                         \
  ERROR(cudaErrorInvalidDevice, 101, "invalid device ordinal")                                \
  ERROR(cudaErrorInvalidResourceHandle, 400, "invalid resource handle")                       \
  ERROR(cudaErrorNotReady, 600, "device not ready")                                           \
  ERROR(cudaErrorPeerAccessAlreadyEnabled, 704, "peer access is already enabled")             \
  ERROR(cudaErrorNotSupported, 801, "operation not supported")                                \
  ERROR(cudaErrorStreamCaptureUnsupported, 900,                                               \
        "operation not permitted when stream is capturing")                                   \
  ERROR(cudaErrorStreamCaptureInvalidated, 901,                                               \
        "operation failed due to a previous error during capture")                            \
  ERROR(cudaErrorStreamCaptureUnjoined, 904, "capturing stream has unjoined work")            \
  ERROR(cudaErrorStreamCaptureIsolation, 905,                                                 \
        "dependency created on uncaptured work in another stream")                            \
  ERROR(cudaErrorIllegalState, 401, "the operation cannot be performed in the present state") \
  ERROR(cudaErrorUnknown, 999, "unknown error")

typedef enum cudaError {
#define CUDA_SHIM_ERROR(name, value, text) name = value,
  CUDA_SHIM_ERRORS(CUDA_SHIM_ERROR)
#undef CUDA_SHIM_ERROR
} cudaError_t;

const char *cudaGetErrorName(cudaError_t code);
const char *cudaGetErrorString(cudaError_t code);
cudaError_t cudaGetLastError(void);
cudaError_t cudaPeekAtLastError(void);

/* --- devices --- */

struct cudaDeviceProp {
  char name[256];
  struct {
    char bytes[16];
  } uuid;
  size_t totalGlobalMem, sharedMemPerBlock, sharedMemPerBlockOptin, sharedMemPerMultiprocessor;
  int major, minor, multiProcessorCount, warpSize, regsPerBlock, regsPerMultiprocessor;
  int maxThreadsPerBlock, maxThreadsPerMultiProcessor, maxBlocksPerMultiProcessor;
  int maxThreadsDim[3], maxGridSize[3];
  int l2CacheSize, memoryBusWidth, asyncEngineCount, concurrentKernels, unifiedAddressing;
  int pciDomainID, pciBusID, pciDeviceID, canMapHostMemory, integrated, ECCEnabled;
};

enum cudaDeviceAttr {
  cudaDevAttrMaxThreadsPerBlock = 1,
  cudaDevAttrMaxSharedMemoryPerBlock = 8,
  cudaDevAttrWarpSize = 10,
  cudaDevAttrClockRate = 13,
  cudaDevAttrMultiProcessorCount = 16,
  cudaDevAttrMemoryClockRate = 36,
  cudaDevAttrGlobalMemoryBusWidth = 37,
  cudaDevAttrL2CacheSize = 38,
  cudaDevAttrMaxThreadsPerMultiProcessor = 39,
  cudaDevAttrComputeCapabilityMajor = 75,
  cudaDevAttrComputeCapabilityMinor = 76,
  cudaDevAttrMaxSharedMemoryPerMultiprocessor = 81,
  cudaDevAttrMaxSharedMemoryPerBlockOptin = 97,
};

cudaError_t cudaGetDeviceCount(int *count);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDevice(int *device);
cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *properties, int device);
cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int device);
cudaError_t cudaDeviceGetPCIBusId(char *text, int bytes, int device);
cudaError_t cudaDeviceCanAccessPeer(int *can, int device, int peer);
cudaError_t cudaDeviceEnablePeerAccess(int peer, unsigned flags);
cudaError_t cudaDeviceSynchronize(void);
cudaError_t cudaDriverGetVersion(int *version);
cudaError_t cudaRuntimeGetVersion(int *version);

/* --- streams, events and memory --- */

typedef struct shim_stream *cudaStream_t;
typedef struct shim_event *cudaEvent_t;
typedef struct shim_graph *cudaGraph_t;
typedef struct shim_graph_exec *cudaGraphExec_t;

#define cudaStreamDefault 0U
#define cudaStreamNonBlocking 1U
#define cudaEventDefault 0U
#define cudaEventBlockingSync 1U
#define cudaEventDisableTiming 2U
#define cudaEventWaitDefault 0U
#define cudaHostAllocDefault 0U
#define cudaHostAllocPortable 1U
#define cudaHostAllocMapped 2U
#define cudaHostAllocWriteCombined 4U

enum cudaMemcpyKind {
  cudaMemcpyHostToHost = 0,
  cudaMemcpyHostToDevice = 1,
  cudaMemcpyDeviceToHost = 2,
  cudaMemcpyDeviceToDevice = 3,
  cudaMemcpyDefault = 4,
};

enum cudaMemoryType {
  cudaMemoryTypeUnregistered = 0,
  cudaMemoryTypeHost = 1,
  cudaMemoryTypeDevice = 2,
};
struct cudaPointerAttributes {
  enum cudaMemoryType type;
  int device;
  void *devicePointer, *hostPointer;
};

cudaError_t cudaMalloc(void **memory, size_t bytes);
cudaError_t cudaFree(void *memory);
cudaError_t cudaMemGetInfo(size_t *available, size_t *total);
cudaError_t cudaHostAlloc(void **memory, size_t bytes, unsigned flags);
cudaError_t cudaMallocHost(void **memory, size_t bytes);
cudaError_t cudaFreeHost(void *memory);
cudaError_t cudaPointerGetAttributes(struct cudaPointerAttributes *attributes, const void *memory);
cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                            cudaStream_t stream);
cudaError_t cudaMemset(void *memory, int byte, size_t bytes);
cudaError_t cudaMemsetAsync(void *memory, int byte, size_t bytes, cudaStream_t stream);

cudaError_t cudaStreamCreate(cudaStream_t *stream);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags);
cudaError_t cudaStreamCreateWithPriority(cudaStream_t *stream, unsigned flags, int priority);
cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamQuery(cudaStream_t stream);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags);
typedef void (*cudaHostFn_t)(void *data);
cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void *data);

cudaError_t cudaEventCreate(cudaEvent_t *event);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventQuery(cudaEvent_t event);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t from, cudaEvent_t to);

/* --- graphs, by stream capture --- */

enum cudaStreamCaptureMode {
  cudaStreamCaptureModeGlobal = 0,
  cudaStreamCaptureModeThreadLocal = 1,
  cudaStreamCaptureModeRelaxed = 2,
};
enum cudaStreamCaptureStatus {
  cudaStreamCaptureStatusNone = 0,
  cudaStreamCaptureStatusActive = 1,
  cudaStreamCaptureStatusInvalidated = 2,
};

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph);
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, enum cudaStreamCaptureStatus *status);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph,
                                 unsigned long long flags);
cudaError_t cudaGraphUpload(cudaGraphExec_t exec, cudaStream_t stream);
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec);

/* --- functions --- */

enum cudaFuncAttribute {
  cudaFuncAttributeMaxDynamicSharedMemorySize = 8,
  cudaFuncAttributePreferredSharedMemoryCarveout = 9,
};
enum cudaSharedCarveout {
  cudaSharedmemCarveoutDefault = -1,
  cudaSharedmemCarveoutMaxShared = 100,
  cudaSharedmemCarveoutMaxL1 = 0,
};
cudaError_t cudaFuncSetAttribute(const void *function, enum cudaFuncAttribute attribute, int value);

#ifdef __cplusplus
}
#endif
