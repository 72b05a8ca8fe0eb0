/* bench import: how fast the images that prepare would take are read, and nothing else. */
#include <jansson.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "base/text.h"
#include "base/timer.h"
#include "command/bench.h"
#include "data/discover.h"
#include "data/subject.h"

struct import {
  const struct config *config;
  struct subject_source *sources;
  int source_count, threads;
  int64_t files;
  double packed_bytes; /* as the files are */
  double bytes;        /* of the float32 numbers made of them */
  double seconds;
};

/* The first failure of several threads, with its trace. */
struct failure {
  enum status status;
  char *trace;
};

static enum status add_file(struct import *import, const char *path) {
  struct stat information;
  REQUIRE(stat(path, &information) == 0, STATUS_FAILED, "%s: expected a file, found none", path);
  import->files++;
  import->packed_bytes += (double)information.st_size;
  return STATUS_OK;
}

static enum status count_files(struct import *import) {
  for (int i = 0; i < import->source_count; i++) {
    const struct subject_source *source = &import->sources[i];
    TRY(add_file(import, source->image));
    for (int c = 0; c < source->channel_file_count; c++)
      TRY(add_file(import, source->channel_files[c]));
  }
  return STATUS_OK;
}

/* What prepare reads of a subject; *bytes: what became of it. */
static enum status read_one(const struct import *import, int subject, double *bytes) {
  struct volume image;
  TRY(subject_read_image(import->config, &import->sources[subject], &image));
  *bytes = (double)volume_count(&image) * image.channels * sizeof *image.values;
  volume_close(&image);
  return STATUS_OK;
}

static void keep_failure(struct failure *failure, enum status status) {
  if (!status || failure->status) return;
  failure->status = status;
  failure->trace = strdup(status_trace());
}

/* One subject per thread: a file is unpacked by one thread. */
static enum status read_all(struct import *import) {
  struct failure failure = {STATUS_OK, NULL};
#pragma omp parallel for schedule(dynamic, 1)
  for (int i = 0; i < import->source_count; i++) {
    double bytes = 0;
    enum status status = read_one(import, i, &bytes);
#pragma omp critical(bench_import)
    {
      import->bytes += bytes;
      keep_failure(&failure, status);
    }
  }
  if (!failure.status) return STATUS_OK;
  status_restore(failure.trace ? failure.trace : "out of memory");
  free(failure.trace);
  return failure.status;
}

static enum status measure(struct import *import) {
  double unused, started;
  import->threads = omp_get_max_threads();
  TRY(count_files(import));
  TRY(read_one(import, 0, &unused));
  started = timer_now();
  TRY(read_all(import));
  import->seconds = timer_now() - started;
  return STATUS_OK;
}

static void print_table(const struct import *import) {
  char packed[32], made[32];
  double rate = 1 / import->seconds;
  printf("%s: %lld files, %s, %s as float32, read in %.3f s by %d threads\n",
         import->config->data.source, (long long)import->files,
         text_bytes(import->packed_bytes, packed), text_bytes(import->bytes, made), import->seconds,
         import->threads);
  printf("%10.2f files/s %10.1f MB/s packed %10.3f GB/s unpacked\n", (double)import->files * rate,
         1e-6 * import->packed_bytes * rate, 1e-9 * import->bytes * rate);
}

static json_t *describe(const struct import *import, const struct device *device) {
  return json_pack("{s:s, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:i, s:o}", "source",
                   import->config->data.source, "files", (json_int_t)import->files, "packed_bytes",
                   import->packed_bytes, "unpacked_bytes", import->bytes, "seconds",
                   import->seconds, "files_per_second", (double)import->files / import->seconds,
                   "packed_bytes_per_second", import->packed_bytes / import->seconds,
                   "unpacked_bytes_per_second", import->bytes / import->seconds, "threads",
                   import->threads, "machine", bench_machine(device, NULL));
}

enum status bench_import(const struct config *config, struct comm *comm) {
  struct import import = {.config = config};
  struct device device = {0};
  REQUIRE(comm->size == 1, STATUS_USAGE, "bench import runs on one process, found %d ranks",
          comm->size);
  TRY(device_find("cpu", &device.ops));
  TRY(discover_subjects(config, &import.sources, &import.source_count));
  enum status status = measure(&import);
  device.threads = import.threads;
  if (!status) print_table(&import);
  if (!status) status = bench_print(describe(&import, &device));
  discover_free(import.sources, import.source_count);
  volume_forget_memory();
  return status;
}
