/* conv against its reference: channels that fill blocks and that do not, odd sizes, strides,
 * upsampled inputs; what it takes over from nodes in front of it, and what it refuses. */
#include "conformance.h"
#include "kernels/concat/concat.h"
#include "kernels/conv/conv.h"
#include "kernels/resize/resize.h"

extern const struct op op_concat, op_resize;

#define CONV(text, count, arguments_, ...)                                   \
  {                                                                          \
    .label = text, .op = &op_conv, .input_count = count, .x = {__VA_ARGS__}, \
    .arguments = &(const struct conv_arguments)arguments_,                   \
    .argument_bytes = sizeof(struct conv_arguments), .tolerance = TOLERANCE  \
  }
#define TOLERANCE 0
#define SET(...) \
  { __VA_ARGS__ }
#define LINEAR(channels, slope_)                                                        \
  SET(.kernel = {1, 1, 1}, .stride = {1, 1, 1}, .out_channels = channels, .bias = true, \
      .linear = true, .slope = slope_)
/* A kernel of 3 with bias that keeps the size. */
#define SAME(channels, slope_, ...)                                                             \
  SET(.kernel = {3, 3, 3}, .stride = {1, 1, 1}, .padding = {1, 1, 1}, .out_channels = channels, \
      .bias = true, .slope = slope_, .upsample = {__VA_ARGS__})
#define PLAIN(k0, k1, k2, s0, s1, s2, p0, p1, p2, channels)                    \
  SET(.kernel = {k0, k1, k2}, .stride = {s0, s1, s2}, .padding = {p0, p1, p2}, \
      .out_channels = channels, .slope = 1)

