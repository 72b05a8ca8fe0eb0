/* What a plan says of a real network (VoxelMorph's at full size; nothing is allocated), the order
 * of parameters, buckets, first values, hash and print-out; layouts of tensors. */
#include <math.h>
#include "base/file.h"
#include "base/random.h"
#include "check.h"
#include "graph/arena.h"
#include "graph/run.h"
#include "kernels/conv/conv.h"
#include "kernels/integrate/integrate.h"
#include "kernels/loss_smooth/loss_smooth.h"
#include "kernels/max_pool/max_pool.h"
#include "kernels/resize/resize.h"
#include "kernels/warp/warp.h"

static int add_conv(struct graph *graph, const char *name, int x, int channels, float slope) {
  const struct conv_arguments arguments = {.kernel = {3, 3, 3},
                                           .stride = {1, 1, 1},
                                           .padding = {1, 1, 1},
                                           .out_channels = channels,
                                           .bias = true,
                                           .slope = slope};
  int y = 0;
  CHECK_OK(graph_add(graph, "conv", name, &arguments, sizeof arguments, &x, 1, &y));
  return y;
}

static int add_resize(struct graph *graph, const char *name, int x, enum resize_mode mode,
                      double factor) {
  struct shape s = graph_shape(graph, x);
  const struct resize_arguments arguments = {
      mode,
      {(int)(s.d * factor), (int)(s.h * factor), (int)(s.w * factor)},
      mode == RESIZE_TRILINEAR,
      mode == RESIZE_TRILINEAR ? factor : 1};
  int y = 0;
  CHECK_OK(graph_add(graph, "resize", name, &arguments, sizeof arguments, &x, 1, &y));
  return y;
}

static int add_pool(struct graph *graph, int x) {
  const struct max_pool_arguments arguments = {{2, 2, 2}, {2, 2, 2}};
  int y = 0;
  CHECK_OK(graph_add(graph, "max_pool", "pool", &arguments, sizeof arguments, &x, 1, &y));
  return y;
}

static int add_two(struct graph *graph, const char *op, const void *arguments, size_t bytes, int a,
                   int b) {
  const int inputs[2] = {a, b};
  int y = 0;
  CHECK_OK(graph_add(graph, op, op, arguments, bytes, inputs, 2, &y));
  return y;
}

/* The U-Net of VxmDense (Dalca et al., 2019) with its default widths. */
static int add_unet(struct graph *graph, int x) {
  static const int encoder[] = {16, 32, 32, 32}, final[] = {32, 16, 16};
  char name[32];
  int skips[4];
  for (int i = 0; i < 4; i++) {
    snprintf(name, sizeof name, "encoder.%d", i);
    skips[i] = add_conv(graph, name, x, encoder[i], 0.2f);
    x = add_pool(graph, skips[i]);
  }
  for (int i = 0; i < 4; i++) {
    snprintf(name, sizeof name, "decoder.%d", i);
    x = add_conv(graph, name, x, 32, 0.2f);
    x = add_resize(graph, "up", x, RESIZE_NEAREST, 2);
    x = add_two(graph, "concat", NULL, 0, x, skips[3 - i]);
  }
  for (int i = 0; i < 3; i++) {
    snprintf(name, sizeof name, "remaining.%d", i);
    x = add_conv(graph, name, x, final[i], 0.2f);
  }
  return add_conv(graph, "flow", x, 3, 1);
}

static void build_registration(struct graph *graph, struct shape shape) {
  int moving, fixed, loss;
  graph_open(graph, DEVICE_CPU, DTYPE_F32);
  CHECK_OK(graph_input(graph, "moving", shape, DTYPE_F32, false, &moving));
  CHECK_OK(graph_input(graph, "fixed", shape, DTYPE_F32, false, &fixed));
  int velocity = add_unet(graph, add_two(graph, "concat", NULL, 0, moving, fixed));
  int half = add_resize(graph, "half", velocity, RESIZE_TRILINEAR, 0.5);
  const struct integrate_arguments seven = {.steps = 7};
  int integrated = 0;
  CHECK_OK(graph_add(graph, "integrate", "integrate", &seven, sizeof seven, &half, 1, &integrated));
  int displacement = add_resize(graph, "full", integrated, RESIZE_TRILINEAR, 2);
  const struct warp_arguments zeros = {WARP_ZEROS, WARP_LINEAR};
  int warped = add_two(graph, "warp", &zeros, sizeof zeros, moving, displacement);
  loss = add_two(graph, "loss_mse", NULL, 0, warped, fixed);
  CHECK_OK(graph_loss(graph, loss, 1));
  const struct loss_smooth_arguments l2 = {SMOOTH_L2, 2};
  CHECK_OK(graph_add(graph, "loss_smooth", "smooth", &l2, sizeof l2, &half, 1, &loss));
  CHECK_OK(graph_loss(graph, loss, 0.01));
  CHECK_OK(graph_output(graph, "warped", warped));
}

