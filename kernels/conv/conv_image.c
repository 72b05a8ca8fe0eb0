/* Cuts planar sources into bands and copies them with zeros around. */
#include "kernels/conv/conv_image.h"

/* With fewer the sums of pairs are loaded and stored too often. */
enum { LEAST_TAPS = 16 };

static bool reads_plainly(const struct conv_source *source) {
  const struct conv_packing *packing = &source->packing;
  if (source->tensor->layout != LAYOUT_PLANAR || packing->group != 1) return false;
  for (int i = 0; i < 3; i++)
    if (packing->axis[i].phases != 1) return false;
  return packing->axis[2].taps[0] <= CONV_IMAGE_TAPS && packing->axis[2].step <= 2;
}

static int slab_rows(const struct conv_image *image, int band) {
  if (image->pairs) return (band + 1) / 2 * image->products;
  return (band - 1) * image->step[1] + image->taps[1];
}

/* An odd number of lines: rows at the same place of all planes should not meet in the cache. */
static int64_t plane_floats(const struct conv_image *image, int band) {
  int64_t floats = (int64_t)slab_rows(image, band) * image->pitch;
  return floats / CHANNEL_BLOCK % 2 ? floats : floats + CHANNEL_BLOCK;
}

static int64_t slab_floats(const struct conv_image *image, int band) {
  return image->channels * image->taps[0] * plane_floats(image, band) + CHANNEL_BLOCK;
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
  image.pitch = conv_divide_up(image.width, CHANNEL_BLOCK) * CHANNEL_BLOCK;
  return image;
}

bool conv_image_fits(const struct tensor *target, const struct conv_source *sources, int count) {
  if (target->layout != LAYOUT_BLOCKED) return false;
  for (int i = 0; i < count; i++)
    if (!reads_plainly(&sources[i])) return false;
  struct conv_image image = measure(target, sources, count);
  return image.row_count <= CONV_IMAGE_ROWS && slab_floats(&image, 1) <= CONV_IMAGE_FLOATS;
}

static void cut(struct conv_image *image) {
  int extent = image->target.h, most = 1;
  while (most < extent && slab_floats(image, most + 1) <= CONV_IMAGE_FLOATS) most++;
  image->bands = (extent + most - 1) / most;
  image->band = (extent + image->bands - 1) / image->bands;
  if (image->pairs) image->band += image->band % 2;
  image->bands = (extent + image->band - 1) / image->band;
  image->plane = plane_floats(image, image->band);
}

struct conv_image conv_image_open(const struct tensor *target, const struct conv_source *sources,
                                  int count) {
  struct conv_image image = measure(target, sources, count);
  cut(&image);
  return image;
}

/* Cuts the taps along h into triples, which are 4 products instead of 6, and single ones. */
static void find_triples(struct conv_image *image) {
  int taps = image->taps[1], step = image->step[1];
  image->pairs = true;
  image->triples = image->singles = 0;
  for (int first = 0; first < step; first++)
    for (int tap = first; tap < taps; tap += step)
      if (tap + 2 * step < taps) {
        image->triple[image->triples++] = tap;
        tap += 2 * step;
      } else {
        image->single[image->singles++] = tap;
      }
  image->products = 4 * image->triples + 2 * image->singles;
}

bool conv_image_pairs_pay(const struct conv_image *image, int blocks) {
  struct conv_image pairs = *image;
  int rows = image->channels * image->taps[0], taps = rows * image->taps[2];
  find_triples(&pairs);
  return pairs.triples > 0 && image->target.h > 1 && taps >= LEAST_TAPS &&
         pairs.products * rows <= CONV_IMAGE_ROWS &&
         pairs.products * taps * blocks * CHANNEL_BLOCK <= CONV_IMAGE_WEIGHTS &&
         slab_floats(&pairs, 2) <= CONV_IMAGE_FLOATS;
}

void conv_image_cut_pairs(struct conv_image *image) {
  find_triples(image);
  image->row_count = image->channels * image->taps[0];
  cut(image);
}

int64_t conv_image_plane_at(const struct conv_image *image, int channel, int d, int tap) {
  int slot = (image->step[0] * d + tap) % image->taps[0];
  return ((int64_t)channel * image->taps[0] + slot) * image->plane;
}

/* Asks for voxels of the plane behind. Inlined by force: gcc 12 removes calls of functions that do
 * nothing but prefetch. */
static inline __attribute__((always_inline)) void prefetch_row(const float *row, int count) {
  for (int i = 0; i < count; i += CHANNEL_BLOCK) __builtin_prefetch(row + i, 0, 2);
}

static void copy_plane(const struct conv_image *image, float *to, const struct conv_source *source,
                       int n, int channel, int d, int band) {
  struct shape s = source->tensor->shape;
  struct conv_image_inside inside = conv_image_find_inside(image, s.w);
  int first = image->step[1] * band * image->band + image->first[1];
  int rows = (conv_image_band_rows(image, band) - 1) * image->step[1] + image->taps[1];
  size_t bytes = sizeof(float) * (size_t)inside.count;
  bool out = d < 0 || d >= s.d;
  const float *plane = source->data + tensor_at(source->tensor, n, channel, out ? 0 : d, 0, 0);
  for (int i = 0; i < rows; i++, to += image->pitch) {
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
  if (all)
    memset(slab, 0, sizeof(float) * (size_t)(image->channels * image->taps[0] * image->plane));
  for (int i = 0, channel = 0; i < image->count; i++)
    for (int c = 0; c < image->sources[i].tensor->shape.c; c++, channel++)
      for (int tap = known > 0 ? known : 0; tap < image->taps[0]; tap++)
        copy_plane(image, slab + conv_image_plane_at(image, channel, d, tap), &image->sources[i], n,
                   c, image->step[0] * d + image->first[0] + tap, band);
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
          rows->at = conv_image_plane_at(image, channel, d, td) + (int64_t)th * image->pitch;
          rows->block_stride = block_stride;
          if (!w) continue;
          rows->w = w;
          w += image->taps[2] * CHANNEL_BLOCK;
        }
  }
}

void conv_image_find_products(const struct conv_image *image, int d, const float *weights,
                              struct conv_image_row *rows) {
  int size = image->taps[2] * CHANNEL_BLOCK;
  for (int i = 0; i < image->products; i++)
    for (int channel = 0; channel < image->channels; channel++)
      for (int td = 0; td < image->taps[0]; td++, rows++, weights += size) {
        rows->at = conv_image_plane_at(image, channel, d, td) + (int64_t)i * image->pitch;
        rows->w = weights;
        rows->block_stride = (size_t)image->products * image->row_count * size;
      }
}
