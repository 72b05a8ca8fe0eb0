/* The CUDA shim itself: that it computes what CUDA computes, in any order of threads, at once or as
 * late as possible, and that it finds the mistakes it is there to find. Each mistake is made by a
 * run of this program of its own, with the mistake's name and the shim's settings. */
#include <unistd.h>
#include <string>
#include <vector>
#include "kernels/common/cuda.h"
extern "C" {
#include "check.h"
}
#if defined(__SANITIZE_ADDRESS__)
#define ASAN true
#elif defined(__has_feature)
#define ASAN __has_feature(address_sanitizer)
#else
#define ASAN false
#endif

enum { THREADS = 96 };
static struct stream first; /* the default stream */

/* Device memory with values, freed at the end of the block. */
template <typename T>
struct buffer {
  T *at = nullptr;
  size_t count;
  explicit buffer(std::vector<T> values) : count(values.size()) {
    CHECK(cudaMalloc((void **)&at, count * sizeof(T)) == cudaSuccess);
    CHECK(cudaMemcpy(at, values.data(), count * sizeof(T), cudaMemcpyHostToDevice) == cudaSuccess);
  }
  buffer(const buffer &) = delete;
  ~buffer() {
    cudaFree(at);
  }
  std::vector<T> read() const {
    std::vector<T> values(count);
    CHECK(cudaMemcpy(values.data(), at, count * sizeof(T), cudaMemcpyDeviceToHost) == cudaSuccess);
    return values;
  }
};

static std::vector<int> numbers(int count) {
  std::vector<int> values;
  for (int i = 0; i < count; i++) values.push_back(i);
  return values;
}

/* --- what kernels compute --- */

static __global__ void shim_indices(unsigned *y) {
  unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  y[block * blockDim.x * blockDim.y * blockDim.z + thread] += 1 + 1000 * block + thread;
}

TEST(indices_cover_the_grid) {
  buffer<unsigned> y(std::vector<unsigned>(2 * 3 * 2 * 24, 0));
  CUDA_LAUNCH(shim_indices, dim3(2, 3, 2), dim3(4, 3, 2), 0, &first, y.at);
  std::vector<unsigned> values = y.read();
  for (unsigned i = 0; i < values.size(); i++) CHECK(values[i] == 1 + 1000 * (i / 24) + i % 24);
}

enum { SHUFFLES = 12 };
static __global__ void shim_shuffles(int *y) {
  const unsigned all = 0xffffffff;
  int t = (int)threadIdx.x, *own = y + t * SHUFFLES;
  own[0] = __shfl_sync(all, t, 5);
  own[1] = __shfl_sync(all, t, 37, 8);
  own[2] = __shfl_up_sync(all, t, 3);
  own[3] = __shfl_down_sync(all, t, 3, 16);
  own[4] = __shfl_xor_sync(all, t, 9);
  own[5] = (int)__ballot_sync(all, t % 3 == 0);
  own[6] = __any_sync(all, t == 40);
  own[7] = __all_sync(all, t < 64);
  own[8] = t % 2 ? __shfl_sync(0xaaaaaaaa, t, 7) : __shfl_sync(0x55555555, t, 8);
  own[9] = __reduce_add_sync(all, t);
  double wide = __shfl_down_sync(all, t + 0.5, 1);
  own[10] = (int)(2 * wide);
  own[11] = (int)__activemask();
  __syncwarp();
}

TEST(shuffles_and_votes) {
  buffer<int> y(std::vector<int>(THREADS * SHUFFLES, 0));
  CUDA_LAUNCH(shim_shuffles, 1, THREADS, 0, &first, y.at);
  std::vector<int> values = y.read();
  for (int t = 0; t < THREADS; t++) {
    int lane = t % 32, warp = t - lane, votes = 0;
    for (int i = 0; i < 32; i++) votes |= (int)((unsigned)((warp + i) % 3 == 0) << i);
    const int expected[SHUFFLES] = {warp + 5,
                                    t / 8 * 8 + 5,
                                    lane < 3 ? t : t - 3,
                                    t % 16 + 3 < 16 ? t + 3 : t,
                                    warp + (lane ^ 9),
                                    votes,
                                    warp == 32,
                                    warp < 64,
                                    warp + 7 + (t % 2 == 0),
                                    32 * warp + 31 * 16,
                                    2 * (lane < 31 ? t + 1 : t) + 1,
                                    -1};
    for (int i = 0; i < SHUFFLES; i++)
      CHECK_SAY(values[(size_t)(t * SHUFFLES + i)] == expected[i], " (thread %d, %d)", t, i);
  }
}

