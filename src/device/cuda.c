/* The CUDA device (CUDA Runtime API): one plain allocation each, streams that do not wait for the
 * default one, events. Compiled where a toolkit was found; the driver is looked for at run time. */
#include "device/cuda.h"
#include "device/cuda_describe.h"
#include <omp.h>
#include "base/text.h"

enum status cuda_status(cudaError_t code, const char *call, const char *file, int line) {
  if (code == cudaSuccess) return STATUS_OK;
  return status_fail(STATUS_FAILED, file, line, "CUDA: %s: %s (%s)", call, cudaGetErrorString(code),
                     cudaGetErrorName(code));
}

enum status cuda_launched(const char *what) {
  return cuda_status(cudaGetLastError(), what, __FILE__, __LINE__);
}

static int cuda_count(const char **why) {
  int count = 0; /* left as it is on errors */
  cudaError_t code = cudaGetDeviceCount(&count);
  if (code != cudaSuccess) count = 0;
  if (why) *why = code == cudaSuccess ? "the driver sees no GPU" : cudaGetErrorString(code);
  cudaGetLastError(); /* CUDA keeps the last error until it is asked for */
  return count;
}

static enum status cuda_open(struct device *device, int ordinal) {
  device->ordinal = ordinal;
  if (device->threads > 0) omp_set_num_threads(device->threads);
  device->threads = omp_get_max_threads();
  CUDA_TRY(cudaSetDevice(ordinal));
  CUDA_TRY(cudaFree(NULL)); /* creates the context now, so that errors come here */
  return STATUS_OK;
}

static void cuda_close(struct device *device) {
  (void)device; /* the context ends with the process: other devices' users may share it */
}

static enum status cuda_allocate(struct device *device, size_t bytes, void **memory) {
  char wanted[32], left[32];
  size_t available = 0, total = 0;
  if (cudaMalloc(memory, bytes ? bytes : 1) == cudaSuccess) return STATUS_OK;
  cudaGetLastError();
  cudaMemGetInfo(&available, &total);
  FAIL(STATUS_FAILED, "cannot allocate %s on GPU %d, which has %s left",
       text_bytes((double)bytes, wanted), device->ordinal, text_bytes((double)available, left));
}

static void cuda_release(struct device *device, void *memory, size_t bytes) {
  (void)device;
  (void)bytes;
  cudaFree(memory);
}

static enum status cuda_allocate_host(struct device *device, size_t bytes, void **memory) {
  (void)device;
  CUDA_TRY(cudaHostAlloc(memory, bytes ? bytes : 1, cudaHostAllocDefault));
  return STATUS_OK;
}

static void cuda_release_host(struct device *device, void *memory, size_t bytes) {
  (void)device;
  (void)bytes;
  if (memory) cudaFreeHost(memory);
}

static enum status cuda_stream_open(struct device *device, struct stream *stream) {
  cudaStream_t handle;
  CUDA_TRY(cudaStreamCreateWithFlags(&handle, cudaStreamNonBlocking));
  *stream = (struct stream){device, handle};
  return STATUS_OK;
}

static void cuda_stream_close(struct stream *stream) {
  if (stream->handle) cudaStreamDestroy(cuda_stream(stream));
  *stream = (struct stream){0};
}

static enum status cuda_copy(struct stream *stream, void *to, const void *from, size_t bytes) {
  CUDA_TRY(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, cuda_stream(stream)));
  return STATUS_OK;
}

static enum status cuda_fill(struct stream *stream, void *memory, int byte, size_t bytes) {
  CUDA_TRY(cudaMemsetAsync(memory, byte, bytes, cuda_stream(stream)));
  return STATUS_OK;
}

static enum status cuda_synchronize(struct stream *stream) {
  CUDA_TRY(cudaStreamSynchronize(cuda_stream(stream)));
  return STATUS_OK;
}

static cudaEvent_t event_handle(const struct event *event) {
  return (cudaEvent_t)event->handle;
}

