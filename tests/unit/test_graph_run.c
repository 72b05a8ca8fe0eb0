/* Running: hooks, timing, what is refused, and that the debugging options see what they are for.
 * The network is one private operator after another, y = w * x, so that everything can be checked
 * by hand. */
#include "base/file.h"
#include "check.h"
#include "graph/arena.h"
#include "graph/run.h"

enum { COUNT = 40 }; /* elements of every tensor */

static enum status scale_infer(struct node *node) {
  node->y = node->x[0];
  node->parameter_count = 1;
  node->parameter[0] = (struct parameter){
      .suffix = "weight", .extent = {1}, .rank = 1, .initial = INITIAL_CONSTANT, .scale = 2};
  node->backward_reads = READS_X;
  return STATUS_OK;
}

static enum status scale_forward(const struct node *node, const struct io *io, struct stream *s) {
  (void)node, (void)s;
  const float *x = io->x[0], *w = io->w[0];
  for (int i = 0; i < COUNT; i++) ((float *)io->y)[i] = w[0] * x[i];
  return STATUS_OK;
}

static enum status scale_backward(const struct node *node, const struct io *io, struct stream *s) {
  (void)node, (void)s;
  const float *x = io->x[0], *w = io->w[0], *dy = io->dy;
  float sum = 0, *dx = io->dx[0];
  for (int i = 0; i < COUNT; i++) sum += dy[i] * x[i];
  *(float *)io->dw[0] = sum;
  for (int i = 0; dx && i < COUNT; i++) dx[i] = (io->dx_add[0] ? dx[i] : 0) + w[0] * dy[i];
  return STATUS_OK;
}

/* The same, but one element too many; whether it does is set by the test. */
static int overrun_forward, overrun_backward;

static enum status careless_forward(const struct node *node, const struct io *io,
                                    struct stream *s) {
  if (overrun_forward) ((float *)io->y)[COUNT] = 1;
  return scale_forward(node, io, s);
}

static enum status careless_backward(const struct node *node, const struct io *io,
                                     struct stream *s) {
  if (overrun_backward) ((unsigned char *)io->workspace)[8] = 1;
  return scale_backward(node, io, s);
}

static void careless_prepare(struct node *node) {
  node->backward_workspace = 8;
}

/* A loss: the sum of x. */
static enum status sum_infer(struct node *node) {
  node->y = op_scalar();
  return STATUS_OK;
}

static enum status sum_forward(const struct node *node, const struct io *io, struct stream *s) {
  (void)node, (void)s;
  double sum = 0;
  for (int i = 0; i < COUNT; i++) sum += ((const float *)io->x[0])[i];
  *(double *)io->y = sum;
  return STATUS_OK;
}

static enum status sum_backward(const struct node *node, const struct io *io, struct stream *s) {
  (void)node, (void)s;
  float *dx = io->dx[0];
  for (int i = 0; i < COUNT; i++)
    dx[i] = (io->dx_add[0] ? dx[i] : 0) + (float)*(const double *)io->dy;
  return STATUS_OK;
}

static const struct kernel quick_scale = {
    .name = "quick", .dtype = DTYPE_F32, .forward = scale_forward};
static const struct kernel plain_scale = {.name = "plain",
                                          .dtype = DTYPE_F32,
                                          .training = true,
                                          .prepare = careless_prepare,
                                          .forward = careless_forward,
                                          .backward = careless_backward};
static const struct kernel plain_sum = {.name = "plain",
                                        .dtype = DTYPE_F32,
                                        .training = true,
                                        .forward = sum_forward,
                                        .backward = sum_backward};
static const struct kernel *const scale_kernels[] = {&quick_scale, &plain_scale, NULL};
static const struct kernel *const sum_kernels[] = {&plain_sum, NULL};
static const struct op scale = {.name = "scale", .infer = scale_infer, .kernels = scale_kernels};
static const struct op sum = {
    .name = "sum", .infer = sum_infer, .kernels = sum_kernels, .is_loss = true};

/* image -> first -> second -> third, with the sums of third (weight 1) and second (weight 3); and
 * that of second once more, without weight: it is seen but not trained. */