static __global__ void shim_exchange(int *y) {
  int mine[2] = {(int)threadIdx.x, -1}, all[32][2], sum = 0;
  for (int round = 0; round < 3; round++) {
    mine[1] = round;
    cuda_shim_exchange(mine, sizeof mine, all);
    for (int i = 0; i < 32; i++) sum += all[i][0] * (i + 1) + all[i][1];
  }
  y[threadIdx.x] = sum;
}

TEST(exchange_gives_all_lanes) {
  buffer<int> y(std::vector<int>(32, 0));
  CUDA_LAUNCH(shim_exchange, 1, 32, 0, &first, y.at);
  int expected = 0;
  for (int round = 0; round < 3; round++)
    for (int i = 0; i < 32; i++) expected += i * (i + 1) + round;
  for (int value : y.read()) CHECK(value == expected);
}

/* What a lane brings to an instruction of the whole warp, and gets. */
struct together {
  int brought, sum;
};

static void add_up(void *const (&lanes)[32]) {
  int sum = 0;
  for (void *lane : lanes) sum += ((together *)lane)->brought;
  for (void *lane : lanes) ((together *)lane)->sum = sum + ((together *)lane)->brought;
}

static __global__ void shim_together(int *y) {
  together mine = {(int)threadIdx.x, 0};
  for (int round = 0; round < 3; round++) {
    cuda_shim_warp_together("adding up", &mine, add_up);
    mine.brought = mine.sum;
  }
  y[threadIdx.x] = __shfl_sync(0xffffffff, mine.sum, (int)threadIdx.x);
}

TEST(last_lane_works_for_all) {
  buffer<int> y(std::vector<int>(64, 0));
  CUDA_LAUNCH(shim_together, 1, 64, 0, &first, y.at);
  std::vector<int> expected(64), found = y.read();
  for (int t = 0; t < 64; t++) expected[(size_t)t] = t;
  for (int first_lane = 0; first_lane < 64; first_lane += 32)
    for (int round = 0, sum; round < 3; round++) {
      sum = 0;
      for (int i = 0; i < 32; i++) sum += expected[(size_t)(first_lane + i)];
      for (int i = 0; i < 32; i++) expected[(size_t)(first_lane + i)] += sum;
    }
  CHECK(found == expected);
}

static __global__ void shim_block_sum(const int *x, int count, int *sum, int *arrivals, int *last) {
  CUDA_DYNAMIC_SHARED(int, part);
  __shared__ int order;
  int t = (int)threadIdx.x, at = (int)(blockIdx.x * blockDim.x) + t;
  if (t == 0) order = atomicAdd(arrivals, 1);
  part[t] = at < count ? x[at] : 0;
  int present = __syncthreads_count(at < count);
  for (int half = (int)blockDim.x / 2; half > 0; half /= 2) {
    if (t < half) part[t] += part[t + half];
    __syncthreads();
  }
  if (t == 0) atomicAdd(sum, part[0] + 1000000 * present);
  if (__syncthreads_or(order == (int)gridDim.x - 1) && __syncthreads_and(t >= 0) && t == 0)
    atomicMax(last, (int)blockIdx.x);
}

TEST(shared_memory_barriers_and_atomics) {
  const int count = 500;
  buffer<int> x(numbers(count)), sum({0}), arrivals({0}), last({-1});
  CUDA_LAUNCH(shim_block_sum, cuda_blocks(count, 128), 128, 128 * sizeof(int), &first, x.at, count,
              sum.at, arrivals.at, last.at);
  CHECK(sum.read()[0] == count * (count - 1) / 2 + 1000000 * count);
  CHECK(arrivals.read()[0] == 4 && last.read()[0] >= 0);
}

