/* Where each stored voxel comes from is found out once per subject; every mask is then gathered
 * through that table, so that what is stored is what resampling it as a label map would give. */
#include "data/subject_masks.h"
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"

enum { WORTH_THREADS = 1 << 19 }; /* voxels */

enum status subject_checksum_masks(const struct subject_source *source,
                                   const struct structure_list *structures, uint32_t *checksum) {
  *checksum = 0;
  for (int c = 0; c < structures->count; c++) {
    const char *name = structures->names[c];
    char *path = structures_mask(source->masks, name);
    if (!path) continue;
    uint32_t bytes;
    enum status status = subject_checksum(path, &bytes);
    free(path);
    TRY(status);
    *checksum = file_checksum(*checksum, name, strlen(name) + 1);
    *checksum = file_checksum(*checksum, &bytes, sizeof bytes);
  }
  return STATUS_OK;
}

static struct volume_policy mask_policy(const struct config *config) {
  struct volume_policy policy = subject_policy(config, false);
  policy.nonfinite = NONFINITE_KEEP;
  return policy;
}

static enum status check_mask(const char *path, const struct volume_policy *policy,
                              const struct volume *image) {
  struct volume mask;
  TRY(volume_check(&mask, path, policy));
  enum status status = subject_check_grid(image, &mask, "mask");
  volume_close(&mask);
  return status;
}

enum status subject_check_masks(const struct config *config, const struct subject_source *source,
                                const struct structure_list *structures,
                                const struct volume *image) {
  struct volume_policy policy = mask_policy(config);
  for (int c = 0; c < structures->count; c++) {
    char *path = structures_mask(source->masks, structures->names[c]);
    enum status status = path ? check_mask(path, &policy, image) : STATUS_OK;
    free(path);
    TRY(status);
  }
  return STATUS_OK;
}

/* What packing one subject's masks needs. */
struct packer {
  const int32_t *index; /* [d][h][w]: the source's voxel, -1 outside */
  const int *extent;
  int planes;
  int structures;
  struct subject_masks *masks;
};

/* A mask's voxels, and whether there are any. Warns of what no mask has: several values. */
static bool find_set(struct volume *mask, const char *name, struct volume *image,
                     unsigned char *set) {
  size_t count = volume_count(mask);
  float first = 0, other = 0;
  for (size_t i = 0; i < count; i++) {
    float value = mask->values[i];
    set[i] = value > 0.5f;
    if (value == 0) continue;
    if (first == 0) first = value;
    if (value != first) other = value;
  }
  if (other != 0)
    volume_warn(image, "structure %s: expected 0 and one other value, found %g and %g", name,
                (double)first, (double)other);
  return memchr(set, 1, count) != NULL;
}

static void pack_slice(const struct packer *packer, int structure, int d,
                       const unsigned char *set) {
  size_t plane = (size_t)packer->extent[1] * (size_t)packer->extent[2];
  const int32_t *index = packer->index + (size_t)d * plane;
  uint8_t *bits =
      packer->masks->bits + ((size_t)d * (size_t)packer->planes + (size_t)structure / 8) * plane;
  int shift = structure % 8;
  uint32_t count = 0;
  for (size_t i = 0; i < plane; i++) {
    unsigned one = index[i] < 0 ? 0 : set[index[i]];
    bits[i] |= (uint8_t)(one << shift);
    count += one;
  }
  packer->masks->slice_voxels[d * packer->structures + structure] = count;
  packer->masks->slices[d] = (uint16_t)(packer->masks->slices[d] + (count > 0));
}

static void pack(const struct packer *packer, int structure, const unsigned char *set) {
  size_t voxels = (size_t)packer->extent[0] * (size_t)packer->extent[1] * (size_t)packer->extent[2];
#pragma omp parallel for schedule(static) if (voxels >= WORTH_THREADS)
  for (int d = 0; d < packer->extent[0]; d++) pack_slice(packer, structure, d, set);
  for (int d = 0; d < packer->extent[0]; d++)
    packer->masks->voxels[structure] +=
        packer->masks->slice_voxels[d * packer->structures + structure];
}

