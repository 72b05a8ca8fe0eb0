/* Cuts planar sources into bands and copies them with zeros around. */
#include "kernels/conv/conv_image.h"

static bool reads_plainly(const struct conv_source *source) {
  const struct conv_packing *packing = &source->packing;
  if (source->tensor->layout != LAYOUT_PLANAR || packing->group != 1) return false;
  for (int i = 0; i < 3; i++)
    if (packing->axis[i].phases != 1) return false;
  return packing->axis[2].taps[0] <= CONV_IMAGE_TAPS && packing->axis[2].step <= 2;
}

static int64_t slab_floats(const struct conv_image *image, int band) {
  int height = (band - 1) * image->step[1] + image->taps[1];
  return (int64_t)image->channels * image->taps[0] * height * image->width;
}

static struct conv_image measure(const struct tensor *target, const struct conv_source *sources,
                                 int count) {
  struct conv_image image = {.sources = sources, .count = count, .target = target->shape};
  for (int i = 0; i < count; i++) image.channels += sources[i].tensor->shape.c;
  for (int i = 0; i < 3; i++) {
    const struct conv_axis *axis = &sources[0].packing.axis[i];
    image.first[i] = axis->first[0];
    image.taps[i] = axis->taps[0];
    image.step[i] = axis->step;
  }
  image.row_count = image.channels * image.taps[0] * image.taps[1];
  image.width = (target->shape.w - 1) * image.step[2] + image.taps[2];
  return image;
}

bool conv_image_fits(const struct tensor *target, const struct conv_source *sources, int count) {
  if (target->layout != LAYOUT_BLOCKED) return false;
  for (int i = 0; i < count; i++)
    if (!reads_plainly(&sources[i])) return false;
  struct conv_image image = measure(target, sources, count);
  return image.row_count <= CONV_IMAGE_ROWS && slab_floats(&image, 1) <= CONV_IMAGE_FLOATS;
}

struct conv_image conv_image_open(const struct tensor *target, const struct conv_source *sources,
                                  int count) {
  struct conv_image image = measure(target, sources, count);
  int most = 1;
  while (most < target->shape.h && slab_floats(&image, most + 1) <= CONV_IMAGE_FLOATS) most++;
  image.bands = (target->shape.h + most - 1) / most;
  image.band = (target->shape.h + image.bands - 1) / image.bands;
  image.bands = (target->shape.h + image.band - 1) / image.band;
  image.height = (image.band - 1) * image.step[1] + image.taps[1];
  return image;
}

static int64_t plane_at(const struct conv_image *image, int channel, int d, int tap) {
  int slot = (image->step[0] * d + tap) % image->taps[0];
  return ((int64_t)channel * image->taps[0] + slot) * image->height * image->width;
}

/* The target's rows start at source voxel `from`: `count` voxels of each are inside, from voxel
 * `low` of the row on. */
struct inside {
  int from, low, count;
};

static struct inside find_inside(const struct conv_image *image, int extent) {
  int from = image->first[2], low = from < 0 ? -from : 0;
  int high = extent - from < image->width ? extent - from : image->width;
  return (struct inside){from + low, low, high > low ? high - low : 0};
}

/* Asks for voxels of the plane behind. Inlined by force: gcc 12 removes calls of functions that do
 * nothing but prefetch. */
static inline __attribute__((always_inline)) void prefetch_row(const float *row, int count) {
  for (int i = 0; i < count; i += CHANNEL_BLOCK) __builtin_prefetch(row + i, 0, 2);
}

static void copy_plane(const struct conv_image *image, float *to, const struct conv_source *source,
                       int n, int channel, int d, int band) {
  struct shape s = source->tensor->shape;
  struct inside inside = find_inside(image, s.w);
  int first = image->step[1] * band * image->band + image->first[1];
  int rows = (conv_image_band_rows(image, band) - 1) * image->step[1] + image->taps[1];
  size_t bytes = sizeof(float) * (size_t)inside.count;
  bool out = d < 0 || d >= s.d;
  const float *plane = source->data + tensor_at(source->tensor, n, channel, out ? 0 : d, 0, 0);
  for (int i = 0; i < rows; i++, to += image->width) {
    int h = first + i;
    if (out || h < 0 || h >= s.h) {
      memset(to + inside.low, 0, bytes);
      continue;
    }
    const float *row = plane + (int64_t)h * s.w + inside.from;
    if (d + image->step[0] < s.d)
      prefetch_row(row + (int64_t)image->step[0] * s.h * s.w, inside.count);
    memcpy(to + inside.low, row, bytes);
  }
}

void conv_image_fill(const struct conv_image *image, float *slab, int n, int d, int band,
                     bool all) {
  int known = all ? 0 : image->taps[0] - image->step[0];
  if (all) memset(slab, 0, sizeof(float) * (size_t)slab_floats(image, image->band));
  for (int i = 0, channel = 0; i < image->count; i++)
    for (int c = 0; c < image->sources[i].tensor->shape.c; c++, channel++)
      for (int tap = known > 0 ? known : 0; tap < image->taps[0]; tap++)
        copy_plane(image, slab + plane_at(image, channel, d, tap), &image->sources[i], n, c,
                   image->step[0] * d + image->first[0] + tap, band);
}

void conv_image_find_rows(const struct conv_image *image, int d, struct conv_image_row *rows) {
  static const int phase[3] = {0, 0, 0};
  int channel = 0;
  for (int i = 0; i < image->count; i++) {
    const struct conv_source *source = &image->sources[i];
    const float *w = source->packed;
    size_t block_stride = conv_packing_block_stride(&source->packing, phase);
    for (int c = 0; c < source->tensor->shape.c; c++, channel++)
      for (int td = 0; td < image->taps[0]; td++)
        for (int th = 0; th < image->taps[1]; th++, rows++) {
          rows->at = plane_at(image, channel, d, td) + (int64_t)th * image->width;
          rows->block_stride = block_stride;
          if (!w) continue;
          rows->w = w;
          w += image->taps[2] * CHANNEL_BLOCK;
        }
  }
}
