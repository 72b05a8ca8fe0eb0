/* What a step would take on other numbers of ranks, from what one slot and one message take. */
#pragma once
#include <stdint.h>

/* The network as a rank sees it: messages go in and out at the same time. */
struct forecast_link {
  double latency;   /* seconds from the sending of a short message to its arrival */
  double overhead;  /* seconds a rank is busy with each message that it sends or receives */
  double bandwidth; /* bytes per second, each way */
};

/* A part of the gradient that travels on its own. */
struct forecast_bucket {
  double bytes;
  double left; /* seconds of computation that follow its completion in a rank's last slot */
};

struct forecast_work {
  int slots;             /* of the config's step; more ranks than that are given one slot each */
  double slot_seconds;   /* forward and backward of one slot */
  double update_seconds; /* of the weights, on every rank */
  double samples;        /* of a slot */
  int bucket_count;
  const struct forecast_bucket *buckets; /* in the order in which they are completed */
};

struct forecast {
  int ranks, slots, busiest; /* busiest: slots of the rank that has most */
  double compute;            /* its slots */
  double reduction;          /* of all buckets, had they nothing to wait for */
  double exposed;            /* what of it is not hidden behind backward */
  double agreement;          /* the sum of the losses and the word that nobody failed */
  double step, samples_per_second;
  double efficiency; /* samples per second and rank, relative to one rank */
};

/* The exact tree on one bucket. Of n ranks rank r is left with p(r) nodes of the tree; P is their
 * sum over ranks. It sends its nodes in n-1 pieces of bytes/n each to the ranks that add them,
 * receives theirs (P - p(r) pieces), adds, sends its piece of the total to n-1 ranks and receives
 * as many:
 *
 *   2 latency + overhead (max over r of ((n-1) p(r) + P - p(r)) + 2 (n-1))
 *             + bytes / (n bandwidth) (max over r of max((n-1) p(r), P - p(r)) + n-1)
 *
 * Where n divides the slots into aligned halves p(r) = 1 and P = n: 4 (n-1) messages, and
 * 2 (n-1)/n of the bucket each way, as in a ring. The additions are counted with the bandwidth. */
double forecast_reduction(const struct forecast_link *link, int slots, int ranks, double bytes);

/* Two stars (everybody to rank 0, and back): sum of losses, agreement. 0 for one rank. */
double forecast_agreement(const struct forecast_link *link, int ranks);

/* Every rank computes its slots one after the other; in the last one buckets leave as backward
 * completes them, one after the other on the network:
 *
 *   step = busiest slot_seconds + exposed + agreement + update_seconds */
struct forecast forecast_step(const struct forecast_work *work, const struct forecast_link *link,
                              int ranks);
