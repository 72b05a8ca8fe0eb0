/* What code that calls CUDA shares: its errors as ours. Included by files of the CUDA device only.
 */
#pragma once
#include <cuda_runtime_api.h>
#include "base/status.h"
#include "device/device.h"

/* STATUS_FAILED with the call and CUDA's own words, unless `code` is cudaSuccess. */
CHECKED enum status cuda_status(cudaError_t code, const char *call, const char *file, int line);

#define CUDA_TRY(call)                                                             \
  do {                                                                             \
    enum status cuda_try_status_ = cuda_status((call), #call, __FILE__, __LINE__); \
    if (cuda_try_status_ != STATUS_OK) return cuda_try_status_;                    \
  } while (0)

static inline cudaStream_t cuda_stream(const struct stream *stream) {
  return (cudaStream_t)stream->handle;
}

/* Whether the kernels launched since the last call could be started; `what` for the message. */
CHECKED enum status cuda_launched(const char *what);
