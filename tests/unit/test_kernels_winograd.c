/* The error of the Winograd convolution, which adds and subtracts before it multiplies: against
 * sums in float64 at sampled places, next to that of the direct kernel; and that shape alone
 * decides where it runs. Bounds are relative to the root mean square of what is computed. */
#include "check.h"
#include <stdlib.h>
#include <string.h>
#include "base/random.h"
#include "kernels/conv/conv.h"

extern const struct op op_conv;

enum { CHANNELS = 16, SAMPLES = 100 };

/* A cubic kernel with padding 1, and the most error, two to three times what was measured. A value
 * of y is the sum of 1,024 products where the kernel is 4: the direct kernel errs as much. */
struct kind {
  int kernel, stride;
  struct shape shape; /* of the input */
  int out;            /* channels */
  double error, weight_error;
};
static const struct kind kinds[] = {
    {3, 1, {1, CHANNELS, 48, 50, 52}, CHANNELS, 5e-6, 8e-6},
    {3, 1, {1, CHANNELS, 96, 50, 2}, CHANNELS, 2e-6, 4e-6}, /* too narrow for tiles of 4 */
    {3, 2, {1, CHANNELS, 64, 67, 66}, CHANNELS, 4e-6, 4e-6},
    {4, 2, {1, CHANNELS, 66, 65, 68}, CHANNELS, 5e-6, 4e-6},
    /* odd numbers of blocks of channels, enough of them for the processor's tiles in each pass;
     * sums are five times as long */
    {3, 1, {1, 80, 20, 22, 21}, 80, 1e-5, 8e-6},
    {3, 2, {1, 80, 19, 22, 25}, 80, 8e-6, 4e-6},
};

