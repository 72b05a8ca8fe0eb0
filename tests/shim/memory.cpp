/* Devices, their memory and copies. Allocations lie in one reserved range of addresses, each on its
 * own pages between pages that are never mapped; all of it is out of reach but while a kernel or a
 * copy runs. An address is used once, so that use after release is found. */
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "shim.h"

enum : size_t { PAGE = 4096, ALIGNMENT = 256, RANGE = (size_t)1 << 38 };
enum { MARGIN_BYTE = 0xa5, UNSET_BYTE = 0xff };

struct allocation {
  size_t bytes;
  char *pages, *end; /* what is mapped for it */
  int device;
};

std::recursive_mutex shim_mutex;
static std::map<char *, allocation> allocations;
static std::map<char *, size_t> pinned;
static char *range, *range_used;
static size_t used_bytes;
static int reach_depth;
static thread_local int current_device;
static thread_local cudaError_t last_error;

/* --- errors --- */

cudaError_t shim_error(cudaError_t code) {
  if (code != cudaSuccess && code != cudaErrorNotReady) last_error = code;
  return code;
}

void shim_fail(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fprintf(stderr, "CUDA shim: ");
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  fprintf(stderr, "%s\n", shim_position().c_str());
  fflush(nullptr);
  abort();
}

cudaError_t cudaGetLastError() {
  cudaError_t code = last_error;
  last_error = cudaSuccess;
  return code;
}

cudaError_t cudaPeekAtLastError() {
  return last_error;
}

static const struct {
  cudaError_t code;
  const char *name, *text;
} errors[] = {
#define ERROR(name, value, text) {name, #name, text},
    CUDA_SHIM_ERRORS(ERROR)
#undef ERROR
};

const char *cudaGetErrorName(cudaError_t code) {
  for (const auto &error : errors)
    if (error.code == code) return error.name;
  return "unrecognized error code";
}

const char *cudaGetErrorString(cudaError_t code) {
  for (const auto &error : errors)
    if (error.code == code) return error.text;
  return "unrecognized error code";
}

/* --- devices --- */

static long long setting(const char *name, long long otherwise) {
  const char *text = getenv(name);
  return text && *text ? atoll(text) : otherwise;
}

bool shim_lazy() {
  static const bool lazy = setting("CUDA_SHIM_LAZY", 0) != 0;
  return lazy;
}

int shim_device_count() {
  static const int count = (int)setting("CUDA_SHIM_DEVICES", 0);
  return count;
}

int shim_device() {
  return current_device;
}

static size_t device_bytes() {
  static const size_t bytes = (size_t)setting("CUDA_SHIM_MEMORY", 16LL << 30);
  return bytes;
}

static cudaError_t check_ordinal(int device) {
  if (shim_device_count() <= 0) return shim_error(cudaErrorNoDevice);
  return shim_error(device < 0 || device >= shim_device_count() ? cudaErrorInvalidDevice
                                                                : cudaSuccess);
}

cudaError_t cudaGetDeviceCount(int *count) {
  if (shim_device_count() <= 0) return shim_error(cudaErrorNoDevice);
  *count = shim_device_count();
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
  if (cudaError_t code = check_ordinal(device)) return code;
  current_device = device;
  return cudaSuccess;
}