struct chain {
  struct graph graph;
  struct plan plan;
  struct device device;
  struct run run;
  float weights[64], gradients[64], image[COUNT];
};

static int add(struct graph *graph, const struct op *op, const char *name, int x) {
  int y = 0;
  CHECK_OK(graph_add_op(graph, op, name, NULL, 0, &x, 1, &y));
  return y;
}

static void open_chain(struct chain *chain, const struct plan_options *options) {
  *chain = (struct chain){0};
  overrun_forward = overrun_backward = 0;
  struct graph *graph = &chain->graph;
  graph_open(graph, DEVICE_CPU, DTYPE_F32);
  int image;
  const struct shape shape = {1, 1, 1, 1, COUNT};
  CHECK_OK(graph_input(graph, "image", shape, DTYPE_F32, true, &image));
  int second = add(graph, &scale, "second", add(graph, &scale, "first", image));
  int third = add(graph, &scale, "third", second);
  CHECK_OK(graph_loss(graph, add(graph, &sum, "end", third), 1));
  CHECK_OK(graph_loss(graph, add(graph, &sum, "middle", second), 3));
  CHECK_OK(graph_loss(graph, add(graph, &sum, "watched", second), 0));
  CHECK_OK(graph_output(graph, "third", third));
  CHECK_OK(plan_make(&chain->plan, graph, options));
  plan_initialize(&chain->plan, 1, chain->weights);
  for (int i = 0; i < COUNT; i++) chain->image[i] = (float)i;
  for (int i = 0; i < 64; i++) chain->gradients[i] = 99;
  CHECK_OK(device_open(&chain->device, "cpu", 0, 1, false, 1));
  CHECK_OK(run_open(&chain->run, &chain->plan, &chain->device, NULL, chain->weights,
                    options->training ? chain->gradients : NULL));
}

static void close_chain(struct chain *chain) {
  run_close(&chain->run);
  run_close(&chain->run);
  device_close(&chain->device);
  plan_close(&chain->plan);
  graph_close(&chain->graph);
}

static const struct plan_options training = {
    .training = true, .bucket_bytes = 1, .guard = true, .poison = true};

TEST(values_and_gradients_are_right) {
  struct chain chain;
  open_chain(&chain, &training);
  CHECK_OK(run_bind(&chain.run, "image", chain.image));
  CHECK_OK(run_forward(&chain.run));
  struct run_loss losses[4];
  CHECK(run_losses(&chain.run, losses, 4) == 3);
  double total = COUNT * (COUNT - 1) / 2; /* of the image; every weight is 2 */
  CHECK(strcmp(losses[0].name, "end") == 0 && losses[0].weight == 1);
  CHECK(losses[0].value == 8 * total && losses[1].value == 4 * total);
  CHECK(losses[2].weight == 0 && losses[2].value == losses[1].value);
  const struct tensor *tensor;
  const void *memory;
  CHECK_OK(run_value(&chain.run, "third", &tensor, &memory));
  CHECK(tensor->shape.w == COUNT && ((const float *)memory)[5] == 40);
  CHECK_OK(run_value(&chain.run, "image", NULL, &memory));
  CHECK(memory == chain.image);
  CHECK_OK(run_backward(&chain.run, 0.5, NULL));
  /* third, second, first: d/dw of (8 + 3 * 4) * total / 2 */
  CHECK(chain.gradients[0] == 0.5 * 4 * total);
  CHECK(chain.gradients[16] == 0.5 * (4 + 3 * 2) * total);
  CHECK(chain.gradients[32] == 0.5 * (4 + 3 * 2) * total);
  for (int i = 1; i < 48; i++)
    if (i % 16) CHECK(chain.gradients[i] == 0);
  CHECK(chain.gradients[48] == 99);
  CHECK_OK(run_input_gradient(&chain.run, "image", &memory));
  for (int i = 0; i < COUNT; i++) CHECK(((const float *)memory)[i] == 0.5 * (8 + 3 * 4));
  close_chain(&chain);
}

struct witness {
  const struct run *run;
  int64_t first[8];
  float gradient[8]; /* when the bucket was ready */
  int buckets, steps;
};

