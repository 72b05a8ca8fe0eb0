/* Dynamic loss scaling for float16, with the rule and the numbers of torch.amp.GradScaler:
 * gradients too small for float16 are kept by multiplying the loss; when one is too large, the
 * update is left out and the factor halved; after many good steps it is doubled. The decision
 * follows from the norm of the total gradient, which is the same on all ranks. */
#include <math.h>
#include <string.h>
#include "base/log.h"
#include "train/trainer.h"

static const double GROWTH = 2, BACKOFF = 0.5;
static const double LEAST = 0x1p-14; /* float16 itself has smaller numbers */

static bool is_scaled(const struct trainer *trainer) {
  return strcmp(trainer->config->train.precision, "fp16") == 0;
}

void scale_start(struct trainer *trainer) {
  trainer->state.loss_scale = is_scaled(trainer) ? trainer->config->train.loss_scale : 1;
}

static enum status back_off(struct trainer *trainer) {
  struct progress_state *state = &trainer->state;
  double before = state->loss_scale;
  state->loss_scale *= BACKOFF;
  state->good_steps = 0;
  state->skipped_steps++;
  REQUIRE(
      state->loss_scale >= LEAST, STATUS_FAILED,
      "step %lld: the gradient is not finite, though the loss was multiplied by no more than %g; "
      "float16 cannot hold this network's gradients (train.precision = \"bf16\" may); the last "
      "checkpoint is kept",
      (long long)state->step + 1, before);
  log_info("step %lld: no update, since the gradient is too large for float16; loss scale %g",
           (long long)state->step + 1, state->loss_scale);
  return STATUS_OK;
}

enum status scale_judge(struct trainer *trainer, double gradient_norm, bool *update) {
  struct progress_state *state = &trainer->state;
  *update = isfinite(gradient_norm);
  REQUIRE(*update || is_scaled(trainer), STATUS_FAILED,
          "step %lld: the gradient is not finite; the last checkpoint is kept",
          (long long)state->step + 1);
  return *update ? STATUS_OK : back_off(trainer);
}

void scale_grow(struct trainer *trainer) {
  struct progress_state *state = &trainer->state;
  if (!is_scaled(trainer)) return;
  if (++state->good_steps < trainer->config->train.loss_scale_steps) return;
  state->good_steps = 0;
  state->loss_scale *= GROWTH;
}
