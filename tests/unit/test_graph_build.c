/* Building: what is refused and with which words, and what planning makes of nodes that nobody
 * needs. */
#include "check.h"
#include "graph/plan.h"
#include "kernels/conv/conv.h"
#include "kernels/leaky_relu/leaky_relu.h"

static const struct shape image_shape = {1, 2, 4, 4, 4};
static const struct leaky_relu_arguments slope = {0.2f};

static int add_image(struct graph *graph, const char *name, bool wants_gradient) {
  int value = -1;
  CHECK_OK(graph_input(graph, name, image_shape, DTYPE_F32, wants_gradient, &value));
  return value;
}

static enum status add_conv(struct graph *graph, const char *name, int x, int *y) {
  const struct conv_arguments arguments = {.kernel = {3, 3, 3},
                                           .stride = {1, 1, 1},
                                           .padding = {1, 1, 1},
                                           .out_channels = 2,
                                           .bias = true,
                                           .slope = 1};
  return graph_add(graph, "conv", name, &arguments, sizeof arguments, &x, 1, y);
}

static enum status add_relu(struct graph *graph, const char *name, int x, int *y) {
  return graph_add(graph, "leaky_relu", name, &slope, sizeof slope, &x, 1, y);
}

static enum status add_loss(struct graph *graph, const char *name, int a, int b, double weight) {
  const int inputs[2] = {a, b};
  int loss;
  TRY(graph_add(graph, "loss_mse", name, NULL, 0, inputs, 2, &loss));
  return graph_loss(graph, loss, weight);
}

TEST(shapes_and_gradients_follow) {
  struct graph graph;
  graph_open(&graph, DEVICE_CPU, DTYPE_F32);
  int x = add_image(&graph, "moving", false), plain, y;
  CHECK_OK(add_relu(&graph, "plain", x, &plain));
  CHECK_OK(add_conv(&graph, "flow", plain, &y));
  CHECK(shape_equal(graph_shape(&graph, y), image_shape));
  CHECK(!graph.values[plain].wants_gradient);
  CHECK(graph.values[y].wants_gradient);
  CHECK(!graph.nodes[1].node.wants_dx[0]);
  CHECK(graph.values[y].producer == 1);
  graph_close(&graph);
  graph_close(&graph);
  CHECK(graph.values == NULL && graph.node_count == 0);
}

/* Tasks write plain arrays: on the CPU only numbers of a sample and float channels are blocked. */
TEST(bytes_are_planar_on_every_device) {
  static const enum device_kind kinds[] = {DEVICE_CPU, DEVICE_CUDA};
  const struct shape masks = {2, 15, 1, 8, 8};
  for (int i = 0; i < 2; i++) {
    struct graph graph;
    int value;
    graph_open(&graph, kinds[i], DTYPE_F32);
    CHECK_OK(graph_input(&graph, "masks", masks, DTYPE_U8, false, &value));
    CHECK(graph.values[value].tensor.layout == LAYOUT_PLANAR);
    CHECK(tensor_bytes(&graph.values[value].tensor) == 2 * 15 * 64);
    graph_close(&graph);
  }
}

TEST(wrong_inputs_are_refused) {
  struct graph graph;
  graph_open(&graph, DEVICE_CPU, DTYPE_F32);
  int x = add_image(&graph, "moving", false), y;
  CHECK_FAILS(graph_input(&graph, "moving", image_shape, DTYPE_F32, false, &y), "\"moving\"");
  CHECK_FAILS(graph_input(&graph, "", image_shape, DTYPE_F32, false, &y), "needs a name");
  CHECK_FAILS(graph_input(&graph, "wide", image_shape, DTYPE_F64, false, &y), "float64");
  CHECK_FAILS(graph_input(&graph, "label", image_shape, DTYPE_U8, true, &y), "no gradient");
  const struct shape empty = {1, 1, 4, 0, 4};
  const struct shape huge = {1, 1, 2000000000, 2000000000, 4};
  CHECK_FAILS(graph_input(&graph, "empty", empty, DTYPE_F32, false, &y), "4 x 0 x 4");
  CHECK_FAILS(graph_input(&graph, "huge", huge, DTYPE_F32, false, &y), "too large");
  char name[VALUE_NAME_BYTES + 1];
  memset(name, 'a', VALUE_NAME_BYTES);
  name[VALUE_NAME_BYTES] = 0;
  CHECK_FAILS(graph_input(&graph, name, image_shape, DTYPE_F32, false, &y), "63 characters");
  CHECK_FAILS(graph_output(&graph, "again", x), "called \"moving\" already");
  CHECK_FAILS(graph_output(&graph, "nothing", 7), "found 7");
  graph_close(&graph);
}

TEST(wrong_nodes_are_refused) {
  struct graph graph;
  graph_open(&graph, DEVICE_CPU, DTYPE_F32);
  int x = add_image(&graph, "moving", true), y;
  const int two[2] = {x, x}, many[OP_MAX_INPUTS + 1] = {0};
  char arguments[OP_ARGUMENT_BYTES + 1] = {0};
  CHECK_FAILS(graph_add(&graph, "cnov", "flow", NULL, 0, &x, 1, &y), "did you mean \"conv\"?");
  CHECK_FAILS(graph_add(&graph, "loss_mse", "twice", NULL, 0, two, 2, &y), "the same value");
  CHECK_FAILS(graph_add(&graph, "concat", "all", NULL, 0, many, OP_MAX_INPUTS + 1, &y), "found 7");
  CHECK_FAILS(graph_add(&graph, "leaky_relu", "big", arguments, sizeof arguments, &x, 1, &y),
              "193 bytes");
  CHECK_FAILS(add_relu(&graph, "", x, &y), "needs a name");
  CHECK_FAILS(add_relu(&graph, "lost", 9, &y), "lost");
  CHECK(graph.node_count == 0 && graph.value_count == 1);
  CHECK_OK(add_conv(&graph, "flow", x, &y));
  CHECK_FAILS(add_conv(&graph, "flow", y, &y), "two layers called \"flow\"");
  graph_close(&graph);
}

