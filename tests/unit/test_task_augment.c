/* Augmentation: what is drawn, and where windows come from. */
#include "check.h"
#include "task/augment.h"

static void open_config(struct config *config, const char *augment) {
  char text[1024];
  snprintf(text, sizeof text, "augment = { %s };", augment);
  CHECK_OK(config_parse(config, text, "test"));
}

#define EVERYTHING                                                                    \
  "rotation = [30.0, 20.0, 10.0]; rotation_probability = 0.5; scaling = [0.7, 1.4]; " \
  "scaling_probability = 0.5; elastic_deformation = 2.0; elastic_probability = 0.5; " \
  "flip = \"LR,IS\"; noise = 0.1; noise_probability = 0.5; blur = [0.5, 1.0]; "       \
  "brightness = [0.75, 1.25]; contrast = [0.75, 1.25]; low_resolution = [0.5, 1.0]; " \
  "gamma = [0.7, 1.5]; gamma_probability = 0.5; gamma_inverted_probability = 0.25"

/* --- keys --- */

TEST(nothing_by_default) {
  struct config config;
  open_config(&config, "");
  CHECK_OK(augment_check(&config, 3));
  CHECK(!augment_moves(&config) && !augment_deforms(&config) && !augment_contrasts(&config));
  CHECK(augment_input_count(&config) == 0);
  struct augment_sample sample, nothing = augment_nothing();
  augment_draw(&config, 3, "subject", 5, 3, &sample);
  for (int axis = 0; axis < 3; axis++) {
    CHECK(sample.rotation[axis] == 0 && sample.scale[axis] == 1 && !sample.flip[axis]);
    CHECK(sample.blur[axis] == 0 && sample.low_resolution[axis] == 1);
  }
  CHECK(sample.deformation == 0 && sample.noise == 0 && sample.brightness == 1);
  CHECK(sample.contrast == 1 && sample.gamma == 1 && sample.gamma_inverted == 1);
  CHECK(nothing.scale[1] == 1 && nothing.gamma == 1 && nothing.low_resolution[2] == 1);
  const int window[3] = {5, 6, 7}, volume[3] = {50, 60, 3};
  const double spacing[3] = {1, 1, 1};
  int extent[3];
  augment_source_extent(&config, window, spacing, 3, volume, extent);
  CHECK(extent[0] == 5 && extent[1] == 6 && extent[2] == 3);
  config_close(&config);
}

TEST(keys_that_do_not_fit_are_refused) {
  static const struct {
    const char *keys, *part;
    int dimensions;
  } cases[] = {
      {"scaling = [1.4, 0.7]", "augment.scaling: expected low before high, found 1.4, 0.7", 3},
      {"gamma = [1.0]", "augment.gamma: expected low and high, found 1 numbers", 3},
      {"rotation = [1.0, 2.0]", "augment.rotation: expected 1 number or 3, found 2", 3},
      {"elastic_spacing = [8, 8]", "augment.elastic_spacing: expected 1 number or 3, found 2", 3},
      {"flip = \"LQ\"", "augment.flip: expected axes as in \"LR,AP,IS\", found \"LQ\"", 3},
      {"flip = \"LR\"", "expected axes of the slices' planes", 2},
  };
  struct config config;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    open_config(&config, cases[i].keys);
    CHECK_FAILS(augment_check(&config, cases[i].dimensions), cases[i].part);
    config_close(&config);
  }
  open_config(&config, "flip = \"AP\"");
  CHECK_OK(augment_check(&config, 2));
  CHECK_OK(config_override(&config, "data.orientation=\"\""));
  CHECK_FAILS(augment_check(&config, 3), "expected data.orientation to say which axis");
  config_close(&config);
}

/* --- what is drawn --- */

