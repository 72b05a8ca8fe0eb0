/* The conversions behind 16-bit activations on the CPU, for every instruction set: each the same
 * as the plain one, for numbers, infinities and NaN. */
#include <math.h>
#include "base/random.h"
#include "check.h"
#include "device/real16.h"
#include "kernels/common/simd.h"
#include "kernels/common/widen_slices.h"
#include "kernels/leaky_relu/leaky_relu.h"

enum { ALL = 1 << 16, NUMBERS = 1 << 15 };

SIMD_DECLARE_OTHER(widening, widening);
static const struct widening *const widenings[] = {SIMD_KERNELS(widening)};
static const int widening_count = sizeof widenings / sizeof *widenings;

extern const struct op op_leaky_relu;

struct format {
  enum dtype dtype;
  float (*widen)(uint16_t);
  uint16_t (*narrow)(float);
};
static const struct format formats[] = {{DTYPE_BF16, bf16_to_float, bf16_from_float},
                                        {DTYPE_F16, f16_to_float, f16_from_float}};

static uint16_t halves[ALL], made[ALL];
static float floats[ALL];

static void check_all_values(const struct widening *widening, const struct format *format) {
  int wrong = 0;
  for (int i = 0; i < ALL; i++) halves[i] = (uint16_t)i;
  widening->widen(format->dtype, halves, floats, ALL);
  for (int i = 0; i < ALL; i++)
    wrong += float_bits(floats[i]) != float_bits(format->widen(halves[i]));
  CHECK(wrong == 0);
  widening->narrow(format->dtype, floats, made, ALL, false);
  for (int i = 0; i < ALL; i++)
    wrong += isnan(floats[i]) ? !isnan(format->widen(made[i])) : made[i] != halves[i];
  CHECK(wrong == 0);
}

/* Of all magnitudes, with values half way between neighbours among them. */
static void fill_numbers(void) {
  struct random random = random_stream(11, RANDOM_TEST, 0, 0);
  for (int i = 0; i < NUMBERS; i++) {
    uint32_t bits = random_bits(&random);
    if (i % 4 == 0) bits = (bits & 0xffff8000) | 0x8000;
    if (i % 4 == 1) bits = (bits & 0xbffff000) | 0x1000;
    floats[i] = float_of_bits(bits);
  }
}

static void check_rounding(const struct widening *widening, const struct format *format) {
  int wrong = 0;
  fill_numbers();
  for (int i = 0; i < NUMBERS; i++) made[i] = halves[i] = (uint16_t)(i * 7919);
  widening->narrow(format->dtype, floats, made, NUMBERS, true);
  for (int i = 0; i < NUMBERS; i++) {
    uint16_t expected = format->narrow(format->widen(halves[i]) + floats[i]);
    bool nan = isnan(format->widen(expected));
    wrong += nan ? !isnan(format->widen(made[i])) : made[i] != expected;
  }
  widening->narrow(format->dtype, floats, made, NUMBERS, false);
  for (int i = 0; i < NUMBERS; i++)
    wrong += !isnan(floats[i]) && made[i] != format->narrow(floats[i]);
  CHECK_SAY(wrong == 0, " (%d of %d)", wrong, NUMBERS);
}

TEST(all_instruction_sets_convert_alike) {
  for (int i = 0; i < widening_count; i++)
    for (int f = 0; f < 2 && widenings[i]->available(); f++) {
      check_all_values(widenings[i], &formats[f]);
      check_rounding(widenings[i], &formats[f]);
    }
}

TEST(too_large_becomes_infinity) {
  const float large[] = {65504, 65519.99f, 65520, -70000, 3.4e38f, INFINITY, -INFINITY, NAN};
  uint16_t narrow[8];
  for (int i = 0; i < widening_count; i++) {
    if (!widenings[i]->available()) continue;
    widenings[i]->narrow(DTYPE_F16, large, narrow, 8, false);
    CHECK(narrow[0] == 0x7bff && narrow[1] == 0x7bff && narrow[2] == 0x7c00 && narrow[3] == 0xfc00);
    CHECK(narrow[4] == 0x7c00 && narrow[5] == 0x7c00 && narrow[6] == 0xfc00);
    CHECK(isnan(f16_to_float(narrow[7])));
  }
}

/* Through a whole node: what is no number comes out as it went in. */
TEST(infinities_and_nan_pass_a_node) {
  enum { COUNT = 8 };
  const float values[COUNT] = {1, -1, INFINITY, -INFINITY, NAN, 0, 60000, -60000};
  struct node node = {.op = &op_leaky_relu, .activation = DTYPE_F16, .input_count = 1};
  struct leaky_relu_arguments arguments = {2};
  uint16_t x[COUNT], y[COUNT];
  alignas(64) static unsigned char workspace[1 << 12];
  struct io io = {.x = {x}, .y = y, .workspace = workspace};
  node.x[0] = (struct tensor){{1, 1, 1, 1, COUNT}, DTYPE_F16, LAYOUT_PLANAR};
  memcpy(node.arguments, &arguments, sizeof arguments);
  for (int i = 0; i < COUNT; i++) x[i] = f16_from_float(values[i]);
  CHECK_OK(node_infer(&node));
  CHECK_OK(op_choose_kernel(&node, "widened", &node.kernel));
  node.kernel->prepare(&node);
  CHECK(node.forward_workspace <= sizeof workspace);
  CHECK_OK(node.kernel->forward(&node, &io, NULL));
  const float expected[COUNT] = {1, -2, INFINITY, -INFINITY, NAN, 0, 60000, -INFINITY};
  for (int i = 0; i < COUNT; i++) {
    float found = f16_to_float(y[i]), wanted = expected[i];
    CHECK(isnan(wanted)   ? isnan(found)
          : isinf(wanted) ? found == wanted
                          : fabsf(found - wanted) < 33);
  }
}

int main(void) {
  RUN(all_instruction_sets_convert_alike);
  RUN(too_large_becomes_infinity);
  RUN(infinities_and_nan_pass_a_node);
  return check_result();
}
