/* The functions of vectors against those of the C library in double, over all that they take. */
#include "kernels/common/simd_math.h"
#include <math.h>
#include "check.h"

static simd exp_of(simd x) {
  return simd_exp(x);
}
static simd log_of(simd x) {
  return simd_log(x);
}
static simd log1p_of(simd x) {
  return simd_log1p(x);
}
static simd sigmoid_of(simd x) {
  return simd_sigmoid(x).p;
}
static double sigmoid(double x) {
  return 1 / (1 + exp(-x));
}

static simd product_of_factors(simd x) {
  simd power;
  simd_exp_factors(&x, &power, 1);
  return x * power;
}

/* The largest error, in units of 2^-24 of the value but of at least `least`. */
static double worst(simd (*own)(simd), double (*exact)(double), float from, float to,
                    double least) {
  double most = 0;
  for (int i = 0; i <= 200000; i++) {
    float x = from + (to - from) * (float)i / 200000;
    double expected = exact(x), error = fabs(own(simd_all(x))[i % SIMD_WIDTH] - expected);
    most = fmax(most, error / fmax(fabs(expected), least) * 16777216);
  }
  return most;
}

static void check_worst(const char *name, double error, double allowed) {
  CHECK_SAY(error <= allowed, " (%s: %.2f units of 2^-24, allowed %.2f)", name, error, allowed);
}

TEST(functions_are_exact_to_a_few_units) {
  check_worst("exp", worst(exp_of, exp, -87, 88, 0), 4);
  check_worst("exp near 0", worst(exp_of, exp, -1, 1, 0), 4);
  check_worst("exp in factors", worst(product_of_factors, exp, -87, 88, 0), 4);
  check_worst("log", worst(log_of, log, 1e-30F, 1e30F, 0), 4);
  check_worst("log below 1", worst(log_of, log, 1e-6F, 1, 1e-6), 4);
  check_worst("log near 1", worst(log_of, log, 0.9F, 1.1F, 1e-6), 4);
  check_worst("log1p", worst(log1p_of, log1p, 0, 1, 1e-30), 4);
  check_worst("log1p near 0", worst(log1p_of, log1p, 1e-12F, 1e-6F, 0), 4);
  check_worst("sigmoid", worst(sigmoid_of, sigmoid, -80, 80, 0), 6);
}

TEST(ends_of_the_range) {
  CHECK(simd_exp(simd_all(-87.5F))[0] == 0 && simd_exp(simd_all(-1e30F))[0] == 0);
  CHECK(simd_exp(simd_all(0))[0] == 1 && simd_log(simd_all(1))[0] == 0);
  CHECK(product_of_factors(simd_all(-88))[0] == 0 && product_of_factors(simd_all(0))[0] == 1);
  CHECK(simd_exp(simd_all(100))[0] == simd_exp(simd_all(88))[0]);
  CHECK(simd_log1p(simd_all(0))[0] == 0 && simd_log1p(simd_all(1e-20F))[0] == 1e-20F);
  CHECK(simd_pow(simd_all(0), 2)[0] == 0 && fabsf(simd_pow(simd_all(3), 2)[0] - 9) < 1e-5F);
  CHECK(simd_sigmoid(simd_all(-200)).p[0] == 0);
}

TEST(several_at_once_are_as_each) {
  simd x[SIMD_TOGETHER], exps[SIMD_TOGETHER];
  struct simd_chance chances[SIMD_TOGETHER];
  for (int k = 0; k < SIMD_TOGETHER; k++) exps[k] = x[k] = simd_all(1.7F - 41.3F * (float)k);
  simd_exps(exps, SIMD_TOGETHER);
  simd_sigmoids(x, chances, SIMD_TOGETHER);
  for (int k = 0; k < SIMD_TOGETHER; k++) {
    CHECK(exps[k][0] == simd_exp(x[k])[0]);
    CHECK(chances[k].p[0] == simd_sigmoid(x[k]).p[0]);
    CHECK(chances[k].rest[0] == simd_sigmoid(x[k]).rest[0]);
    CHECK(fabsf(simd_reciprocal(1 + exps[k])[0] * (1 + exps[k][0]) - 1) < 3e-7F);
  }
}

TEST(lanes_do_not_touch) {
  unsigned char bytes[SIMD_WIDTH];
  simd values = {0};
  for (int i = 0; i < SIMD_WIDTH; i++) {
    bytes[i] = (unsigned char)(200 + i);
    values[i] = (float)i;
  }
  simd_int numbers = simd_from_bytes(bytes);
  simd chosen = simd_select(numbers > 201, values, simd_all(-1));
  for (int i = 0; i < SIMD_WIDTH; i++) {
    CHECK(numbers[i] == 200 + i && chosen[i] == (i > 1 ? (float)i : -1));
    CHECK(simd_exp(values)[i] == simd_exp(simd_all((float)i))[i]);
  }
  CHECK(simd_total(values) == SIMD_WIDTH * (SIMD_WIDTH - 1) / 2);
}

int main(void) {
  RUN(functions_are_exact_to_a_few_units);
  RUN(ends_of_the_range);
  RUN(several_at_once_are_as_each);
  RUN(lanes_do_not_touch);
  return check_result();
}
