/* Registering files with a network whose answer is known: a displacement that is linear in the
 * voxels of its grid. What is then in the files follows from geometry, which is written here once
 * more, by hand for each case and without the program's own grid planning. */
#include "base/file.h"
#include "check.h"
#include "task/registration.h"
#include "volume/volume.h"

/* A file's grid, and the network's grid in it: network voxel q is at first + step * q along the
 * file's axis from[a]. */
struct side {
  struct grid file;
  int from[3];
  double first[3], step[3];
};

struct scene {
  const char *name, *settings[6];
  struct side moving, fixed;
  int extent[3];                    /* of the network's grids */
  double linear[3][3], constant[3]; /* the network's displacement at q: linear q + constant */
};

#define STRAIGHT                     \
  {                                  \
    {                                \
      {2, 0, 0, -9}, {0, 3, 0, 4}, { \
        0, 0, 4, 7                   \
      }                              \
    }                                \
  } /* RAS */
#define TURNED                         \
  {                                    \
    {                                  \
      {-2, 0, 0, 31}, {0, -3, 0, 8}, { \
        0, 0, 4, -5                    \
      }                                \
    }                                  \
  } /* LPS */
#define CYCLIC                        \
  {                                   \
    {                                 \
      {0, 0, 3, 2}, {-2, 0, 0, 13}, { \
        0, -2.5, 0, 9                 \
      }                               \
    }                                 \
  } /* PIR */
/* near LSA: i to the Left, j up, k to the front */
#define OBLIQUE                                      \
  {                                                  \
    {                                                \
      {-1.9, 0.1, 0.3, 20}, {0.2, -0.4, 2.8, -10}, { \
        0.1, 2.4, 0.5, -12                           \
      }                                              \
    }                                                \
  }

static const struct scene scenes[] = {
    {.name = "one voxel to the right",
     .moving = {{{8, 8, 8}, STRAIGHT}, {0, 1, 2}, {0}, {1, 1, 1}},
     .fixed = {{{8, 8, 8}, STRAIGHT}, {0, 1, 2}, {0}, {1, 1, 1}},
     .extent = {8, 8, 8},
     .constant = {1, 0, 0}},
    {.name = "RAS to LPS, padded",
     .settings = {"data.multiple=4"},
     .moving = {{{8, 10, 12}, STRAIGHT}, {0, 1, 2}, {0, -1, 0}, {1, 1, 1}},
     .fixed = {{{8, 10, 12}, TURNED}, {0, 1, 2}, {7, 10, 0}, {-1, -1, 1}},
     .extent = {8, 12, 12},
     .constant = {1, -2, 0.3}},
    {.name = "LPS to RAS, linear",
     .moving = {{{8, 8, 8}, TURNED}, {0, 1, 2}, {7, 7, 0}, {-1, -1, 1}},
     .fixed = {{{8, 8, 8}, STRAIGHT}, {0, 1, 2}, {0}, {1, 1, 1}},
     .extent = {8, 8, 8},
     .linear = {{0.1, -0.05, 0}, {0.02, -0.1, 0.04}, {0, 0.03, 0.2}},
     .constant = {-0.3, 0.8, -0.6}},
    {.name = "PIR to oblique, of other extents",
     .moving = {{{8, 10, 12}, CYCLIC}, {2, 0, 1}, {0, 7, 10}, {1, -1, -1}},
     .fixed = {{{10, 12, 8}, OBLIQUE}, {0, 2, 1}, {10, 0, 0}, {-1, 1, 1}},
     .extent = {12, 8, 12},
     .linear = {{-0.1, 0.02, 0.03}, {0, 0.15, 0}, {0.05, 0, 0.1}},
     .constant = {0.7, -0.4, 0.2}},
    {.name = "on a coarser grid, of files of other spacing",
     .settings = {"data.spacing=[4,6,8]"},
     .moving = {{{8, 8, 8}, TURNED}, {0, 1, 2}, {6.5, 6.5, 0.5}, {-2, -2, 2}},
     .fixed = {{{8, 8, 8}, STRAIGHT}, {0, 1, 2}, {0.5, 0.5, 0.5}, {2, 2, 2}},
     .extent = {4, 4, 4},
     .linear = {{0.1, 0, 0}, {0, 0.1, 0.05}, {0, 0, -0.1}},
     .constant = {0.25, -0.4, 0.3}},
};
enum { SCENES = sizeof scenes / sizeof *scenes };

static size_t count_of(const int extent[3]) {
  return (size_t)extent[0] * (size_t)extent[1] * (size_t)extent[2];
}

