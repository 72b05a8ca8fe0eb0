/* What the shim's own files share. */
#pragma once
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>
#include "cuda_runtime_api.h"

/* SHIM_ASAN: kernels are compiled with the address sanitizer; the shim itself never is. */
#ifdef SHIM_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define SHIM_POISON(memory, bytes) __asan_poison_memory_region(memory, bytes)
#define SHIM_UNPOISON(memory, bytes) __asan_unpoison_memory_region(memory, bytes)
#else
#define SHIM_POISON(memory, bytes) ((void)(memory), (void)(bytes))
#define SHIM_UNPOISON(memory, bytes) ((void)(memory), (void)(bytes))
#endif

/* Held by every call of the API: calls of several threads take turns. */
extern std::recursive_mutex shim_mutex;
using shim_lock = std::lock_guard<std::recursive_mutex>;

/* Remembers an error for cudaGetLastError and returns it. */
cudaError_t shim_error(cudaError_t code);
/* Says what is wrong, where, and aborts. */
[[noreturn]] void shim_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Where the running kernel is, for messages; "" outside of kernels. */
std::string shim_position();

/* --- memory.cpp --- */
bool shim_lazy();
int shim_device_count();
int shim_device();
/* Device memory is within reach of the process while one of these lives. */
struct shim_reach {
  shim_reach();
  ~shim_reach();
  shim_reach(const shim_reach &) = delete;
};
/* Aborts unless the bytes are within one allocation of a device. */
void shim_check_device(const void *memory, size_t bytes, const char *what);
bool shim_is_device(const void *memory); /* an address of the devices' range, allocated or not */
bool shim_is_pinned(const void *memory);
/* Aborts if a kernel wrote between allocations. */
void shim_check_margins();

/* --- stream.cpp --- */

/* Work that is done in order: that of a stream, or of one of the streams of a captured graph. */
struct shim_queue {
  struct work {
    std::function<void()> run;
    std::shared_ptr<shim_queue> after; /* set: waits until that queue has finished `position` */
    size_t position;
    std::function<bool()> ready; /* set: what is waited for comes from outside, such as a message */
  };
  std::deque<work> works; /* a stream's: without those that are finished */
  size_t issued = 0, finished = 0;
  bool keep = false; /* a graph's: to be done again */
};
/* Does a queue's work up to a position, and before it what that waits for; false: not all of it is
 * ready. dry: does nothing. */
bool shim_try(shim_queue &queue, size_t position, bool dry = false);
/* Waits until it is. */
void shim_run(shim_queue &queue, size_t position, bool dry = false);

struct shim_capture;
struct shim_stream {
  std::shared_ptr<shim_queue> queue;
  int device;
  bool blocking;         /* waits for the default stream, and that for it */
  shim_capture *capture; /* not NULL: work is recorded there, */
  size_t number;         /* in the queue of this number */
};
/* NULL: the default stream of the current device. */
shim_stream *shim_stream_of(cudaStream_t stream);
/* Gives a stream work: recorded while it captures, else queued, and done at once unless lazy. */
cudaError_t shim_issue(cudaStream_t stream, shim_queue::work work);
/* Also does it. An error while a capture forbids to wait. */
cudaError_t shim_finish(cudaStream_t stream);
void shim_finish_all();

/* --- graph.cpp --- */
struct shim_capture {
  shim_stream *origin;
  cudaStreamCaptureMode mode;
  std::thread::id thread;
  bool invalid;
  std::vector<shim_stream *> streams;
  std::vector<std::shared_ptr<shim_queue>> queues; /* one of each stream */
};
/* cudaErrorStreamCaptureUnsupported, and the end of the capture, where a capture forbids calls that
 * wait or allocate. */
cudaError_t shim_capture_permits();
void shim_capture_join(shim_stream *stream, shim_capture *capture);

/* --- fiber.cpp --- */
struct cuda_shim_launch;
/* Runs all blocks of a launch. */
void shim_run_blocks(const cuda_shim_launch &launch);
