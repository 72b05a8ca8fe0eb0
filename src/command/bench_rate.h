/* How fast a pass of a node is, and how much of the machine's limit that is. */
#pragma once
#include <jansson.h>
#include "kernels/op.h"
#include "kernels/peak/peak.h"

/* Backward as a whole, and the parts of it that can be told apart. */
enum bench_pass {
  BENCH_FORWARD,
  BENCH_BACKWARD,
  BENCH_WEIGHTS, /* the gradients of parameters alone */
  BENCH_DATA,    /* what backward takes on top of these for the gradients of its inputs */
  BENCH_PASSES
};

struct bench_rate {
  double seconds; /* 0: there is no such pass; infinite: it failed */
  double work;    /* multiply-adds times two, or bytes where the operator counts none */
  bool arithmetic;
  double share; /* of the peak of the type, or of the memory's bandwidth; NaN: unknown */
};

const char *bench_pass_name(enum bench_pass pass);

/* A copy of a node that wants no gradients of its inputs; false where nothing would be left of
 * backward, or where the two parts of it are not counted. */
bool bench_without_data(const struct node *node, struct node *weights);

/* peak: for the node's type. */
struct bench_rate bench_rate_of(const struct node *node, enum bench_pass pass, double seconds,
                                const struct peak *peak);

/* Bytes moved in some seconds. */
struct bench_rate bench_rate_bytes(double bytes, double seconds, const struct peak *peak);

bool bench_rate_known(const struct bench_rate *rate);

/* "   12.3456 ms    123.45 GFLOP/s   98.1%" */
void bench_rate_print(const struct bench_rate *rate);

/* null where there is no rate. */
json_t *bench_rate_json(const struct bench_rate *rate);

/* The optimiser and the norm of the gradient on so many parameters: printed, and added to `rows`.
 */
CHECKED enum status bench_update(struct device *device, const char *optimizer, int64_t parameters,
                                 const struct peak *peak, json_t *rows);