/* New cases go to the end: a case's values are drawn by its number. */
static const struct op_case cases[] = {
    CONV("first layer, 1+1 to 16", 2, SAME(16, 0.2F, 0), {1, 1, 3, 4, 29}, {1, 1, 3, 4, 29}),
    CONV("16 to 32", 1, SAME(32, 0.2F, 0), {1, 16, 2, 3, 7}),
    CONV("16 to 16, a long row", 1, SAME(16, 0.2F, 0), {1, 16, 2, 1, 57}),
    CONV("head, 16 to 3", 1, SAME(3, 1, 0), {1, 16, 3, 3, 13}),
    CONV("head, 24 to 2, a long row", 1, SAME(2, 0.2F, 0), {2, 24, 1, 2, 37}),
    CONV("up(32)+16 to 32", 2, SAME(32, 0.2F, 1, 0), {1, 32, 1, 2, 3}, {1, 16, 2, 4, 6}),
    CONV("up(16) to 16", 1, SAME(16, 0.2F, 1), {2, 16, 1, 1, 15}),
    CONV("up(17)+up(2)+3 to 5", 3, SAME(5, 0.2F, 1, 1, 0), {1, 17, 2, 2, 2}, {1, 2, 2, 2, 2},
         {1, 3, 4, 4, 4}),
    CONV("five mixed inputs", 5, SAME(18, 0.5F, 0), {2, 2, 2, 2, 3}, {2, 16, 2, 2, 3},
         {2, 5, 2, 2, 3}, {2, 1, 2, 2, 3}, {2, 20, 2, 2, 3}),
    CONV("planar to planar", 2, SAME(3, 0.2F, 0), {2, 1, 3, 4, 5}, {2, 3, 3, 4, 5}),
    CONV("one voxel", 1, SAME(16, 0.2F, 0), {1, 16, 1, 1, 1}),
    CONV("two voxels from one", 1, SAME(16, 0.2F, 1), {1, 16, 1, 1, 1}),
    CONV("1x1x1", 1, PLAIN(1, 1, 1, 1, 1, 1, 0, 0, 0, 16), {1, 32, 3, 4, 5}),
    CONV("1x3x3", 1, PLAIN(1, 3, 3, 1, 1, 1, 0, 1, 1, 16), {1, 16, 3, 5, 7}),
    CONV("no padding", 1, PLAIN(3, 3, 3, 1, 1, 1, 0, 0, 0, 16), {1, 16, 4, 3, 9}),
    CONV("7x7x7, stride 2, from 1", 1, PLAIN(7, 7, 7, 2, 2, 2, 3, 3, 3, 16), {1, 1, 5, 6, 9}),
    CONV("5x2x7", 1, PLAIN(5, 2, 7, 1, 1, 1, 2, 1, 3, 8), {1, 16, 3, 3, 6}),
    CONV("stride 2", 1, PLAIN(3, 3, 3, 2, 2, 2, 1, 1, 1, 32), {1, 16, 5, 4, 7}),
    CONV("stride 1 2 2, from a doubled size", 1, PLAIN(3, 2, 2, 1, 2, 2, 1, 0, 0, 16),
         {1, 16, 2, 4, 8}),
    CONV("1x1x1, stride 2", 1, PLAIN(1, 1, 1, 2, 2, 2, 0, 0, 0, 16), {1, 16, 4, 3, 5}),
    CONV("stride 3", 1, PLAIN(3, 4, 3, 3, 3, 1, 1, 2, 0, 5), {1, 5, 4, 5, 6}),
    CONV("long along d, up(5)+3 to 4", 2, SAME(4, 0.2F, 1, 0), {1, 5, 18, 1, 2}, {1, 3, 36, 2, 4}),
    CONV("long along d, stride 2, no bias", 1, PLAIN(7, 1, 1, 2, 1, 1, 3, 0, 0, 6),
         {2, 3, 71, 2, 3}),
    CONV("past the borders of tiles", 1, SAME(8, 0.2F, 0), {1, 8, 5, 9, 18}),
    CONV("up(8)+8 to 8, past borders", 2, SAME(8, 0.2F, 1, 0), {1, 8, 3, 1, 17}, {1, 8, 6, 2, 34}),
    CONV("8 to 72", 1, SAME(72, 0.2F, 0), {2, 8, 1, 2, 3}),
    CONV("40 to 40", 1, SAME(40, 0.2F, 0), {1, 40, 2, 1, 3}),
    CONV("stride 2, past borders", 1, PLAIN(3, 3, 3, 2, 2, 2, 1, 1, 1, 24), {1, 8, 5, 9, 35}),
    CONV("4x4x4, stride 2", 1, PLAIN(4, 4, 4, 2, 2, 2, 1, 1, 1, 8), {1, 16, 4, 4, 6}),
    CONV("1x3x3, past borders", 1, PLAIN(1, 3, 3, 1, 1, 1, 0, 1, 1, 8), {2, 8, 1, 35, 18}),
    CONV("1x1x1, 32 to 40", 1, PLAIN(1, 1, 1, 1, 1, 1, 0, 0, 0, 40), {1, 32, 2, 2, 19}),
    CONV("9 along w", 1, PLAIN(1, 1, 9, 1, 1, 1, 0, 0, 4, 16), {1, 16, 1, 2, 9}),
    CONV("first layer, 1+2 to 8, past borders", 2, SAME(8, 0.2F, 0), {1, 1, 9, 9, 33},
         {1, 2, 9, 9, 33}),
    CONV("head, 8+8 to 3, past borders", 2, SAME(3, 1, 0), {1, 8, 5, 17, 33}, {1, 8, 5, 17, 33}),
    CONV("head, 16 to 4, 1x1x1", 1, PLAIN(1, 1, 1, 1, 1, 1, 0, 0, 0, 4), {2, 16, 2, 3, 5}),
    CONV("first layer, 4 to 8, 1x3x3", 1, PLAIN(1, 3, 3, 1, 1, 1, 0, 1, 1, 8), {1, 4, 2, 5, 7}),
    CONV("ReLU, 8 to 16", 1, SAME(16, 0, 0), {2, 8, 3, 4, 5}),
    CONV("ReLU, 1+2 to 8", 2, SAME(8, 0, 0), {1, 1, 3, 4, 5}, {1, 2, 3, 4, 5}),
    CONV("fully connected, 32 to 40, ReLU", 1, LINEAR(40, 0), {3, 32, 1, 1, 1}),
    CONV("fully connected, 37 to 6", 1, LINEAR(6, 1), {5, 37, 1, 1, 1}),
    CONV("fully connected, 16+3 to 2", 2, LINEAR(2, 0.2F), {2, 16, 1, 1, 1}, {2, 3, 1, 1, 1}),
    CONV("1x5x3", 1, PLAIN(1, 5, 3, 1, 1, 1, 0, 2, 1, 16), {1, 16, 1, 6, 5}),
    CONV("in slabs, 17 to 5", 1, PLAIN(5, 5, 5, 1, 1, 1, 2, 1, 2, 5), {1, 17, 12, 7, 8}),
    CONV("in slabs, stride 2, 2 to 5", 1, PLAIN(7, 7, 7, 2, 2, 2, 3, 3, 3, 5), {2, 2, 16, 9, 16}),
    CONV("1x1x3, rows of several strips", 1, PLAIN(1, 1, 3, 1, 1, 1, 0, 0, 1, 16),
         {1, 16, 1, 2, 1041}),
    CONV("up(16)+8 to 16, padded unevenly", 2,
         SET(.kernel = {3, 3, 3}, .stride = {1, 1, 1}, .padding = {0, 1, 2}, .out_channels = 16,
             .bias = true, .slope = 0.2F, .upsample = {1, 0}),
         {1, 16, 3, 2, 3}, {1, 8, 6, 4, 6}),
    CONV("stride 2, many short rows", 1, PLAIN(3, 3, 3, 2, 2, 2, 1, 1, 1, 32), {1, 16, 9, 13, 7}),
#undef TOLERANCE
#define TOLERANCE 4e-6 /* a value of dx is the sum of 20,000 products */
    CONV("in slabs, up(2)+1 to 20", 2,
         SET(.kernel = {5, 5, 5}, .stride = {1, 1, 1}, .padding = {2, 2, 2}, .out_channels = 20,
             .bias = true, .slope = 1, .upsample = {true}),
         {1, 2, 6, 3, 4}, {1, 1, 12, 6, 8}),
#undef TOLERANCE
#define TOLERANCE 0
    CONV("stride 2, 40 to 24", 1, PLAIN(3, 3, 3, 2, 2, 2, 1, 1, 1, 24), {2, 40, 5, 7, 10}),
    CONV("stride 2, 16+8 to 20, padded unevenly", 2,
         SET(.kernel = {3, 4, 3}, .stride = {2, 2, 2}, .padding = {0, 1, 2}, .out_channels = 20,
             .bias = true, .slope = 1),
         {1, 16, 7, 6, 9}, {1, 8, 7, 6, 9}),
    CONV("4x4x4, stride 2, padded unevenly", 1,
         SET(.kernel = {4, 4, 4}, .stride = {2, 2, 2}, .padding = {2, 0, 1}, .out_channels = 16,
             .bias = true, .slope = 0),
         {2, 16, 5, 7, 8}),
    CONV("4x4x4, stride 2, two voxels", 1, PLAIN(4, 4, 4, 2, 2, 2, 1, 1, 1, 16), {1, 8, 2, 2, 2}),
    CONV("stride 2, past borders of batches", 1, PLAIN(3, 3, 3, 2, 2, 2, 1, 1, 1, 72),
         {3, 8, 12, 10, 7}),
    CONV("batches of several samples", 1, SAME(16, 0.2F, 0), {9, 16, 3, 2, 5}),
    CONV("1x1x1, 20+16 to 37, 210 voxels", 2,
         SET(.kernel = {1, 1, 1}, .stride = {1, 1, 1}, .out_channels = 37, .bias = true,
             .slope = 0.2F),
         {1, 20, 3, 5, 14}, {1, 16, 3, 5, 14}),
    CONV(
        "1x1x1, 32 to 21, with bias", 1,
        SET(.kernel = {1, 1, 1}, .stride = {1, 1, 1}, .out_channels = 21, .bias = true, .slope = 1),
        {2, 32, 2, 5, 13}),
    CONV(
        "1x1x1, 16+24 to 48, with bias", 2,
        SET(.kernel = {1, 1, 1}, .stride = {1, 1, 1}, .out_channels = 48, .bias = true, .slope = 1),
        {2, 16, 1, 3, 11}, {2, 24, 1, 3, 11}),
    CONV(
        "1x2x2, stride 1 2 2, 16 to 24", 1,
        SET(.kernel = {1, 2, 2}, .stride = {1, 2, 2}, .out_channels = 24, .bias = true, .slope = 1),
        {2, 16, 2, 6, 22}),
    CONV("2x2x2, stride 2, from odd sizes", 1, PLAIN(2, 2, 2, 2, 2, 2, 0, 0, 0, 16),
         {1, 24, 5, 4, 19}),
    CONV("1x1x1, stride 2, longer rows", 1, PLAIN(1, 1, 1, 2, 2, 2, 0, 0, 0, 40),
         {1, 16, 3, 4, 35}),
    CONV("1x1x1, up(16) to 24", 1,
         SET(.kernel = {1, 1, 1}, .stride = {1, 1, 1}, .out_channels = 24, .bias = true,
             .slope = 0.2F, .upsample = {true}),
         {1, 16, 2, 3, 9}),
    CONV("head, 16 to 3, rows of two strips", 1, SAME(3, 1, 0), {1, 16, 2, 5, 133}),
    CONV("head, 20 to 2, many planes", 1, PLAIN(3, 3, 1, 1, 1, 1, 1, 1, 0, 2), {1, 20, 67, 2, 3}),
    CONV("head, 8 to 1, 3x2x7 past borders", 1, PLAIN(3, 2, 7, 1, 1, 1, 2, 0, 3, 1),
         {1, 8, 4, 30, 19}),
    CONV("first layer, 1+1 to 8, 1x1x3, a row of several parts", 2,
         PLAIN(1, 1, 3, 1, 1, 1, 0, 0, 1, 8), {1, 1, 2, 2, 1041}, {1, 1, 2, 2, 1041}),
    CONV("first layer, 1 to 16, rows of several parts", 1, SAME(16, 0.2F, 0), {1, 1, 1, 3, 523}),
    CONV("1x1x1, 32 to 117 of a head", 1,
         SET(.kernel = {1, 1, 1}, .stride = {1, 1, 1}, .out_channels = 117, .bias = true,
             .slope = 1),
         {2, 32, 1, 3, 13}),
    CONV("1x1x1, 32 to 21, past a segment", 1, PLAIN(1, 1, 1, 1, 1, 1, 0, 0, 0, 21),
         {2, 32, 1, 11, 19}),
    CONV("1x1x1, 48 to 35", 1,
         SET(.kernel = {1, 1, 1}, .stride = {1, 1, 1}, .out_channels = 35, .bias = true,
             .slope = 0.2F),
         {2, 48, 1, 5, 7}),
    CONV("1x1x1, 64 to 4", 1,
         SET(.kernel = {1, 1, 1}, .stride = {1, 1, 1}, .out_channels = 4, .bias = true,
             .slope = 0.2F),
         {1, 64, 3, 5, 5}),
    CONV("1x1x1, 64 to 5, 65 rows", 1, PLAIN(1, 1, 1, 1, 1, 1, 0, 0, 0, 5), {3, 64, 1, 65, 1}),
    CONV("1x1x1, 32 to 50", 1, PLAIN(1, 1, 1, 1, 1, 1, 0, 0, 0, 50), {1, 32, 2, 7, 9}),
    CONV("1x1x1, 32 to 33", 1, PLAIN(1, 1, 1, 1, 1, 1, 0, 0, 0, 33), {1, 32, 1, 9, 11}),
    CONV("1x1x1, 16 to 53", 1,
         SET(.kernel = {1, 1, 1}, .stride = {1, 1, 1}, .out_channels = 53, .bias = true,
             .slope = 0.2F),
         {2, 16, 1, 9, 7}),
    CONV("1x1x1, 32 to 63", 1, PLAIN(1, 1, 1, 1, 1, 1, 0, 0, 0, 63), {1, 32, 1, 3, 67}),
    CONV("head, 16 to 3, bands of pairs of rows", 1, SAME(3, 1, 0), {1, 16, 2, 17, 133}),
    CONV("head, 16 to 3, one row", 1, SAME(3, 1, 0), {2, 16, 3, 1, 19}),
    CONV("first layer, 2 to 24, rows outside, many planes", 1, PLAIN(3, 3, 3, 1, 1, 1, 1, 2, 0, 24),
         {1, 2, 18, 3, 9}),
    CONV("first layer, 2+1 to 8, 4 along w", 2, PLAIN(3, 3, 4, 1, 1, 1, 0, 1, 2, 8),
         {2, 2, 4, 6, 21}, {2, 1, 4, 6, 21}),
    CONV("head, 16 to 4, 5x3x3, bands of 6 rows", 1, PLAIN(5, 3, 3, 1, 1, 1, 2, 0, 1, 4),
         {1, 16, 2, 21, 133}),
    CONV("first layer, 3 to 24, pairs of rows", 1, SAME(24, 0.2F, 0), {2, 3, 3, 7, 11}),
    CONV("first layer, 2 to 20, 3x7x7, pairs of rows", 1, PLAIN(3, 7, 7, 1, 1, 1, 1, 3, 3, 20),
         {1, 2, 2, 9, 19}),
    CONV("first layer, 3+1 to 8, 2x5x5, stride 2, pairs of rows", 2,
         PLAIN(2, 5, 5, 2, 2, 2, 0, 2, 1, 8), {1, 3, 6, 14, 21}, {1, 1, 6, 14, 21}),
    CONV("up(16)+8 to 16, padded unevenly, longer rows", 2,
         SET(.kernel = {3, 3, 3}, .stride = {1, 1, 1}, .padding = {0, 1, 2}, .out_channels = 16,
             .bias = true, .slope = 0.2F, .upsample = {1, 0}),
         {1, 16, 3, 4, 9}, {1, 8, 6, 8, 18}),
    CONV("4x4x4, stride 2, padded unevenly, longer rows", 1,
         SET(.kernel = {4, 4, 4}, .stride = {2, 2, 2}, .padding = {2, 0, 1}, .out_channels = 16,
             .bias = true, .slope = 0),
         {1, 16, 7, 9, 27}),
    CONV("stride 2, 8 to 20, padded unevenly, longer rows", 1,
         SET(.kernel = {3, 4, 3}, .stride = {2, 2, 2}, .padding = {0, 1, 2}, .out_channels = 20,
             .bias = true, .slope = 1),
         {2, 8, 7, 8, 30}),
    CONV("1x3x3, 49 to 52", 1, PLAIN(1, 3, 3, 1, 1, 1, 0, 1, 1, 52), {1, 49, 1, 9, 33}),
};

