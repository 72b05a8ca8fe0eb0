/* conv_transpose against its reference: the kernels and strides of decoders, odd sizes and
 * channels, and what it refuses. */
#include "conformance.h"
#include "kernels/conv/conv_cuda.h"
#include "kernels/conv_transpose/conv_transpose.h"

#define TRANSPOSE(text, arguments_, ...)                                           \
  {                                                                                \
    .label = text, .op = &op_conv_transpose, .input_count = 1, .x = {__VA_ARGS__}, \
    .arguments = &(const struct conv_transpose_arguments)arguments_,               \
    .argument_bytes = sizeof(struct conv_transpose_arguments), .linear = true      \
  }
#define SET(...) \
  { __VA_ARGS__ }
#define CUBE(k, s, p, o, channels)                                                                 \
  SET(.kernel = {k, k, k}, .stride = {s, s, s}, .padding = {p, p, p}, .output_padding = {o, o, o}, \
      .out_channels = channels, .bias = true)
#define FLAT(k, p, channels) \
  SET(.kernel = {1, k, k}, .stride = {1, 2, 2}, .padding = {0, p, p}, .out_channels = channels)

static const struct op_case cases[] = {
    TRANSPOSE("kernel 2, 16 to 16", CUBE(2, 2, 0, 0, 16), {1, 16, 2, 3, 5}),
    TRANSPOSE("kernel 2, 24 to 8, past borders", CUBE(2, 2, 0, 0, 8), {1, 24, 3, 5, 18}),
    TRANSPOSE("kernel 3, 16 to 17", CUBE(3, 2, 1, 1, 17), {2, 16, 3, 2, 4}),
    TRANSPOSE("kernel 3, no output padding", CUBE(3, 2, 1, 0, 8), {1, 8, 2, 5, 3}),
    TRANSPOSE("kernel 4, 32 to 16", CUBE(4, 2, 1, 0, 16), {1, 32, 2, 3, 3}),
    TRANSPOSE("kernel 4, 8 to 40, past borders", CUBE(4, 2, 1, 0, 40), {1, 8, 3, 2, 17}),
    TRANSPOSE("1x2x2", FLAT(2, 0, 16), {2, 32, 1, 5, 3}),
    TRANSPOSE("1x4x4, 7 to 5", FLAT(4, 1, 5), {1, 7, 2, 3, 4}),
    TRANSPOSE("planar, 3 to 2", CUBE(2, 2, 0, 0, 2), {2, 3, 2, 3, 2}),
    TRANSPOSE("16 to 3", CUBE(2, 2, 0, 0, 3), {1, 16, 2, 1, 3}),
    TRANSPOSE("1 to 16", CUBE(3, 2, 1, 1, 16), {1, 1, 2, 2, 3}),
    TRANSPOSE("stride 1, 16 to 2", CUBE(3, 1, 1, 0, 2), {1, 16, 3, 3, 4}),
    TRANSPOSE("gaps, stride 3", CUBE(2, 3, 1, 2, 5), {1, 6, 3, 2, 2}),
    TRANSPOSE("long along d, kernel 4",
              SET(.kernel = {4, 1, 1}, .stride = {2, 1, 1}, .padding = {1, 0, 0}, .out_channels = 8,
                  .bias = true),
              {1, 8, 19, 1, 2}),
    TRANSPOSE("long along d, stride 3",
              SET(.kernel = {2, 1, 2}, .stride = {3, 1, 2}, .output_padding = {1, 0, 0},
                  .out_channels = 5, .bias = true),
              {2, 6, 13, 2, 1}),
    TRANSPOSE("one voxel", CUBE(4, 2, 1, 0, 16), {1, 16, 1, 1, 1}),
    TRANSPOSE("kernel 4, odd extents, 24 to 40", CUBE(4, 2, 1, 1, 40), {2, 24, 3, 5, 4}),
    TRANSPOSE("kernel 4, no padding, 72 to 8", CUBE(4, 2, 0, 0, 8), {1, 72, 2, 3, 3}),
    TRANSPOSE("kernel 3, padded by 2", CUBE(3, 2, 2, 1, 16), {2, 16, 5, 3, 4}),
    TRANSPOSE("3x4x4, padded unevenly",
              SET(.kernel = {3, 4, 4}, .stride = {2, 2, 2}, .padding = {1, 0, 2},
                  .output_padding = {1, 0, 1}, .out_channels = 16, .bias = true),
              {3, 32, 3, 4, 5}),
    TRANSPOSE("1x2x2, 32 to 40, longer rows",
              SET(.kernel = {1, 2, 2}, .stride = {1, 2, 2}, .out_channels = 40, .bias = true),
              {2, 32, 2, 3, 17}),
    TRANSPOSE("kernel 2, 32 to 21, longer rows", CUBE(2, 2, 0, 0, 21), {1, 32, 2, 3, 13}),
    TRANSPOSE("1x2x2, with output padding",
              SET(.kernel = {1, 2, 2}, .stride = {1, 2, 2}, .output_padding = {0, 1, 1},
                  .out_channels = 16, .bias = true),
              {1, 16, 1, 3, 11}),
    TRANSPOSE("kernel 1, 32 to 21", CUBE(1, 1, 0, 0, 21), {1, 32, 2, 3, 17}),
    TRANSPOSE("kernel 4, 16 to 8, long rows", CUBE(4, 2, 1, 0, 8), {1, 16, 3, 4, 26}),
    TRANSPOSE("kernel 3, 8 to 20, long rows", CUBE(3, 2, 1, 1, 20), {2, 8, 4, 3, 27}),
};

