/* Moving towards a mean is a step of gradient descent on half the squared distance to it. */
#include "optim/statistics.h"
#include "kernels/sgd/sgd.h"

enum status statistics_update(struct stream *stream, float *running, const float *sum,
                              int64_t count, int slots, double momentum) {
  const struct sgd_step step = {
      .learning_rate = momentum, .weight_decay = 1, .gradient_scale = -1.0 / slots};
  return count > 0 ? sgd_update(&step, stream, running, sum, NULL, count) : STATUS_OK;
}
