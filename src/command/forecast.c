/* The model of a step: computation, the exact tree's messages, what of them overlaps. */
#include "command/forecast.h"
#include "comm/fold.h"
#include "comm/tree.h"

static double larger(double a, double b) {
  return a > b ? a : b;
}

/* What the busiest rank handles of a bucket until its sums are made. */
struct traffic {
  double messages; /* sent or received */
  double pieces;   /* sent, or received if these are more */
};

static struct traffic traffic_of(int slots, int ranks) {
  struct tree_node nodes[TREE_STACK_NODES];
  struct traffic most = {0};
  double others = ranks - 1, all = 0;
  for (int rank = 0; rank < ranks; rank++)
    all += tree_partials(comm_share(slots, rank, ranks), nodes);
  for (int rank = 0; rank < ranks; rank++) {
    double own = tree_partials(comm_share(slots, rank, ranks), nodes);
    most.messages = larger(most.messages, others * own + all - own);
    most.pieces = larger(most.pieces, larger(others * own, all - own));
  }
  return most;
}

static double reduce(const struct forecast_link *link, const struct traffic *traffic, int ranks,
                     double bytes) {
  double others = ranks - 1;
  return 2 * link->latency + link->overhead * (traffic->messages + 2 * others) +
         bytes / ranks / link->bandwidth * (traffic->pieces + others);
}

double forecast_reduction(const struct forecast_link *link, int slots, int ranks, double bytes) {
  if (ranks <= 1) return 0;
  struct traffic traffic = traffic_of(slots, ranks);
  return reduce(link, &traffic, ranks, bytes);
}

double forecast_agreement(const struct forecast_link *link, int ranks) {
  if (ranks <= 1) return 0;
  return 2 * 2 * (link->latency + link->overhead * (ranks - 1));
}

static double throughput(const struct forecast *forecast, const struct forecast_work *work) {
  return forecast->slots * work->samples / forecast->step;
}

static struct forecast forecast_alone(const struct forecast_work *work) {
  struct forecast alone = {.ranks = 1, .slots = work->slots, .busiest = work->slots};
  alone.compute = work->slots * work->slot_seconds;
  alone.step = alone.compute + work->update_seconds;
  alone.samples_per_second = throughput(&alone, work);
  alone.efficiency = 1;
  return alone;
}

struct forecast forecast_step(const struct forecast_work *work, const struct forecast_link *link,
                              int ranks) {
  struct forecast alone = forecast_alone(work);
  struct forecast result = {.ranks = ranks, .slots = work->slots > ranks ? work->slots : ranks};
  double end = 0;
  if (ranks <= 1) return alone;
  struct traffic traffic = traffic_of(result.slots, ranks);
  result.busiest = (result.slots + ranks - 1) / ranks;
  result.compute = result.busiest * work->slot_seconds;
  for (int i = 0; i < work->bucket_count; i++) {
    const struct forecast_bucket *bucket = &work->buckets[i];
    double seconds = reduce(link, &traffic, ranks, bucket->bytes);
    result.reduction += seconds;
    end = larger(end, result.compute - bucket->left) + seconds;
  }
  result.exposed = larger(end - result.compute, 0);
  result.agreement = forecast_agreement(link, ranks);
  result.step = result.compute + result.exposed + result.agreement + work->update_seconds;
  result.samples_per_second = throughput(&result, work);
  result.efficiency = result.samples_per_second / (ranks * alone.samples_per_second);
  return result;
}