TEST(kernels_agree) {
  conformance_run(cases, sizeof cases / sizeof *cases);
}

static enum status infer_case(struct op_case test, struct node *node) {
  return conformance_node(&test, DTYPE_F32, LAYOUTS_DEVICE, -1, node);
}

TEST(infers_output_and_parameters) {
  struct node node;
  CHECK_OK(infer_case(
      (struct op_case)CONV("stride", 1, PLAIN(3, 3, 2, 2, 1, 2, 1, 0, 0, 20), {2, 6, 7, 8, 9}),
      &node));
  CHECK(shape_equal(node.y.shape, (struct shape){2, 20, 4, 6, 4}));
  CHECK(node.y.layout == LAYOUT_BLOCKED && node.parameter_count == 1);
  CHECK(node.backward_reads == READS_X && node.parameter[0].fan_in == 6 * 18);
  CHECK(op_conv.forward_flops(&node) == 2.0 * 2 * 20 * 6 * 18 * (4 * 6 * 4));
  CHECK(op_conv.backward_flops(&node) == 2 * op_conv.forward_flops(&node));
  struct op_case normal = CONV("normal", 1, SAME(3, 0.2F, 0), {1, 16, 4, 4, 4});
  struct conv_arguments arguments = *(const struct conv_arguments *)normal.arguments;
  arguments.initial_deviation = 1e-5;
  normal.arguments = &arguments;
  CHECK_OK(infer_case(normal, &node));
  CHECK(node.parameter_count == 2 && node.backward_reads == (READS_X | READS_Y));
  CHECK(node.parameter[CONV_WEIGHT].initial == INITIAL_NORMAL &&
        node.parameter[CONV_WEIGHT].scale == 1e-5);
  CHECK(node.parameter[CONV_BIAS].initial == INITIAL_CONSTANT &&
        node.parameter[CONV_BIAS].scale == 0);
}

