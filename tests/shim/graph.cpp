/* Stream capture and graphs: a graph is the queues of the streams that took part. */
#include "shim.h"

struct recording {
  std::vector<std::shared_ptr<shim_queue>> queues; /* the first is the origin's */
  ~recording() {                                   /* queues wait for each other */
    for (const auto &queue : queues) queue->works.clear();
  }
};

struct shim_graph {
  std::shared_ptr<recording> recorded;
};

struct shim_graph_exec {
  std::shared_ptr<recording> recorded;
};

static std::deque<shim_capture> captures; /* all that ever were: events point to them */

cudaError_t shim_capture_permits() {
  for (shim_capture &capture : captures) {
    bool forbids = capture.mode == cudaStreamCaptureModeGlobal ||
                   (capture.mode == cudaStreamCaptureModeThreadLocal &&
                    capture.thread == std::this_thread::get_id());
    if (!capture.origin || !forbids) continue;
    capture.invalid = true;
    return shim_error(cudaErrorStreamCaptureUnsupported);
  }
  return cudaSuccess;
}

void shim_capture_join(shim_stream *stream, shim_capture *capture) {
  if (!capture->origin) return;
  stream->capture = capture;
  stream->number = capture->queues.size();
  capture->streams.push_back(stream);
  capture->queues.push_back(std::make_shared<shim_queue>());
  capture->queues.back()->keep = true;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  shim_lock lock(shim_mutex);
  if (!stream || shim_stream_of(stream)->capture) return shim_error(cudaErrorIllegalState);
  captures.push_back({stream, mode, std::this_thread::get_id(), false, {}, {}});
  shim_capture_join(stream, &captures.back());
  return cudaSuccess;
}

/* Whether what the origin did last waits, in the end, for all that was captured. */
static bool joined(const recording &recorded) {
  bool all = true;
  shim_run(*recorded.queues[0], recorded.queues[0]->issued, true);
  for (const auto &queue : recorded.queues) all &= queue->finished == queue->issued;
  return all;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
  shim_lock lock(shim_mutex);
  *graph = nullptr;
  shim_capture *capture = shim_stream_of(stream)->capture;
  if (!capture || capture->origin != stream) return shim_error(cudaErrorIllegalState);
  for (shim_stream *each : capture->streams) each->capture = nullptr;
  capture->origin = nullptr;
  capture->streams.clear();
  auto recorded = std::shared_ptr<recording>(new recording{std::move(capture->queues)});
  if (capture->invalid) return shim_error(cudaErrorStreamCaptureInvalidated);
  if (!joined(*recorded)) return shim_error(cudaErrorStreamCaptureUnjoined);
  *graph = new shim_graph{recorded};
  return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus *status) {
  shim_lock lock(shim_mutex);
  const shim_capture *capture = shim_stream_of(stream)->capture;
  *status = !capture           ? cudaStreamCaptureStatusNone
            : capture->invalid ? cudaStreamCaptureStatusInvalidated
                               : cudaStreamCaptureStatusActive;
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long) {
  shim_lock lock(shim_mutex);
  if (!graph) return shim_error(cudaErrorInvalidValue);
  *exec = new shim_graph_exec{graph->recorded};
  return cudaSuccess;
}

cudaError_t cudaGraphUpload(cudaGraphExec_t, cudaStream_t) {
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  shim_lock lock(shim_mutex);
  auto run = [recorded = exec->recorded] {
    for (const auto &queue : recorded->queues) queue->finished = 0;
    shim_run(*recorded->queues[0], recorded->queues[0]->issued);
  };
  return shim_issue(stream, {run, nullptr, 0});
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  delete exec;
  return cudaSuccess;
}
