/* When a node may take over the one in front of it, with a private operator that would take over
 * anything; and when a value may be overwritten in place. */
#include "check.h"
#include "graph/plan.h"
#include "kernels/leaky_relu/leaky_relu.h"

static const struct shape shape = {1, 1, 1, 1, 8};

static enum status gather_infer(struct node *node) {
  node->y = node->x[0];
  return STATUS_OK;
}

/* Grows by what it has taken over: not allowed. */
static enum status growing_infer(struct node *node) {
  node->y = node->x[0];
  node->y.shape.w *= node->input_count;
  return STATUS_OK;
}

static enum status weight_infer(struct node *node) {
  node->y = node->x[0];
  node->parameter_count = 1;
  node->parameter[0] = (struct parameter){
      .suffix = "weight", .extent = {1}, .rank = 1, .initial = INITIAL_CONSTANT, .scale = 1};
  return STATUS_OK;
}

static bool take_over(struct node *node, int input, const struct node *producer) {
  int more = producer->input_count - 1;
  for (int i = node->input_count - 1; i > input; i--) node->x[i + more] = node->x[i];
  for (int i = 0; i <= more; i++) node->x[input + i] = producer->x[i];
  node->input_count += more;
  return true;
}

/* Claims to have taken over, but has not. */
static bool pretend(struct node *node, int input, const struct node *producer) {
  (void)node, (void)input, (void)producer;
  return true;
}

static enum status do_nothing(const struct node *node, const struct io *io, struct stream *s) {
  (void)node, (void)io, (void)s;
  return STATUS_OK;
}

static const struct kernel plain = {
    .name = "plain", .training = true, .forward = do_nothing, .backward = do_nothing};
static const struct kernel *const kernels[] = {&plain, NULL};
static const struct op gather = {
    .name = "gather", .infer = gather_infer, .fold = take_over, .kernels = kernels};
static const struct op growing = {
    .name = "growing", .infer = growing_infer, .fold = take_over, .kernels = kernels};
static const struct op pretending = {
    .name = "pretending", .infer = gather_infer, .fold = pretend, .kernels = kernels};
static const struct op weight = {.name = "weight", .infer = weight_infer, .kernels = kernels};
static const struct op part = {.name = "part", .infer = gather_infer, .kernels = kernels};

struct build {
  struct graph graph;
  struct plan plan;
};

static int open_build(struct build *build) {
  *build = (struct build){0};
  int x = 0;
  graph_open(&build->graph, DEVICE_CPU, DTYPE_F32);
  CHECK_OK(graph_input(&build->graph, "image", shape, DTYPE_F32, true, &x));
  return x;
}

static int add(struct build *build, const struct op *op, int a, int b, int c) {
  const int inputs[3] = {a, b, c};
  char name[32];
  int y = 0;
  snprintf(name, sizeof name, "node%d", build->graph.node_count);
  CHECK_OK(graph_add_op(&build->graph, op, name, NULL, 0, inputs, b < 0 ? 1 : c < 0 ? 2 : 3, &y));
  return y;
}

static void plan_for_output(struct build *build, int y) {
  CHECK_OK(graph_output(&build->graph, "y", y));
  CHECK_OK(plan_make(&build->plan, &build->graph, &(struct plan_options){0}));
}

static int close_build(struct build *build) {
  int folded = 0;
  for (int n = 0; n < build->graph.node_count; n++) folded += build->graph.nodes[n].folded;
  plan_close(&build->plan);
  graph_close(&build->graph);
  return folded;
}

/* image -> a, b; g(part(a, b), c) becomes g(a, b, c). */
TEST(inputs_take_the_place_of_the_output) {
  struct build build;
  int x = open_build(&build), a = add(&build, &weight, x, -1, -1);
  int b = add(&build, &weight, x, -1, -1), c = add(&build, &weight, x, -1, -1);
  int y = add(&build, &gather, c, add(&build, &part, a, b, -1), x);
  plan_for_output(&build, y);
  const struct graph_node *node = &build.graph.nodes[build.graph.node_count - 1];
  CHECK(node->node.input_count == 4);
  const int expected[] = {c, a, b, x};
  for (int i = 0; i < 4; i++) CHECK(node->input[i] == expected[i]);
  for (int i = 0; i < 4; i++) CHECK(node->node.wants_dx[i]);
  CHECK(build.plan.step_count == 4);
  CHECK(close_build(&build) == 1);
}

TEST(chains_are_folded_to_the_end) {
  struct build build;
  int x = open_build(&build), y = x;
  for (int i = 0; i < 4; i++) y = add(&build, &part, y, -1, -1);
  plan_for_output(&build, add(&build, &gather, y, -1, -1));
  CHECK(build.plan.step_count == 1 && build.graph.nodes[4].input[0] == x);
  CHECK(close_build(&build) == 4);
}