static enum status see_bucket(void *context, const struct plan_bucket *bucket) {
  struct witness *witness = context;
  witness->first[witness->buckets] = bucket->first;
  witness->gradient[witness->buckets++] = ((const float *)witness->run->gradients)[bucket->first];
  return STATUS_OK;
}

static enum status see_step(void *context) {
  ((struct witness *)context)->steps++;
  return STATUS_OK;
}

static enum status refuse_bucket(void *context, const struct plan_bucket *bucket) {
  (void)context;
  FAIL(STATUS_FAILED, "no room for bucket at %d", (int)bucket->first);
}

TEST(hooks_see_finished_buckets) {
  struct chain chain;
  open_chain(&chain, &training);
  struct witness witness = {.run = &chain.run};
  const struct run_hooks hooks = {see_bucket, see_step, &witness};
  CHECK_OK(run_bind(&chain.run, "image", chain.image));
  CHECK_OK(run_forward(&chain.run));
  CHECK_OK(run_backward(&chain.run, 1, &hooks));
  CHECK(witness.buckets == 3 && witness.steps == 5);
  for (int b = 0; b < 3; b++) {
    CHECK(witness.first[b] == 16 * b);
    CHECK(witness.gradient[b] == chain.gradients[16 * b] && witness.gradient[b] != 99);
  }
  const struct run_hooks refusing = {refuse_bucket, NULL, NULL};
  CHECK_OK(run_forward(&chain.run));
  CHECK_FAILS(run_backward(&chain.run, 1, &refusing), "no room for bucket at 0");
  close_chain(&chain);
}

TEST(wrong_use_is_refused) {
  struct chain chain;
  const void *memory;
  open_chain(&chain, &training);
  CHECK_FAILS(run_forward(&chain.run), "input image has not been bound");
  CHECK_FAILS(run_value(&chain.run, "image", NULL, &memory), "input image has not been bound");
  CHECK_FAILS(run_bind(&chain.run, "third", chain.image), "no input called \"third\"");
  CHECK_FAILS(run_value(&chain.run, "fourth", NULL, &memory), "\"fourth\"");
  CHECK_FAILS(run_input_gradient(&chain.run, "third", &memory), "\"third\"");
  CHECK_OK(run_bind(&chain.run, "image", chain.image));
  CHECK_FAILS(run_backward(&chain.run, 1, NULL), "needs a forward");
  CHECK_OK(run_forward(&chain.run));
  CHECK_OK(run_backward(&chain.run, 1, NULL));
  CHECK_FAILS(run_backward(&chain.run, 1, NULL), "needs a forward");
  struct run other;
  CHECK_FAILS(run_open(&other, &chain.plan, &chain.device, NULL, NULL, chain.gradients),
              "no weights");
  CHECK_FAILS(run_open(&other, &chain.plan, &chain.device, NULL, chain.weights, NULL),
              "no memory for gradients");
  CHECK_FAILS(run_open(&other, &chain.plan, &chain.device, (char *)chain.run.arena + 4,
                       chain.weights, chain.gradients),
              "not aligned");
  run_close(&other);
  close_chain(&chain);
}

TEST(evaluation_has_no_backward_and_may_share_the_arena) {
  struct chain trained, chain;
  open_chain(&trained, &training);
  open_chain(&chain, &(struct plan_options){0});
  CHECK(chain.graph.nodes[0].node.kernel == &quick_scale);
  CHECK(trained.graph.nodes[0].node.kernel == &plain_scale);
  CHECK(chain.plan.arena_bytes <= trained.plan.arena_bytes);
  run_close(&chain.run);
  CHECK_OK(
      run_open(&chain.run, &chain.plan, &chain.device, trained.run.arena, chain.weights, NULL));
  CHECK_OK(run_bind(&chain.run, "image", chain.image));
  CHECK_OK(run_forward(&chain.run));
  CHECK_FAILS(run_backward(&chain.run, 1, NULL), "has no backward");
  close_chain(&chain);
  CHECK_OK(run_bind(&trained.run, "image", trained.image));
  CHECK_OK(run_forward(&trained.run));
  close_chain(&trained);
}

