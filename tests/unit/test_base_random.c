/* Counter-based numbers: the published vectors, replay, and the shape of the distributions. */
#include "base/random.h"
#include "check.h"

/* Known answers for philox4x32-10 from Random123's kat_vectors. */
TEST(philox_gives_the_published_vectors) {
  uint32_t out[4];
  random_philox((uint32_t[4]){0, 0, 0, 0}, (uint32_t[2]){0, 0}, out);
  CHECK(out[0] == 0x6627e8d5u && out[1] == 0xe169c58du && out[2] == 0xbc57ac4cu &&
        out[3] == 0x9b00dbd8u);
  random_philox((uint32_t[4]){0xffffffffu, 0xffffffffu, 0xffffffffu, 0xffffffffu},
                (uint32_t[2]){0xffffffffu, 0xffffffffu}, out);
  CHECK(out[0] == 0x408f276du && out[1] == 0x41c83b0eu && out[2] == 0xa20bc7c6u &&
        out[3] == 0x6d5451fdu);
}

TEST(a_stream_replays) {
  struct random a = random_stream(7, RANDOM_TEST, 3, 4), b = a;
  for (int i = 0; i < 10; i++) CHECK(random_bits(&a) == random_bits(&b));
  struct random other = random_stream(7, RANDOM_ORDER, 3, 4);
  b = random_stream(7, RANDOM_TEST, 3, 4);
  CHECK(random_bits(&other) != random_bits(&b));
}

TEST(normal_numbers_have_mean_0_and_deviation_1) {
  struct random stream = random_stream(1, RANDOM_TEST, 0, 0);
  double sum = 0, squares = 0;
  enum { COUNT = 200000 };
  for (int i = 0; i < COUNT; i++) {
    double x = random_normal(&stream);
    sum += x;
    squares += x * x;
  }
  CHECK_NEAR(sum / COUNT, 0, 0.01);
  CHECK_NEAR(squares / COUNT, 1, 0.02);
}

TEST(a_permutation_holds_every_number_once) {
  enum { COUNT = 101 };
  int order[COUNT], seen[COUNT] = {0};
  struct random stream = random_stream(5, RANDOM_ORDER, 0, 0);
  random_permutation(&stream, order, COUNT);
  for (int i = 0; i < COUNT; i++) seen[order[i]]++;
  for (int i = 0; i < COUNT; i++) CHECK(seen[i] == 1);
}

int main(void) {
  RUN(philox_gives_the_published_vectors);
  RUN(a_stream_replays);
  RUN(normal_numbers_have_mean_0_and_deviation_1);
  RUN(a_permutation_holds_every_number_once);
  return check_result();
}
