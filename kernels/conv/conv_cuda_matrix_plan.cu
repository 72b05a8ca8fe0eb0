/* Cuts a pass into tiles that fit the shared memory of the device. */
#include "kernels/common/cuda.h"
#include "kernels/conv/conv_cuda_matrix.h"

enum {
  SHARED_RESERVED = 1024, /* bytes of a block that the device takes for itself */
  WARPS_ENOUGH = 12,      /* on a multiprocessor, to keep its tensor cores busy */
};

static bool source_fits(const struct node *node, const struct tensor *tensor) {
  return tensor->layout == LAYOUT_LAST && tensor->dtype == node->activation &&
         tensor->shape.c * dtype_bytes(tensor->dtype) % MATRIX_PIECE == 0;
}

/* Where a source's window begins and what its taps are, along one axis. */
static void set_axis(struct matrix_source *source, const struct conv_axis *axis, int i) {
  int low = 0, found = 0;
  for (int phase = 0; phase < axis->phases; phase++) {
    if (axis->taps[phase] == 0) continue;
    if (!found++ || axis->first[phase] < low) low = axis->first[phase];
  }
  source->phases[i] = axis->phases;
  source->step[i] = axis->step;
  source->origin[i] = low;
  source->most_taps[i] = conv_axis_most_taps(axis);
  for (int phase = 0; phase < axis->phases; phase++) {
    source->taps[i][phase] = axis->taps[phase];
    source->offset[i][phase] = axis->taps[phase] > 0 ? axis->first[phase] - low : 0;
  }
}

static void set_source(const struct node *node, bool forward, int input,
                       struct matrix_source *source) {
  const struct tensor *tensor = forward ? &node->x[input] : &node->y;
  struct shape s = tensor->shape;
  const int extent[] = {s.d, s.h, s.w};
  for (int i = 0; i < 3; i++) {
    struct conv_extent e = conv_cuda_extent(node, input, i);
    struct conv_axis axis =
        forward ? conv_axis_forward(e, e.upsample ? 2 : 1) : conv_axis_gradient(e);
    set_axis(source, &axis, i);
    source->extent[i] = extent[i];
  }
  source->voxel = (int)(s.c * dtype_bytes(tensor->dtype));
  source->chunks = (source->voxel + MATRIX_CHUNK - 1) / MATRIX_CHUNK;
  source->sample = source->voxel * shape_voxels(s);
}

static void set_target(const struct node *node, bool forward, int input, struct matrix_pass *pass) {
  const struct tensor *tensor = forward ? &node->y : &node->x[input];
  struct shape s = tensor->shape;
  const int extent[] = {s.d, s.h, s.w};
  for (int i = 0; i < 3; i++) {
    pass->extent[i] = extent[i];
    pass->phases[i] = 1;
    for (int j = 0; j < pass->count; j++)
      if (pass->source[j].phases[i] > pass->phases[i]) pass->phases[i] = pass->source[j].phases[i];
  }
  pass->channels = s.c;
  pass->samples = s.n;
  pass->wide = tensor->dtype == DTYPE_F32;
  pass->strip = pass->phases[2];
}

/* A way of cutting a pass into tiles. */
struct cut {
  int rows, warp_channels, warps_n, warps_d, warps_h, stages;
};

/* The window of source voxels that a tile reads, along one axis. */
static int window_of(const struct matrix_source *source, int tile, int axis) {
  if (source->phases[axis] == 1) return source->step[axis] * (tile - 1) + source->most_taps[axis];
  int last = 0;
  for (int phase = 0; phase < 2; phase++) {
    int end = source->offset[axis][phase] + source->taps[axis][phase];
    if (end > last) last = end;
  }
  return tile / 2 - 1 + last;
}

