/* The error of the Winograd convolution, which adds and subtracts before it multiplies: against
 * sums in float64 at sampled places, next to that of the direct kernel; and that shape alone
 * decides where it runs. Bounds are relative to the root mean square of what is computed. */
#include "check.h"
#include <stdlib.h>
#include <string.h>
#include "base/random.h"
#include "kernels/conv/conv.h"

extern const struct op op_conv;

enum { CHANNELS = 16, KERNEL = 3, TAPS = KERNEL * KERNEL * KERNEL, SAMPLES = 100 };

/* Two to three times what was measured. */
static const double most_error = 2e-6, most_weight_error = 4e-6;

/* A convolution of 16 to 16 channels and memory for it. */
struct layer {
  struct node node;
  struct io io;
  struct shape shape;
  float *x, *y, *dy, *dy_used, *dx, *w, *dw, *bias, *db;
};

static float *take(int64_t count) {
  float *memory = calloc((size_t)count, sizeof(float));
  CHECK(memory);
  if (!memory) exit(1);
  return memory;
}

static void fill(float *values, int64_t count, uint64_t key) {
  struct random numbers = random_stream(key, RANDOM_TEST, 0, 0);
  for (int64_t i = 0; i < count; i++) values[i] = (float)random_range(&numbers, -1, 1);
}

static struct node make_node(struct shape shape) {
  struct node node = {.op = &op_conv,
                      .device = DEVICE_CPU,
                      .activation = DTYPE_F32,
                      .input_count = 1,
                      .x = {tensor_make(DEVICE_CPU, shape, DTYPE_F32)},
                      .wants_dx = {true},
                      .name = "layer"};
  struct conv_arguments arguments = {.kernel = {KERNEL, KERNEL, KERNEL},
                                     .stride = {1, 1, 1},
                                     .padding = {1, 1, 1},
                                     .out_channels = CHANNELS,
                                     .bias = true,
                                     .slope = 1};
  memcpy(node.arguments, &arguments, sizeof arguments);
  CHECK_OK(node_infer(&node));
  return node;
}

static void layer_open(struct layer *layer, struct shape shape) {
  const int64_t count = shape_voxels(shape) * CHANNELS, weights = CHANNELS * CHANNELS * TAPS;
  *layer = (struct layer){.node = make_node(shape), .shape = shape};
  layer->x = take(count), layer->y = take(count), layer->dy = take(count);
  layer->dy_used = take(count), layer->dx = take(count);
  layer->w = take(weights), layer->dw = take(weights);
  layer->bias = take(CHANNELS), layer->db = take(CHANNELS);
  fill(layer->x, count, 1), fill(layer->dy, count, 2), fill(layer->w, weights, 3);
}