static bool same_sample(const struct augment_sample *a, const struct augment_sample *b) {
  bool same = a->deformation == b->deformation && a->noise == b->noise &&
              a->brightness == b->brightness && a->contrast == b->contrast &&
              a->gamma == b->gamma && a->gamma_inverted == b->gamma_inverted;
  for (int axis = 0; axis < 3; axis++)
    same = same && a->flip[axis] == b->flip[axis] && a->rotation[axis] == b->rotation[axis] &&
           a->scale[axis] == b->scale[axis] && a->blur[axis] == b->blur[axis] &&
           a->low_resolution[axis] == b->low_resolution[axis];
  return same && a->key[0] == b->key[0] && a->key[1] == b->key[1];
}

TEST(samples_depend_on_what_they_are_of_only) {
  enum { COUNT = 60 };
  struct config config;
  struct augment_sample samples[COUNT], again;
  open_config(&config, EVERYTHING);
  for (int i = 0; i < COUNT; i++)
    augment_draw(&config, i / 20, i / 10 % 2 ? "s0001" : "s0002", i % 10, 3, &samples[i]);
  for (int i = COUNT - 1; i >= 0; i -= 7) {
    augment_draw(&config, i / 20, i / 10 % 2 ? "s0001" : "s0002", i % 10, 3, &again);
    CHECK(same_sample(&samples[i], &again));
  }
  for (int i = 0; i < COUNT; i++) /* the key is different whatever else is switched off */
    for (int j = 0; j < i; j++) CHECK(samples[i].key[0] != samples[j].key[0]);
  /* a key changes what it says, and nothing else */
  CHECK_OK(config_override(&config, "augment.scaling_probability=0"));
  for (int i = 0; i < COUNT; i++) {
    augment_draw(&config, i / 20, i / 10 % 2 ? "s0001" : "s0002", i % 10, 3, &again);
    for (int axis = 0; axis < 3; axis++) again.scale[axis] = samples[i].scale[axis];
    CHECK(same_sample(&samples[i], &again));
  }
  CHECK_OK(config_override(&config, "seed=2"));
  augment_draw(&config, 0, "s0002", 0, 3, &again);
  CHECK(again.key[0] != samples[0].key[0]);
  config_close(&config);
}

enum { DRAWS = 4000 };

/* Of numbers that are mostly `neutral`: the share of those that are not, their range and mean. */
struct spread {
  int count;
  double low, high, sum;
};

static void see(struct spread *spread, double value, double neutral) {
  if (value == neutral) return;
  spread->low = spread->count ? fmin(spread->low, value) : value;
  spread->high = spread->count ? fmax(spread->high, value) : value;
  spread->sum += value;
  spread->count++;
}

static void check_spread(const char *what, const struct spread *spread, double share, double low,
                         double high, double mean) {
  double rate = spread->count / (double)DRAWS, size = high - low;
  CHECK_SAY(fabs(rate - share) < 4 * sqrt(share / DRAWS), " (%s: share %g)", what, rate);
  CHECK_SAY(spread->low >= low && spread->low < low + 0.05 * size, " (%s: from %g)", what,
            spread->low);
  CHECK_SAY(spread->high <= high && spread->high > high - 0.05 * size, " (%s: to %g)", what,
            spread->high);
  CHECK_SAY(fabs(spread->sum / spread->count - mean) < 0.06 * size, " (%s: mean %g)", what,
            spread->sum / spread->count);
}