static const struct shape full_size = {1, 1, 160, 192, 224}, small_size = {1, 1, 16, 32, 16};

static void open_plan(struct plan *plan, struct graph *graph, struct shape shape,
                      struct plan_options options) {
  build_registration(graph, shape);
  CHECK_OK(plan_make(plan, graph, &options));
  if (check_failures) exit(check_result());
}

static void close_plan(struct plan *plan, struct graph *graph) {
  plan_close(plan);
  graph_close(graph);
}

TEST(arena_is_near_the_bound_at_full_size) {
  struct graph graph;
  struct plan plan;
  open_plan(&plan, &graph, full_size, (struct plan_options){.training = true});
  printf("     arena %.1f MiB, peak live %.1f MiB, ratio %.4f\n", (double)plan.arena_bytes / 0x1p20,
         (double)plan.peak_live_bytes / 0x1p20,
         (double)plan.arena_bytes / (double)plan.peak_live_bytes);
  CHECK(plan_trainable_count(&plan) == 327331);
  CHECK(plan.arena_bytes >= plan.peak_live_bytes);
  CHECK((double)plan.arena_bytes <= 1.05 * (double)plan.peak_live_bytes);
  CHECK(plan.input_bytes == 2 * 4 * (size_t)shape_voxels(full_size));
  CHECK(plan.backward_flops > 1.8 * plan.forward_flops);
  close_plan(&plan, &graph);
}

TEST(concat_and_upsampling_are_folded) {
  struct graph graph;
  struct plan plan;
  open_plan(&plan, &graph, small_size, (struct plan_options){.training = true});
  int concats = 0, folded = 0;
  for (int n = 0; n < graph.node_count; n++) {
    concats += strcmp(graph.nodes[n].node.op->name, "concat") == 0;
    folded += graph.nodes[n].folded;
  }
  CHECK(concats == 5 && folded == 9); /* all of them, and four upsamplings */
  close_plan(&plan, &graph);
}

TEST(parameters_lie_in_the_order_of_backward) {
  struct graph graph;
  struct plan plan;
  open_plan(&plan, &graph, small_size, (struct plan_options){.training = true});
  CHECK(strcmp(plan.parameters[0].name, "flow.weight") == 0);
  CHECK(strcmp(plan.parameters[1].name, "flow.bias") == 0);
  CHECK(strcmp(plan.parameters[plan.parameter_count - 2].name, "encoder.0.weight") == 0);
  int64_t next = 0;
  for (int i = 0; i < plan.parameter_count; i++) {
    const struct plan_parameter *parameter = &plan.parameters[i];
    CHECK(parameter->offset == next && parameter->offset % 16 == 0);
    CHECK(parameter->count == parameter_count(&parameter->parameter));
    CHECK(plan_find_parameter(&plan, parameter->name) == parameter);
    if (i > 0) CHECK(plan.backward_step[parameter->node] >= plan.backward_step[parameter[-1].node]);
    next = (parameter->offset + parameter->count + 15) / 16 * 16;
  }
  CHECK(plan.parameter_elements == next);
  CHECK(plan_find_parameter(&plan, "flow") == NULL);
  close_plan(&plan, &graph);
}

/* Buckets cover the block once, hold whole parameters and are ready when their last one is. */
static void check_buckets(size_t bucket_bytes, int expected) {
  struct graph graph;
  struct plan plan;
  open_plan(&plan, &graph, small_size,
            (struct plan_options){.training = true, .bucket_bytes = bucket_bytes});
  if (expected) CHECK(plan.bucket_count == expected);
  int64_t next = 0;
  int parameter = 0;
  for (int b = 0; b < plan.bucket_count; b++) {
    const struct plan_bucket *bucket = &plan.buckets[b];
    CHECK(bucket->first == next && bucket->count > 0);
    CHECK(plan.parameters[parameter].offset == bucket->first);
    next += bucket->count;
    int last = -1;
    for (; parameter < plan.parameter_count && plan.parameters[parameter].offset < next;
         parameter++)
      last = plan.backward_step[plan.parameters[parameter].node];
    CHECK(bucket->last_step == last);
    if (b + 1 < plan.bucket_count) CHECK((size_t)bucket->count * sizeof(float) >= bucket_bytes);
  }
  CHECK(next == plan.parameter_elements && parameter == plan.parameter_count);
  close_plan(&plan, &graph);
}

