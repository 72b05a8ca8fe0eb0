/* Registering two files: the network works on grids prepared as for training, results are on the
 * fixed file's own grid. A voxel x of the fixed grid goes through the world to the network's fixed
 * grid, moves by the displacement, and through the network's moving grid to the world point where
 * the moving file is sampled, once. */
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/log.h"
#include "data/subject.h"
#include "metrics/metrics.h"
#include "model/deformation.h"
#include "task/registration.h"

struct side {
  struct subject_volumes volumes; /* normalised, with the network's grid as target */
  float *image;                   /* on the network's grid */
};

struct work {
  const struct config *config;
  struct side moving, fixed;
  const char *moving_labels; /* path, or NULL */
  struct grid grid;          /* of the fixed file */
  float *displacement;       /* [3][i][j][k], voxels of `grid` */
  const char *directory;
};

static enum status read_side(const struct config *config, const char *path, struct side *side) {
  char *image = strdup(path);
  REQUIRE(image, STATUS_FAILED, "%s: out of memory", path);
  const struct subject_source source = {.id = image, .image = image, .split = -1};
  enum status status = subject_read(config, &source, &side->volumes);
  free(image);
  return status;
}

/* Both images must have the extents of the larger one, and those the network takes: padded,
 * centred. */
static enum status match_extents(const struct config *config, struct side *a, struct side *b) {
  struct grid_request request = {0};
  int multiple;
  TRY(deformation_multiple(config, &multiple));
  for (int axis = 0; axis < 3; axis++) {
    request.multiple[axis] = multiple;
    int first = a->volumes.target.extent[axis], second = b->volumes.target.extent[axis];
    request.extent[axis] = first > second ? first : second;
  }
  struct grid grid = a->volumes.target;
  TRY(grid_plan(&grid, &request, &a->volumes.target));
  grid = b->volumes.target;
  return grid_plan(&grid, &request, &b->volumes.target);
}

static enum status resample_side(struct side *side) {
  uint8_t *label;
  return subject_resample(&side->volumes, side->volumes.target.extent, &side->image, &label);
}

static enum status read_inputs(struct work *work, const char *moving, const char *fixed) {
  TRY(read_side(work->config, moving, &work->moving));
  TRY(read_side(work->config, fixed, &work->fixed));
  TRY(match_extents(work->config, &work->moving, &work->fixed));
  TRY(resample_side(&work->moving));
  TRY(resample_side(&work->fixed));
  work->grid = volume_get_grid(&work->fixed.volumes.image);
  return STATUS_OK;
}

/* The maps between the grids involved. */
struct maps {
  struct affine to_network;  /* fixed file's voxel -> network's fixed voxel */
  struct affine from_moving; /* network's moving voxel -> (through the world) fixed file's voxel */
};

static enum status make_maps(const struct work *work, struct maps *maps) {
  struct affine network, file;
  TRY(affine_invert(&work->fixed.volumes.target.affine, &network));
  TRY(affine_invert(&work->grid.affine, &file));
  maps->to_network = affine_compose(&network, &work->grid.affine);
  maps->from_moving = affine_compose(&file, &work->moving.volumes.target.affine);
  return STATUS_OK;
}

/* The displacement of one voxel of the fixed file; `sampled` is the network's displacement there,
 * in its own voxels. */
static void displace_voxel(const struct work *work, const struct maps *maps, const float *sampled,
                           const int voxel[3], size_t number, size_t count) {
  double point[3] = {voxel[0], voxel[1], voxel[2]}, target[3];
  affine_apply(&maps->to_network, point, target);
  for (size_t a = 0; a < 3; a++) target[a] += (double)sampled[a * count + number];
  affine_apply(&maps->from_moving, target, target);
  for (size_t a = 0; a < 3; a++)
    work->displacement[a * count + number] = (float)(target[a] - point[a]);
}

/* The network's displacement at the voxels of the fixed file; outside the network's grid that of
 * its border. */
static enum status sample_field(const struct work *work, const float *field,
                                struct volume *sampled) {
  struct volume source;
  const struct resample_options options = {.border = RESAMPLE_CLAMP};
  TRY(volume_create(&source, &work->fixed.volumes.target, 3));
  memcpy(source.values, field, 3 * volume_count(&source) * sizeof(float));
  enum status status = volume_resample(&source, &work->grid, &options, sampled);
  volume_close(&source);
  return status;
}

