/* The model of a step on several ranks: numbers worked out by hand. */
#include "command/forecast.h"
#include "tests/check.h"

static const struct forecast_link link = {.latency = 3e-6, .overhead = 2e-7, .bandwidth = 1e9};

static bool near(double found, double expected) {
  return fabs(found - expected) <= 1e-12 + 1e-9 * fabs(expected);
}

/* One node a rank: 4 (n-1) messages, 2 (n-1)/n of the bytes. */
TEST(aligned) {
  CHECK(forecast_reduction(&link, 8, 1, 1e6) == 0);
  CHECK(near(forecast_reduction(&link, 8, 2, 1e6), 6e-6 + 4 * 2e-7 + 1e-3));
  CHECK(near(forecast_reduction(&link, 8, 8, 1e6), 6e-6 + 28 * 2e-7 + 2 * 7 / 8.0 * 1e-3));
  CHECK(near(forecast_reduction(&link, 4096, 4096, 4096e3),
             6e-6 + 4 * 4095 * 2e-7 + 2 * 4095 * 1e3 / 1e9));
}

/* 8 slots on 3 ranks: [0 1], [2 3][4], [5][6 7] are 1, 2 and 2 nodes. A rank with 2 sends 4 pieces
 * and receives 3, the other sends 2 and receives 4. */
TEST(not_aligned) {
  double messages = 7 + 4, pieces = 4 + 2;
  CHECK(near(forecast_reduction(&link, 8, 3, 3e6), 6e-6 + messages * 2e-7 + pieces * 1e-3));
}

TEST(overlap) {
  const struct forecast_bucket buckets[] = {{1e6, 0.05}, {1e6, 0.0}};
  struct forecast_work work = {.slots = 8,
                               .slot_seconds = 0.1,
                               .update_seconds = 0.01,
                               .samples = 2,
                               .bucket_count = 2,
                               .buckets = buckets};
  double bucket = forecast_reduction(&link, 8, 2, 1e6);
  struct forecast alone = forecast_step(&work, &link, 1), two = forecast_step(&work, &link, 2);
  CHECK(near(alone.step, 0.81) && near(alone.samples_per_second, 16 / 0.81));
  CHECK(alone.efficiency == 1 && alone.exposed == 0 && alone.agreement == 0);
  CHECK(two.busiest == 4 && two.slots == 8 && near(two.compute, 0.4));
  CHECK(near(two.reduction, 2 * bucket) && near(two.exposed, bucket)); /* the first is hidden */
  CHECK(near(two.agreement, 4 * (3e-6 + 2e-7)));
  CHECK(near(two.step, 0.41 + bucket + two.agreement));
  CHECK(near(two.efficiency, 0.81 / (2 * two.step)));
}

/* The second bucket waits for a first one that the network is not done with. */
TEST(slow_network) {
  const struct forecast_link slow = {.bandwidth = 1e6};
  const struct forecast_bucket buckets[] = {{1e5, 0.02}, {1e5, 0.0}};
  struct forecast_work work = {
      .slots = 2, .slot_seconds = 0.1, .samples = 1, .bucket_count = 2, .buckets = buckets};
  struct forecast two = forecast_step(&work, &slow, 2);
  CHECK(near(two.reduction, 0.2) && near(two.exposed, 0.18) && near(two.step, 0.28));
}

/* More ranks than slots: one slot each. Three ranks with 8 slots: the busiest has 3. */
TEST(slots) {
  const struct forecast_link fast = {.bandwidth = 1e30};
  struct forecast_work work = {.slots = 8, .slot_seconds = 1, .samples = 1};
  struct forecast three = forecast_step(&work, &fast, 3), many = forecast_step(&work, &fast, 1024);
  CHECK(three.busiest == 3 && near(three.efficiency, 8 / 9.0));
  CHECK(many.slots == 1024 && many.busiest == 1 && near(many.step, 1));
  CHECK(near(many.efficiency, 1));
}

int main(void) {
  RUN(aligned);
  RUN(not_aligned);
  RUN(overlap);
  RUN(slow_network);
  RUN(slots);
  return check_result();
}