TEST(kernels_agree) {
  conformance_run(cases, sizeof cases / sizeof *cases);
}

static enum status infer_case(struct op_case test, struct node *node) {
  return conformance_node(&test, DTYPE_F32, LAYOUTS_DEVICE, -1, node);
}

TEST(infers_output_and_parameters) {
  struct node node;
  CHECK_OK(
      infer_case((struct op_case)TRANSPOSE("four", CUBE(4, 2, 1, 1, 20), {2, 6, 7, 8, 9}), &node));
  CHECK(shape_equal(node.y.shape, (struct shape){2, 20, 15, 17, 19}));
  CHECK(node.y.layout == LAYOUT_BLOCKED && node.parameter_count == 2);
  CHECK(node.backward_reads == READS_X && node.parameter[CONV_WEIGHT].fan_in == 20 * 64);
  CHECK(node.parameter[CONV_WEIGHT].extent[0] == 6 && node.parameter[CONV_WEIGHT].extent[1] == 20);
  CHECK(op_conv_transpose.forward_flops(&node) == 2.0 * 2 * 6 * 20 * 64 * (7 * 8 * 9));
  CHECK(op_conv_transpose.backward_flops(&node) == 2 * op_conv_transpose.forward_flops(&node));
}

/* A transposed convolution costs what its convolution costs. */
TEST(counts_as_its_convolution) {
  struct node node, conv;
  CHECK_OK(
      infer_case((struct op_case)TRANSPOSE("two", CUBE(2, 2, 0, 0, 24), {1, 16, 3, 4, 5}), &node));
  conv_transpose_adjoint(&node, &conv);
  struct tensor x = conv.y;
  CHECK_OK(node_infer(&conv));
  CHECK(shape_equal(conv.y.shape, x.shape) && conv.parameter_count == 1);
  CHECK(memcmp(conv.parameter[0].extent, node.parameter[0].extent, sizeof(int[5])) == 0);
  CHECK(op_conv.forward_flops(&conv) == op_conv_transpose.forward_flops(&node));
}

#ifdef MEDTRAIN_HAS_CUDA
/* On a GPU the layers of decoders are computed on tensor cores in all three passes. */
TEST(decoders_take_tensor_cores) {
  static const enum dtype types[] = {DTYPE_F32, DTYPE_BF16, DTYPE_F16};
  const struct op_case tests[] = {
      TRANSPOSE("kernel 2", CUBE(2, 2, 0, 0, 256), {1, 512, 4, 8, 2}),
      TRANSPOSE("kernel 3", CUBE(3, 2, 1, 1, 64), {1, 128, 4, 8, 2}),
      TRANSPOSE("kernel 4", CUBE(4, 2, 1, 0, 64), {1, 128, 8, 16, 4}),
      TRANSPOSE("1x2x2", FLAT(2, 0, 32), {2, 64, 1, 16, 16}),
  };
  for (size_t i = 0; i < sizeof tests / sizeof *tests * 3; i++) {
    struct node node = {.op = &op_conv_transpose, .device = DEVICE_CUDA, .input_count = 1}, conv;
    node.activation = types[i % 3];
    node.x[0] = tensor_make(DEVICE_CUDA, tests[i / 3].x[0], node.activation);
    memcpy(node.arguments, tests[i / 3].arguments, tests[i / 3].argument_bytes);
    CHECK_OK(node_infer(&node));
    conv_transpose_adjoint(&node, &conv);
    CHECK(conv_cuda_find(CONV_CUDA_DATA, &conv, 0) == &conv_cuda_matrix_data);
    CHECK(conv_cuda_find(CONV_CUDA_WEIGHTS, &conv, 0) == &conv_cuda_matrix_weights);
    CHECK(conv_cuda_find(CONV_CUDA_FORWARD, &conv, 0) == &conv_cuda_matrix_forward);
  }
}
#endif

TEST(refuses_what_does_not_fit) {
  struct node node;
  CHECK_FAILS(
      infer_case((struct op_case)TRANSPOSE("out", CUBE(3, 2, 1, 2, 8), {1, 8, 2, 2, 2}), &node),
      "output padding along d must be at least 0 and below the stride 2, is 2");
  CHECK_FAILS(
      infer_case((struct op_case)TRANSPOSE("padding", CUBE(2, 2, 2, 0, 8), {1, 8, 2, 2, 2}), &node),
      "padding along d must be at least 0 and below the kernel extent 2, is 2");
  CHECK_FAILS(
      infer_case((struct op_case)TRANSPOSE("small", CUBE(2, 1, 1, 0, 8), {1, 8, 2, 1, 2}), &node),
      "a kernel of 2 with padding 1 leaves nothing of an input of 1 along h");
}

int main(void) {
  RUN(kernels_agree);
  RUN(infers_output_and_parameters);
  RUN(counts_as_its_convolution);
#ifdef MEDTRAIN_HAS_CUDA
  RUN(decoders_take_tensor_cores);
#endif
  RUN(refuses_what_does_not_fit);
  return check_result();
}