static void set_window(const struct matrix_pass *pass, struct matrix_source *source) {
  for (int i = 0; i < 3; i++) source->window[i] = window_of(source, pass->tile[i], i);
  source->lane_step = source->phases[2] == 2 ? 1 : source->step[2] * pass->strip;
  source->part = (source->window[2] + source->lane_step - 1) / source->lane_step;
  source->pitch = source->part * source->lane_step;
  int phases = source->phases[0] * source->phases[1] * source->phases[2];
  source->slice =
      phases * source->most_taps[1] * source->most_taps[2] * pass->block_channels * MATRIX_CHUNK;
  source->reciprocal =
      (unsigned)(((UINT64_C(1) << 32) + source->window[2] - 1) / source->window[2]);
}

/* How much of shared memory a window and a slice take. */
static void set_places(struct matrix_pass *pass) {
  pass->window_bytes = pass->slice_bytes = 0;
  for (int i = 0; i < pass->count; i++) {
    const struct matrix_source *source = &pass->source[i];
    int bytes = source->window[0] * source->window[1] * source->pitch * MATRIX_CHUNK;
    if (bytes > pass->window_bytes) pass->window_bytes = bytes;
    if (source->slice > pass->slice_bytes) pass->slice_bytes = source->slice;
  }
}

static void set_cut(struct matrix_pass *pass, struct cut cut) {
  pass->rows = cut.rows;
  pass->warp_channels = cut.warp_channels;
  pass->warps_n = cut.warps_n;
  pass->warps_d = cut.warps_d;
  pass->warps_h = cut.warps_h;
  pass->stages = cut.stages;
  pass->block_channels = cut.warp_channels * cut.warps_n;
  pass->channel_tiles = (pass->channels + pass->block_channels - 1) / pass->block_channels;
  pass->tile[0] = cut.warps_d;
  pass->tile[1] = cut.rows * cut.warps_h;
  pass->tile[2] = MATRIX_WIDTH * pass->strip;
  pass->tile_count = pass->channel_tiles * pass->samples;
  for (int i = 0; i < 3; i++) {
    pass->tiles[i] = (pass->extent[i] + pass->tile[i] - 1) / pass->tile[i];
    pass->tile_count *= pass->tiles[i];
  }
  for (int i = 0; i < pass->count; i++) set_window(pass, &pass->source[i]);
  set_places(pass);
}

size_t conv_cuda_matrix_shared(const struct matrix_pass *pass) {
  return (size_t)pass->stages * pass->window_bytes + 2 * (size_t)pass->slice_bytes;
}

size_t conv_cuda_matrix_packed(const struct matrix_pass *pass, int source) {
  const struct matrix_source *s = &pass->source[source];
  return (size_t)pass->channel_tiles * s->chunks * s->most_taps[0] * s->slice;
}

static bool any_step_2(const struct matrix_pass *pass) {
  for (int i = 0; i < pass->count; i++)
    for (int axis = 0; axis < 3; axis++)
      if (pass->source[i].step[axis] > 1) return true;
  return false;
}

static bool is_phased(const struct matrix_pass *pass) {
  return pass->phases[0] * pass->phases[1] * pass->phases[2] > 1;
}

/* What a warp computes. Floats need twice the registers; windows of step 2 are large already. */
static struct cut first_cut(const struct node *node, const struct matrix_pass *pass) {
  struct cut cut;
  bool far = any_step_2(pass), phased = is_phased(pass), wide = pass->channels > MATRIX_WIDTH;
  cut.rows = far && !phased ? 4 : 8;
  cut.warp_channels = wide && cut.rows == 8 && node->activation != DTYPE_F32 ? 32 : 16;
  cut.warps_n =
      wide && pass->channels > cut.warp_channels && (!phased || cut.warp_channels == 16) ? 2 : 1;
  return cut;
}

/* Distributes `warps` over d and h: d first, as far as the target reaches. */
static void spread_warps(const struct matrix_pass *pass, int warps, struct cut *cut) {
  cut->warps_d = pass->phases[0];
  while (2 * cut->warps_d <= warps && cut->warps_d < pass->extent[0]) cut->warps_d *= 2;
  cut->warps_h = warps / cut->warps_d;
}

