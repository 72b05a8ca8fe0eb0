/* The first values of parameters: each has a stream of random numbers of its own, keyed by its
 * name, so that another layer more or less leaves all others as they were. */
#include <math.h>
#include <string.h>
#include "base/file.h"
#include "base/random.h"
#include "graph/plan.h"

static double draw(const struct parameter *parameter, struct random *stream) {
  double bound;
  switch (parameter->initial) {
    case INITIAL_UNIFORM_FAN_IN:
      bound = parameter->scale / sqrt(parameter->fan_in);
      return random_range(stream, -bound, bound);
    case INITIAL_NORMAL:
      return parameter->scale * random_normal(stream);
    case INITIAL_CONSTANT:
      break;
  }
  return parameter->scale;
}

void plan_initialize(const struct plan *plan, uint64_t seed, void *weights) {
  memset(weights, 0, (size_t)plan->parameter_elements * dtype_bytes(plan->graph->dtype));
  for (int i = 0; i < plan->parameter_count; i++) {
    const struct plan_parameter *parameter = &plan->parameters[i];
    uint32_t name = file_checksum(0, parameter->name, strlen(parameter->name));
    struct random stream = random_stream(seed, RANDOM_WEIGHTS, name, 0);
    for (int64_t k = 0; k < parameter->count; k++) {
      double value = draw(&parameter->parameter, &stream);
      if (plan->graph->dtype == DTYPE_F64)
        ((double *)weights)[parameter->offset + k] = value;
      else
        ((float *)weights)[parameter->offset + k] = (float)value;
    }
  }
}
