/* Launches: what a GPU would refuse, and the count of launches by kernel. */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include "cuda_shim.h"
#include "shim.h"

enum : size_t { SHARED_USUAL = 48 << 10, SHARED_MOST = 227 << 10 };
enum { MOST_THREADS = 1024 };

static std::map<const void *, int> shared_limit; /* what cudaFuncSetAttribute allowed */

/* Launches by kernel; at exit they are reported. */
struct counts {
  std::map<std::string, long> of;
  ~counts() {
    const char *path = getenv("CUDA_SHIM_REPORT");
    std::string lines;
    for (const auto &[name, count] : of) lines += std::to_string(count) + " " + name + "\n";
    int file = path && !lines.empty() ? open(path, O_WRONLY | O_CREAT | O_APPEND, 0666) : -1;
    if (file < 0) return;
    if (write(file, lines.data(), lines.size()) < 0) perror(path);
    close(file);
  }
};
static counts launches;

/* "warp<T, 3> [with T = float]": the kernel as written and what the template around it was given.
 */
static std::string compose_name(const cuda_shim_launch &launch) {
  std::string_view name = launch.name;
  size_t bracket = launch.within.rfind('[');
  if (name.starts_with('(') && name.ends_with(')')) name = name.substr(1, name.size() - 2);
  std::string full(name);
  if (bracket != std::string_view::npos) full += " " + std::string(launch.within.substr(bracket));
  return full;
}

/* Composed once for each place of a launch: most launches are no more work than their names. */
static const std::string &full_name(const cuda_shim_launch &launch) {
  static std::map<std::pair<const char *, const char *>, std::string> composed;
  auto [found, is_new] = composed.try_emplace({launch.name.data(), launch.within.data()});
  if (is_new) found->second = compose_name(launch);
  return found->second;
}

static std::string text(const dim3 &e) {
  return std::to_string(e.x) + " x " + std::to_string(e.y) + " x " + std::to_string(e.z);
}

static void check_configuration(const cuda_shim_launch &launch) {
  const std::string &name = full_name(launch);
  const dim3 &g = launch.grid, &b = launch.block;
  if (!g.x || !g.y || !g.z || g.x > 0x7fffffff || g.y > 65535 || g.z > 65535)
    shim_fail("%s: a grid of %s blocks", name.c_str(), text(g).c_str());
  uint64_t threads = (uint64_t)b.x * b.y * b.z;
  if (!threads || threads > MOST_THREADS || b.z > 64)
    shim_fail("%s: a block of %s threads", name.c_str(), text(b).c_str());
  size_t limit = SHARED_USUAL;
  auto allowed = shared_limit.find(launch.function);
  if (allowed != shared_limit.end()) limit = (size_t)allowed->second;
  if (launch.shared_bytes > limit)
    shim_fail("%s: %zu bytes of dynamic shared memory, of %zu allowed by cudaFuncSetAttribute",
              name.c_str(), launch.shared_bytes, limit);
}

cudaError_t cudaFuncSetAttribute(const void *function, cudaFuncAttribute attribute, int value) {
  shim_lock lock(shim_mutex);
  if (shim_device_count() <= 0) return shim_error(cudaErrorNoDevice);
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
  if (value < 0 || (size_t)value > SHARED_MOST) return shim_error(cudaErrorInvalidValue);
  shared_limit[function] = value;
  return cudaSuccess;
}

void cuda_shim_check_argument(const cuda_shim_launch &launch, const void *memory) {
  shim_lock lock(shim_mutex);
  if (!memory || shim_is_pinned(memory)) return;
  if (!shim_is_device(memory))
    shim_fail("%s: the argument %p is no device memory", full_name(launch).c_str(), memory);
  shim_check_device(memory, 0, full_name(launch).c_str());
}

void cuda_shim_queue(cudaStream_t stream, cuda_shim_launch launch) {
  shim_lock lock(shim_mutex);
  if (shim_device_count() > 0) check_configuration(launch);
  auto run = [launch = std::move(launch)] {
    shim_reach reach;
    launches.of[full_name(launch)]++;
    shim_run_blocks(launch);
    shim_check_margins();
  };
  shim_issue(stream, {std::move(run), nullptr, 0});
}