static enum status read_mask(const char *path, const struct volume_policy *policy, const char *name,
                             int structure, const struct packer *packer, struct volume *image) {
  struct volume mask;
  TRY(volume_read(&mask, path, policy));
  enum status status = subject_check_grid(image, &mask, "mask");
  unsigned char *set = malloc(volume_count(&mask));
  if (!status && !set)
    status = status_fail(STATUS_FAILED, __FILE__, __LINE__, "%s: out of memory", path);
  if (!status && find_set(&mask, name, image, set)) {
    pack(packer, structure, set);
    if (!packer->masks->voxels[structure])
      volume_warn(image, "structure %s: none of its voxels is left", name);
  }
  free(set);
  volume_close(&mask);
  return status;
}

static enum status read_masks(const struct config *config, const struct subject_source *source,
                              const struct structure_list *structures, const struct packer *packer,
                              struct volume *image) {
  struct volume_policy policy = mask_policy(config);
  for (int c = 0; c < structures->count; c++) {
    char *path = structures_mask(source->masks, structures->names[c]);
    enum status status =
        path ? read_mask(path, &policy, structures->names[c], c, packer, image) : STATUS_OK;
    free(path);
    TRY(status);
  }
  return STATUS_OK;
}

static uint64_t count_overlap(const struct packer *packer, int d, uint8_t *several) {
  size_t plane = (size_t)packer->extent[1] * (size_t)packer->extent[2];
  const uint8_t *bits = packer->masks->bits + (size_t)d * (size_t)packer->planes * plane;
  uint64_t count = 0;
  memset(several, 0, plane);
  for (int p = 0; p < packer->planes; p++)
    for (size_t i = 0; i < plane; i++) {
      int found = several[i] + __builtin_popcount(bits[(size_t)p * plane + i]);
      several[i] = (uint8_t)(found < 2 ? found : 2);
    }
  for (size_t i = 0; i < plane; i++) count += several[i] > 1;
  return count;
}

static enum status allocate(const struct structure_list *structures, const int extent[3],
                            struct packer *packer, int32_t **index, uint8_t **several) {
  size_t slices = (size_t)extent[0], plane = (size_t)extent[1] * (size_t)extent[2];
  struct subject_masks *masks = packer->masks;
  masks->bits = calloc(slices * (size_t)packer->planes, plane);
  masks->voxels = calloc((size_t)structures->count, sizeof *masks->voxels);
  masks->slices = calloc(slices, sizeof *masks->slices);
  masks->slice_voxels = calloc(slices * (size_t)structures->count, sizeof *masks->slice_voxels);
  packer->index = *index = malloc(slices * plane * sizeof **index);
  *several = malloc(plane);
  REQUIRE(
      masks->bits && masks->voxels && masks->slices && masks->slice_voxels && *index && *several,
      STATUS_FAILED, "out of memory for the masks of %d structures of %dx%dx%d voxels",
      structures->count, extent[0], extent[1], extent[2]);
  return STATUS_OK;
}

enum status subject_read_masks(const struct config *config, const struct subject_source *source,
                               const struct structure_list *structures,
                               struct subject_volumes *volumes, const int extent[3],
                               struct subject_masks *masks) {
  *masks = (struct subject_masks){0};
  struct packer packer = {.extent = extent,
                          .planes = (int)structures_planes(structures->count),
                          .structures = structures->count,
                          .masks = masks};
  struct grid from = volume_get_grid(&volumes->image), padded = volumes->target;
  int32_t *index = NULL;
  uint8_t *several = NULL;
  memcpy(padded.extent, extent, sizeof padded.extent);
  enum status status = allocate(structures, extent, &packer, &index, &several);
  if (!status) status = grid_find_nearest(&from, &padded, index);
  if (!status) status = read_masks(config, source, structures, &packer, &volumes->image);
  for (int d = 0; d < extent[0] && !status; d++)
    masks->overlap += count_overlap(&packer, d, several);
  free(index);
  free(several);
  if (status) subject_free_masks(masks);
  return status;
}

void subject_free_masks(struct subject_masks *masks) {
  free(masks->bits);
  free(masks->voxels);
  free(masks->slices);
  free(masks->slice_voxels);
  *masks = (struct subject_masks){0};
}