/* A convolution of 16 to 16 channels and memory for it. */
struct layer {
  struct node node;
  struct io io;
  struct kind kind;
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

static int taps_of(const struct kind *kind) {
  return kind->kernel * kind->kernel * kind->kernel;
}

static struct node make_node(struct kind kind) {
  struct node node = {.op = &op_conv,
                      .device = DEVICE_CPU,
                      .activation = DTYPE_F32,
                      .input_count = 1,
                      .x = {tensor_make(DEVICE_CPU, kind.shape, DTYPE_F32)},
                      .wants_dx = {true},
                      .name = "layer"};
  const int kernel = kind.kernel, stride = kind.stride;
  struct conv_arguments arguments = {.kernel = {kernel, kernel, kernel},
                                     .stride = {stride, stride, stride},
                                     .padding = {1, 1, 1},
                                     .out_channels = kind.out,
                                     .bias = true,
                                     .slope = 1};
  memcpy(node.arguments, &arguments, sizeof arguments);
  CHECK_OK(node_infer(&node));
  return node;
}

static void layer_open(struct layer *layer, struct kind kind) {
  *layer = (struct layer){.node = make_node(kind), .kind = kind};
  const int64_t count = tensor_elements(&layer->node.x[0]), out = tensor_elements(&layer->node.y);
  const int64_t weights = (int64_t)kind.shape.c * kind.out * taps_of(&kind);
  layer->x = take(count), layer->y = take(out), layer->dy = take(out);
  layer->dy_used = take(out), layer->dx = take(count);
  layer->w = take(weights), layer->dw = take(weights);
  layer->bias = take(kind.out), layer->db = take(kind.out);
  fill(layer->x, count, 1), fill(layer->dy, out, 2), fill(layer->w, weights, 3);
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

static double value_at(const struct tensor *tensor, const float *values, int c, const int at[3]) {
  struct shape s = tensor->shape;
  const int extent[] = {s.d, s.h, s.w};
  for (int i = 0; i < 3; i++)
    if (at[i] < 0 || at[i] >= extent[i]) return 0;
  return values[tensor_at(tensor, 0, c, at[0], at[1], at[2])];
}

/* Where x is that tap `tap` reads for y at `at`; and where y is that it reads for dx at `at`, which
 * may be nowhere. */
static void find_x(const struct layer *layer, int tap, const int at[3], int x[3]) {
  const int kernel = layer->kind.kernel;
  const int k[] = {tap / kernel / kernel, tap / kernel % kernel, tap % kernel};
  for (int i = 0; i < 3; i++) x[i] = at[i] * layer->kind.stride + k[i] - 1;
}
static bool find_y(const struct layer *layer, int tap, const int at[3], int y[3]) {
  const int kernel = layer->kind.kernel, stride = layer->kind.stride;
  const int k[] = {tap / kernel / kernel, tap / kernel % kernel, tap % kernel};
  for (int i = 0; i < 3; i++) {
    if ((at[i] + 1 - k[i]) % stride != 0) return false;
    y[i] = (at[i] + 1 - k[i]) / stride;
  }
  return true;
}

/* y at one place: the sum over channels and taps. */
static double output_at(const struct layer *layer, int c, const int at[3]) {
  const int taps = taps_of(&layer->kind);
  double sum = 0;
  for (int in = 0; in < layer->kind.shape.c; in++)
    for (int tap = 0; tap < taps; tap++) {
      int x[3];
      find_x(layer, tap, at, x);
      sum += (double)layer->w[(c * layer->kind.shape.c + in) * taps + tap] *
             value_at(&layer->node.x[0], layer->x, in, x);
    }
  return sum;
}

/* The same of dx. */
static double gradient_at(const struct layer *layer, int c, const int at[3]) {
  const int taps = taps_of(&layer->kind);
  double sum = 0;
  for (int out = 0; out < layer->kind.out; out++)
    for (int tap = 0; tap < taps; tap++) {
      int y[3];
      if (!find_y(layer, tap, at, y)) continue;
      sum += (double)layer->w[(out * layer->kind.shape.c + c) * taps + tap] *
             value_at(&layer->node.y, layer->dy, out, y);
    }
  return sum;
}

static double weight_at(const struct layer *layer, int out, int in, int tap) {
  const struct shape s = layer->node.y.shape;
  double sum = 0;
  for (int d = 0; d < s.d; d++)
    for (int h = 0; h < s.h; h++)
      for (int w = 0; w < s.w; w++) {
        int x[3];
        find_x(layer, tap, (int[]){d, h, w}, x);
        sum += value_at(&layer->node.y, layer->dy, out, (int[]){d, h, w}) *
               value_at(&layer->node.x[0], layer->x, in, x);
      }
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

static int draw(struct random *numbers, int count) {
  return (int)(random_bits(numbers) % (uint32_t)count);
}

static void draw_place(struct random *numbers, struct shape s, int at[3]) {
  at[0] = draw(numbers, s.d);
  at[1] = draw(numbers, s.h);
  at[2] = draw(numbers, s.w);
}

static void check_errors(const struct layer *layer, const char *name) {
  struct error forward = {0}, data = {0}, weights = {0};
  struct random numbers = random_stream(4, RANDOM_TEST, 0, 0);
  const int taps = taps_of(&layer->kind);
  for (int i = 0; i < SAMPLES; i++) {
    int out = draw(&numbers, layer->kind.out), at[3];
    draw_place(&numbers, layer->node.y.shape, at);
    note(&forward, value_at(&layer->node.y, layer->y, out, at), output_at(layer, out, at));
    draw_place(&numbers, layer->kind.shape, at);
    const int of_x = out % layer->kind.shape.c;
    note(&data, value_at(&layer->node.x[0], layer->dx, of_x, at), gradient_at(layer, of_x, at));
    int in = draw(&numbers, layer->kind.shape.c), tap = draw(&numbers, taps);
    note(&weights, layer->dw[(out * layer->kind.shape.c + in) * taps + tap],
         weight_at(layer, out, in, tap));
  }
  printf(
      "  %s, kernel %d, stride %d, %d channels: largest error over rms: y %.1e, dx %.1e, "
      "dw %.1e\n",
      name, layer->kind.kernel, layer->kind.stride, layer->kind.shape.c, relative(&forward),
      relative(&data), relative(&weights));
  CHECK(relative(&forward) < layer->kind.error);
  CHECK(relative(&data) < layer->kind.error);
  CHECK(relative(&weights) < layer->kind.weight_error);
}

TEST(errors_stay_small) {
  static const char *const names[] = {"amx_winograd", "winograd_avx512", "winograd_avx2",
                                      "winograd_plain", "direct_plain"};
  for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
    struct layer layer;
    layer_open(&layer, kinds[k]);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
      if (layer_run(&layer, names[i])) check_errors(&layer, names[i]);
    layer_close(&layer);
  }
}

static bool runs(int kernel, int stride, struct shape shape, const char *name, const char *wanted) {
  struct node node =
      make_node((struct kind){.kernel = kernel, .stride = stride, .shape = shape, .out = CHANNELS});
  CHECK_OK(op_choose_kernel(&node, wanted, &node.kernel));
  return strstr(node.kernel->name, name); /* "winograd" of "amx_winograd_avx512", too */
}

TEST(shape_decides_unless_it_is_named) {
  CHECK(runs(3, 1, (struct shape){1, CHANNELS, 24, 24, 24}, "winograd", NULL));
  CHECK(runs(3, 1, (struct shape){1, CHANNELS, 2, 2, 2}, "direct", NULL));
  CHECK(runs(3, 1, (struct shape){1, 512, 24, 24, 24}, "winograd", NULL));
  CHECK(runs(3, 1, (struct shape){1, 1, 24, 24, 24}, "direct", NULL));
  CHECK(runs(3, 1, (struct shape){1, CHANNELS, 24, 24, 24}, "direct", "direct"));
  CHECK(runs(3, 1, (struct shape){1, CHANNELS, 2, 2, 2}, "winograd", "winograd"));
  CHECK(runs(3, 2, (struct shape){1, CHANNELS, 24, 24, 24}, "winograd", NULL));
  CHECK(runs(4, 2, (struct shape){1, CHANNELS, 24, 24, 24}, "winograd", NULL));
  CHECK(runs(4, 2, (struct shape){1, CHANNELS, 4, 4, 4}, "direct", NULL));
  CHECK(runs(4, 1, (struct shape){1, CHANNELS, 24, 24, 24}, "direct", NULL));
}

/* Tiles of several samples are computed together, but none knows of the others. */
static void check_samples(struct kind kind, const char *name) {
  struct kind one = kind;
  one.shape.n = 1;
  struct layer together, alone;
  layer_open(&together, kind), layer_open(&alone, one);
  const int64_t x = tensor_elements(&alone.node.x[0]), y = tensor_elements(&alone.node.y);
  const bool there = layer_run(&together, name);
  for (int n = 0; there && n < kind.shape.n; n++) {
    memcpy(alone.x, together.x + n * x, sizeof(float) * (size_t)x);
    memcpy(alone.dy, together.dy + n * y, sizeof(float) * (size_t)y);
    CHECK(layer_run(&alone, name));
    CHECK(memcmp(alone.y, together.y + n * y, sizeof(float) * (size_t)y) == 0);
    CHECK(memcmp(alone.dx, together.dx + n * x, sizeof(float) * (size_t)x) == 0);
  }
  layer_close(&together), layer_close(&alone);
}

/* Tiles of several samples are computed together, but none knows of the others. */
TEST(samples_do_not_know_of_each_other) {
  for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
    struct kind kind = kinds[k];
    kind.shape = (struct shape){3, kind.shape.c, 7, 6, 9};
    check_samples(kind, "winograd");
    check_samples(kind, "amx_winograd");
  }
}

int main(void) {
  RUN(errors_stay_small);
  RUN(shape_decides_unless_it_is_named);
  RUN(samples_do_not_know_of_each_other);
  return check_result();
}