TEST(wrong_losses_are_refused) {
  struct graph graph;
  graph_open(&graph, DEVICE_CPU, DTYPE_F32);
  int x = add_image(&graph, "moving", false), fixed = add_image(&graph, "fixed", false), y, loss;
  CHECK_OK(add_conv(&graph, "flow", x, &y));
  CHECK_FAILS(graph_loss(&graph, y, 1), "not the scalar of a loss");
  const int inputs[2] = {y, fixed};
  CHECK_OK(graph_add(&graph, "loss_mse", "sim", NULL, 0, inputs, 2, &loss));
  CHECK_FAILS(graph_loss(&graph, loss, NAN), "finite weight");
  CHECK_OK(graph_loss(&graph, loss, 1));
  CHECK_FAILS(graph_loss(&graph, loss, 1), "declared already");
  CHECK_FAILS(add_relu(&graph, "after", loss, &y), "the loss sim");
  graph_close(&graph);
}

/* What nobody needs is not executed; what is needed only by a loss without weight has no backward.
 */
TEST(unused_nodes_do_not_run) {
  struct graph graph;
  graph_open(&graph, DEVICE_CPU, DTYPE_F32);
  int x = add_image(&graph, "moving", false), fixed = add_image(&graph, "fixed", false);
  int y, unused, watched;
  CHECK_OK(add_conv(&graph, "flow", x, &y));
  CHECK_OK(add_relu(&graph, "unused", y, &unused));
  CHECK_OK(add_relu(&graph, "watched", y, &watched));
  CHECK_OK(add_loss(&graph, "sim", y, fixed, 1));
  CHECK_OK(add_loss(&graph, "watch", watched, fixed, 0));
  struct plan plan;
  CHECK_OK(plan_make(&plan, &graph, &(struct plan_options){.training = true}));
  CHECK(plan.forward_step_count == 4 && plan.step_count == 6);
  CHECK(plan.forward_step[1] == -1 && !graph.nodes[1].live);
  CHECK(plan.forward_step[2] >= 0 && plan.backward_step[2] == -1);
  CHECK(plan.backward_step[3] == 4 && plan.backward_step[0] == 5);
  struct plan second;
  CHECK_FAILS(plan_make(&second, &graph, &plan.options), "planned already");
  CHECK_FAILS(add_relu(&graph, "late", y, &y), "planned already");
  plan_close(&second);
  plan_close(&plan);
  plan_close(&plan);
  graph_close(&graph);
}

TEST(parameters_without_gradient_are_refused) {
  struct graph graph;
  graph_open(&graph, DEVICE_CPU, DTYPE_F32);
  int x = add_image(&graph, "moving", false), fixed = add_image(&graph, "fixed", false);
  int y, aside;
  CHECK_OK(add_conv(&graph, "flow", x, &y));
  CHECK_OK(add_conv(&graph, "aside", x, &aside));
  CHECK_OK(add_loss(&graph, "sim", y, fixed, 1));
  CHECK_OK(add_loss(&graph, "watch", aside, fixed, 0));
  struct plan plan;
  CHECK_FAILS(plan_make(&plan, &graph, &(struct plan_options){.training = true}),
              "parameter aside.weight cannot be trained");
  plan_close(&plan);
  graph_close(&graph);
}

TEST(networks_without_purpose_are_refused) {
  struct graph graph;
  struct plan plan;
  graph_open(&graph, DEVICE_CPU, DTYPE_F32);
  int x = add_image(&graph, "moving", false), y;
  CHECK_OK(add_relu(&graph, "alone", x, &y));
  CHECK_FAILS(plan_make(&plan, &graph, &(struct plan_options){0}), "neither an output nor a loss");
  plan_close(&plan);
  graph_close(&graph);
  graph_open(&graph, DEVICE_CPU, DTYPE_F32);
  x = add_image(&graph, "moving", false);
  CHECK_OK(add_loss(&graph, "sim", x, add_image(&graph, "fixed", false), 1));
  CHECK_FAILS(plan_make(&plan, &graph, &(struct plan_options){.training = true}),
              "nothing to train");
  plan_close(&plan);
  graph_close(&graph);
}

/* In evaluation parameters that no loss reaches keep their place in the block. */
TEST(unused_parameters_keep_their_place) {
  struct graph graph;
  graph_open(&graph, DEVICE_CPU, DTYPE_F32);
  int x = add_image(&graph, "moving", false), y, aside;
  CHECK_OK(add_conv(&graph, "flow", x, &y));
  CHECK_OK(add_conv(&graph, "aside", x, &aside));
  CHECK_OK(graph_output(&graph, "flow", y));
  struct plan plan;
  CHECK_OK(plan_make(&plan, &graph, &(struct plan_options){0}));
  CHECK(plan.step_count == 1 && plan.parameter_count == 4 && plan.bucket_count == 0);
  CHECK(plan.parameters[0].node == 1 && plan.parameters[2].node == 0);
  plan_close(&plan);
  graph_close(&graph);
}

int main(void) {
  RUN(shapes_and_gradients_follow);
  RUN(bytes_are_planar_on_every_device);
  RUN(wrong_inputs_are_refused);
  RUN(wrong_nodes_are_refused);
  RUN(wrong_losses_are_refused);
  RUN(unused_nodes_do_not_run);
  RUN(parameters_without_gradient_are_refused);
  RUN(networks_without_purpose_are_refused);
  RUN(unused_parameters_keep_their_place);
  return check_result();
}