TEST(numbers_are_spread_as_keys_say) {
  struct config config;
  open_config(&config, EVERYTHING);
  struct spread turn[3] = {{0}}, scale = {0}, noise = {0}, blur = {0}, bright = {0}, contrast = {0};
  struct spread coarse = {0}, gamma = {0}, inverted = {0}, bends = {0};
  int flips[3] = {0}, both = 0;
  for (int i = 0; i < DRAWS; i++) {
    struct augment_sample s;
    augment_draw(&config, 0, "subject", i, 3, &s);
    for (int axis = 0; axis < 3; axis++) see(&turn[axis], s.rotation[axis], 0);
    for (int axis = 0; axis < 3; axis++) flips[axis] += s.flip[axis];
    both += s.flip[0] && s.flip[2];
    see(&scale, s.scale[1], 1);
    see(&noise, s.noise, 0);
    see(&blur, s.blur[2], 0);
    see(&bright, s.brightness, 1);
    see(&contrast, s.contrast, 1);
    see(&coarse, s.low_resolution[0], 1);
    see(&gamma, s.gamma, 1);
    see(&inverted, s.gamma_inverted, 1);
    bends.count += s.deformation == 2;
    CHECK(s.scale[0] == s.scale[1] && s.scale[1] == s.scale[2]);
  }
  for (int axis = 0; axis < 3; axis++)
    check_spread("rotation", &turn[axis], 0.5, -30 + 10 * axis, 30 - 10 * axis, 0);
  check_spread("scaling", &scale, 0.5, 0.7, 1.4, (0.85 + 1.2) / 2);
  check_spread("noise", &noise, 0.5, 0, 0.1, 0.05);
  check_spread("blur", &blur, 0.2, 0.5, 1, 0.75);
  check_spread("brightness", &bright, 0.15, 0.75, 1.25, 1);
  check_spread("contrast", &contrast, 0.15, 0.75, 1.25, 1);
  check_spread("low resolution", &coarse, 0.25, 0.5, 1, 0.75);
  check_spread("gamma", &gamma, 0.5, 0.7, 1.5, (0.85 + 1.25) / 2);
  check_spread("inverted", &inverted, 0.25, 0.7, 1.5, (0.85 + 1.25) / 2);
  CHECK(abs(bends.count - DRAWS / 2) < 130 && flips[1] == 0);
  CHECK(abs(flips[0] - DRAWS / 2) < 130 && abs(flips[2] - DRAWS / 2) < 130);
  CHECK(abs(both - DRAWS / 4) < 130); /* each axis by itself */
  config_close(&config);
}

TEST(slices_stay_in_their_planes) {
  struct config config;
  open_config(&config, EVERYTHING);
  CHECK_OK(config_override(&config, "augment.flip=\"AP\""));
  int turned = 0, flipped = 0;
  for (int i = 0; i < 200; i++) {
    struct augment_sample s;
    augment_draw(&config, 0, "subject", i, 2, &s);
    turned += s.rotation[0] != 0;
    flipped += s.flip[1];
    CHECK(s.rotation[1] == 0 && s.rotation[2] == 0 && s.scale[0] == 1 && !s.flip[0]);
    CHECK(s.blur[0] == 0 && s.low_resolution[0] == 1);
  }
  CHECK(turned > 60 && turned < 140 && flipped > 60 && flipped < 140);
  config_close(&config);
}

/* --- where windows come from --- */

static void place(const struct affine_motion *motion, const double voxel[3], double from[3]) {
  for (int k = 0; k < 3; k++)
    from[k] = (double)motion->matrix[k][0] * voxel[0] + (double)motion->matrix[k][1] * voxel[1] +
              (double)motion->matrix[k][2] * voxel[2] + (double)motion->matrix[k][3];
}

static double distance(const double a[3], const double b[3], const double spacing[3]) {
  double sum = 0;
  for (int k = 0; k < 3; k++) sum += pow((a[k] - b[k]) * spacing[k], 2);
  return sqrt(sum);
}

static const int window[3] = {12, 31, 40}, none[3] = {0, 0, 0}, much[3] = {99, 98, 97};
static const double uneven[3] = {4, 0.8, 1.25}, centre[3] = {20.5, 33, 41.25};

