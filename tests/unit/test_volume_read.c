/* Reading NIfTI: every voxel type, both byte orders, both versions, scaling, orientation, policies.
 */
#include "check.h"
#include "unit/volume_bytes.h"
#include "volume/volume.h"

enum { COUNT = 3 * 4 * 5 };
static char *folder;
static const struct volume_policy strict;

/* The sample at (i, j, k) of a 3 x 4 x 5 file, i fastest. */
static void number_samples(double *samples, double scale) {
  for (int n = 0; n < COUNT; n++) samples[n] = n * scale;
}

static float value_at(const struct volume *volume, int i, int j, int k) {
  return volume
      ->values[((size_t)i * (size_t)volume->extent[1] + (size_t)j) * (size_t)volume->extent[2] +
               (size_t)k];
}

/* Reads a plan's file; the volume is zeroed when that fails. */
static enum status read_plan(struct volume *volume, const struct bytes_plan *plan,
                             const double *samples, const struct volume_policy *policy) {
  char *path = bytes_store(folder, "plan.nii", plan, samples, COUNT);
  enum status status = volume_read(volume, path, policy);
  free(path);
  return status;
}

static bool warns(const struct volume *volume, const char *part) {
  return volume->warnings && strstr(volume->warnings, part);
}

static void check_numbered(const struct volume *volume, double scale) {
  CHECK(volume->extent[0] == 3 && volume->extent[1] == 4 && volume->extent[2] == 5);
  int wrong = 0;
  for (int i = 0; i < 3; i++)
    for (int j = 0; j < 4; j++)
      for (int k = 0; k < 5; k++)
        wrong += value_at(volume, i, j, k) != (float)((i + 3 * (j + 4 * k)) * scale);
  CHECK_SAY(wrong == 0, ": %d of %d voxels", wrong, COUNT);
}

TEST(every_type_in_both_orders_and_versions) {
  static const int types[][2] = {{2, 8},   {4, 16},   {8, 32},   {16, 32},   {64, 64},
                                 {256, 8}, {512, 16}, {768, 32}, {1024, 64}, {1280, 64}};
  double samples[COUNT];
  for (int t = 0; t < 10; t++)
    for (int form = 0; form < 4; form++) {
      struct bytes_plan plan = bytes_default(types[t][0], types[t][1]);
      plan.swapped = form & 1;
      plan.version = 1 + form / 2;
      if (plan.version == 2) plan.offset = 544;
      bool is_float = types[t][0] == 16 || types[t][0] == 64;
      double scale = is_float ? 0.37 : 1;
      number_samples(samples, scale);
      struct volume volume;
      CHECK_OK(read_plan(&volume, &plan, samples, &strict));
      if (volume.values) check_numbered(&volume, scale);
      CHECK(volume.is_integer == !is_float);
      CHECK_SAY(!volume.warnings, ": %s", volume.warnings);
      volume_close(&volume);
    }
}

TEST(negative_and_large_integers) {
  const struct {
    int type, bits;
    double value;
  } rows[] = {{256, 8, -100},   {4, 16, -32768},         {8, 32, -2147483648.0},
              {512, 16, 65535}, {768, 32, 4294967295.0}, {1024, 64, -9007199254740992.0},
              {1280, 64, 1e19}};
  for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
    double samples[COUNT] = {0};
    samples[1] = rows[r].value;
    struct bytes_plan plan = bytes_default(rows[r].type, rows[r].bits);
    struct volume volume;
    CHECK_OK(read_plan(&volume, &plan, samples, &strict));
    if (volume.values) CHECK(value_at(&volume, 1, 0, 0) == (float)rows[r].value);
    volume_close(&volume);
  }
}

TEST(types_that_are_not_read_are_named) {
  static const struct {
    int type, bits;
    const char *name;
  } rows[] = {{1, 8, "BINARY"},     {32, 64, "COMPLEX64"},   {128, 24, "RGB24"},
              {2304, 32, "RGBA32"}, {1536, 128, "FLOAT128"}, {1792, 128, "COMPLEX128"},
              {0, 8, "datatype"},   {77, 8, "datatype"}};
  for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
    struct bytes_plan plan = bytes_default(rows[r].type, rows[r].bits);
    double samples[COUNT] = {0};
    struct volume volume;
    CHECK_FAILS(read_plan(&volume, &plan, samples, &strict), rows[r].name);
    CHECK(!volume.values && !volume.source);
  }
}