TEST(buckets_cover_the_block) {
  check_buckets(0, 1);
  check_buckets(1, 24);
  check_buckets(100000, 0);
  check_buckets(1000000, 2);
  check_buckets((size_t)1 << 40, 1);
}

TEST(one_seed_gives_one_network) {
  struct graph graph;
  struct plan plan;
  open_plan(&plan, &graph, small_size, (struct plan_options){.training = true});
  size_t bytes = (size_t)plan.parameter_elements * sizeof(float);
  float *first = malloc(bytes), *again = malloc(bytes), *other = malloc(bytes);
  if (!first || !again || !other) abort();
  memset(first, 1, bytes);
  memset(again, 2, bytes);
  plan_initialize(&plan, 3, first);
  plan_initialize(&plan, 3, again);
  plan_initialize(&plan, 4, other);
  CHECK(memcmp(first, again, bytes) == 0);
  CHECK(memcmp(first, other, bytes) != 0);
  const struct plan_parameter *weight = plan_find_parameter(&plan, "encoder.1.weight");
  double bound = 1 / sqrt(16 * 27), largest = 0, mean = 0;
  for (int64_t i = weight->offset; i < weight->offset + weight->count; i++) {
    largest = fmax(largest, fabs((double)first[i]));
    mean += first[i] / (double)weight->count;
  }
  CHECK(largest <= bound && largest > 0.99 * bound);
  CHECK(fabs(mean) < 0.02 * bound);
  const struct plan_parameter *bias = plan_find_parameter(&plan, "flow.bias");
  for (int64_t i = bias->offset + bias->count; i < bias->offset + 16; i++) CHECK(first[i] == 0);
  free(first);
  free(again);
  free(other);
  close_plan(&plan, &graph);
}

/* A parameter's first values depend on its name, not on what else the network has. */
TEST(first_values_follow_the_name) {
  float values[2][32] = {{0}};
  for (int more = 0; more < 2; more++) {
    struct graph graph;
    struct plan plan;
    graph_open(&graph, DEVICE_CPU, DTYPE_F32);
    int x;
    CHECK_OK(graph_input(&graph, "image", (struct shape){1, 1, 4, 4, 4}, DTYPE_F32, false, &x));
    CHECK_OK(graph_output(&graph, "flow", add_conv(&graph, "flow", x, 1, 1)));
    if (more) CHECK_OK(graph_output(&graph, "other", add_conv(&graph, "other", x, 1, 1)));
    CHECK_OK(plan_make(&plan, &graph, &(struct plan_options){0}));
    float *weights = malloc((size_t)plan.parameter_elements * sizeof *weights);
    if (!weights) abort();
    plan_initialize(&plan, 9, weights);
    memcpy(values[more], weights + plan_find_parameter(&plan, "flow.weight")->offset, 27 * 4);
    free(weights);
    close_plan(&plan, &graph);
  }
  CHECK(values[0][0] != 0);
  CHECK(memcmp(values[0], values[1], sizeof values[0]) == 0);
}

static const char *force_reference(void *context, const char *op) {
  return strcmp(op, context) == 0 ? "reference" : NULL;
}

static const char *force_nonsense(void *context, const char *op) {
  (void)context;
  return strcmp(op, "conv") == 0 ? "nonsense" : NULL;
}

TEST(hash_sees_what_decides_the_bits) {
  struct plan_options options = {.training = true};
  uint64_t hash[4];
  for (int i = 0; i < 4; i++) {
    struct graph graph;
    struct plan plan;
    char op[] = "max_pool";
    options.bucket_bytes = i == 1 ? 1000 : 0;
    options.forced_kernel = i == 2 ? force_reference : NULL;
    options.context = op;
    open_plan(&plan, &graph, i == 3 ? (struct shape){1, 1, 32, 32, 16} : small_size, options);
    hash[i] = plan_hash(&plan);
    close_plan(&plan, &graph);
  }
  CHECK(hash[0] == hash[1]);
  CHECK(hash[0] != hash[2]);
  CHECK(hash[0] != hash[3]);
}