TEST(turns_are_rigid_in_mm) {
  static const double voxels[5][3] = {{0, 0, 0}, {11, 0, 3}, {5, 30, 39}, {2, 17, 8}, {11, 30, 0}};
  struct augment_sample sample = augment_nothing();
  struct affine_motion motion;
  double moved[5][3], middle[3] = {5.5, 15, 19.5}, found[3];
  for (int scaled = 0; scaled < 2; scaled++) {
    for (int k = 0; k < 3; k++) {
      sample.rotation[k] = 37 - 50 * k;
      sample.scale[k] = scaled ? 1.25 : 1;
      sample.flip[k] = scaled && k == 1;
    }
    augment_motion(&sample, window, uneven, centre, none, much, &motion);
    CHECK(motion.first[2] == 0 && motion.count[0] == 99 && motion.count[2] == 97);
    for (int i = 0; i < 5; i++) place(&motion, voxels[i], moved[i]);
    for (int i = 0; i < 5; i++)
      for (int j = 0; j < i; j++)
        CHECK_NEAR(distance(moved[i], moved[j], uneven) * sample.scale[0],
                   distance(voxels[i], voxels[j], uneven), 1e-4);
    place(&motion, middle, found);
    CHECK(distance(found, centre, uneven) < 1e-4);
  }
}

/* 90 degrees about d: what was along w is along h. */
TEST(turns_have_their_axes) {
  static const double spacing[3] = {3, 2, 1}, from[3] = {0, 0, 0}, step[3] = {0, 0, 2};
  const int one[3] = {1, 1, 1};
  struct augment_sample sample = augment_nothing();
  struct affine_motion motion;
  double found[3];
  sample.rotation[0] = 90;
  augment_motion(&sample, one, spacing, from, none, much, &motion);
  place(&motion, step, found);
  CHECK(fabs(found[0]) < 1e-6 && fabs(fabs(found[1]) - 1) < 1e-6 && fabs(found[2]) < 1e-6);
}

TEST(flips_and_nothing_are_exact) {
  struct augment_sample sample = augment_nothing();
  struct affine_motion motion;
  const double middle[3] = {5.5, 15, 19.5};
  augment_motion(&sample, window, uneven, middle, none, window, &motion);
  for (int k = 0; k < 3; k++)
    for (int j = 0; j < 4; j++) CHECK(motion.matrix[k][j] == (j == k ? 1 : 0));
  sample.flip[0] = sample.flip[2] = true;
  augment_motion(&sample, window, uneven, middle, none, window, &motion);
  for (int k = 0; k < 3; k++)
    for (int j = 0; j < 3; j++) CHECK(motion.matrix[k][j] == (j == k ? (k == 1 ? 1 : -1) : 0));
  CHECK(motion.matrix[0][3] == 11 && motion.matrix[1][3] == 0 && motion.matrix[2][3] == 39);
}

/* Every corner of the window of many samples lies in the source, which is not much too large. */
static void check_reach(const char *keys, int dimensions, double most) {
  static const int volume[3] = {1000, 1000, 1000};
  struct config config;
  int extent[3];
  double middle[3], reached[3] = {0, 0, 0};
  open_config(&config, keys);
  augment_source_extent(&config, window, uneven, dimensions, volume, extent);
  for (int k = 0; k < 3; k++) middle[k] = (extent[k] - 1) / 2.0;
  for (int i = 0; i < 8 * 3000; i++) {
    struct augment_sample sample;
    struct affine_motion motion;
    double corner[3], from[3];
    augment_draw(&config, 0, "subject", i / 8, dimensions, &sample);
    augment_motion(&sample, window, uneven, middle, none, extent, &motion);
    for (int k = 0; k < 3; k++) corner[k] = i >> k & 1 ? window[k] - 1 : 0;
    place(&motion, corner, from);
    for (int k = 0; k < 3; k++) reached[k] = fmax(reached[k], fabs(from[k] - middle[k]));
  }
  for (int k = 0; k < 3; k++) {
    double half = (extent[k] - 1) / 2.0;
    CHECK_SAY(reached[k] <= half + 1e-4, " (axis %d: %g of %g)", k, reached[k], half);
    CHECK_SAY(half <= most * reached[k] + 2, " (axis %d: %g of %g)", k, reached[k], half);
  }
  const int small[3] = {20, 35, 1};
  augment_source_extent(&config, window, uneven, dimensions, small, extent);
  CHECK(extent[0] <= 20 && extent[1] <= 35 && extent[2] == 1);
  config_close(&config);
}

