/* Boxes out of stored volumes, and left for right. */
#include <string.h>
#include "task/segmentation_sample.h"

/* Rows of a box along w, and the part of them that the volume has. */
struct rows {
  int from, count, to; /* copy `count` voxels from voxel `from` of the volume to voxel `to` */
};

static struct rows overlap_rows(int extent, int first, int length) {
  int low = first > 0 ? first : 0, high = first + length < extent ? first + length : extent;
  return (struct rows){low, high > low ? high - low : 0, low - first};
}

/* One array [D][H][W] whose slices are `slice` elements apart. */
static void crop(const char *volume, size_t bytes, size_t slice, const int extent[3],
                 const struct segmentation_box *box, char *to) {
  struct rows rows = overlap_rows(extent[2], box->first[2], box->extent[2]);
  size_t row = bytes * (size_t)box->extent[2];
  bool whole = rows.count == box->extent[2];
  for (int d = 0; d < box->extent[0]; d++)
    for (int h = 0; h < box->extent[1]; h++, to += row) {
      int z = box->first[0] + d, y = box->first[1] + h;
      bool inside = z >= 0 && z < extent[0] && y >= 0 && y < extent[1] && rows.count > 0;
      if (!inside || !whole) memset(to, 0, row);
      if (!inside) continue;
      size_t from = (size_t)z * slice + (size_t)y * (size_t)extent[2] + (size_t)rows.from;
      memcpy(to + bytes * (size_t)rows.to, volume + bytes * from, bytes * (size_t)rows.count);
    }
}

static size_t box_voxels(const int extent[3]) {
  return (size_t)extent[0] * (size_t)extent[1] * (size_t)extent[2];
}

void segmentation_crop_image(const float *image, int channels, const int extent[3],
                             const struct segmentation_box *box, float *cropped) {
  size_t plane = (size_t)extent[1] * (size_t)extent[2];
  for (size_t c = 0; c < (size_t)channels; c++)
    crop((const char *)(image + c * box_voxels(extent)), sizeof(float), plane, extent, box,
         (char *)(cropped + c * box_voxels(box->extent)));
}

void segmentation_crop_labels(const uint8_t *labels, const int extent[3],
                              const struct segmentation_box *box, uint8_t *cropped) {
  crop((const char *)labels, 1, (size_t)extent[1] * (size_t)extent[2], extent, box,
       (char *)cropped);
}

void segmentation_crop_masks(const uint8_t *masks, int planes, const int extent[3],
                             const struct segmentation_box *box, uint8_t *cropped) {
  size_t plane = (size_t)extent[1] * (size_t)extent[2], slice = plane * (size_t)planes;
  for (size_t p = 0; p < (size_t)planes; p++)
    crop((const char *)(masks + p * plane), 1, slice, extent, box,
         (char *)(cropped + p * box_voxels(box->extent)));
}

void segmentation_mirror_labels(const int *mirror, int classes, int64_t voxels, uint8_t *labels) {
  uint8_t becomes[256];
  for (int i = 0; i < 256; i++) becomes[i] = (uint8_t)(i < classes ? mirror[i] : i);
  for (int64_t i = 0; i < voxels; i++) labels[i] = becomes[labels[i]];
}

static void swap_bits(uint8_t *a, int a_bit, uint8_t *b, int b_bit, int64_t voxels) {
  for (int64_t i = 0; i < voxels; i++) {
    unsigned differ = ((unsigned)(a[i] >> a_bit) ^ (unsigned)(b[i] >> b_bit)) & 1U;
    a[i] ^= (uint8_t)(differ << a_bit);
    b[i] ^= (uint8_t)(differ << b_bit);
  }
}

void segmentation_mirror_masks(const int *mirror, int classes, int64_t voxels, uint8_t *masks) {
  for (int c = 0; c < classes; c++)
    if (mirror[c] > c)
      swap_bits(masks + (c / 8) * voxels, c % 8, masks + (mirror[c] / 8) * voxels, mirror[c] % 8,
                voxels);
}
