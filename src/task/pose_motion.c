/* Which poses there are: random motions from the counter-based generator, and their targets. */
#include <math.h>
#include <string.h>
#include "base/file.h"
#include "base/random.h"
#include "task/pose.h"

/* Numbers that a variant may use: more than any sampling needs, so that variants do not overlap. */
enum { NUMBERS_PER_VARIANT = 256 };

struct ranges {
  double rotation, translation;
};

static void draw_uniform(struct random *stream, const struct ranges *ranges, struct pose *pose) {
  for (int axis = 0; axis < 3; axis++)
    pose->rotation[axis] = random_range(stream, -ranges->rotation, ranges->rotation);
  for (int axis = 0; axis < 3; axis++)
    pose->translation[axis] = random_range(stream, -ranges->translation, ranges->translation);
}

/* Normal with deviation range / 2, drawn again beyond the range. */
static double draw_cut_normal(struct random *stream, double range) {
  double drawn;
  do drawn = random_normal(stream) / 2;
  while (fabs(drawn) > 1);
  return range * drawn;
}

static void draw_gaussian(struct random *stream, const struct ranges *ranges, struct pose *pose) {
  for (int axis = 0; axis < 3; axis++)
    pose->rotation[axis] = draw_cut_normal(stream, ranges->rotation);
  for (int axis = 0; axis < 3; axis++)
    pose->translation[axis] = draw_cut_normal(stream, ranges->translation);
}

/* Rodrigues' formula. */
static void turn_about(const double axis[3], double degrees, double matrix[9]) {
  double angle = degrees * M_PI / 180, s = sin(angle), c = cos(angle);
  const double cross[9] = {0, -axis[2], axis[1], axis[2], 0, -axis[0], -axis[1], axis[0], 0};
  for (int i = 0; i < 3; i++)
    for (int j = 0; j < 3; j++)
      matrix[3 * i + j] = (i == j ? c : 0) + s * cross[3 * i + j] + (1 - c) * axis[i] * axis[j];
}

/* An axis from the whole sphere (Archimedes: its height is uniform) and an angle from 0 to the
 * range. */
static void draw_axis_angle(struct random *stream, const struct ranges *ranges, struct pose *pose) {
  double height = random_range(stream, -1, 1), longitude = random_range(stream, 0, 2 * M_PI);
  double radius = sqrt(1 - height * height), matrix[9];
  const double axis[3] = {radius * cos(longitude), radius * sin(longitude), height};
  turn_about(axis, random_range(stream, 0, ranges->rotation), matrix);
  double translation[3];
  for (int i = 0; i < 3; i++)
    translation[i] = random_range(stream, -ranges->translation, ranges->translation);
  rigid_pose(matrix, translation, pose);
}

static const struct {
  const char *name;
  void (*draw)(struct random *stream, const struct ranges *ranges, struct pose *pose);
} samplings[] = {
    {"uniform", draw_uniform},
    {"axis_angle", draw_axis_angle},
    {"gaussian", draw_gaussian},
};

static struct random stream_of(const struct config *config, enum random_purpose purpose,
                               const char *id, int64_t epoch, int64_t variant) {
  uint32_t subject = file_checksum(0, id, strlen(id));
  bool fixed = strcmp(config->pose.variants, "fixed") == 0;
  struct random stream = random_stream((uint64_t)config->root.seed, purpose,
                                       fixed ? 0 : (uint32_t)(epoch + 1), subject);
  stream.index = (uint64_t)variant * NUMBERS_PER_VARIANT;
  return stream;
}

struct pose pose_draw_motion(const struct config *config, const char *id, int64_t epoch,
                             int64_t variant) {
  const struct ranges ranges = {config->pose.rotation_range, config->pose.translation_range};
  struct random stream = stream_of(config, RANDOM_POSES, id, epoch, variant);
  struct pose pose;
  size_t kind = 0;
  while (strcmp(samplings[kind].name, config->pose.sampling) != 0) kind++; /* checked by config */
  samplings[kind].draw(&stream, &ranges, &pose);
  return pose;
}

struct pose pose_motion(const struct task_run *run, int64_t epoch, int subject, int64_t variant) {
  return pose_draw_motion(run->config, run->dataset.subjects[subject].id, epoch, variant);
}

void pose_find_key(const struct config *config, const char *id, int64_t epoch, int64_t variant,
                   struct affine_motion *motion) {
  struct random stream = stream_of(config, RANDOM_POSE_NOISE, id, epoch, variant);
  for (int i = 0; i < 2; i++) motion->key[i] = (float)(random_bits(&stream) >> 8);
}
