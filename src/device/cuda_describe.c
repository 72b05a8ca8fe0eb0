/* What the driver says about itself, its GPUs and the ways between them. */
#include "device/cuda_describe.h"
#include <cuda_runtime_api.h>
#include <stdbool.h>
#include <string.h>
#include "base/text.h"

/* 13010 -> 13.1 */
static void print_version(FILE *out, const char *what, int version) {
  fprintf(out, "  %-22s %d.%d\n", what, version / 1000, version % 1000 / 10);
}

static void print_device(FILE *out, int ordinal) {
  struct cudaDeviceProp properties;
  char memory[32];
  if (cudaGetDeviceProperties(&properties, ordinal) != cudaSuccess) {
    fprintf(out, "  GPU %-18d cannot be asked: %s\n", ordinal,
            cudaGetErrorString(cudaGetLastError()));
    return;
  }
  fprintf(out, "  GPU %-18d %s, %s, compute capability %d.%d, %d multiprocessors%s\n", ordinal,
          properties.name, text_bytes((double)properties.totalGlobalMem, memory), properties.major,
          properties.minor, properties.multiProcessorCount, properties.ECCEnabled ? ", ECC" : "");
}

/* Row: who reads and writes; column: whose memory. */
static void print_peers(FILE *out, int count) {
  bool all = true;
  fprintf(out, "  peer access           ");
  for (int i = 0; i < count; i++) fprintf(out, " %3d", i);
  for (int i = 0; i < count; i++) {
    fprintf(out, "\n  %22d", i);
    for (int k = 0; k < count; k++) {
      int possible = i == k;
      if (i != k && cudaDeviceCanAccessPeer(&possible, i, k) != cudaSuccess) possible = 0;
      all = all && possible;
      fprintf(out, " %3s", i == k ? "-" : possible ? "yes" : "no");
    }
  }
  fprintf(out, "\n");
  if (!all)
    fprintf(out,
            "  advice: without peer access gradients go through host memory; check nvidia-smi "
            "topo -m, IOMMU and ACS settings\n");
}

/* "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build ..." */
static void print_module(FILE *out) {
  char line[256];
  FILE *file = fopen("/proc/driver/nvidia/version", "r");
  if (!file) return;
  if (fgets(line, sizeof line, file)) {
    const char *text = strchr(line, ':') ? strchr(line, ':') + 1 : line;
    text += strspn(text, " \t");
    fprintf(out, "  %-22s %.*s\n", "kernel module", (int)strcspn(text, "\n"), text);
  }
  fclose(file);
}

void cuda_describe(FILE *out) {
  int driver = 0, runtime = 0, count = 0;
  cudaError_t code = cudaDriverGetVersion(&driver);
  print_module(out);
  if (cudaRuntimeGetVersion(&runtime) == cudaSuccess) print_version(out, "CUDA runtime", runtime);
  if (code == cudaSuccess && driver > 0)
    print_version(out, "driver supports CUDA", driver);
  else
    fprintf(out, "  %-22s none found\n", "driver");
  code = cudaGetDeviceCount(&count);
  if (code != cudaSuccess) fprintf(out, "  %-22s none: %s\n", "GPUs", cudaGetErrorString(code));
  cudaGetLastError();
  for (int i = 0; code == cudaSuccess && i < count; i++) print_device(out, i);
  if (code == cudaSuccess && count > 1) print_peers(out, count);
}