TEST(scaling_follows_the_standard) {
  static const struct {
    double slope, inter, scale, shift;
  } rows[] = {{2, 5, 2, 5},        {0, 7, 1, 0},           {NAN, 3, 1, 0},
              {INFINITY, 1, 1, 0}, {0.5, -1.5, 0.5, -1.5}, {NAN, NAN, 1, 0}};
  double samples[COUNT];
  number_samples(samples, 1);
  for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
    struct bytes_plan plan = bytes_default(4, 16);
    plan.slope = rows[r].slope;
    plan.inter = rows[r].inter;
    struct volume volume;
    CHECK_OK(read_plan(&volume, &plan, samples, &strict));
    if (volume.values)
      CHECK_NEAR(value_at(&volume, 2, 3, 4), 59 * rows[r].scale + rows[r].shift, 0);
    CHECK(volume.is_integer == (rows[r].scale != 0.5));
    volume_close(&volume);
  }
  struct bytes_plan plan = bytes_default(4, 16);
  plan.slope = 2;
  plan.inter = NAN;
  struct volume volume;
  CHECK_FAILS(read_plan(&volume, &plan, samples, &strict), "scl_inter");
}

TEST(labels_are_whole_numbers) {
  const struct volume_policy labels = {.labels = true};
  double samples[COUNT] = {0};
  samples[7] = 3.0004;
  struct bytes_plan plan = bytes_default(16, 32);
  struct volume volume;
  CHECK_OK(read_plan(&volume, &plan, samples, &labels));
  CHECK(volume.is_integer && value_at(&volume, 1, 2, 0) == 3);
  volume_close(&volume);
  samples[7] = 0.9882;
  CHECK_FAILS(read_plan(&volume, &plan, samples, &labels),
              "voxel 1, 2, 0: expected a label (a whole number below 2^24), found 0.988");
  samples[7] = 16777217;
  plan = bytes_default(8, 32);
  CHECK_FAILS(read_plan(&volume, &plan, samples, &labels), "below 2^24");
}

static void check_affine(const struct volume *volume, const double expected[12]) {
  for (int n = 0; n < 12; n++) CHECK_NEAR(volume->affine.m[n / 4][n % 4], expected[n], 1e-5);
}

TEST(sform_wins_and_conflicts_are_said) {
  double samples[COUNT] = {0};
  struct bytes_plan plan = bytes_default(2, 8);
  plan.qform_code = 1; /* identity rotation, offset 0: differs from the sform's offset */
  struct volume volume;
  CHECK_OK(read_plan(&volume, &plan, samples, &strict));
  check_affine(&volume, plan.srow);
  CHECK(warns(&volume, "sform and qform"));
  CHECK(volume.sform_code == 1 && volume.qform_code == 1);
  volume_close(&volume);
  for (int a = 0; a < 3; a++) plan.shift[a] = plan.srow[4 * a + 3];
  CHECK_OK(read_plan(&volume, &plan, samples, &strict));
  CHECK(!volume.warnings);
  volume_close(&volume);
}

TEST(qform_is_the_second_choice) {
  double samples[COUNT] = {0};
  struct bytes_plan plan = bytes_default(2, 8);
  plan.sform_code = 0;
  plan.qform_code = 2;
  plan.quatern[2] = sqrt(0.5); /* 90 degrees about z: i points to anterior, j to left */
  plan.shift[0] = 7;
  struct volume volume;
  CHECK_OK(read_plan(&volume, &plan, samples, &strict));
  check_affine(&volume, (const double[]){0, -3, 0, 7, 2, 0, 0, 0, 0, 0, 4, 0});
  volume_close(&volume);
  plan.pixdim[0] = -1; /* qfac: the third axis is flipped */
  CHECK_OK(read_plan(&volume, &plan, samples, &strict));
  CHECK_NEAR(volume.affine.m[2][2], -4, 1e-6);
  volume_close(&volume);
  plan.sform_code = 1; /* an sform that cannot be one */
  memset(plan.srow, 0, sizeof plan.srow);
  CHECK_OK(read_plan(&volume, &plan, samples, &strict));
  CHECK_NEAR(volume.affine.m[2][2], -4, 1e-6);
  CHECK(warns(&volume, "sform"));
  volume_close(&volume);
}