TEST(fully_connected_layers_have_weights_of_two_axes) {
  struct op_case test = CONV("linear", 1, LINEAR(6, 0), {2, 9, 1, 1, 1});
  struct node node;
  CHECK_OK(infer_case(test, &node));
  const struct parameter *weight = &node.parameter[CONV_WEIGHT];
  CHECK(weight->rank == 2 && weight->extent[0] == 6 && weight->extent[1] == 9);
  CHECK(parameter_count(weight) == 54 && weight->fan_in == 9);
  test.x[0].w = 2;
  CHECK_FAILS(infer_case(test, &node), "takes inputs of one voxel, found 1 x 1 x 2");
  struct conv_arguments arguments = *(const struct conv_arguments *)test.arguments;
  arguments.kernel[1] = 3;
  test.arguments = &arguments;
  CHECK_FAILS(infer_case(test, &node), "has a kernel of 1 x 1 x 1, found 1 x 3 x 1");
}

/* Where a ReLU gives 0, also of exactly 0, nothing flows back; under every kernel. */
TEST(relu_hands_nothing_down_from_0) {
  const struct op_case test = CONV("relu", 1, LINEAR(2, 0), {1, 2, 1, 1, 1});
  double x[] = {1, 1}, weight[] = {1, -1, 3, -1}, bias[] = {0, -3}, dy[] = {5, 7};
  const struct trial trial = {.test = &test,
                              .value = {[0] = x, [OP_MAX_INPUTS] = weight, bias},
                              .count = {[0] = 2, [OP_MAX_INPUTS] = 4, 2},
                              .dy = dy,
                              .y_count = 2};
  for (int k = 0; op_conv.kernels[k]; k++) {
    struct attempt attempt = {
        .kernel = op_conv.kernels[k], .threads = 1, .backward = true, .only = -1};
    if (!attempt_fits(&test, &attempt)) continue;
    struct outcome outcome = attempt_run(&trial, &attempt);
    double sum = fabs(outcome.y[0]) + fabs(outcome.y[1]);
    for (int i = 0; i < 2; i++) sum += fabs(outcome.gradient[0][i]);
    for (int i = 0; i < 4; i++) sum += fabs(outcome.gradient[OP_MAX_INPUTS][i]);
    for (int i = 0; i < 2; i++) sum += fabs(outcome.gradient[OP_MAX_INPUTS + 1][i]);
    CHECK_SAY(sum == 0, " (%s: %g)", attempt.kernel->name, sum);
    outcome_free(&outcome);
  }
}