static void layer_close(struct layer *layer) {
  float *all[] = {layer->x, layer->y,  layer->dy,   layer->dy_used, layer->dx,
                  layer->w, layer->dw, layer->bias, layer->db};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

/* false: no such kernel on this processor. */
static bool layer_run(struct layer *layer, const char *name) {
  struct node *node = &layer->node;
  if (op_choose_kernel(node, name, &node->kernel)) {
    status_clear();
    return false;
  }
  node->kernel->prepare(node);
  size_t bytes = node->forward_workspace > node->backward_workspace ? node->forward_workspace
                                                                    : node->backward_workspace;
  float *workspace = take((int64_t)(bytes / sizeof(float)) + 1);
  memcpy(layer->dy_used, layer->dy, tensor_bytes(&node->y));
  struct io io = {.x = {layer->x},
                  .y = layer->y,
                  .w = {layer->w, layer->bias},
                  .workspace = workspace,
                  .dy = layer->dy_used,
                  .dx = {layer->dx},
                  .dw = {layer->dw, layer->db}};
  CHECK_OK(node->kernel->forward(node, &io, NULL));
  CHECK_OK(node->kernel->backward(node, &io, NULL));
  free(workspace);
  return true;
}

static double value_at(const struct layer *layer, const float *values, int c, int d, int h, int w) {
  struct shape s = layer->shape;
  if (d < 0 || d >= s.d || h < 0 || h >= s.h || w < 0 || w >= s.w) return 0;
  return values[tensor_at(&layer->node.y, 0, c, d, h, w)];
}

/* y, and with sign -1 dx, at one place: the sum over channels and taps. */
static double sum_at(const struct layer *layer, const float *from, int c, const int at[3],
                     bool gradient) {
  double sum = 0;
  for (int other = 0; other < CHANNELS; other++)
    for (int tap = 0; tap < TAPS; tap++) {
      int step[] = {tap / KERNEL / KERNEL - 1, tap / KERNEL % KERNEL - 1, tap % KERNEL - 1};
      int sign = gradient ? -1 : 1, out = gradient ? other : c, in = gradient ? c : other;
      sum += (double)layer->w[(out * CHANNELS + in) * TAPS + tap] *
             value_at(layer, from, other, at[0] + sign * step[0], at[1] + sign * step[1],
                      at[2] + sign * step[2]);
    }
  return sum;
}

static double weight_at(const struct layer *layer, int out, int in, int tap) {
  struct shape s = layer->shape;
  int step[] = {tap / KERNEL / KERNEL - 1, tap / KERNEL % KERNEL - 1, tap % KERNEL - 1};
  double sum = 0;
  for (int d = 0; d < s.d; d++)
    for (int h = 0; h < s.h; h++)
      for (int w = 0; w < s.w; w++)
        sum += value_at(layer, layer->dy, out, d, h, w) *
               value_at(layer, layer->x, in, d + step[0], h + step[1], w + step[2]);
  return sum;
}

/* The largest error, and the root mean square of what should have come out. */
struct error {
  double most, squares;
  int count;
};

static void note(struct error *error, double found, double expected) {
  if (fabs(found - expected) > error->most) error->most = fabs(found - expected);
  error->squares += expected * expected;
  error->count++;
}

static double relative(const struct error *error) {
  return error->most / sqrt(error->squares / error->count);
}

static void check_errors(const struct layer *layer, const char *name) {
  struct error forward = {0}, data = {0}, weights = {0};
  struct random numbers = random_stream(4, RANDOM_TEST, 0, 0);
  struct shape s = layer->shape;
  for (int i = 0; i < SAMPLES; i++) {
    int c = (int)(random_bits(&numbers) % CHANNELS), at[3];
    at[0] = (int)(random_bits(&numbers) % (uint32_t)s.d);
    at[1] = (int)(random_bits(&numbers) % (uint32_t)s.h);
    at[2] = (int)(random_bits(&numbers) % (uint32_t)s.w);
    note(&forward, value_at(layer, layer->y, c, at[0], at[1], at[2]),
         sum_at(layer, layer->x, c, at, false));
    note(&data, value_at(layer, layer->dx, c, at[0], at[1], at[2]),
         sum_at(layer, layer->dy, c, at, true));
    int other = (int)(random_bits(&numbers) % CHANNELS), tap = (int)(random_bits(&numbers) % TAPS);
    note(&weights, layer->dw[(c * CHANNELS + other) * TAPS + tap], weight_at(layer, c, other, tap));
  }
  printf("  %s: largest error over rms: y %.1e, dx %.1e, dw %.1e\n", name, relative(&forward),
         relative(&data), relative(&weights));
  CHECK(relative(&forward) < most_error);
  CHECK(relative(&data) < most_error);
  CHECK(relative(&weights) < most_weight_error);
}

TEST(errors_stay_small) {
  static const char *const names[] = {"winograd_avx512", "winograd_avx2", "winograd_plain",
                                      "direct_plain"};
  struct layer layer;
  layer_open(&layer, (struct shape){1, CHANNELS, 48, 50, 52});
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (layer_run(&layer, names[i])) check_errors(&layer, names[i]);
  layer_close(&layer);
}

static const char *chosen(struct shape shape, const char *name) {
  struct node node = make_node(shape);
  CHECK_OK(op_choose_kernel(&node, name, &node.kernel));
  return node.kernel->name;
}

TEST(shape_decides_unless_it_is_named) {
  CHECK(strncmp(chosen((struct shape){1, CHANNELS, 24, 24, 24}, NULL), "winograd", 8) == 0);
  CHECK(strncmp(chosen((struct shape){1, CHANNELS, 2, 2, 2}, NULL), "direct", 6) == 0);
  CHECK(strncmp(chosen((struct shape){1, 512, 24, 24, 24}, NULL), "winograd", 8) == 0);
  CHECK(strncmp(chosen((struct shape){1, 1, 24, 24, 24}, NULL), "direct", 6) == 0);
  CHECK(strncmp(chosen((struct shape){1, CHANNELS, 24, 24, 24}, "direct"), "direct", 6) == 0);
  CHECK(strncmp(chosen((struct shape){1, CHANNELS, 2, 2, 2}, "winograd"), "winograd", 8) == 0);
}

int main(void) {
  RUN(errors_stay_small);
  RUN(shape_decides_unless_it_is_named);
  return check_result();
}
