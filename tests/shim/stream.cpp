/* Streams and events: queues of work. Unless CUDA_SHIM_LAZY is set a queue is done whenever
 * something was added to it. */
#include <sched.h>
#include <time.h>
#include <set>
#include "shim.h"

/* One record of an event. */
struct mark {
  std::shared_ptr<shim_queue> queue;
  size_t position;
  bool done;
  double seconds;
};

struct shim_event {
  std::shared_ptr<mark> last; /* NULL: never recorded */
  shim_capture *capture;      /* not NULL: recorded by a stream that captured */
  bool timing;
};

static std::set<shim_stream *> streams;
static std::map<int, shim_stream> default_streams;
static std::set<shim_event *> events;

bool shim_try(shim_queue &queue, size_t position, bool dry) {
  while (queue.finished < position) {
    shim_queue::work work = queue.keep ? queue.works[queue.finished] : queue.works.front();
    if (work.after && !shim_try(*work.after, work.position, dry)) return false;
    if (work.ready && !dry && !work.ready()) return false;
    if (!queue.keep) queue.works.pop_front();
    if (work.run && !dry) work.run();
    queue.finished++;
  }
  return true;
}

void shim_run(shim_queue &queue, size_t position, bool dry) {
  while (!shim_try(queue, position, dry)) sched_yield();
}

shim_stream *shim_stream_of(cudaStream_t stream) {
  if (!stream) {
    auto [found, is_new] = default_streams.try_emplace(shim_device());
    if (is_new) found->second = {std::make_shared<shim_queue>(), shim_device(), true, nullptr, 0};
    return &found->second;
  }
  if (!streams.count(stream)) shim_fail("no stream, or one that was destroyed: %p", (void *)stream);
  return stream;
}

static void push(shim_queue &queue, shim_queue::work work) {
  queue.works.push_back(std::move(work));
  queue.issued++;
}

/* The default stream's work waits for all blocking streams, and theirs for it. */
static void order_with_default(shim_stream *stream) {
  shim_stream *first = shim_stream_of(nullptr);
  if (stream != first && stream->blocking)
    push(*stream->queue, {nullptr, first->queue, first->queue->issued});
  if (stream != first) return;
  for (shim_stream *other : streams)
    if (other->blocking && other->device == stream->device)
      push(*stream->queue, {nullptr, other->queue, other->queue->issued});
}

cudaError_t shim_issue(cudaStream_t handle, shim_queue::work work) {
  if (shim_device_count() <= 0) return shim_error(cudaErrorNoDevice);
  shim_stream *stream = shim_stream_of(handle);
  if (stream->device != shim_device()) return shim_error(cudaErrorInvalidResourceHandle);
  if (stream->capture) {
    if (stream->capture->invalid) return shim_error(cudaErrorStreamCaptureInvalidated);
    push(*stream->capture->queues[stream->number], std::move(work));
    return cudaSuccess;
  }
  if (!handle)
    if (cudaError_t code = shim_capture_permits()) return code;
  order_with_default(stream);
  push(*stream->queue, std::move(work));
  if (!shim_lazy()) shim_try(*stream->queue, stream->queue->issued);
  return cudaSuccess;
}

cudaError_t shim_finish(cudaStream_t handle) {
  if (shim_device_count() <= 0) return shim_error(cudaErrorNoDevice);
  shim_stream *stream = shim_stream_of(handle);
  if (stream->capture) {
    stream->capture->invalid = true;
    return shim_error(cudaErrorStreamCaptureUnsupported);
  }
  shim_run(*stream->queue, stream->queue->issued);
  return cudaSuccess;
}

void shim_finish_all() {
  for (auto at = streams.rbegin(); at != streams.rend(); ++at)
    shim_run(*(*at)->queue, (*at)->queue->issued);
  for (auto &[device, stream] : default_streams) shim_run(*stream.queue, stream.queue->issued);
}

/* Asking makes a little progress, so that who polls gets there. */
static cudaError_t poll(shim_queue &queue, size_t position) {
  if (queue.finished >= position) return cudaSuccess;
  shim_try(queue, queue.finished + 1);
  return cudaErrorNotReady;
}

/* --- streams --- */