TEST(values_with_two_readers_are_kept) {
  struct build build;
  int x = open_build(&build), a = add(&build, &part, x, -1, -1);
  int first = add(&build, &gather, a, -1, -1), second = add(&build, &weight, a, -1, -1);
  plan_for_output(&build, add(&build, &weight, first, second, -1));
  CHECK(close_build(&build) == 0);
}

TEST(a_reader_that_nobody_needs_does_not_count) {
  struct build build;
  int x = open_build(&build), a = add(&build, &part, x, -1, -1);
  int first = add(&build, &gather, a, -1, -1);
  add(&build, &part, a, -1, -1);
  plan_for_output(&build, first);
  CHECK(close_build(&build) == 1);
}

TEST(outputs_and_parameters_are_kept) {
  struct build build;
  int x = open_build(&build), a = add(&build, &part, x, -1, -1);
  CHECK_OK(graph_output(&build.graph, "a", a));
  plan_for_output(&build, add(&build, &gather, a, -1, -1));
  CHECK(close_build(&build) == 0);
  x = open_build(&build);
  plan_for_output(&build, add(&build, &gather, add(&build, &weight, x, -1, -1), -1, -1));
  CHECK(close_build(&build) == 0);
}

/* g(part(a, b), a) would have two gradients of a. */
TEST(no_value_is_read_twice) {
  struct build build;
  int x = open_build(&build), a = add(&build, &weight, x, -1, -1);
  int b = add(&build, &weight, x, -1, -1);
  plan_for_output(&build, add(&build, &gather, add(&build, &part, a, b, -1), a, -1));
  CHECK(close_build(&build) == 0);
}

TEST(no_node_gets_more_inputs_than_fit) {
  struct build build;
  int x = open_build(&build), inputs[3];
  for (int i = 0; i < 3; i++) {
    int a = add(&build, &weight, x, -1, -1), b = add(&build, &weight, x, -1, -1);
    inputs[i] = add(&build, &part, a, b, add(&build, &weight, x, -1, -1));
  }
  plan_for_output(&build, add(&build, &gather, inputs[0], inputs[1], inputs[2]));
  CHECK(build.graph.nodes[build.graph.node_count - 1].node.input_count == 5);
  CHECK(close_build(&build) == 1);
}

TEST(wrong_folding_is_an_error) {
  struct build build;
  int x = open_build(&build), a = add(&build, &weight, x, -1, -1);
  int y = add(&build, &growing, add(&build, &part, x, a, -1), -1, -1);
  CHECK_OK(graph_output(&build.graph, "y", y));
  CHECK_FAILS(plan_make(&build.plan, &build.graph, &(struct plan_options){0}),
              "changed its output");
  close_build(&build);
  x = open_build(&build);
  a = add(&build, &weight, x, -1, -1);
  y = add(&build, &pretending, add(&build, &part, x, a, -1), -1, -1);
  CHECK_OK(graph_output(&build.graph, "y", y));
  CHECK_FAILS(plan_make(&build.plan, &build.graph, &(struct plan_options){0}),
              "expected 2 inputs after folding");
  close_build(&build);
}

static int add_relu(struct build *build, int x) {
  const struct leaky_relu_arguments slope = {0.2f};
  int y = 0;
  CHECK_OK(graph_add(&build->graph, "leaky_relu", "relu", &slope, sizeof slope, &x, 1, &y));
  return y;
}

static bool share(const struct build *build, int a, int b) {
  return build->plan.value_tenant[a] == build->plan.value_tenant[b];
}

/* In place after the last reader; not over an input, nor over an output, even in the last step. */
TEST(values_are_overwritten_when_nobody_needs_them) {
  struct build build;
  int x = open_build(&build), first = add_relu(&build, x), second = add_relu(&build, first);
  int kept = add(&build, &weight, second, -1, -1), last = add_relu(&build, kept);
  CHECK_OK(graph_output(&build.graph, "kept", kept));
  plan_for_output(&build, last);
  CHECK(build.plan.value_tenant[x] == -1);
  CHECK(share(&build, first, second));
  CHECK(!share(&build, kept, last));
  close_build(&build);
  x = open_build(&build);
  first = add(&build, &weight, x, -1, -1);
  second = add_relu(&build, first);
  last = add(&build, &weight, first, second, -1);
  plan_for_output(&build, last);
  CHECK(!share(&build, first, second));
  close_build(&build);
}

int main(void) {
  RUN(inputs_take_the_place_of_the_output);
  RUN(chains_are_folded_to_the_end);
  RUN(values_with_two_readers_are_kept);
  RUN(a_reader_that_nobody_needs_does_not_count);
  RUN(outputs_and_parameters_are_kept);
  RUN(no_value_is_read_twice);
  RUN(no_node_gets_more_inputs_than_fit);
  RUN(wrong_folding_is_an_error);
  RUN(values_are_overwritten_when_nobody_needs_them);
  return check_result();
}