TEST(no_orientation_is_the_callers_choice) {
  double samples[COUNT] = {0};
  struct bytes_plan plan = bytes_default(2, 8);
  plan.sform_code = 0;
  struct volume volume;
  CHECK_FAILS(read_plan(&volume, &plan, samples, &strict), "sform_code and qform_code");
  CHECK_OK(read_plan(&volume, &plan, samples,
                     &(struct volume_policy){.unknown_orientation = UNKNOWN_RAS}));
  check_affine(&volume, (const double[]){2, 0, 0, 0, 0, 3, 0, 0, 0, 0, 4, 0});
  CHECK(warns(&volume, "RAS"));
  volume_close(&volume);
  CHECK_OK(read_plan(&volume, &plan, samples,
                     &(struct volume_policy){.unknown_orientation = UNKNOWN_LAS}));
  check_affine(&volume, (const double[]){-2, 0, 0, 2, 0, 3, 0, -4.5, 0, 0, 4, -8});
  CHECK(warns(&volume, "LAS"));
  volume_close(&volume);
}

TEST(bad_voxel_sizes_and_units) {
  double samples[COUNT] = {0};
  struct bytes_plan plan = bytes_default(2, 8);
  struct volume volume;
  plan.pixdim[2] = 0; /* the sform knows better */
  CHECK_OK(read_plan(&volume, &plan, samples, &strict));
  CHECK(warns(&volume, "pixdim[2]"));
  volume_close(&volume);
  plan.sform_code = 0;
  plan.qform_code = 1;
  CHECK_FAILS(read_plan(&volume, &plan, samples, &strict), "pixdim[2]");
  plan.pixdim[2] = NAN;
  CHECK_FAILS(read_plan(&volume, &plan, samples, &strict), "pixdim[2]");
  plan.pixdim[2] = -3;
  CHECK_OK(read_plan(&volume, &plan, samples, &strict));
  CHECK(warns(&volume, "found -3") && fabs(volume.affine.m[1][1] - 3) < 1e-6);
  volume_close(&volume);
  plan = bytes_default(2, 8);
  plan.units = 3;
  for (int n = 0; n < 12; n++) plan.srow[n] *= 1000;
  for (int n = 1; n < 4; n++) plan.pixdim[n] *= 1000;
  CHECK_OK(read_plan(&volume, &plan, samples, &strict));
  check_affine(&volume, bytes_default(2, 8).srow);
  CHECK(warns(&volume, "micrometres"));
  volume_close(&volume);
  plan.units = 2; /* the same numbers as millimetres: a head of six metres */
  CHECK_OK(read_plan(&volume, &plan, samples, &strict));
  CHECK(warns(&volume, "field of view"));
  volume_close(&volume);
}

TEST(numbers_that_are_none) {
  double samples[COUNT] = {0};
  for (int n = 0; n < COUNT; n++) samples[n] = 2;
  samples[3] = NAN;
  samples[5] = -INFINITY;
  struct bytes_plan plan = bytes_default(64, 64);
  struct volume volume;
  CHECK_FAILS(read_plan(&volume, &plan, samples, &strict),
              "found 2 NaN or infinite of 60 (first at 0, 1, 0)");
  const struct {
    enum volume_nonfinite policy;
    float expected;
  } rows[] = {{NONFINITE_ZERO, 0}, {NONFINITE_MEAN, 2}};
  for (int r = 0; r < 2; r++) {
    CHECK_OK(
        read_plan(&volume, &plan, samples, &(struct volume_policy){.nonfinite = rows[r].policy}));
    CHECK(value_at(&volume, 0, 1, 0) == rows[r].expected);
    CHECK(value_at(&volume, 2, 1, 0) == rows[r].expected && warns(&volume, "2 of 60"));
    volume_close(&volume);
  }
  CHECK_OK(
      read_plan(&volume, &plan, samples, &(struct volume_policy){.nonfinite = NONFINITE_KEEP}));
  CHECK(isnan(value_at(&volume, 0, 1, 0)));
  volume_close(&volume);
}