TEST(sources_are_large_enough) {
  check_reach("rotation = [30.0]; rotation_probability = 1.0", 3, 1.1);
  check_reach(
      "rotation = [180.0]; rotation_probability = 1.0; scaling = [0.8, 1.5]; "
      "scaling_probability = 1.0",
      2, 1.1);
  check_reach(
      "rotation = [15.0, 0.0, 90.0]; rotation_probability = 1.0; scaling = [0.7, 1.4]; "
      "scaling_probability = 1.0; flip = \"LR,AP\"",
      3, 1.2);
  check_reach("flip = \"LR,AP\"", 3, 1);
}

TEST(deformations_have_their_size) {
  enum { MOST = 3 * 40 * 40 * 40 };
  struct config config;
  struct augment_sample sample = augment_nothing(), drawn;
  static float control[MOST], again[MOST];
  static const int cube[3] = {120, 120, 120};
  int extent[3];
  open_config(&config,
              "elastic_deformation = 3.0; elastic_spacing = [8]; "
              "elastic_probability = 1.0");
  augment_control_extent(&config, cube, 3, extent);
  CHECK(extent[0] == 15 && extent[1] == 15 && extent[2] == 15);
  augment_draw(&config, 1, "subject", 2, 3, &drawn);
  CHECK(drawn.deformation == 3);
  augment_control(&config, &drawn, cube, uneven, 3, control);
  augment_control(&config, &drawn, cube, uneven, 3, again);
  int points = 15 * 15 * 15;
  CHECK(memcmp(control, again, sizeof(float) * 3 * (size_t)points) == 0);
  for (int k = 0; k < 3; k++) { /* at the points a spline is (1 4 1) / 6 of its coefficients */
    double squares = 0;
    int count = 0;
    for (int at = 0; at < points; at++) {
      int d = at / 225, h = at / 15 % 15, w = at % 15;
      if (d % 14 == 0 || h % 14 == 0 || w % 14 == 0) continue;
      double sum = 0;
      for (int n = 0; n < 27; n++) {
        int to[3] = {n / 9 - 1, n / 3 % 3 - 1, n % 3 - 1};
        double weight = (to[0] ? 1 : 4) * (to[1] ? 1 : 4) * (to[2] ? 1 : 4) / 216.0;
        sum += weight * (double)control[k * points + at + to[0] * 225 + to[1] * 15 + to[2]];
      }
      squares += pow(sum * uneven[k], 2);
      count++;
    }
    CHECK_SAY(fabs(sqrt(squares / count) - 3 * sqrt(0.5 * 0.5 * 0.5 / pow(151 / 315.0, 3))) < 0.4,
              " (axis %d: %g mm)", k, sqrt(squares / count));
  }
  augment_control(&config, &sample, cube, uneven, 3, control);
  for (int i = 0; i < 3 * points; i++) CHECK(control[i] == 0);
  augment_control_extent(&config, cube, 2, extent);
  CHECK(extent[0] == 1 && extent[1] == 15);
  augment_control(&config, &drawn, cube, uneven, 2, control);
  for (int i = 0; i < 225; i++) CHECK(control[i] == 0 && control[225 + i] != 0);
  config_close(&config);
}

int main(void) {
  RUN(nothing_by_default);
  RUN(keys_that_do_not_fit_are_refused);
  RUN(samples_depend_on_what_they_are_of_only);
  RUN(numbers_are_spread_as_keys_say);
  RUN(slices_stay_in_their_planes);
  RUN(turns_are_rigid_in_mm);
  RUN(turns_have_their_axes);
  RUN(flips_and_nothing_are_exact);
  RUN(sources_are_large_enough);
  RUN(deformations_have_their_size);
  return check_result();
}
