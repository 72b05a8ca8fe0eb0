/* Memory of the kernels under test, on any device, between guards; the devices themselves; and the
 * record of what was tried on CUDA. */
#pragma once
#include <stdint.h>
#include "check.h"
#include "device/device.h"
#include "device/real16.h"
#include "kernels/op.h"

/* Bytes of NaN before and behind every buffer. Under the shim a buffer is an allocation of its own,
 * whose borders the shim watches, for reading, too. */
enum {
  CONFORMANCE_GUARD = 256,
#ifdef MEDTRAIN_CUDA_SHIM
  CONFORMANCE_DEVICE_GUARD = 0,
#else
  CONFORMANCE_DEVICE_GUARD = CONFORMANCE_GUARD,
#endif
};

/* --- devices --- */

/* Opened when first asked for, closed at exit. */
static struct conformance_device {
  struct device device;
  struct stream stream;
  bool tried;
} conformance_devices[2];

static void conformance_close(void) {
  for (int i = 0; i < 2; i++) {
    struct conformance_device *open = &conformance_devices[i];
    if (open->stream.device) open->device.ops->stream_close(&open->stream);
    device_close(&open->device);
  }
}

static void conformance_open(struct conformance_device *open, enum device_kind kind) {
  for (int i = 0; devices[i]; i++) {
    if (devices[i]->kind != kind || devices[i]->count(NULL) < 1) continue;
    CHECK_OK(device_open(&open->device, devices[i]->name, 0, 1, false, 0));
    CHECK_OK(open->device.ops->stream_open(&open->device, &open->stream));
  }
}

/* A stream of the device of this kind; NULL: there is none here. */
static struct stream *conformance_stream(enum device_kind kind) {
  struct conformance_device *open = &conformance_devices[kind];
  if (!conformance_devices[DEVICE_CPU].tried && !conformance_devices[DEVICE_CUDA].tried)
    atexit(conformance_close);
  if (!open->tried) conformance_open(open, kind);
  open->tried = true;
  return open->device.ops ? &open->stream : NULL;
}

/* --- memory --- */

static void *conformance_allocate(size_t bytes) {
  void *memory = NULL;
  if (posix_memalign(&memory, 64, bytes + 64) != 0) abort();
  return memory;
}

static double *conformance_doubles(int64_t count) {
  double *values = conformance_allocate((size_t)count * sizeof(double));
  memset(values, 0, (size_t)count * sizeof(double));
  return values;
}

/* What a kernel gets at `address`, with guards; on another device the host has a copy. All bytes
 * start as 0xff: a NaN in every element type. */
struct guarded {
  unsigned char *base, *memory; /* the host's: with guards, and inside */
  size_t bytes;
  enum device_kind device;
  unsigned char *device_base; /* NULL where the device uses the host's */
  void *address;
};

static struct guarded guarded_make(enum device_kind kind, size_t bytes) {
  if (!conformance_stream(kind)) abort();
  unsigned char *base = conformance_allocate(bytes + 2 * CONFORMANCE_GUARD);
  memset(base, 0xff, bytes + 2 * CONFORMANCE_GUARD);
  struct guarded made = {base, base + CONFORMANCE_GUARD, bytes, kind, NULL, NULL};
  made.address = made.memory;
  struct device *device = &conformance_devices[kind].device;
  if (device->ops->host_memory) return made;
  void *memory = NULL;
  CHECK_OK(device->ops->allocate(device, bytes + 2 * CONFORMANCE_DEVICE_GUARD, &memory));
  if (!memory) abort();
  made.device_base = memory;
  made.address = made.device_base + CONFORMANCE_DEVICE_GUARD;
  return made;
}

static void guarded_copy(const struct guarded *guarded, bool up) {
  struct stream *stream = conformance_stream(guarded->device);
  unsigned char *host = guarded->memory - CONFORMANCE_DEVICE_GUARD;
  size_t bytes = guarded->bytes + 2 * CONFORMANCE_DEVICE_GUARD;
  if (!guarded->device_base || bytes == 0) return;
  CHECK_OK(stream->device->ops->copy(stream, up ? guarded->device_base : host,
                                     up ? host : guarded->device_base, bytes));
  CHECK_OK(stream->device->ops->synchronize(stream));
}

static void guarded_upload(const struct guarded *guarded) {
  guarded_copy(guarded, true);
}

static void guarded_download(const struct guarded *guarded) {
  guarded_copy(guarded, false);
}

static void guarded_free(struct guarded *guarded) {
  struct device *device = &conformance_devices[guarded->device].device;
  if (guarded->device_base)
    device->ops->release(device, guarded->device_base,
                         guarded->bytes + 2 * CONFORMANCE_DEVICE_GUARD);
  free(guarded->base);
  *guarded = (struct guarded){0};
}

static bool guarded_intact(const struct guarded *guarded) {
  for (size_t i = 0; i < CONFORMANCE_GUARD; i++)
    if (guarded->base[i] != 0xff || guarded->memory[guarded->bytes + i] != 0xff) return false;
  return true;
}

static uint64_t conformance_hash(uint64_t hash, const struct guarded *guarded) {
  const uint64_t factor = UINT64_C(0x9e3779b97f4a7c15);
  size_t i = 0;
  for (uint64_t word; i + sizeof word <= guarded->bytes; i += sizeof word) {
    memcpy(&word, guarded->memory + i, sizeof word);
    hash = (hash ^ word) * factor;
    hash ^= hash >> 32; /* so that high bits count for low ones, too */
  }
  for (; i < guarded->bytes; i++) hash = (hash ^ guarded->memory[i]) * factor;
  return hash;
}

/* --- what was tried on CUDA --- */

enum { CONFORMANCE_KERNELS = 256 };

static struct conformance_record {
  const struct op *op;
  const struct kernel *kernel;
  int cases; /* cases times types and layouts of the inputs */
} conformance_records[CONFORMANCE_KERNELS];

/* At exit: "N kernels, M cases on cuda", and in the file that CONFORMANCE_REPORT names a line
 * "operator kernel type cases" for each kernel. */
static void conformance_report(void) {
  const char *path = getenv("CONFORMANCE_REPORT");
  FILE *file = path ? fopen(path, "w") : NULL;
  int kernels = 0, cases = 0;
  for (; kernels < CONFORMANCE_KERNELS && conformance_records[kernels].kernel; kernels++) {
    const struct conformance_record *record = &conformance_records[kernels];
    cases += record->cases;
    if (file)
      fprintf(file, "%s %s %s %d\n", record->op->name, record->kernel->name,
              dtype_name(record->kernel->dtype), record->cases);
  }
  if (file) fclose(file);
  printf("%d kernels, %d cases on cuda\n", kernels, cases);
  fflush(stdout);
}

static void conformance_count(const struct op *op, const struct kernel *kernel) {
  if (kernel->device != DEVICE_CUDA) return;
  if (!conformance_records[0].kernel) atexit(conformance_report);
  for (int i = 0; i < CONFORMANCE_KERNELS; i++) {
    struct conformance_record *record = &conformance_records[i];
    if (record->kernel && record->kernel != kernel) continue;
    record->op = op;
    record->kernel = kernel;
    record->cases++;
    return;
  }
}