TEST(dimensions_beyond_three) {
  double samples[COUNT];
  number_samples(samples, 1);
  const struct volume_policy channels = {.allow_channels = true};
  struct bytes_plan plan = bytes_default(4, 16);
  struct volume volume;
  memcpy(plan.dim, (long long[]){4, 3, 4, 5, 1, 9, 9, 9}, sizeof plan.dim);
  CHECK_OK(read_plan(&volume, &plan, samples, &strict)); /* unused entries may hold anything */
  check_numbered(&volume, 1);
  volume_close(&volume);
  for (int five = 0; five < 2; five++) {
    memcpy(plan.dim, (long long[]){4 + five, 2, 2, 5, five ? 1 : 3, 3, 1, 1}, sizeof plan.dim);
    CHECK_FAILS(read_plan(&volume, &plan, samples, &strict), "one 3-D volume");
    CHECK_OK(read_plan(&volume, &plan, samples, &channels));
    CHECK(volume.channels == 3 && volume.values[20 + 4] == 20 + 16 &&
          volume.values[40 + 5] == 40 + 2);
    volume_close(&volume);
  }
  memcpy(plan.dim, (long long[]){5, 2, 2, 5, 3, 1, 1, 1}, sizeof plan.dim);
  plan.dim[5] = 2;
  CHECK_FAILS(read_plan(&volume, &plan, samples, &channels), "in the 5th");
  memcpy(plan.dim, (long long[]){2, 6, 10, 7, 7, 7, 7, 7}, sizeof plan.dim);
  plan.pixdim[3] = 0;
  CHECK_OK(read_plan(&volume, &plan, samples, &strict));
  CHECK(volume.extent[2] == 1 && value_at(&volume, 5, 9, 0) == 59);
  volume_close(&volume);
}

TEST(pairs_of_files) {
  static const char *const names[][3] = {{"p.hdr", "p.img", "p.hdr"},
                                         {"q.hdr", "q.img", "q.img"},
                                         {"r.hdr.gz", "r.img.gz", "r.img.gz"},
                                         {"s.hdr", "s.img.gz", "s.img.gz"},
                                         {"t.hdr", "t.img.gz", "t.hdr"}};
  double samples[COUNT];
  number_samples(samples, 1);
  for (size_t r = 0; r < sizeof names / sizeof *names; r++) {
    struct bytes_plan plan = bytes_default(4, 16);
    plan.offset = r == 1 ? 16 : 0;
    struct bytes_file image = bytes_new((size_t)plan.offset + 2 * COUNT);
    for (int n = 0; n < COUNT; n++)
      bytes_put_sample(image.bytes + plan.offset + 2 * n, samples[n], 4, false);
    plan.pair = true;
    struct bytes_file parts[2] = {bytes_make(&plan, samples, COUNT), image};
    char *paths[3];
    for (int p = 0; p < 3; p++) paths[p] = file_join(folder, names[r][p]);
    for (int p = 0; p < 2; p++) {
      struct bytes_file packed = bytes_compress(parts[p].bytes, parts[p].count);
      struct bytes_file *used = strstr(names[r][p], ".gz") ? &packed : &parts[p];
      bytes_save(paths[p], used->bytes, used->count);
      free(packed.bytes);
    }
    struct volume volume;
    CHECK_OK(volume_read(&volume, paths[2], &strict));
    if (volume.values) check_numbered(&volume, 1);
    volume_close(&volume);
    if (r == 0) {
      remove(paths[1]);
      CHECK_FAILS(volume_read(&volume, paths[0], &strict), "p.img: cannot open");
    }
    for (int p = 0; p < 3; p++) free(paths[p]);
    for (int p = 0; p < 2; p++) free(parts[p].bytes);
  }
}

TEST(half_a_pair_called_nii) {
  struct bytes_plan plan = bytes_default(4, 16);
  plan.pair = true;
  double samples[COUNT] = {0};
  struct volume volume;
  CHECK_FAILS(read_plan(&volume, &plan, samples, &strict), "half of a .hdr/.img pair");
}

TEST(a_header_alone_can_be_read) {
  double samples[COUNT] = {0};
  struct bytes_plan plan = bytes_default(4, 16);
  char *path = bytes_store(folder, "header.nii", &plan, samples, COUNT);
  struct volume volume;
  CHECK_OK(volume_read_header(&volume, path, &strict));
  CHECK(!volume.values && volume.extent[1] == 4 && volume.channels == 1);
  check_affine(&volume, plan.srow);
  volume_close(&volume);
  CHECK_FAILS(volume_read(&volume, path, &(struct volume_policy){.maximum_bytes = 239}),
              "expected at most 239 bytes of memory, found 240");
  CHECK_OK(volume_read(&volume, path, &(struct volume_policy){.maximum_bytes = 240}));
  volume_close(&volume);
  free(path);
}