static void displace_all(const struct work *work, const struct maps *maps, const float *sampled) {
  const int *extent = work->grid.extent;
  size_t plane = (size_t)extent[1] * (size_t)extent[2], count = (size_t)extent[0] * plane;
#pragma omp parallel for schedule(static)
  for (int i = 0; i < extent[0]; i++)
    for (int j = 0; j < extent[1]; j++)
      for (int k = 0; k < extent[2]; k++) {
        const int voxel[3] = {i, j, k};
        size_t number = (size_t)i * plane + (size_t)j * (size_t)extent[2] + (size_t)k;
        displace_voxel(work, maps, sampled, voxel, number, count);
      }
}

/* The network's displacement as a displacement of the fixed file's voxels. */
static enum status bring_to_file(struct work *work, const float *field) {
  struct maps maps;
  struct volume sampled;
  TRY(make_maps(work, &maps));
  TRY(sample_field(work, field, &sampled));
  work->displacement = malloc(3 * volume_count(&sampled) * sizeof(float));
  if (work->displacement) displace_all(work, &maps, sampled.values);
  volume_close(&sampled);
  REQUIRE(work->displacement, STATUS_FAILED, "predict: out of memory");
  return STATUS_OK;
}

static enum status register_pair(struct work *work, const struct task_network *network) {
  const void *const inputs[] = {
      [INPUT_MOVING] = work->moving.image, [INPUT_FIXED] = work->fixed.image};
  const void *field;
  TRY(network->run(network->context, work->fixed.volumes.target.extent, inputs));
  TRY(network->output(network->context, "displacement", &field));
  return bring_to_file(work, field);
}

static enum status write_file(const struct work *work, const struct volume *volume,
                              const char *name, enum volume_type type) {
  char *path = file_join(work->directory, name);
  REQUIRE(path, STATUS_FAILED, "%s: out of memory", work->directory);
  const struct volume_format format = {.type = type, .description = "medtrain-dist"};
  enum status status = volume_write(volume, path, &format);
  if (!status) log_info("wrote %s", path);
  free(path);
  return status;
}

/* The moving file itself (not the normalised image) seen through the displacement. */
static enum status write_warped(const struct work *work, const char *path, bool labels,
                                const char *name) {
  struct volume_policy policy = subject_policy(work->config, labels);
  const struct resample_options options = {.method = labels ? RESAMPLE_NEAREST : RESAMPLE_LINEAR};
  struct volume source = {0}, warped = {0};
  enum status status = volume_read(&source, path, &policy);
  if (!status) status = volume_deform(&source, &work->grid, work->displacement, &options, &warped);
  if (!status) status = write_file(work, &warped, name, labels ? VOLUME_INT32 : VOLUME_FLOAT32);
  volume_close(&source);
  volume_close(&warped);
  return status;
}

static enum status write_jacobian(const struct work *work) {
  struct volume map = {0};
  TRY(volume_create(&map, &work->grid, 1));
  metrics_jacobian(work->displacement, work->grid.extent, map.values);
  enum status status = write_file(work, &map, "jacobian.nii.gz", VOLUME_FLOAT32);
  volume_close(&map);
  return status;
}

static enum status write_displacement(const struct work *work) {
  char *path = file_join(work->directory, "displacement.nii.gz");
  REQUIRE(path, STATUS_FAILED, "%s: out of memory", work->directory);
  enum status status =
      volume_write_displacement(path, work->displacement, &work->grid, DISPLACEMENT_LPS);
  if (!status) log_info("wrote %s (LPS millimetres, as ITK, ANTs and 3D Slicer read it)", path);
  free(path);
  return status;
}

static enum status write_results(const struct work *work, const char *moving) {
  TRY(file_make_directory(work->directory));
  TRY(write_warped(work, moving, false, "warped.nii.gz"));
  if (work->moving_labels)
    TRY(write_warped(work, work->moving_labels, true, "warped_labels.nii.gz"));
  TRY(write_displacement(work));
  return write_jacobian(work);
}

static enum status predict(struct work *work, const struct task_network *network,
                           const char *const *files) {
  TRY(read_inputs(work, files[0], files[1]));
  TRY(register_pair(work, network));
  return write_results(work, files[0]);
}

static void close_side(struct side *side) {
  subject_close(&side->volumes);
  free(side->image);
}

enum status registration_predict(const struct config *config, const struct task_network *network,
                                 const char *const *files, int count, const char *directory) {
  REQUIRE(count == 2 || count == 3, STATUS_USAGE,
          "predict: expected MOVING FIXED [MOVING_LABELS], found %d files", count);
  struct work work = {
      .config = config, .directory = directory, .moving_labels = count == 3 ? files[2] : NULL};
  enum status status = predict(&work, network, files);
  close_side(&work.moving);
  close_side(&work.fixed);
  free(work.displacement);
  return status;
}