template <typename T>
static __global__ void shim_convert(const float *x, T *y, float *z, int count) {
  int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= count) return;
  y[i] = from_float<T>(x[i]);
  z[i] = 2 * to_float(y[i]);
}

template <typename T>
static void check_conversion(float step) {
  std::vector<float> values = {1, 1 + step / 4, 1 + step / 2, 1 + 3 * step / 4, -3};
  buffer<float> x(values), z(values);
  buffer<T> y(std::vector<T>(values.size(), T(0.F)));
  CUDA_LAUNCH(shim_convert<T>, 1, 32, 0, &first, x.at, y.at, z.at, (int)values.size());
  CHECK(z.read() == (std::vector<float>{2, 2, 2, 2 * (1 + step), -6}));
}

TEST(elements_of_16_bits) {
  check_conversion<__nv_bfloat16>(0x1p-7F);
  check_conversion<__half>(0x1p-10F);
}

/* --- streams, events and graphs --- */

static __global__ void shim_scale(int *x, int factor, int term) {
  x[threadIdx.x] = x[threadIdx.x] * factor + term;
}

static struct stream stream_make() {
  cudaStream_t handle;
  CHECK(cudaStreamCreateWithFlags(&handle, cudaStreamNonBlocking) == cudaSuccess);
  return {nullptr, handle};
}

TEST(events_order_streams_and_take_time) {
  struct stream a = stream_make(), b = stream_make();
  cudaEvent_t events[2];
  float milliseconds = -1;
  for (cudaEvent_t &event : events) CHECK(cudaEventCreate(&event) == cudaSuccess);
  CHECK(cudaEventElapsedTime(&milliseconds, events[0], events[1]) ==
        cudaErrorInvalidResourceHandle);
  buffer<int> x({1, 2});
  CHECK(cudaEventRecord(events[0], cuda_stream(&a)) == cudaSuccess);
  CUDA_LAUNCH(shim_scale, 1, 2, 0, &a, x.at, 10, 1);
  CHECK(cudaEventRecord(events[1], cuda_stream(&a)) == cudaSuccess);
  CHECK(cudaStreamWaitEvent(cuda_stream(&b), events[1], 0) == cudaSuccess);
  CUDA_LAUNCH(shim_scale, 1, 2, 0, &b, x.at, 3, 0);
  CHECK(cudaStreamSynchronize(cuda_stream(&b)) == cudaSuccess);
  CHECK(x.read() == (std::vector<int>{33, 63}));
  while (cudaEventQuery(events[1]) == cudaErrorNotReady) continue;
  CHECK(cudaEventElapsedTime(&milliseconds, events[0], events[1]) == cudaSuccess);
  CHECK(milliseconds >= 0);
  for (cudaEvent_t event : events) CHECK(cudaEventDestroy(event) == cudaSuccess);
  for (struct stream *stream : {&a, &b}) CHECK(cudaStreamDestroy(cuda_stream(stream)) == 0);
  CHECK(cudaGetLastError() == cudaErrorInvalidResourceHandle && cudaGetLastError() == cudaSuccess);
}

/* x = (x * 2 + 1) on one stream, then * 3 on another, then + 5 on the first one. */
static void capture_work(struct stream *a, struct stream *b, cudaEvent_t event, int *x, bool join) {
  CUDA_LAUNCH(shim_scale, 1, 2, 0, a, x, 2, 1);
  CHECK(cudaEventRecord(event, cuda_stream(a)) == cudaSuccess);
  CHECK(cudaStreamWaitEvent(cuda_stream(b), event, 0) == cudaSuccess);
  CUDA_LAUNCH(shim_scale, 1, 2, 0, b, x, 3, 0);
  if (!join) return;
  CHECK(cudaEventRecord(event, cuda_stream(b)) == cudaSuccess);
  CHECK(cudaStreamWaitEvent(cuda_stream(a), event, 0) == cudaSuccess);
  CUDA_LAUNCH(shim_scale, 1, 2, 0, a, x, 1, 5);
}