static enum status cuda_event_open(struct device *device, struct event *event) {
  cudaEvent_t handle;
  CUDA_TRY(cudaEventCreateWithFlags(&handle, cudaEventDefault));
  *event = (struct event){device, handle};
  return STATUS_OK;
}

static void cuda_event_close(struct event *event) {
  if (event->handle) cudaEventDestroy(event_handle(event));
  *event = (struct event){0};
}

static enum status cuda_event_record(struct event *event, struct stream *stream) {
  CUDA_TRY(cudaEventRecord(event_handle(event), cuda_stream(stream)));
  return STATUS_OK;
}

static enum status cuda_event_wait(struct stream *stream, const struct event *event) {
  CUDA_TRY(cudaStreamWaitEvent(cuda_stream(stream), event_handle(event), 0));
  return STATUS_OK;
}

static enum status cuda_event_done(const struct event *event, bool *done) {
  cudaError_t code = cudaEventQuery(event_handle(event));
  *done = code == cudaSuccess;
  if (code == cudaErrorNotReady) return STATUS_OK;
  CUDA_TRY(code);
  return STATUS_OK;
}

static enum status cuda_event_seconds(const struct event *from, const struct event *to,
                                      double *seconds) {
  float milliseconds;
  CUDA_TRY(cudaEventElapsedTime(&milliseconds, event_handle(from), event_handle(to)));
  *seconds = 1e-3 * (double)milliseconds;
  return STATUS_OK;
}

/* Other threads' calls (copies, page-locked memory) go on while this one records. */
static enum status cuda_capture_begin(struct stream *stream) {
  CUDA_TRY(cudaStreamBeginCapture(cuda_stream(stream), cudaStreamCaptureModeThreadLocal));
  return STATUS_OK;
}

static enum status cuda_capture_end(struct stream *stream, struct capture *capture) {
  cudaGraph_t graph = NULL;
  cudaGraphExec_t executable = NULL;
  cudaError_t code = cudaStreamEndCapture(cuda_stream(stream), &graph);
  if (code == cudaSuccess) code = cudaGraphInstantiate(&executable, graph, 0);
  if (graph) cudaGraphDestroy(graph);
  cudaGetLastError();
  CUDA_TRY(code);
  *capture = (struct capture){stream->device, executable};
  return STATUS_OK;
}

static enum status cuda_capture_launch(const struct capture *capture, struct stream *stream) {
  CUDA_TRY(cudaGraphLaunch((cudaGraphExec_t)capture->handle, cuda_stream(stream)));
  return STATUS_OK;
}

static void cuda_capture_close(struct capture *capture) {
  if (capture->handle) cudaGraphExecDestroy((cudaGraphExec_t)capture->handle);
  *capture = (struct capture){0};
}

static enum status cuda_memory(struct device *device, size_t *available, size_t *total) {
  (void)device;
  CUDA_TRY(cudaMemGetInfo(available, total));
  return STATUS_OK;
}

extern const struct device_ops device_cuda;
const struct device_ops device_cuda = {
    .name = "cuda",
    .kind = DEVICE_CUDA,
    .count = cuda_count,
    .open = cuda_open,
    .close = cuda_close,
    .allocate = cuda_allocate,
    .release = cuda_release,
    .allocate_host = cuda_allocate_host,
    .release_host = cuda_release_host,
    .stream_open = cuda_stream_open,
    .stream_close = cuda_stream_close,
    .copy = cuda_copy,
    .fill = cuda_fill,
    .synchronize = cuda_synchronize,
    .event_open = cuda_event_open,
    .event_close = cuda_event_close,
    .event_record = cuda_event_record,
    .event_wait = cuda_event_wait,
    .event_done = cuda_event_done,
    .event_seconds = cuda_event_seconds,
    .capture_begin = cuda_capture_begin,
    .capture_end = cuda_capture_end,
    .capture_launch = cuda_capture_launch,
    .capture_close = cuda_capture_close,
    .memory = cuda_memory,
    .describe = cuda_describe,
};