TEST(refuses_what_does_not_fit) {
  struct node node;
  CHECK_FAILS(
      infer_case((struct op_case)CONV("batch", 2, SAME(16, 1, 0), {1, 1, 4, 4, 4}, {2, 1, 4, 4, 4}),
                 &node),
      "input 1 has batch 2 and extents 4 x 4 x 4 where input 0 has 1 and 4 x 4 x 4");
  CHECK_FAILS(infer_case((struct op_case)CONV("odd", 2, SAME(16, 1, 1, 0), {1, 1, 2, 2, 2},
                                              {1, 1, 4, 4, 5}),
                         &node),
              "input 1 has batch 1 and extents 4 x 4 x 5");
  CHECK_FAILS(infer_case((struct op_case)CONV("large", 1, PLAIN(3, 5, 3, 1, 1, 1, 1, 0, 1, 16),
                                              {1, 1, 4, 4, 4}),
                         &node),
              "a kernel of 5 along h does not fit an input of 4 with padding 0");
  CHECK_FAILS(infer_case((struct op_case)CONV("padding", 1, PLAIN(3, 3, 3, 1, 1, 1, 1, 1, 3, 16),
                                              {1, 1, 4, 4, 4}),
                         &node),
              "padding along w must be at least 0 and below the kernel extent 3, is 3");
  CHECK_FAILS(
      infer_case((struct op_case)CONV("slope", 1, SAME(16, -0.5f, 0), {1, 1, 4, 4, 4}), &node),
      "slope of the LeakyReLU must not be negative, is -0.5");
}

