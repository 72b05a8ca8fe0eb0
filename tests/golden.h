/* Reads the golden files of tests/golden (safetensors: 8-byte header length, JSON header, raw data,
 * as tensor_file.py writes them), and compares with them. Tests only: a missing file or tensor ends
 * the program. */
#pragma once
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/random.h"

enum { GOLDEN_TENSORS = 640, GOLDEN_NAME_BYTES = 96 };

struct golden_tensor {
  char name[GOLDEN_NAME_BYTES];
  char type[4]; /* "F32", "F64", "U8", "I32" */
  int rank, extent[6];
  int64_t count;
  const void *data; /* within the file's bytes, as stored (little endian), any alignment */
};

struct golden {
  char path[512];
  char *bytes;
  int tensor_count;
  struct golden_tensor tensor[GOLDEN_TENSORS]; /* in the order stored */
};

static inline _Noreturn void golden_stop(const char *path, const char *what, const char *name) {
  fprintf(stderr, "%s: %s %s\n", path, what, name);
  exit(EXIT_FAILURE);
}

/* Skips a JSON object that holds only strings: `text` points at its "{"; the character after its
 * "}". */
static inline const char *golden_skip_strings(const char *text) {
  bool quoted = false;
  for (; *text && (quoted || *text != '}'); text++) {
    if (quoted && *text == '\\')
      text++;
    else if (*text == '"')
      quoted = !quoted;
  }
  return *text ? text + 1 : text;
}

static inline const char *golden_parse_extents(const char *text, struct golden_tensor *tensor) {
  text = strchr(text, '[') + 1;
  tensor->count = 1;
  while (*text != ']') {
    char *end;
    int extent = (int)strtol(text, &end, 10);
    if (end == text || tensor->rank == 6) return NULL;
    tensor->extent[tensor->rank++] = extent;
    tensor->count *= extent;
    text = *end == ',' ? end + 1 : end;
  }
  return text;
}

/* One `"NAME":{"dtype":"F32","shape":[..],"data_offsets":[a,b]}`: the character after it, or NULL.
 */
static inline const char *golden_parse_tensor(const char *text, const char *data,
                                              struct golden_tensor *tensor) {
  size_t begin, end;
  int used = 0;
  if (sscanf(text, "\"%95[^\"]\":{\"dtype\":\"%3[A-Z0-9]\",\"shape\":%n", tensor->name,
             tensor->type, &used) != 2 ||
      !used || !(text = golden_parse_extents(text + used, tensor)))
    return NULL;
  used = 0;
  if (sscanf(text, "],\"data_offsets\":[%zu,%zu]}%n", &begin, &end, &used) != 2 || !used)
    return NULL;
  tensor->data = data + begin;
  return text + used;
}

/* Opens tests/golden/NAME.safetensors. `golden` is large: make it static. */
static inline void golden_open(struct golden *golden, const char *name) {
  const char *source = getenv("MEDTRAIN_SOURCE");
  size_t bytes;
  *golden = (struct golden){0};
  snprintf(golden->path, sizeof golden->path, "%s/tests/golden/%s.safetensors",
           source ? source : ".", name);
  if (file_read(golden->path, (size_t)1 << 28, &golden->bytes, &bytes) != STATUS_OK || bytes < 8)
    golden_stop(golden->path, "cannot be read:", status_message());
  uint64_t header;
  memcpy(&header, golden->bytes, 8);
  const char *data = golden->bytes + 8 + header;
  const char *text = golden->bytes + 9;
  if (!strncmp(text, "\"__metadata__\":", 15)) text = golden_skip_strings(text + 15);
  while (text && (*text == ',' || *text == '"')) {
    text += *text == ',';
    if (golden->tensor_count == GOLDEN_TENSORS)
      golden_stop(golden->path, "holds too many tensors", "");
    text = golden_parse_tensor(text, data, &golden->tensor[golden->tensor_count++]);
  }
  if (!text || *text != '}') golden_stop(golden->path, "is not as tensor_file.py writes it", "");
}

static inline void golden_close(struct golden *golden) {
  free(golden->bytes);
  *golden = (struct golden){0};
}