TEST(graphs_repeat_what_was_captured) {
  struct stream a = stream_make(), b = stream_make();
  cudaEvent_t event;
  cudaGraph_t graph;
  cudaGraphExec_t exec;
  buffer<int> x({1, 2});
  CHECK(cudaEventCreateWithFlags(&event, cudaEventDisableTiming) == cudaSuccess);
  CHECK(cudaStreamBeginCapture(cuda_stream(&a), cudaStreamCaptureModeRelaxed) == cudaSuccess);
  capture_work(&a, &b, event, x.at, true);
  CHECK(cudaStreamEndCapture(cuda_stream(&a), &graph) == cudaSuccess);
  CHECK(x.read() == (std::vector<int>{1, 2}));
  CHECK(cudaGraphInstantiate(&exec, graph, 0) == cudaSuccess);
  CHECK(cudaGraphDestroy(graph) == cudaSuccess);
  for (int i = 0; i < 2; i++) CHECK(cudaGraphLaunch(exec, cuda_stream(&b)) == cudaSuccess);
  CHECK(cudaStreamSynchronize(cuda_stream(&b)) == cudaSuccess);
  CHECK(x.read() == (std::vector<int>{92, 128}));
  CHECK(cudaGraphExecDestroy(exec) == cudaSuccess);
  CHECK(cudaStreamBeginCapture(cuda_stream(&a), cudaStreamCaptureModeRelaxed) == cudaSuccess);
  capture_work(&a, &b, event, x.at, false);
  CHECK(cudaStreamEndCapture(cuda_stream(&a), &graph) == cudaErrorStreamCaptureUnjoined);
  CHECK(cudaStreamBeginCapture(cuda_stream(&a), cudaStreamCaptureModeGlobal) == cudaSuccess);
  CHECK(cudaStreamSynchronize(cuda_stream(&a)) == cudaErrorStreamCaptureUnsupported);
  CHECK(cudaStreamEndCapture(cuda_stream(&a), &graph) == cudaErrorStreamCaptureInvalidated);
  CHECK(!graph && x.read() == (std::vector<int>{92, 128}));
  CHECK(cudaEventDestroy(event) == cudaSuccess);
  for (struct stream *stream : {&a, &b}) CHECK(cudaStreamDestroy(cuda_stream(stream)) == 0);
  cudaGetLastError();
}

TEST(staged_copies_may_be_overwritten) {
  buffer<int> x({0});
  int value = 7, back = 0;
  CHECK(cudaMemcpyAsync(x.at, &value, sizeof value, cudaMemcpyDefault, nullptr) == cudaSuccess);
  value = 8;
  CHECK(cudaMemcpyAsync(&back, x.at, sizeof back, cudaMemcpyDefault, nullptr) == cudaSuccess);
  CHECK(back == 7);
}

static int results() {
  RUN(indices_cover_the_grid);
  RUN(shuffles_and_votes);
  RUN(exchange_gives_all_lanes);
  RUN(last_lane_works_for_all);
  RUN(shared_memory_barriers_and_atomics);
  RUN(elements_of_16_bits);
  RUN(events_order_streams_and_take_time);
  RUN(graphs_repeat_what_was_captured);
  RUN(staged_copies_may_be_overwritten);
  return check_result();
}

/* --- mistakes: each ends the run, or fails a check --- */

static __global__ void shim_left_neighbour(int *y) {
  __shared__ int staged[THREADS + 1];
  int t = (int)threadIdx.x;
  staged[t + 1] = t;
  y[t] = t ? staged[t] : -1; /* a barrier is missing before this line */
}

static void missing_barrier() {
  buffer<int> y(std::vector<int>(THREADS, 0));
  CUDA_LAUNCH(shim_left_neighbour, 1, THREADS, 0, &first, y.at);
  std::vector<int> values = y.read();
  for (int t = 0; t < THREADS; t++) CHECK(values[(size_t)t] == t - 1);
}

static __global__ void shim_touch(int *x, int at, int *y) {
  if (y)
    *y = x[at];
  else
    x[at] = 1;
}

static void write_behind() {
  buffer<int> x({1, 2, 3});
  CUDA_LAUNCH(shim_touch, 1, 1, 0, &first, x.at, 3, nullptr);
}

