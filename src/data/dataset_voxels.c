/* Where a class or structure has voxels: how many per slice along d is stored, so that one slice
 * says which voxel is the n-th. */
#include <string.h>
#include "data/dataset_parts.h"

/* A slice's truth, as bytes that are of a class where (byte & bits) == value. */
struct truth {
  const uint8_t *bytes; /* [h][w] */
  uint8_t bits, value;
};

static size_t plane_of(const struct dataset *dataset) {
  return (size_t)dataset->extent[1] * (size_t)dataset->extent[2];
}

static struct truth find_truth(const struct dataset *dataset, int subject, int class, int slice) {
  size_t plane = plane_of(dataset), number = (size_t)slice;
  if (!dataset->has_masks)
    return (struct truth){dataset_label(dataset, subject) + number * plane, 0xff, (uint8_t) class};
  size_t row = number * (size_t)dataset->mask_planes + (size_t) class / 8;
  uint8_t bit = (uint8_t)(1 << class % 8);
  return (struct truth){dataset_mask(dataset, subject) + row * plane, bit, bit};
}

static uint32_t count_in(const struct truth *truth, size_t plane) {
  uint32_t count = 0;
  for (size_t i = 0; i < plane; i++) count += (truth->bytes[i] & truth->bits) == truth->value;
  return count;
}

static int classes_of(const struct dataset *dataset) {
  return dataset->has_masks ? dataset->structure_count : dataset->classes;
}

/* Shards of earlier versions hold no counts: there the voxels are counted. Mapped values need not
 * be aligned. */
static uint32_t count_slice(const struct dataset *dataset, int subject, int class, int slice) {
  const unsigned char *counts = dataset_find_array(dataset, subject, SHARD_SLICE_VOXELS);
  uint32_t count = 0;
  size_t at = (size_t)slice * (size_t)dataset->counted + (size_t) class;
  if (counts && class < dataset->counted) memcpy(&count, counts + at * sizeof count, sizeof count);
  if (counts) return count;
  struct truth truth = find_truth(dataset, subject, class, slice);
  return count_in(&truth, plane_of(dataset));
}

void dataset_count_voxels(const struct dataset *dataset, int subject, uint64_t *voxels) {
  for (int class = 0; class < classes_of(dataset); class ++) {
    voxels[class] = 0;
    for (int d = 0; d < dataset->extent[0]; d++)
      voxels[class] += count_slice(dataset, subject, class, d);
  }
}

/* The place in the slice of its n-th voxel of the class; false: it has fewer. */
static bool find_in(const struct truth *truth, size_t plane, uint64_t n, size_t *place) {
  for (size_t i = 0; i < plane; i++) {
    if ((truth->bytes[i] & truth->bits) != truth->value) continue;
    if (n-- > 0) continue;
    *place = i;
    return true;
  }
  return false;
}

bool dataset_draw_voxel(const struct dataset *dataset, int subject, int class, uint32_t number,
                        int voxel[3]) {
  uint64_t total = 0;
  if (class < 0 || class >= classes_of(dataset)) return false;
  if (!dataset->has_labels && !dataset->has_masks) return false;
  for (int d = 0; d < dataset->extent[0]; d++) total += count_slice(dataset, subject, class, d);
  uint64_t rank = (uint64_t)(((unsigned __int128)number * total) >> 32);
  for (int d = 0; d < dataset->extent[0]; d++) {
    uint32_t count = count_slice(dataset, subject, class, d);
    if (rank >= count) {
      rank -= count;
      continue;
    }
    struct truth truth = find_truth(dataset, subject, class, d);
    size_t place;
    if (!find_in(&truth, plane_of(dataset), rank, &place)) return false;
    voxel[0] = d;
    voxel[1] = (int)(place / (size_t)dataset->extent[2]);
    voxel[2] = (int)(place % (size_t)dataset->extent[2]);
    return true;
  }
  return false;
}