static struct node doubled(struct shape shape) {
  struct resize_arguments arguments = {
      RESIZE_NEAREST, {2 * shape.d, 2 * shape.h, 2 * shape.w}, false, 1};
  struct op_case test = {.label = "resize",
                         .op = &op_resize,
                         .input_count = 1,
                         .x = {shape},
                         .arguments = &arguments,
                         .argument_bytes = sizeof arguments};
  struct node node;
  CHECK_OK(infer_case(test, &node));
  return node;
}

static struct node concatenated(int count, const struct tensor *x) {
  struct op_case test = {.label = "concat", .op = &op_concat, .input_count = count};
  for (int i = 0; i < count; i++) test.x[i] = x[i].shape;
  struct node node;
  CHECK_OK(infer_case(test, &node));
  return node;
}

static struct node convolved(int count, const struct tensor *x) {
  struct op_case test = CONV("conv", count, SAME(32, 0.2F, 0), {0});
  for (int i = 0; i < count; i++) test.x[i] = x[i].shape;
  struct node node;
  CHECK_OK(infer_case(test, &node));
  return node;
}

TEST(takes_over_concat_and_doubling) {
  struct tensor skip = tensor_make(DEVICE_CPU, (struct shape){1, 16, 4, 6, 8}, DTYPE_F32);
  struct tensor image = tensor_make(DEVICE_CPU, (struct shape){1, 1, 4, 6, 8}, DTYPE_F32);
  struct node resize = doubled((struct shape){1, 32, 2, 3, 4});
  struct node concat = concatenated(2, (struct tensor[]){resize.y, skip});
  struct node node = convolved(2, (struct tensor[]){concat.y, image});
  struct parameter before = node.parameter[CONV_WEIGHT];
  CHECK(op_conv.fold(&node, 0, &concat) && op_conv.fold(&node, 0, &resize));
  CHECK_OK(op_conv.infer(&node));
  const struct conv_arguments *arguments = conv_arguments_of(&node);
  CHECK(node.input_count == 3 && node.x[0].shape.d == 2 && node.x[1].shape.c == 16 &&
        node.x[2].shape.c == 1);
  CHECK(arguments->upsample[0] && !arguments->upsample[1] && !arguments->upsample[2]);
  CHECK(memcmp(before.extent, node.parameter[CONV_WEIGHT].extent, sizeof before.extent) == 0);
}