static void read_before() {
  buffer<int> x({1, 2, 3}), y({0});
  CUDA_LAUNCH(shim_touch, 1, 1, 0, &first, x.at, -1, y.at);
}

static void write_far_behind() {
  buffer<int> x({1, 2, 3});
  CUDA_LAUNCH(shim_touch, 1, 1, 0, &first, x.at, 100000, nullptr);
}

/* A thread's own memory, after others have run. */
static __global__ void shim_touch_local(int at, int *y) {
  int values[4] = {1, 2, 3, 4}, *volatile local = values;
  __syncthreads();
  if (threadIdx.x == THREADS / 2) *y = local[at];
}

static void read_behind_local() {
  buffer<int> y({0});
  CUDA_LAUNCH(shim_touch_local, 1, THREADS, 0, &first, 3, y.at);
  CHECK(y.read()[0] == 4);
  CUDA_LAUNCH(shim_touch_local, 1, THREADS, 0, &first, 4, y.at);
}

static __global__ void shim_touch_shared(int at, float *y) {
  CUDA_DYNAMIC_SHARED(float, values);
  if (at >= 0) values[at] = 1;
  if (y) *y = values[0];
}

static void write_behind_shared() {
  CUDA_LAUNCH(shim_touch_shared, 1, 1, 12, &first, 3, nullptr);
}

static void unset_shared() {
  buffer<float> y({0});
  CUDA_LAUNCH(shim_touch_shared, 1, 1, 12, &first, -1, y.at);
  CHECK(!isnan(y.read()[0]));
}

static void too_much_shared() {
  CHECK(cudaFuncSetAttribute(shim_touch, cudaFuncAttributeMaxDynamicSharedMemorySize, 232449) ==
        cudaErrorInvalidValue);
  CHECK(cudaFuncSetAttribute(shim_touch, cudaFuncAttributeMaxDynamicSharedMemorySize, 60000) ==
        cudaSuccess);
  buffer<int> x({1});
  CUDA_LAUNCH(shim_touch, 1, 1, 60000, &first, x.at, 0, nullptr);
  CUDA_LAUNCH(shim_touch_shared, 1, 1, 60000, &first, 3, nullptr);
}

static void too_many_threads() {
  CUDA_LAUNCH(shim_touch_shared, 1, dim3(32, 33), 16, &first, 3, nullptr);
}

static void too_many_blocks() {
  CUDA_LAUNCH(shim_touch_shared, dim3(1, 65536), 1, 16, &first, 3, nullptr);
}

static __global__ void shim_barriers(int kind) {
  int t = (int)threadIdx.x;
  if (kind == 0 && t == 9) return;
  if (kind == 1 && t == 9)
    __syncthreads();
  else
    __syncthreads();
  if (kind == 2 && t < 32) __syncthreads();
  if (kind == 3 && t == 9) __syncwarp();
  if (kind == 3) __syncthreads();
}

template <int KIND>
static void wrong_barrier() {
  CUDA_LAUNCH(shim_barriers, 1, THREADS, 0, &first, KIND);
}

static __global__ void shim_masks(int kind) {
  int t = (int)threadIdx.x;
  if (kind == 0) __shfl_sync(0xfffffffe, t, 1);
  if (kind == 1) __shfl_sync(t < 16 ? 0xffffffff : 0xffff8000, t, 16);
  if (kind == 2 && t < 16) __syncwarp();
  if (kind == 2) __syncthreads();
}

template <int KIND>
static void wrong_mask() {
  CUDA_LAUNCH(shim_masks, 1, 32, 0, &first, KIND);
}

static void host_reads() {
  buffer<int> x({1});
  printf("%d\n", *(volatile int *)x.at);
}

struct hidden {
  int *x;
};
static __global__ void shim_hidden(hidden hidden) {
  *hidden.x = 1;
}

static void freed_argument() {
  int *x;
  CHECK(cudaMalloc((void **)&x, sizeof *x) == cudaSuccess);
  CHECK(cudaFree(x) == cudaSuccess);
  CUDA_LAUNCH(shim_touch, 1, 1, 0, &first, x, 0, nullptr);
}

