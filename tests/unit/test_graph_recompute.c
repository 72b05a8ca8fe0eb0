/* What is computed again for backward: random networks must give the same bits with it, in less
 * memory; only as much as the goal demands; and a chain of residual norms, one after another. */
#include "graph_network.h"

enum { NETWORKS = 64 };

static bool same_bits(const void *a, const void *b, int64_t elements, enum dtype dtype) {
  return memcmp(a, b, (size_t)elements * dtype_bytes(dtype)) == 0;
}

static void run_once(struct trial *trial) {
  CHECK_OK(run_forward(&trial->run));
  CHECK_OK(run_backward(&trial->run, 1, NULL));
}

static void check_same_run(const struct trial *a, const struct trial *b, enum dtype dtype) {
  struct run_loss first[GRAPH_MAX_LOSSES], second[GRAPH_MAX_LOSSES];
  int count = run_losses(&a->run, first, GRAPH_MAX_LOSSES);
  CHECK(count > 0 && run_losses(&b->run, second, GRAPH_MAX_LOSSES) == count);
  for (int i = 0; i < count; i++) CHECK(first[i].value == second[i].value);
  CHECK(same_bits(a->gradients, b->gradients, a->plan.parameter_elements, dtype));
  const void *one, *two;
  CHECK_OK(run_input_gradient(&a->run, "image", &one));
  CHECK_OK(run_input_gradient(&b->run, "image", &two));
  CHECK(same_bits(one, two, 2 * NETWORK_SIZE * NETWORK_SIZE * NETWORK_SIZE, dtype));
}

/* Returns how many steps were done again; adds the bytes of both peaks. */
static int compare(uint32_t seed, enum dtype dtype, struct plan_options options, size_t peak[2]) {
  const struct plan_options plain = {.training = true, .no_folding = options.no_folding};
  struct trial a, b;
  options.recompute = true;
  trial_open(&a, seed, dtype, &plain);
  trial_open(&b, seed, dtype, &options);
  CHECK(a.plan.again_count == 0);
  CHECK(a.plan.step_count + b.plan.again_count == b.plan.step_count);
  CHECK(plan_hash(&a.plan) == plan_hash(&b.plan));
  for (int round = 0; round < 2; round++) {
    run_once(&a);
    run_once(&b);
    check_same_run(&a, &b, dtype);
  }
  peak[0] += a.plan.peak_live_bytes;
  peak[1] += b.plan.peak_live_bytes;
  if (!options.guard) CHECK(b.plan.peak_live_bytes <= a.plan.peak_live_bytes);
  int count = b.plan.again_count;
  trial_close(&a);
  trial_close(&b);
  return count;
}

static void compare_all(enum dtype dtype, struct plan_options options) {
  int again = 0;
  size_t peak[2] = {0};
  for (uint32_t seed = 0; seed < NETWORKS; seed++) again += compare(seed, dtype, options, peak);
  printf("     %d steps again in %d networks, peaks %zu -> %zu\n", again, NETWORKS, peak[0],
         peak[1]);
  CHECK(again > NETWORKS / 4);
}

TEST(recomputing_changes_no_bit) {
  compare_all(DTYPE_F32, (struct plan_options){.training = true, .poison = true});
  compare_all(DTYPE_F32, (struct plan_options){.training = true, .poison = true, .guard = true});
  compare_all(DTYPE_F64, (struct plan_options){.training = true, .poison = true});
  compare_all(DTYPE_F32,
              (struct plan_options){.training = true, .poison = true, .no_folding = true});
  compare_all(DTYPE_F32,
              (struct plan_options){.training = true, .bucket_bytes = 1, .no_reuse = true});
}

/* conv, norm with the block before as residual and ReLU, and so on: every norm's y is read by the
 * backward of the conv after it, by its own and by the norm after it. */
enum { BLOCKS = 6, SIDE = 6, CHANNELS = 16, VOXELS = SIDE * SIDE * SIDE };

struct chain {
  struct graph graph;
  struct plan plan;
  struct run run;
  struct device device;
  void *weights, *gradients, *image, *target;
};

static int add(struct chain *chain, const char *op, int number, const void *arguments, size_t bytes,
               const int *inputs, int count) {
  char name[32];
  int value = 0;
  snprintf(name, sizeof name, "%s_%d", op, number);
  CHECK_OK(graph_add(&chain->graph, op, name, arguments, bytes, inputs, count, &value));
  return value;
}