/* The tensor of that name, or NULL. */
static inline const struct golden_tensor *golden_find(const struct golden *golden,
                                                      const char *name) {
  for (int i = 0; i < golden->tensor_count; i++)
    if (!strcmp(golden->tensor[i].name, name)) return &golden->tensor[i];
  return NULL;
}

static inline const struct golden_tensor *golden_get(const struct golden *golden,
                                                     const char *name) {
  const struct golden_tensor *tensor = golden_find(golden, name);
  if (!tensor) golden_stop(golden->path, "holds no tensor", name);
  return tensor;
}

/* A tensor's values in a new array (caller frees); the type must be as asked for. */
static inline void *golden_copy(const struct golden *golden, const char *name, const char *type,
                                size_t element_bytes) {
  const struct golden_tensor *tensor = golden_get(golden, name);
  if (strcmp(tensor->type, type)) golden_stop(golden->path, "holds another type of", name);
  size_t bytes = (size_t)tensor->count * element_bytes;
  void *values = aligned_alloc(64, (bytes + 63) / 64 * 64);
  if (!values) golden_stop(golden->path, "out of memory for", name);
  memcpy(values, tensor->data, bytes);
  return values;
}

static inline float *golden_floats(const struct golden *golden, const char *name) {
  return golden_copy(golden, name, "F32", sizeof(float));
}

static inline double *golden_doubles(const struct golden *golden, const char *name) {
  return golden_copy(golden, name, "F64", sizeof(double));
}

static inline uint8_t *golden_bytes(const struct golden *golden, const char *name) {
  return golden_copy(golden, name, "U8", 1);
}

/* |a - b| / |b|, Euclidean. Not a number in, not a number out, so that a check on it fails. */
static inline double golden_distance(const float *a, const float *b, int64_t count) {
  double difference = 0, norm = 0;
  for (int64_t i = 0; i < count; i++) {
    difference += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
    norm += (double)b[i] * b[i];
  }
  return sqrt(difference / (norm > 0 ? norm : 1));
}

static inline double golden_distance_doubles(const double *a, const double *b, int64_t count) {
  double difference = 0, norm = 0;
  for (int64_t i = 0; i < count; i++) {
    difference += (a[i] - b[i]) * (a[i] - b[i]);
    norm += b[i] * b[i];
  }
  return sqrt(difference / (norm > 0 ? norm : 1));
}

/* The weights of parameter `index` (its place in the state dict) that the golden networks start
 * from: uniform in +-gain / sqrt(fan in); a bias has its weight's fan in. */
static inline void golden_weights(int index, int fan_in, float *weights, int64_t count) {
  const double gain = 2.2;
  double bound = gain / sqrt((double)fan_in);
  struct random stream = random_stream(20, RANDOM_TEST, (uint32_t)index, 0);
  for (int64_t i = 0; i < count; i++) weights[i] = (float)random_range(&stream, -bound, bound);
}

/* A tensor in four numbers: norm, and projections on three random directions. `index` as the file's
 * maker counts (README.md). */
static inline void golden_summarise(int index, const float *values, int64_t count,
                                    double summary[4]) {
  summary[0] = 0;
  for (int64_t i = 0; i < count; i++) summary[0] += (double)values[i] * values[i];
  summary[0] = sqrt(summary[0]);
  for (uint32_t k = 0; k < 3; k++) {
    struct random stream = random_stream(20, RANDOM_TEST, 1000 + (uint32_t)index, k);
    summary[1 + k] = 0;
    for (int64_t i = 0; i < count; i++)
      summary[1 + k] += (double)values[i] * random_range(&stream, -1.0, 1.0);
  }
}

/* How far apart two summaries are, relative to the norm: the largest difference of the four; a
 * difference vector of relative length e moves a projection by about 0.6 e. */
static inline double golden_summary_distance(const double a[4], const double b[4]) {
  double worst = 0;
  for (int k = 0; k < 4; k++) {
    double difference = fabs(a[k] - b[k]) / (b[0] > 0 ? b[0] : 1);
    if (isnan(difference) || difference > worst) worst = difference;
  }
  return worst;
}
