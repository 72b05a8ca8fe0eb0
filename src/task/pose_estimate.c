/* What a network's estimate says, decoded as the loss does. */
#include <string.h>
#include "kernels/loss_pose/pose.h"
#include "task/pose.h"

void pose_read_estimate(const struct config *config, const float *estimate, struct pose *pose) {
  double value[POSE_MATRIX];
  bool matrix = strcmp(config->pose.representation, "rotation6d") == 0;
  int count = matrix ? POSE_MATRIX : POSE_EULER;
  for (int i = 0; i < count; i++) value[i] = estimate[i];
  const struct pose_motion motion =
      pose_decode(value, count, config->pose.rotation_range, config->pose.translation_range);
  rigid_pose(motion.r, motion.t, pose);
}