static void voxel_of(const int extent[3], size_t number, double voxel[3]) {
  for (int a = 2; a >= 0; a--) {
    voxel[a] = (double)(number % (size_t)extent[a]);
    number /= (size_t)extent[a];
  }
}

static void to_file(const struct side *side, const double network[3], double file[3]) {
  for (int a = 0; a < 3; a++) file[side->from[a]] = side->first[a] + side->step[a] * network[a];
}

static void to_network(const struct side *side, const double file[3], double network[3]) {
  for (int a = 0; a < 3; a++) network[a] = (file[side->from[a]] - side->first[a]) / side->step[a];
}

static double displacement_at(const struct scene *scene, const double voxel[3], int axis) {
  const double *row = scene->linear[axis];
  return row[0] * voxel[0] + row[1] * voxel[1] + row[2] * voxel[2] + scene->constant[axis];
}

/* Where voxel x of the fixed file is found in the moving file. Outside the network's grid its
 * displacement is that of the border. */
static void find_source(const struct scene *scene, const double x[3], double source[3]) {
  double place[3], inside[3], target[3];
  to_network(&scene->fixed, x, place);
  for (int a = 0; a < 3; a++) inside[a] = fmin(fmax(place[a], 0), scene->extent[a] - 1);
  for (int a = 0; a < 3; a++) target[a] = place[a] + displacement_at(scene, inside, a);
  to_file(&scene->moving, target, source);
}

static bool is_inside(const int extent[3], const double voxel[3], double margin) {
  for (int a = 0; a < 3; a++)
    if (!(voxel[a] >= -margin && voxel[a] <= extent[a] - 1 + margin)) return false;
  return true;
}

/* The moving image is linear in the world, so that interpolation is exact. */
static double image_at(const struct grid *grid, const double voxel[3]) {
  double place[3];
  affine_apply(&grid->affine, voxel, place);
  return 200 + 1.5 * place[0] - 0.7 * place[1] + 2.2 * place[2];
}

static int label_at(const double voxel[3]) {
  return 1 + ((int)voxel[0] * 31 + (int)voxel[1] * 17 + (int)voxel[2] * 7) % 40;
}

static void write_volume(const struct grid *grid, bool labels, const char *path) {
  struct volume volume;
  if (volume_create(&volume, grid, 1)) abort();
  for (size_t n = 0; n < volume_count(&volume); n++) {
    double voxel[3];
    voxel_of(grid->extent, n, voxel);
    volume.values[n] = labels ? (float)label_at(voxel) : (float)image_at(grid, voxel);
  }
  const struct volume_format format = {.type = labels ? VOLUME_UINT8 : VOLUME_FLOAT32};
  CHECK_OK(volume_write(&volume, path, &format));
  volume_close(&volume);
}

/* The network: keeps the displacement that it will be asked for. */
struct network {
  const struct scene *scene;
  float *displacement;
  int runs;
  bool fails;
};

/* Inputs must be the files' images on the network's grids. */
static void check_input(const struct scene *scene, const struct side *side, const float *image) {
  int wrong = 0, seen = 0;
  for (size_t n = 0; n < count_of(scene->extent); n++) {
    double voxel[3], file[3];
    voxel_of(scene->extent, n, voxel);
    to_file(side, voxel, file);
    if (!is_inside(side->file.extent, file, 0)) continue;
    seen++;
    wrong += !(fabs((double)image[n] - image_at(&side->file, file)) < 1e-3);
  }
  CHECK_SAY(seen > 30 && !wrong, ": %s: %d of %d voxels", scene->name, wrong, seen);
}

static enum status run(void *context, const int extent[3], const void *const *inputs) {
  struct network *network = context;
  const struct scene *scene = network->scene;
  REQUIRE(!network->fails, STATUS_FAILED, "this network fails");
  CHECK(memcmp(extent, scene->extent, sizeof scene->extent) == 0);
  REQUIRE(memcmp(extent, scene->extent, sizeof scene->extent) == 0, STATUS_FAILED,
          "expected %d %d %d, found %d %d %d", scene->extent[0], scene->extent[1], scene->extent[2],
          extent[0], extent[1], extent[2]);
  check_input(scene, &scene->moving, inputs[INPUT_MOVING]);
  check_input(scene, &scene->fixed, inputs[INPUT_FIXED]);
  network->runs++;
  return STATUS_OK;
}

static enum status output(void *context, const char *name, const void **memory) {
  struct network *network = context;
  size_t count = count_of(network->scene->extent);
  CHECK(strcmp(name, "displacement") == 0);
  for (size_t n = 0; n < count; n++) {
    double voxel[3];
    voxel_of(network->scene->extent, n, voxel);
    for (int a = 0; a < 3; a++)
      network->displacement[(size_t)a * count + n] =
          (float)displacement_at(network->scene, voxel, a);
  }
  *memory = network->displacement;
  return STATUS_OK;
}

