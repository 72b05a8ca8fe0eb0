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

/* A padded row that starts at source voxel `from`. */
static void copy_row(float *to, const float *row, int extent, int from, int length) {
  int low = from < 0 ? -from : 0, high = extent - from < length ? extent - from : length;
  if (low > length) low = length;
  if (high < low) high = low;
  for (int i = 0; i < low; i++) to[i] = 0;
  if (high > low) memcpy(to + low, row + from + low, sizeof(float) * (size_t)(high - low));
  for (int i = high; i < length; i++) to[i] = 0;
}

static void copy_plane(const struct conv_image *image, float *to, const struct conv_source *source,
                       int n, int channel, int d, int band) {
  struct shape s = source->tensor->shape;
  int first = image->step[1] * band * image->band + image->first[1];
  int rows = (conv_image_band_rows(image, band) - 1) * image->step[1] + image->taps[1];
  for (int i = 0; i < rows; i++, to += image->width) {
    int h = first + i;
    if (d < 0 || d >= s.d || h < 0 || h >= s.h)
      memset(to, 0, sizeof(float) * (size_t)image->width);
    else
      copy_row(to, source->data + tensor_at(source->tensor, n, channel, d, h, 0), s.w,
               image->first[2], image->width);
  }
}

void conv_image_fill(const struct conv_image *image, float *slab, int n, int d, int band,
                     bool all) {
  int known = all ? 0 : image->taps[0] - image->step[0];
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
