/* The golden files can be read, and the numbers that their makers draw are the program's own. */
#include "check.h"
#include "golden.h"

static struct golden golden;

static int fan_in_of(const struct golden_tensor *weight, int before) {
  if (weight->rank != 5) return before;
  return (int)(weight->count / weight->extent[0]);
}

TEST(generated_weights_are_those_of_the_files) {
  golden_open(&golden, "vxm_mse");
  int index = 0, fan_in = 0;
  for (int i = 0; i < golden.tensor_count; i++) {
    const struct golden_tensor *tensor = &golden.tensor[i];
    if (strncmp(tensor->name, "weight.", 7)) continue;
    fan_in = fan_in_of(tensor, fan_in);
    float *expected = malloc((size_t)tensor->count * sizeof(float));
    golden_weights(index++, fan_in, expected, tensor->count);
    CHECK(!memcmp(expected, tensor->data, (size_t)tensor->count * sizeof(float)));
    free(expected);
  }
  CHECK(index == 16);
  golden_close(&golden);
}

TEST(tensors_have_shapes_types_and_values) {
  golden_open(&golden, "vxm_full_lncc_bidir");
  const struct golden_tensor *moving = golden_get(&golden, "moving");
  CHECK(moving->rank == 5 && moving->extent[2] == 16 && moving->extent[3] == 32);
  CHECK(moving->count == 16 * 32 * 16);
  double *losses = golden_doubles(&golden, "losses");
  CHECK_NEAR(losses[0], losses[1] + losses[2], 1e-12);
  CHECK(!golden_find(&golden, "no such tensor"));
  free(losses);
  golden_close(&golden);
}

TEST(summaries_tell_tensors_apart) {
  float values[100], others[100];
  double a[4], b[4];
  golden_weights(3, 27, values, 100);
  memcpy(others, values, sizeof values);
  others[50] += 0.1f;
  golden_summarise(2, values, 100, a);
  golden_summarise(2, others, 100, b);
  CHECK(golden_summary_distance(a, a) == 0);
  CHECK(golden_summary_distance(a, b) > 1e-3);
  b[2] = NAN;
  CHECK(!(golden_summary_distance(b, a) < 1));
}

int main(void) {
  RUN(generated_weights_are_those_of_the_files);
  RUN(tensors_have_shapes_types_and_values);
  RUN(summaries_tell_tensors_apart);
  return check_result();
}