static void make_config(struct config *config, const struct scene *scene) {
  CHECK_OK(config_defaults(config));
  CHECK_OK(config_override(config, "data.intensity=none"));
  CHECK_OK(config_override(config, "data.multiple=1"));
  CHECK_OK(config_override(config, "model.encoder=[]")); /* a network that takes any extents */
  CHECK_OK(config_override(config, "model.integration_downsize=1"));
  for (int i = 0; scene->settings[i]; i++) CHECK_OK(config_override(config, scene->settings[i]));
}

static struct volume read_result(const struct scene *scene, const char *folder, const char *name) {
  char *path = file_join(folder, name);
  struct volume volume;
  const struct volume_policy policy = {.allow_channels = true};
  CHECK_OK(volume_read(&volume, path, &policy));
  struct grid grid = volume_get_grid(&volume);
  CHECK_SAY(grid_is_same(&grid, &scene->fixed.file, 1e-3), ": %s: %s", scene->name, name);
  free(path);
  return volume;
}

static void check_warped(const struct scene *scene, const char *folder) {
  const struct grid *moving = &scene->moving.file;
  struct volume warped = read_result(scene, folder, "warped.nii.gz");
  int seen = 0, wrong = 0;
  for (size_t n = 0; n < volume_count(&warped); n++) {
    double voxel[3], source[3], value = (double)warped.values[n];
    voxel_of(scene->fixed.file.extent, n, voxel);
    find_source(scene, voxel, source);
    if (is_inside(moving->extent, source, 0)) {
      wrong += !(fabs(value - image_at(moving, source)) < 2e-3);
      seen++;
    } else if (!is_inside(moving->extent, source, 0.501)) {
      wrong += value != 0;
    }
  }
  CHECK_SAY(seen > 60 && !wrong, ": %s: %d wrong, %d inside", scene->name, wrong, seen);
  volume_close(&warped);
}

/* Places half-way between voxels may go either way. */
static bool is_tie(const double voxel[3]) {
  for (int a = 0; a < 3; a++)
    if (fabs(voxel[a] - floor(voxel[a]) - 0.5) < 1e-3) return true;
  return false;
}

static void check_labels(const struct scene *scene, const char *folder) {
  const int *extent = scene->moving.file.extent;
  struct volume warped = read_result(scene, folder, "warped_labels.nii.gz");
  int seen = 0, wrong = 0;
  for (size_t n = 0; n < volume_count(&warped); n++) {
    double voxel[3], source[3];
    voxel_of(scene->fixed.file.extent, n, voxel);
    find_source(scene, voxel, source);
    if (is_tie(source)) continue;
    for (int a = 0; a < 3; a++) source[a] = rint(source[a]);
    int expected = is_inside(extent, source, 0) ? label_at(source) : 0;
    wrong += warped.values[n] != (float)expected;
    seen += expected != 0;
  }
  CHECK_SAY(seen > 60 && !wrong, ": %s: %d wrong of %d", scene->name, wrong, seen);
  volume_close(&warped);
}

static void check_displacement(const struct scene *scene, const char *folder) {
  struct volume field = read_result(scene, folder, "displacement.nii.gz");
  size_t count = volume_count(&field);
  CHECK(field.channels == 3 && field.intent_code == 1007);
  double most = 0;
  for (size_t n = 0; n < count && field.channels == 3; n++) {
    double voxel[3], source[3], here[3], there[3];
    voxel_of(scene->fixed.file.extent, n, voxel);
    find_source(scene, voxel, source);
    affine_apply(&scene->fixed.file.affine, voxel, here);
    affine_apply(&scene->moving.file.affine, source, there);
    for (int a = 0; a < 3; a++) {
      double expected = (a == 2 ? 1 : -1) * (there[a] - here[a]); /* RAS to LPS */
      most = fmax(most, fabs((double)field.values[(size_t)a * count + n] - expected));
    }
  }
  CHECK_SAY(most < 1e-4, ": %s: %g mm", scene->name, most);
  volume_close(&field);
}

static double determinant(const double m[3][3]) {
  return m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1]) -
         m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0]) +
         m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0]);
}

/* How the network voxel's volume of a side compares with 1 mm3, with its sign. */
static double volume_of(const struct side *side) {
  bool cyclic = (side->from[1] - side->from[0] + 3) % 3 == 1;
  double steps = side->step[0] * side->step[1] * side->step[2];
  return affine_determinant(&side->file.affine) * steps * (cyclic ? 1 : -1);
}