cudaError_t cudaDeviceSynchronize() {
  shim_lock lock(shim_mutex);
  if (shim_device_count() <= 0) return shim_error(cudaErrorNoDevice);
  if (cudaError_t code = shim_capture_permits()) return code;
  shim_finish_all();
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags) {
  shim_lock lock(shim_mutex);
  if (shim_device_count() <= 0) return shim_error(cudaErrorNoDevice);
  *stream = new shim_stream{std::make_shared<shim_queue>(), shim_device(),
                            flags != cudaStreamNonBlocking, nullptr, 0};
  streams.insert(*stream);
  return cudaSuccess;
}

cudaError_t cudaStreamCreate(cudaStream_t *stream) {
  return cudaStreamCreateWithFlags(stream, cudaStreamDefault);
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *stream, unsigned flags, int) {
  return cudaStreamCreateWithFlags(stream, flags);
}

cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest) {
  *least = 0, *greatest = -5;
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  shim_lock lock(shim_mutex);
  if (cudaError_t code = shim_finish(stream)) return code;
  streams.erase(stream);
  delete stream;
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  shim_lock lock(shim_mutex);
  return shim_finish(stream);
}

cudaError_t cudaStreamQuery(cudaStream_t handle) {
  shim_lock lock(shim_mutex);
  shim_stream *stream = shim_stream_of(handle);
  if (stream->capture) return shim_finish(handle);
  return poll(*stream->queue, stream->queue->issued);
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void *data) {
  shim_lock lock(shim_mutex);
  return shim_issue(stream, {[=] { function(data); }, nullptr, 0});
}

/* --- events --- */

static shim_event *event_of(cudaEvent_t event) {
  if (!events.count(event)) shim_fail("no event, or one that was destroyed: %p", (void *)event);
  return event;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags) {
  shim_lock lock(shim_mutex);
  if (shim_device_count() <= 0) return shim_error(cudaErrorNoDevice);
  *event = new shim_event{nullptr, nullptr, !(flags & cudaEventDisableTiming)};
  events.insert(*event);
  return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t *event) {
  return cudaEventCreateWithFlags(event, cudaEventDefault);
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  shim_lock lock(shim_mutex);
  events.erase(event_of(event));
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t handle) {
  shim_lock lock(shim_mutex);
  shim_stream *stream = shim_stream_of(handle);
  event_of(event)->capture = stream->capture;
  auto now = std::make_shared<mark>();
  auto run = [now] {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    now->seconds = (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
    now->done = true;
  };
  if (stream->capture && !stream->capture->invalid) {
    now->queue = stream->capture->queues[stream->number];
    now->position = now->queue->issued;
    event->last = now;
    return cudaSuccess;
  }
  event->last = now;
  now->queue = stream->queue;
  cudaError_t code = shim_issue(handle, {run, nullptr, 0});
  now->position = stream->queue->issued;
  return code;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t event, unsigned) {
  shim_lock lock(shim_mutex);
  shim_stream *stream = shim_stream_of(handle);
  const std::shared_ptr<mark> &last = event_of(event)->last;
  if (!last) return cudaSuccess;
  if (event->capture && !stream->capture) shim_capture_join(stream, event->capture);
  if (event->capture != stream->capture) {
    if (stream->capture) stream->capture->invalid = true;
    return shim_error(cudaErrorStreamCaptureIsolation);
  }
  return shim_issue(handle, {nullptr, last->queue, last->position});
}

static cudaError_t check_waitable(cudaEvent_t event) {
  if (!event_of(event)->capture) return cudaSuccess;
  event->capture->invalid = true;
  return shim_error(cudaErrorStreamCaptureUnsupported);
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  shim_lock lock(shim_mutex);
  if (cudaError_t code = check_waitable(event)) return code;
  return event->last ? poll(*event->last->queue, event->last->position) : cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  shim_lock lock(shim_mutex);
  if (cudaError_t code = check_waitable(event)) return code;
  if (event->last) shim_run(*event->last->queue, event->last->position);
  return cudaSuccess;
}

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t from, cudaEvent_t to) {
  shim_lock lock(shim_mutex);
  for (cudaEvent_t event : {from, to})
    if (!event_of(event)->timing || !event->last || event->capture)
      return shim_error(cudaErrorInvalidResourceHandle);
  if (!from->last->done || !to->last->done) return cudaErrorNotReady;
  *milliseconds = (float)(1e3 * (to->last->seconds - from->last->seconds));
  return cudaSuccess;
}