TEST(wrong_kernels_are_refused) {
  struct graph graph;
  struct plan plan;
  build_registration(&graph, small_size);
  CHECK_FAILS(plan_make(&plan, &graph,
                        &(struct plan_options){.training = true, .forced_kernel = force_nonsense}),
              "no kernel \"nonsense\"");
  close_plan(&plan, &graph);
}

TEST(print_names_what_matters) {
  struct graph graph;
  struct plan plan;
  open_plan(&plan, &graph, small_size, (struct plan_options){.training = true, .bucket_bytes = 1});
  char *folder = check_make_folder(), *path = file_join(folder, "plan.txt"), *text;
  size_t bytes;
  FILE *file = fopen(path, "w");
  if (!file) abort();
  plan_print(&plan, file);
  fclose(file);
  CHECK_OK(file_read(path, 1 << 20, &text, &bytes));
  CHECK(strstr(text, "parameters         327,331\n"));
  CHECK(strstr(text, "encoder.0.weight"));
  CHECK(strstr(text, "16 x 2 x 3 x 3 x 3"));
  CHECK(strstr(text, "arena / peak = 1.0"));
  CHECK(strstr(text, "folded    concat"));
  free(text);
  free(path);
  check_remove_folder(folder);
  close_plan(&plan, &graph);
}

static void check_layout(int channels, enum dtype dtype) {
  struct tensor tensor = tensor_make(DEVICE_CPU, (struct shape){2, channels, 3, 4, 5}, dtype);
  int count = 2 * channels * 60, stored = (int)tensor_elements(&tensor), wrong = 0, zeros = 0;
  float *plain = malloc((size_t)count * sizeof *plain), *back = malloc((size_t)count * 4);
  unsigned char *memory = malloc(tensor_bytes(&tensor));
  if (!plain || !back || !memory) abort();
  memset(memory, 0x7f, tensor_bytes(&tensor));
  for (int i = 0; i < count; i++) plain[i] = (float)(1 + i % 251);
  tensor_from_planar(&tensor, plain, memory);
  tensor_to_planar(&tensor, memory, back);
  CHECK(memcmp(plain, back, (size_t)count * sizeof *plain) == 0);
  for (int n = 0, i = 0; n < 2; n++)
    for (int c = 0; c < channels; c++)
      for (int voxel = 0; voxel < 60; voxel++, i++) {
        int64_t at = tensor_at(&tensor, n, c, 0, 0, voxel);
        double value = dtype == DTYPE_U8    ? memory[at]
                       : dtype == DTYPE_F32 ? (double)((float *)memory)[at]
                                            : ((double *)memory)[at];
        wrong += value != (double)plain[i];
      }
  for (int i = 0; i < stored; i++) {
    static const unsigned char zero[8];
    zeros += memcmp(memory + (size_t)i * dtype_bytes(dtype), zero, dtype_bytes(dtype)) == 0;
  }
  CHECK(wrong == 0);
  CHECK(zeros == stored - count);
  free(plain);
  free(back);
  free(memory);
}

TEST(layouts_convert_both_ways) {
  static const enum dtype dtypes[] = {DTYPE_F32, DTYPE_F64, DTYPE_U8};
  for (int i = 0; i < 3; i++) {
    check_layout(1, dtypes[i]);
    check_layout(4, dtypes[i]);
    check_layout(5, dtypes[i]);
    check_layout(33, dtypes[i]);
  }
  const float values[4] = {-3, 2.6f, 300, NAN};
  const struct tensor tensor = {{1, 1, 1, 1, 4}, DTYPE_U8, LAYOUT_PLANAR};
  unsigned char bytes[4];
  tensor_from_planar(&tensor, values, bytes);
  CHECK(bytes[0] == 0 && bytes[1] == 3 && bytes[2] == 255 && bytes[3] == 0);
}

int main(void) {
  RUN(arena_is_near_the_bound_at_full_size);
  RUN(concat_and_upsampling_are_folded);
  RUN(parameters_lie_in_the_order_of_backward);
  RUN(buckets_cover_the_block);
  RUN(one_seed_gives_one_network);
  RUN(first_values_follow_the_name);
  RUN(hash_sees_what_decides_the_bits);
  RUN(wrong_kernels_are_refused);
  RUN(print_names_what_matters);
  RUN(layouts_convert_both_ways);
  return check_result();
}