static const char *force_quick(void *context, const char *op) {
  (void)context;
  return strcmp(op, "scale") == 0 ? "quick" : NULL;
}

TEST(kernels_without_backward_cannot_be_forced_to_train) {
  struct graph graph;
  struct plan plan;
  graph_open(&graph, DEVICE_CPU, DTYPE_F32);
  int image;
  const struct shape shape = {1, 1, 1, 1, COUNT};
  CHECK_OK(graph_input(&graph, "image", shape, DTYPE_F32, false, &image));
  CHECK_OK(graph_loss(&graph, add(&graph, &sum, "end", add(&graph, &scale, "one", image)), 1));
  const struct plan_options options = {.training = true, .forced_kernel = force_quick};
  CHECK_FAILS(plan_make(&plan, &graph, &options), "\"quick\" has no backward");
  plan_close(&plan);
  graph_close(&graph);
}

TEST(guards_catch_writing_too_far) {
  struct chain chain;
  open_chain(&chain, &training);
  CHECK_OK(run_bind(&chain.run, "image", chain.image));
  overrun_forward = 1;
  CHECK_FAILS(run_forward(&chain.run), "first: forward of kernel scale.plain wrote past the end");
  overrun_forward = 0;
  CHECK_OK(run_forward(&chain.run));
  overrun_backward = 1;
  CHECK_FAILS(run_backward(&chain.run, 1, NULL), "third: backward of kernel scale.plain");
  close_chain(&chain);
}

/* After everything has run, only what may still be read is not NaN. */
TEST(poison_kills_the_dead) {
  struct chain chain;
  open_chain(&chain, &(struct plan_options){.training = true, .poison = true, .no_reuse = true});
  CHECK_OK(run_bind(&chain.run, "image", chain.image));
  CHECK_OK(run_forward(&chain.run));
  CHECK_OK(run_backward(&chain.run, 1, NULL));
  int dead = 0;
  for (int i = 0; i < chain.plan.tenant_count; i++) {
    const struct plan_tenant *tenant = &chain.plan.tenants[i];
    const float *memory = (const void *)((const char *)chain.run.arena + tenant->offset);
    if (tenant->kind == TENANT_WORKSPACE) continue; /* nobody writes there */
    if (tenant->last_step < chain.plan.step_count - 1) dead++;
    CHECK(!isnan(memory[0]) == (tenant->last_step >= chain.plan.step_count - 1));
  }
  CHECK(dead > 6);
  close_chain(&chain);
}

TEST(timing_adds_up_and_prints) {
  struct chain chain;
  open_chain(&chain, &training);
  CHECK_OK(run_timing(&chain.run, true));
  CHECK_OK(run_bind(&chain.run, "image", chain.image));
  for (int i = 0; i < 3; i++) {
    CHECK_OK(run_forward(&chain.run));
    CHECK_OK(run_backward(&chain.run, 1, NULL));
  }
  double seconds = 0;
  for (int s = 0; s < chain.plan.step_count; s++) seconds += chain.run.step_seconds[s];
  CHECK(seconds > 0);
  char *folder = check_make_folder(), *path = file_join(folder, "timing.txt"), *text;
  size_t bytes;
  FILE *file = fopen(path, "w");
  if (!file) abort();
  run_print_timing(&chain.run, file);
  fclose(file);
  CHECK_OK(file_read(path, 1 << 20, &text, &bytes));
  CHECK(strstr(text, "forward   scale.plain                        3 "));
  CHECK(strstr(text, "backward  sum.plain                          2 "));
  free(text);
  free(path);
  check_remove_folder(folder);
  CHECK_OK(run_timing(&chain.run, false));
  CHECK(chain.run.step_seconds == NULL);
  close_chain(&chain);
}

int main(void) {
  RUN(values_and_gradients_are_right);
  RUN(hooks_see_finished_buckets);
  RUN(wrong_use_is_refused);
  RUN(evaluation_has_no_backward_and_may_share_the_arena);
  RUN(kernels_without_backward_cannot_be_forced_to_train);
  RUN(guards_catch_writing_too_far);
  RUN(poison_kills_the_dead);
  RUN(timing_adds_up_and_prints);
  return check_result();
}