cudaError_t cudaGetDevice(int *device) {
  *device = current_device;
  return check_ordinal(0);
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int device) {
  if (cudaError_t code = check_ordinal(device)) return code;
  *properties = {};
  cudaDeviceProp &p = *properties;
  snprintf(p.name, sizeof p.name, "CUDA shim on the CPU");
  snprintf(p.uuid.bytes, sizeof p.uuid.bytes, "shim-%d", device);
  p.totalGlobalMem = device_bytes();
  p.sharedMemPerBlock = 48 << 10, p.sharedMemPerBlockOptin = 227 << 10;
  p.sharedMemPerMultiprocessor = 228 << 10;
  p.major = 9, p.minor = 0, p.multiProcessorCount = 2, p.warpSize = 32;
  p.regsPerBlock = p.regsPerMultiprocessor = 65536;
  p.maxThreadsPerBlock = 1024, p.maxThreadsPerMultiProcessor = 2048;
  p.maxBlocksPerMultiProcessor = 32;
  p.maxThreadsDim[0] = p.maxThreadsDim[1] = 1024, p.maxThreadsDim[2] = 64;
  p.maxGridSize[0] = 0x7fffffff, p.maxGridSize[1] = p.maxGridSize[2] = 65535;
  p.l2CacheSize = 50 << 20, p.memoryBusWidth = 5120, p.asyncEngineCount = 3;
  p.concurrentKernels = p.unifiedAddressing = p.canMapHostMemory = 1;
  p.pciBusID = device + 1;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int device) {
  cudaDeviceProp p;
  if (cudaError_t code = cudaGetDeviceProperties(&p, device)) return code;
  const std::map<int, int> values = {
      {cudaDevAttrMaxThreadsPerBlock, p.maxThreadsPerBlock},
      {cudaDevAttrMaxSharedMemoryPerBlock, (int)p.sharedMemPerBlock},
      {cudaDevAttrWarpSize, p.warpSize},
      {cudaDevAttrClockRate, 1980000},
      {cudaDevAttrMultiProcessorCount, p.multiProcessorCount},
      {cudaDevAttrMemoryClockRate, 2619000},
      {cudaDevAttrGlobalMemoryBusWidth, p.memoryBusWidth},
      {cudaDevAttrL2CacheSize, p.l2CacheSize},
      {cudaDevAttrMaxThreadsPerMultiProcessor, p.maxThreadsPerMultiProcessor},
      {cudaDevAttrComputeCapabilityMajor, p.major},
      {cudaDevAttrComputeCapabilityMinor, p.minor},
      {cudaDevAttrMaxSharedMemoryPerMultiprocessor, (int)p.sharedMemPerMultiprocessor},
      {cudaDevAttrMaxSharedMemoryPerBlockOptin, (int)p.sharedMemPerBlockOptin},
  };
  auto found = values.find(attribute);
  if (found == values.end()) return shim_error(cudaErrorInvalidValue);
  *value = found->second;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetPCIBusId(char *text, int bytes, int device) {
  snprintf(text, (size_t)bytes, "0000:%02x:00.0", device + 1);
  return check_ordinal(device);
}

cudaError_t cudaDeviceCanAccessPeer(int *can, int device, int peer) {
  *can = device != peer;
  cudaError_t code = check_ordinal(device);
  return code ? code : check_ordinal(peer);
}

cudaError_t cudaDeviceEnablePeerAccess(int peer, unsigned) {
  return check_ordinal(peer);
}

cudaError_t cudaDriverGetVersion(int *version) {
  *version = shim_device_count() > 0 ? CUDART_VERSION : 0;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}

/* --- reach --- */

static void protect_all(int protection) {
  for (const auto &[memory, a] : allocations)
    if (mprotect(a.pages, (size_t)(a.end - a.pages), protection) != 0)
      shim_fail("mprotect of device memory failed");
}

shim_reach::shim_reach() {
  if (reach_depth++ == 0) protect_all(PROT_READ | PROT_WRITE);
}

shim_reach::~shim_reach() {
  if (--reach_depth == 0) protect_all(PROT_NONE);
}

bool shim_is_device(const void *memory) {
  return (char *)memory >= range && (char *)memory < range_used;
}

/* The allocation with this address in it or right before it. */
static const std::pair<char *const, allocation> *nearest(const void *memory) {
  auto above = allocations.upper_bound((char *)memory);
  return above == allocations.begin() ? nullptr : &*std::prev(above);
}

void shim_check_device(const void *memory, size_t bytes, const char *what) {
  const auto *found = nearest(memory);
  size_t offset = found ? (size_t)((char *)memory - found->first) : 0;
  if (!found || offset + bytes > found->second.bytes)
    shim_fail("%s: %zu bytes at %p are not within one allocation of device memory", what, bytes,
              memory);
}

/* Tells apart whose access is at fault, then leaves it to who handled it before. */
static struct sigaction handled_before;
static void explain_fault(int number, siginfo_t *information, void *) {
  char *at = (char *)information->si_addr;
  sigaction(number, &handled_before, nullptr);
  if (at < range || at >= range + RANGE) return;
  const auto *found = nearest(at);
  std::string position = shim_position();
  fprintf(stderr, "CUDA shim: %s device memory at %p",
          position.empty() ? "the host touched" : "a kernel left its", (void *)at);
  if (found)
    fprintf(stderr, ", byte %td from the start of an allocation of %zu", at - found->first,
            found->second.bytes);
  fprintf(stderr, "%s\n", position.c_str());
}

static bool reserve() {
  if (range) return true;
  void *memory =
      mmap(nullptr, RANGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return false;
  range = range_used = (char *)memory;
  struct sigaction action = {};
  action.sa_sigaction = explain_fault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigaction(SIGSEGV, &action, &handled_before);
  return true;
}

/* --- device memory --- */

static size_t round_up(size_t value, size_t to) {
  return (value + to - 1) / to * to;
}

cudaError_t cudaMalloc(void **memory, size_t bytes) {
  shim_lock lock(shim_mutex);
  if (cudaError_t code = check_ordinal(current_device)) return code;
  if (cudaError_t code = shim_capture_permits()) return code;
  *memory = nullptr;
  if (bytes == 0) return cudaSuccess;
  size_t mapped = round_up(bytes, PAGE);
  if (!reserve() || bytes > device_bytes() || used_bytes + bytes > device_bytes() ||
      (size_t)(range + RANGE - range_used) < mapped + 2 * PAGE)
    return shim_error(cudaErrorMemoryAllocation);
  char *pages = range_used + PAGE, *end = pages + mapped;
  if (mprotect(pages, mapped, PROT_READ | PROT_WRITE) != 0)
    return shim_error(cudaErrorMemoryAllocation);
  range_used = end;
  char *start = end - round_up(bytes, ALIGNMENT);
  memset(pages, MARGIN_BYTE, mapped);
  memset(start, UNSET_BYTE, bytes);
  SHIM_POISON(pages, (size_t)(start - pages));
  SHIM_POISON(start + bytes, (size_t)(end - start) - bytes);
  if (reach_depth == 0) mprotect(pages, mapped, PROT_NONE);
  allocations[start] = {bytes, pages, end, current_device};
  used_bytes += bytes;
  *memory = start;
  return cudaSuccess;
}

cudaError_t cudaFree(void *memory) {
  shim_lock lock(shim_mutex);
  if (cudaError_t code = check_ordinal(current_device)) return code;
  if (!memory) return cudaSuccess;
  if (cudaError_t code = shim_capture_permits()) return code;
  shim_finish_all();
  auto found = allocations.find((char *)memory);
  if (found == allocations.end()) shim_fail("cudaFree of %p, which is no allocation", memory);
  const allocation &a = found->second;
  size_t mapped = (size_t)(a.end - a.pages);
  SHIM_POISON(a.pages, mapped);
  madvise(a.pages, mapped, MADV_DONTNEED);
  mprotect(a.pages, mapped, PROT_NONE);
  used_bytes -= a.bytes;
  allocations.erase(found);
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *available, size_t *total) {
  shim_lock lock(shim_mutex);
  if (cudaError_t code = check_ordinal(current_device)) return code;
  *total = device_bytes();
  *available = *total - used_bytes;
  return cudaSuccess;
}

/* With ASan the margins are poisoned, and a kernel that touches them does not get here. */
void shim_check_margins() {
#ifndef SHIM_ASAN
  auto clean = [](const char *from, const char *to) {
    for (; from < to; from++)
      if ((unsigned char)*from != MARGIN_BYTE) return false;
    return true;
  };
  for (const auto &[memory, a] : allocations)
    if (!clean(a.pages, memory) || !clean(memory + a.bytes, a.end))
      shim_fail("written outside of an allocation of %zu bytes at %p", a.bytes, (void *)memory);
#endif
}

/* --- pinned host memory --- */

cudaError_t cudaHostAlloc(void **memory, size_t bytes, unsigned) {
  shim_lock lock(shim_mutex);
  if (cudaError_t code = check_ordinal(current_device)) return code;
  if (cudaError_t code = shim_capture_permits()) return code;
  if (posix_memalign(memory, PAGE, bytes ? bytes : 1) != 0)
    return shim_error(cudaErrorMemoryAllocation);
  memset(*memory, UNSET_BYTE, bytes);
  pinned[(char *)*memory] = bytes;
  return cudaSuccess;
}

cudaError_t cudaMallocHost(void **memory, size_t bytes) {
  return cudaHostAlloc(memory, bytes, cudaHostAllocDefault);
}

cudaError_t cudaFreeHost(void *memory) {
  shim_lock lock(shim_mutex);
  if (!memory) return cudaSuccess;
  if (cudaError_t code = shim_capture_permits()) return code;
  shim_finish_all();
  if (!pinned.erase((char *)memory))
    shim_fail("cudaFreeHost of %p, which is no allocation", memory);
  free(memory);
  return cudaSuccess;
}

bool shim_is_pinned(const void *memory) {
  auto above = pinned.upper_bound((char *)memory);
  if (above == pinned.begin()) return false;
  auto found = std::prev(above);
  return (char *)memory < found->first + found->second;
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes *attributes, const void *memory) {
  shim_lock lock(shim_mutex);
  *attributes = {cudaMemoryTypeUnregistered, -2, nullptr, (void *)memory};
  if (shim_is_device(memory)) {
    shim_check_device(memory, 0, "cudaPointerGetAttributes");
    *attributes = {cudaMemoryTypeDevice, nearest(memory)->second.device, (void *)memory, nullptr};
  } else if (shim_is_pinned(memory)) {
    *attributes = {cudaMemoryTypeHost, 0, (void *)memory, (void *)memory};
  }
  return cudaSuccess;
}

/* --- copies --- */

static void check_side(const void *memory, size_t bytes, bool claimed, bool device,
                       const char *side) {
  if (claimed && device != shim_is_device(memory))
    shim_fail("cudaMemcpy: %s is said to be %s memory, and is not", side,
              device ? "device" : "host");
  if (shim_is_device(memory)) shim_check_device(memory, bytes, "cudaMemcpy");
}

static cudaError_t copy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                        cudaStream_t stream) {
  if (cudaError_t code = check_ordinal(current_device)) return code;
  if (bytes == 0) return cudaSuccess;
  bool claimed = kind != cudaMemcpyDefault;
  check_side(to, bytes, claimed, kind & cudaMemcpyHostToDevice, "the target");
  check_side(from, bytes, claimed, kind & cudaMemcpyDeviceToHost, "the source");
  auto pageable = [](const void *m) { return !shim_is_device(m) && !shim_is_pinned(m); };
  if (shim_lazy() && pageable(from) && !shim_stream_of(stream)->capture) {
    auto stage = std::make_shared<std::string>((const char *)from, bytes);
    auto run = [=] {
      shim_reach reach;
      memcpy(to, stage->data(), bytes);
    };
    return shim_issue(stream, {run, nullptr, 0});
  }
  auto run = [=] {
    shim_reach reach;
    memcpy(to, from, bytes);
  };
  cudaError_t code = shim_issue(stream, {run, nullptr, 0});
  if (code || !pageable(to) || shim_stream_of(stream)->capture) return code;
  return shim_finish(stream);
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  shim_lock lock(shim_mutex);
  return copy(to, from, bytes, kind, stream);
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind) {
  shim_lock lock(shim_mutex);
  if (cudaError_t code = shim_capture_permits()) return code;
  if (cudaError_t code = copy(to, from, bytes, kind, nullptr)) return code;
  return shim_finish(nullptr);
}

cudaError_t cudaMemsetAsync(void *memory, int byte, size_t bytes, cudaStream_t stream) {
  shim_lock lock(shim_mutex);
  if (cudaError_t code = check_ordinal(current_device)) return code;
  if (bytes == 0) return cudaSuccess;
  shim_check_device(memory, bytes, "cudaMemset");
  auto run = [=] {
    shim_reach reach;
    memset(memory, byte, bytes);
  };
  return shim_issue(stream, {run, nullptr, 0});
}

cudaError_t cudaMemset(void *memory, int byte, size_t bytes) {
  return cudaMemsetAsync(memory, byte, bytes, nullptr);
}
