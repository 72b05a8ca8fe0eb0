/* What all benchmarks say: on which machine, and the line of JSON. */
#include <stdio.h>
#include <stdlib.h>
#include "command/bench.h"
#include "device/cpu_describe.h"

json_t *bench_machine(const struct device *device, const struct peak *peak) {
  char processor[128];
  cpu_model(processor, sizeof processor);
  json_t *machine =
      json_pack("{s:s, s:s, s:s, s:i}", "processor", processor, "instruction_set",
                cpu_instruction_set(), "device", device->ops->name, "threads", device->threads);
  if (!machine || !peak) return machine;
  json_object_set_new(machine, "peak_flop_per_second", json_real(peak->flops));
  json_object_set_new(machine, "triad_bytes_per_second", json_real(peak->bytes));
  return machine;
}

enum status bench_print(json_t *result) {
  char *text = result ? json_dumps(result, JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(6)) : NULL;
  json_decref(result);
  REQUIRE(text, STATUS_FAILED, "bench: out of memory");
  printf("%s\n", text);
  free(text);
  return STATUS_OK;
}

static int by_size(const void *a, const void *b) {
  double first = *(const double *)a, second = *(const double *)b;
  return (first > second) - (first < second);
}

void bench_sort(double *seconds, int count) {
  qsort(seconds, (size_t)count, sizeof *seconds, by_size);
}