TEST(takes_over_concat_behind_doubling) {
  struct tensor half = tensor_make(DEVICE_CPU, (struct shape){1, 16, 2, 3, 4}, DTYPE_F32);
  struct node concat = concatenated(2, (struct tensor[]){half, half});
  struct node resize = doubled(concat.y.shape);
  struct node node = convolved(1, (struct tensor[]){resize.y});
  CHECK(op_conv.fold(&node, 0, &resize) && op_conv.fold(&node, 0, &concat));
  CHECK_OK(op_conv.infer(&node));
  CHECK(conv_arguments_of(&node)->upsample[0] && conv_arguments_of(&node)->upsample[1]);
  struct node again = doubled((struct shape){1, 16, 1, 1, 2});
  CHECK(!op_conv.fold(&node, 0, &again));
}

/* Bits must not depend on which libraries a build has. */
TEST(other_engines_run_only_by_name) {
  struct op_case planar = CONV("planar", 2, SAME(3, 0.2F, 0), {1, 1, 3, 4, 5}, {1, 3, 3, 4, 5});
  struct node node;
  const struct kernel *kernel;
  CHECK_OK(infer_case(planar, &node));
  CHECK_OK(op_choose_kernel(&node, NULL, &kernel));
  CHECK(strcmp(kernel->name, "onednn") != 0);
  for (int i = 0; op_conv.kernels[i]; i++) {
    if (strcmp(op_conv.kernels[i]->name, "onednn") != 0) continue;
    if (!op_kernel_fits(op_conv.kernels[i], &node)) continue;
    CHECK_OK(op_choose_kernel(&node, "onednn", &kernel));
    CHECK(kernel == op_conv.kernels[i]);
  }
}

TEST(leaves_what_it_cannot_take_over) {
  struct tensor x[OP_MAX_INPUTS];
  for (int i = 0; i < OP_MAX_INPUTS; i++)
    x[i] = tensor_make(DEVICE_CPU, (struct shape){1, 1, 4, 6, 8}, DTYPE_F32);
  struct node concat = concatenated(OP_MAX_INPUTS, x);
  struct node node = convolved(2, (struct tensor[]){concat.y, x[0]});
  CHECK(!op_conv.fold(&node, 0, &concat) && node.input_count == 2);
  struct node other = convolved(1, x);
  CHECK(!op_conv.fold(&node, 0, &other));
  ((struct conv_arguments *)node.arguments)->stride[1] = 2;
  concat.input_count = 2;
  CHECK(!op_conv.fold(&node, 0, &concat));
}

int main(void) {
  RUN(kernels_agree);
  RUN(infers_output_and_parameters);
  RUN(fully_connected_layers_have_weights_of_two_axes);
  RUN(relu_hands_nothing_down_from_0);
  RUN(refuses_what_does_not_fit);
  RUN(takes_over_concat_and_doubling);
  RUN(takes_over_concat_behind_doubling);
  RUN(other_engines_run_only_by_name);
  RUN(leaves_what_it_cannot_take_over);
  return check_result();
}