/* What there is of the device in use; without one, of a device of compute capability 8.0. */
struct machine {
  int multiprocessors, shared; /* shared: bytes that a block may have */
};

static struct machine find_machine(void) {
  struct machine machine = {108, 163 * 1024};
  int device;
  if (cudaGetDevice(&device) != cudaSuccess) return machine;
  struct machine found;
  if (cudaDeviceGetAttribute(&found.multiprocessors, cudaDevAttrMultiProcessorCount, device) ==
          cudaSuccess &&
      cudaDeviceGetAttribute(&found.shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, device) ==
          cudaSuccess)
    machine = found;
  return machine;
}

/* Blocks that a multiprocessor runs together, by shared memory and registers. */
static int blocks_together(const struct node *node, const struct matrix_pass *pass,
                           const struct machine *machine) {
  int shared = machine->shared + SHARED_RESERVED, threads = conv_cuda_matrix_threads(pass);
  int blocks = shared / ((int)conv_cuda_matrix_shared(pass) + SHARED_RESERVED);
  int room = 256;
  if (node->activation != DTYPE_F32 && pass->warp_channels == 16 && !is_phased(pass))
    room = pass->rows == 4 ? 512 : 384;
  return blocks < room / threads ? blocks : room / threads;
}

/* Takes the cut that keeps most warps at work, and of those one where loads and multiplications
 * overlap; large tiles first, which read less twice. False where none fits. */
static bool find_cut(const struct node *node, const struct machine *machine, struct cut cut,
                     struct matrix_pass *pass) {
  struct matrix_pass best;
  int beside = cut.warps_n * pass->strip, most = -1;
  for (int warps = beside == 1 ? 4 : MATRIX_MOST_WARPS / beside; warps >= pass->phases[0];
       warps /= 2)
    for (cut.stages = 2; cut.stages > 0; cut.stages--) {
      spread_warps(pass, warps, &cut);
      set_cut(pass, cut);
      if (conv_cuda_matrix_shared(pass) > (size_t)machine->shared) continue;
      pass->blocks = blocks_together(node, pass, machine);
      int together = pass->blocks * warps * beside;
      int score = 2 * (together < WARPS_ENOUGH ? together : WARPS_ENOUGH) +
                  (cut.stages == 2 || pass->blocks > 1);
      if (score > most) best = *pass, most = score;
    }
  if (most < 0) return false;
  *pass = best;
  pass->blocks *= machine->multiprocessors;
  return true;
}

/* Small volumes are cut smaller, so that more multiprocessors share them. */
static bool choose_cut(const struct node *node, struct matrix_pass *pass) {
  struct machine machine = find_machine();
  struct cut cut = first_cut(node, pass);
  bool found = find_cut(node, &machine, cut, pass);
  if (found && (is_phased(pass) || pass->tile_count >= machine.multiprocessors)) return true;
  if (!is_phased(pass)) cut.rows = 4;
  cut.warps_n = !found || is_phased(pass) || pass->channels <= 16 ? 1 : 2;
  cut.warp_channels = 16;
  return find_cut(node, &machine, cut, pass);
}

bool conv_cuda_matrix_plan(const struct node *node, bool forward, int input,
                           struct matrix_pass *pass) {
  const struct conv_arguments *a = conv_arguments_of(node);
  const struct tensor *target = forward ? &node->y : &node->x[input];
  memset(pass, 0, sizeof *pass);
  pass->count = forward ? node->input_count : 1;
  if (target->layout != LAYOUT_LAST && target->shape.c > 1) return false;
  if (target->dtype != node->activation && target->dtype != DTYPE_F32) return false;
  for (int i = 0; i < 3; i++)
    if (a->kernel[i] > CONV_MOST_KERNEL || a->stride[i] > 2) return false;
  for (int i = 0; i < pass->count; i++) {
    if (!source_fits(node, forward ? &node->x[i] : &node->y)) return false;
    set_source(node, forward, forward ? i : input, &pass->source[i]);
  }
  set_target(node, forward, input, pass);
  return choose_cut(node, pass);
}