static void build_chain(struct chain *chain, enum dtype activation, enum norm_kind kind) {
  const struct conv_arguments conv = {.kernel = {3, 3, 3},
                                      .stride = {1, 1, 1},
                                      .padding = {1, 1, 1},
                                      .out_channels = CHANNELS,
                                      .slope = 1};
  const struct norm_arguments norm = {.kind = kind, .groups = 4, .affine = true, .epsilon = 0.1};
  const struct shape shape = {2, CHANNELS, SIDE, SIDE, SIDE};
  int image, target, x, y = -1;
  graph_open(&chain->graph, DEVICE_CPU, DTYPE_F32);
  graph_set_activation(&chain->graph, activation);
  CHECK_OK(graph_input(&chain->graph, "image", shape, DTYPE_F32, false, &image));
  CHECK_OK(graph_input(&chain->graph, "target", shape, DTYPE_F32, false, &target));
  x = image;
  for (int i = 0; i < BLOCKS; i++) {
    int inputs[2] = {add(chain, "conv", i, &conv, sizeof conv, &x, 1), y};
    x = y = add(chain, "norm", i, &norm, sizeof norm, inputs, y < 0 ? 1 : 2);
  }
  struct conv_arguments last = conv;
  last.head = true;
  const int ends[2] = {add(chain, "conv", BLOCKS, &last, sizeof last, &x, 1), target};
  CHECK_OK(graph_loss(&chain->graph, add(chain, "loss_mse", 0, NULL, 0, ends, 2), 1));
}

static void open_chain(struct chain *chain, enum dtype activation, enum norm_kind kind,
                       const struct plan_options *options) {
  *chain = (struct chain){0};
  build_chain(chain, activation, kind);
  CHECK_OK(plan_make(&chain->plan, &chain->graph, options));
  int64_t elements = chain->plan.parameter_elements;
  chain->weights = trial_memory(elements, DTYPE_F32, 3);
  chain->gradients = trial_memory(elements, DTYPE_F32, 4);
  plan_initialize(&chain->plan, 1, chain->weights);
  chain->image = trial_memory(2 * CHANNELS * VOXELS, DTYPE_F32, 1);
  chain->target = trial_memory(2 * CHANNELS * VOXELS, DTYPE_F32, 2);
  CHECK_OK(device_open(&chain->device, "cpu", 0, 1, false, 2));
  CHECK_OK(
      run_open(&chain->run, &chain->plan, &chain->device, NULL, chain->weights, chain->gradients));
  CHECK_OK(run_bind(&chain->run, "image", chain->image));
  CHECK_OK(run_bind(&chain->run, "target", chain->target));
}

static void close_chain(struct chain *chain) {
  run_close(&chain->run);
  device_close(&chain->device);
  plan_close(&chain->plan);
  graph_close(&chain->graph);
  free(chain->weights);
  free(chain->gradients);
  free(chain->image);
  free(chain->target);
}

static double loss_of(struct chain *chain) {
  struct run_loss loss;
  CHECK_OK(run_forward(&chain->run));
  CHECK_OK(run_backward(&chain->run, 1, NULL));
  CHECK(run_losses(&chain->run, &loss, 1) == 1);
  return loss.value;
}

static void check_chain(enum dtype activation, enum norm_kind kind) {
  const struct plan_options plain = {.training = true, .guard = true};
  struct plan_options options = {
      .training = true, .poison = true, .guard = true, .recompute = true};
  struct chain a, b;
  size_t least = 0;
  int steps[4] = {0};
  open_chain(&a, activation, kind, &plain);
  double expected = loss_of(&a);
  for (int i = 0; i < 4; i++) { /* from as little memory as can be to as much as it takes */
    options.memory_goal = least + (a.plan.peak_live_bytes - least) * (size_t)i / 3;
    if (i == 0) options.memory_goal = 0;
    open_chain(&b, activation, kind, &options);
    CHECK(loss_of(&b) == expected);
    CHECK(same_bits(a.gradients, b.gradients, a.plan.parameter_elements, DTYPE_F32));
    steps[i] = b.plan.again_count;
    if (i == 0) least = b.plan.peak_live_bytes;
    CHECK(i == 0 || b.plan.peak_live_bytes <= options.memory_goal);
    close_chain(&b);
  }
  CHECK_SAY(least < a.plan.peak_live_bytes && steps[0] > steps[1] && steps[1] > steps[2] &&
                steps[2] > 0 && steps[3] == 0,
            ": %zu of %zu bytes in %d %d %d %d steps", least, a.plan.peak_live_bytes, steps[0],
            steps[1], steps[2], steps[3]);
  close_chain(&a);
}

TEST(a_chain_of_residual_norms_is_computed_again) {
  static const enum dtype types[] = {DTYPE_F32, DTYPE_BF16, DTYPE_F16};
  for (int t = 0; t < 3; t++)
    for (int kind = NORM_BATCH; kind <= NORM_INSTANCE; kind++)
      check_chain(types[t], (enum norm_kind)kind);
}

int main(void) {
  RUN(recomputing_changes_no_bit);
  RUN(a_chain_of_residual_norms_is_computed_again);
  return check_result();
}