/* Between header and voxels there may be extensions, such as TotalSegmentator's label names. */
TEST(extensions_are_passed_over) {
  double samples[COUNT];
  number_samples(samples, 1);
  struct bytes_plan plan = bytes_default(4, 16);
  plan.offset = 20000;
  struct bytes_file file = bytes_make(&plan, samples, COUNT);
  memset(file.bytes + 348, 'x', 20000 - 348);
  struct bytes_file packed = bytes_compress(file.bytes, file.count);
  char *path = file_join(folder, "extended.nii.gz");
  for (int p = 0; p < 2; p++) {
    struct volume volume;
    bytes_save(path, p ? packed.bytes : file.bytes, p ? packed.count : file.count);
    CHECK_OK(volume_read(&volume, path, &strict));
    if (volume.values) check_numbered(&volume, 1);
    volume_close(&volume);
  }
  free(path);
  free(packed.bytes);
  free(file.bytes);
}

TEST(a_file_is_described) {
  double samples[COUNT];
  number_samples(samples, 1);
  struct bytes_plan plan = bytes_default(4, 16);
  plan.slope = 2;
  plan.qform_code = 1;
  char *path = bytes_store(folder, "describe.nii", &plan, samples, COUNT), *text = NULL;
  size_t bytes = 0;
  FILE *out = open_memstream(&text, &bytes);
  CHECK_OK(volume_inspect(path, out));
  fclose(out);
  static const char *const parts[] = {"3 x 4 x 5", "int16",    "2 x 3 x 4 mm",    "RAS",
                                      "slope 2",   "0 to 118", "sform and qform", "NIfTI-1"};
  for (size_t p = 0; p < sizeof parts / sizeof *parts; p++)
    CHECK_SAY(strstr(text, parts[p]), ": no '%s' in\n%s", parts[p], text);
  free(text);
  free(path);
}

/* As large as memory that is used again, and no multiple of any tile; each read after another that
 * left other numbers there. */
TEST(large_volumes_with_odd_extents) {
  const int extent[3] = {131, 83, 115};
  const int types[][2] = {{4, 16}, {16, 32}};
  size_t count = (size_t)extent[0] * (size_t)extent[1] * (size_t)extent[2];
  double *samples = malloc(count * sizeof *samples);
  for (int round = 0; samples && round < 4; round++) {
    struct bytes_plan plan = bytes_default(types[round % 2][0], types[round % 2][1]);
    for (int a = 0; a < 3; a++) plan.dim[a + 1] = extent[a];
    for (size_t n = 0; n < count; n++) samples[n] = (double)((n + (size_t)round) * 7919 % 30011);
    char *path = bytes_store(folder, "large.nii", &plan, samples, count);
    struct volume volume;
    size_t wrong = 0, n = 0;
    CHECK_OK(volume_read(&volume, path, &strict));
    for (int k = 0; k < extent[2] && volume.values; k++)
      for (int j = 0; j < extent[1]; j++)
        for (int i = 0; i < extent[0]; i++) wrong += value_at(&volume, i, j, k) != samples[n++];
    CHECK_SAY(wrong == 0 && n == count, ": %zu of %zu voxels in round %d", wrong, n, round);
    volume_close(&volume);
    free(path);
    if (round == 2) volume_forget_memory();
  }
  free(samples);
  volume_forget_memory();
}

int main(void) {
  folder = check_make_folder();
  RUN(every_type_in_both_orders_and_versions);
  RUN(negative_and_large_integers);
  RUN(types_that_are_not_read_are_named);
  RUN(scaling_follows_the_standard);
  RUN(labels_are_whole_numbers);
  RUN(sform_wins_and_conflicts_are_said);
  RUN(qform_is_the_second_choice);
  RUN(no_orientation_is_the_callers_choice);
  RUN(bad_voxel_sizes_and_units);
  RUN(numbers_that_are_none);
  RUN(dimensions_beyond_three);
  RUN(pairs_of_files);
  RUN(half_a_pair_called_nii);
  RUN(a_header_alone_can_be_read);
  RUN(extensions_are_passed_over);
  RUN(a_file_is_described);
  RUN(large_volumes_with_odd_extents);
  check_remove_folder(folder);
  return check_result();
}