/* Volumes change by the determinant of 1 + linear between the network's grids, times that of these
 * grids' voxels; looked at where neighbours are inside the network's grid. */
static void check_jacobian(const struct scene *scene, const char *folder) {
  struct volume map = read_result(scene, folder, "jacobian.nii.gz");
  double matrix[3][3], most = 0;
  for (int a = 0; a < 3; a++)
    for (int b = 0; b < 3; b++) matrix[a][b] = (a == b) + scene->linear[a][b];
  double expected = determinant(matrix) * volume_of(&scene->moving) / volume_of(&scene->fixed);
  for (size_t n = 0; n < volume_count(&map); n++) {
    double voxel[3];
    voxel_of(scene->fixed.file.extent, n, voxel);
    bool border = false;
    for (int a = 0; a < 3; a++)
      border = border || voxel[a] < 2 || voxel[a] > scene->fixed.file.extent[a] - 3;
    if (!border) most = fmax(most, fabs((double)map.values[n] - expected));
  }
  CHECK_SAY(most < 1e-4, ": %s: %g off %g", scene->name, most, expected);
  volume_close(&map);
}

struct paths {
  char *folder, *moving, *fixed, *labels, *results;
};

static struct paths make_files(const struct scene *scene) {
  struct paths paths = {.folder = check_make_folder()};
  paths.moving = file_join(paths.folder, "moving.nii.gz");
  paths.fixed = file_join(paths.folder, "fixed.nii.gz");
  paths.labels = file_join(paths.folder, "labels.nii.gz");
  paths.results = file_join(paths.folder, "new/results");
  write_volume(&scene->moving.file, false, paths.moving);
  write_volume(&scene->moving.file, true, paths.labels);
  write_volume(&scene->fixed.file, false, paths.fixed);
  return paths;
}

static void remove_files(struct paths *paths) {
  free(paths->moving);
  free(paths->fixed);
  free(paths->labels);
  free(paths->results);
  check_remove_folder(paths->folder);
}

static enum status predict(const struct scene *scene, const struct paths *paths, bool fails,
                           int files) {
  struct config config = {0};
  make_config(&config, scene);
  struct network network = {.scene = scene, .fails = fails};
  network.displacement = malloc(3 * count_of(scene->extent) * sizeof(float));
  if (!network.displacement) abort();
  const struct task_network interface = {.context = &network, .run = run, .output = output};
  const char *const names[] = {paths->moving, paths->fixed, paths->labels};
  enum status status = registration_predict(&config, &interface, names, files, paths->results);
  CHECK(status || network.runs == 1);
  free(network.displacement);
  config_close(&config);
  return status;
}

TEST(files_hold_what_geometry_says) {
  for (int i = 0; i < SCENES; i++) {
    struct paths paths = make_files(&scenes[i]);
    CHECK_OK(predict(&scenes[i], &paths, false, 3));
    check_warped(&scenes[i], paths.results);
    check_labels(&scenes[i], paths.results);
    check_displacement(&scenes[i], paths.results);
    check_jacobian(&scenes[i], paths.results);
    remove_files(&paths);
  }
}

TEST(labels_are_optional) {
  struct paths paths = make_files(&scenes[0]);
  CHECK_OK(predict(&scenes[0], &paths, false, 2));
  char *path = file_join(paths.results, "warped_labels.nii.gz");
  CHECK(!file_exists(path));
  check_warped(&scenes[0], paths.results);
  free(path);
  remove_files(&paths);
}

TEST(failures_are_told_and_write_nothing) {
  struct paths paths = make_files(&scenes[0]);
  CHECK_FAILS(predict(&scenes[0], &paths, false, 1), "expected MOVING FIXED");
  CHECK_FAILS(predict(&scenes[0], &paths, true, 2), "this network fails");
  if (remove(paths.fixed)) abort();
  CHECK_FAILS(predict(&scenes[0], &paths, false, 2), "fixed.nii.gz");
  CHECK(!file_exists(paths.results));
  remove_files(&paths);
}

TEST(a_folder_that_cannot_be_made_is_named) {
  struct paths paths = make_files(&scenes[0]);
  free(paths.results);
  paths.results = file_join(paths.moving, "results"); /* inside a file */
  CHECK_FAILS(predict(&scenes[0], &paths, false, 2), "results");
  remove_files(&paths);
}

int main(void) {
  RUN(files_hold_what_geometry_says);
  RUN(labels_are_optional);
  RUN(failures_are_told_and_write_nothing);
  RUN(a_folder_that_cannot_be_made_is_named);
  return check_result();
}