static void freed_memory() {
  int *x;
  CHECK(cudaMalloc((void **)&x, sizeof *x) == cudaSuccess);
  CHECK(cudaFree(x) == cudaSuccess);
  CUDA_LAUNCH(shim_hidden, 1, 1, 0, &first, hidden{x});
}

static void host_argument() {
  int x = 0;
  CUDA_LAUNCH(shim_touch, 1, 1, 0, &first, &x, 0, nullptr);
}

static void wrong_direction() {
  buffer<int> x({1});
  int value;
  cudaMemcpy(x.at, &value, sizeof value, cudaMemcpyDeviceToHost);
}

static void long_copy() {
  buffer<int> x({1, 2, 3});
  int values[4] = {};
  cudaMemcpy(x.at, values, sizeof values, cudaMemcpyHostToDevice);
}

static void no_wait() {
  buffer<int> x({5});
  struct stream stream = stream_make();
  int *pinned;
  CHECK(cudaHostAlloc((void **)&pinned, sizeof *pinned, cudaHostAllocDefault) == cudaSuccess);
  cudaMemcpyAsync(pinned, x.at, sizeof *pinned, cudaMemcpyDefault, cuda_stream(&stream));
  CHECK(*pinned == 5); /* a wait is missing before this line */
  CHECK(cudaStreamDestroy(cuda_stream(&stream)) == cudaSuccess);
  CHECK(*pinned == 5);
  cudaFreeHost(pinned);
}

static void no_event() {
  buffer<int> x({1});
  struct stream a = stream_make(), b = stream_make();
  CUDA_LAUNCH(shim_scale, 1, 1, 0, &a, x.at, 10, 0);
  CUDA_LAUNCH(shim_scale, 1, 1, 0, &b, x.at, 1, 1); /* does not wait for a */
  CHECK(cudaStreamSynchronize(cuda_stream(&b)) == cudaSuccess);
  CHECK(cudaStreamSynchronize(cuda_stream(&a)) == cudaSuccess);
  CHECK(x.read()[0] == 11);
  for (struct stream *stream : {&a, &b}) CHECK(cudaStreamDestroy(cuda_stream(stream)) == 0);
}

static const struct mistake {
  const char *name;
  void (*make)();
  const char *settings, *message;
} mistakes[] = {
    {"missing_barrier", missing_barrier, "CUDA_SHIM_ORDER=descending", "failed: values[(size_t)t]"},
    {"missing_barrier", missing_barrier, "CUDA_SHIM_ORDER=shuffled:1", "failed: values[(size_t)t]"},
    {"write_behind", write_behind, "", ASAN ? "use-after-poison" : "written outside of an alloc"},
    {"write_far_behind", write_far_behind, "", "a kernel left its device memory"},
    {"write_behind_shared", write_behind_shared, "",
     ASAN ? "use-after-poison" : "written behind the 12 bytes of dynamic shared memory"},
    {"unset_shared", unset_shared, "", "failed: !isnan"},
    {"too_much_shared", too_much_shared, "", "60000 bytes of dynamic shared memory, of 49152"},
    {"too_many_threads", too_many_threads, "", "a block of 32 x 33 x 1 threads"},
    {"too_many_blocks", too_many_blocks, "", "a grid of 1 x 65536 x 1 blocks"},
    {"early_return", wrong_barrier<0>, "", "returned"},
    {"early_return", wrong_barrier<0>, "CUDA_SHIM_ORDER=descending", "a thread returned while"},
    {"two_barriers", wrong_barrier<1>, "", "threads are at two barriers"},
    {"barrier_of_some", wrong_barrier<2>, "", "a thread returned while"},
    {"warp_and_barrier", wrong_barrier<3>, "", "thread 9 in __syncwarp of lanes ffffffff"},
    {"not_in_mask", wrong_mask<0>, "", "lane 0 is not in its mask fffffffe"},
    {"two_masks", wrong_mask<1>, "", "__shfl_sync of lanes ffff8000"},
    {"half_a_warp", wrong_mask<2>, "", "threads wait for ever; threads 0 to 15 in __syncwarp"},
    {"host_reads", host_reads, "", "the host touched device memory"},
    {"freed_argument", freed_argument, "", "not within one allocation"},
    {"freed_memory", freed_memory, "", ASAN ? "AddressSanitizer" : "a kernel left its device"},
    {"host_argument", host_argument, "", "is no device memory"},
    {"wrong_direction", wrong_direction, "", "the target is said to be host memory, and is not"},
    {"long_copy", long_copy, "", "16 bytes at"},
    {"no_wait", no_wait, "CUDA_SHIM_LAZY=1", "failed: *pinned == 5"},
    {"no_event", no_event, "CUDA_SHIM_LAZY=1", "failed: x.read()[0] == 11"},
    {"read_behind_local", read_behind_local, "", ASAN ? "stack-buffer-overflow" : nullptr},
    {"read_before", read_before, "",
     ASAN ? "use-after-poison" : nullptr}, /* ASan's alone, as the one above */
};

/* Runs this program with an argument under settings; its output and whether it ended well. */
static std::string run(const std::string &settings, const std::string &argument, bool *well) {
  char self[512] = "", text[512];
  std::string output;
  if (readlink("/proc/self/exe", self, sizeof self - 1) < 0) abort();
  FILE *pipe = popen((settings + " '" + self + "' " + argument + " 2>&1").c_str(), "r");
  if (!pipe) abort();
  while (fgets(text, sizeof text, pipe)) output += text;
  *well = pclose(pipe) == 0;
  return output;
}

TEST(results_do_not_depend_on_the_order) {
  for (const char *order : {"ascending", "descending", "shuffled:1", "shuffled:2"})
    for (const char *lazy : {"0", "1"}) {
      bool well;
      std::string settings = std::string("CUDA_SHIM_ORDER=") + order + " CUDA_SHIM_LAZY=" + lazy;
      std::string output = run(settings, "results", &well);
      CHECK_SAY(well, " (%s: %s)", settings.c_str(), output.c_str());
    }
}

TEST(mistakes_are_found) {
  for (const mistake &mistake : mistakes) {
    bool well;
    std::string output = run(mistake.settings, mistake.name, &well);
    if (!mistake.message) continue;
    CHECK_SAY(!well && output.find(mistake.message) != std::string::npos,
              " (%s: expected '%s', found '%s')", mistake.name, mistake.message, output.c_str());
  }
}

/* Without the shim's settings these two mistakes go unnoticed: it is they that show them. */
TEST(mistakes_need_their_settings) {
  for (const char *name : {"missing_barrier", "no_wait", "no_event"}) {
    bool well;
    std::string output = run("", name, &well);
    CHECK_SAY(well, " (%s: %s)", name, output.c_str());
  }
}

TEST(launches_are_counted) {
  char *folder = check_make_folder(), line[256];
  std::string path = std::string(folder) + "/launches", lines;
  bool well;
  run("CUDA_SHIM_REPORT=" + path, "results", &well);
  FILE *file = fopen(path.c_str(), "r");
  CHECK(well && file);
  while (file && fgets(line, sizeof line, file)) lines += line;
  if (file) fclose(file);
  CHECK(lines.find("1 shim_block_sum\n") != std::string::npos);
  CHECK(lines.find("1 shim_convert<T> [with T = ") != std::string::npos ||
        lines.find("1 shim_convert<T> [T = ") != std::string::npos);
  check_remove_folder(folder);
}

int main(int count, char **arguments) {
  if (count > 1 && strcmp(arguments[1], "results") == 0) return results();
  for (const mistake &mistake : mistakes) {
    if (count < 2 || strcmp(arguments[1], mistake.name) != 0) continue;
    mistake.make();
    return check_failures ? EXIT_FAILURE : EXIT_SUCCESS;
  }
  setenv("CUDA_SHIM_DEVICES", "1", 1);
  unsetenv("CUDA_SHIM_REPORT");
  RUN(results_do_not_depend_on_the_order);
  RUN(mistakes_are_found);
  RUN(mistakes_need_their_settings);
  RUN(launches_are_counted);
  return check_result();
}
