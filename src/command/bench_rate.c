/* The work of a pass: arithmetic where the operator counts it, else the bytes that it cannot do
 * without reading or writing once. */
#include "command/bench_rate.h"
#include <math.h>
#include <stdio.h>
#include "train/measure.h"

static const char *const names[] = {[BENCH_FORWARD] = "forward",
                                    [BENCH_BACKWARD] = "backward",
                                    [BENCH_WEIGHTS] = "weights",
                                    [BENCH_DATA] = "data"};

const char *bench_pass_name(enum bench_pass pass) {
  return names[pass];
}

bool bench_without_data(const struct node *node, struct node *weights) {
  bool has_data = false;
  *weights = *node;
  for (int i = 0; i < node->input_count; i++) {
    has_data = has_data || node->wants_dx[i];
    weights->wants_dx[i] = false;
  }
  return has_data && node->op->backward_flops && measure_trains(weights);
}

static double tensors_bytes(const struct tensor *tensors, int count, const bool *wanted) {
  double bytes = 0;
  for (int i = 0; i < count; i++)
    if (!wanted || wanted[i]) bytes += (double)tensor_bytes(&tensors[i]);
  return bytes;
}

static double least_bytes(const struct node *node, bool backward) {
  double x = tensors_bytes(node->x, node->input_count, NULL);
  double y = (double)tensor_bytes(&node->y);
  double saved = tensors_bytes(node->saved, node->saved_count, NULL);
  if (!backward) return x + y + saved;
  double dx = tensors_bytes(node->x, node->input_count, node->wants_dx);
  if (!(node->backward_reads & READS_X)) x = tensors_bytes(node->x, node_reads_x(node, 0), NULL);
  return dx + y + saved + x + (node->backward_reads & READS_Y ? y : 0);
}

static double flops_of(const struct node *node, enum bench_pass pass) {
  struct node weights;
  if (pass == BENCH_FORWARD) return node->op->forward_flops(node);
  double all = node->op->backward_flops(node);
  if (pass == BENCH_BACKWARD) return all;
  if (!bench_without_data(node, &weights)) return 0;
  double part = node->op->backward_flops(&weights);
  return pass == BENCH_WEIGHTS ? part : all - part;
}

struct bench_rate bench_rate_of(const struct node *node, enum bench_pass pass, double seconds,
                                const struct peak *peak) {
  if (!node->op->forward_flops)
    return bench_rate_bytes(least_bytes(node, pass != BENCH_FORWARD), seconds, peak);
  struct bench_rate rate = {.seconds = seconds, .work = flops_of(node, pass), .arithmetic = true};
  rate.share = peak->flops > 0 ? rate.work / seconds / peak->flops : NAN;
  return rate;
}

struct bench_rate bench_rate_bytes(double bytes, double seconds, const struct peak *peak) {
  return (struct bench_rate){.seconds = seconds,
                             .work = bytes,
                             .share = peak->bytes > 0 ? bytes / seconds / peak->bytes : NAN};
}

bool bench_rate_known(const struct bench_rate *rate) {
  return rate->seconds > 0 && isfinite(rate->seconds);
}

void bench_rate_print(const struct bench_rate *rate) {
  if (!bench_rate_known(rate)) {
    printf(" %13s %18s %7s", "-", "-", "-");
    return;
  }
  printf(" %10.4f ms %10.2f %s", 1e3 * rate->seconds, 1e-9 * rate->work / rate->seconds,
         rate->arithmetic ? "GFLOP/s" : "GB/s   ");
  if (isfinite(rate->share))
    printf(" %6.1f%%", 100 * rate->share);
  else
    printf(" %7s", "-");
}

json_t *bench_rate_json(const struct bench_rate *rate) {
  if (!bench_rate_known(rate)) return json_null();
  return json_pack("{s:f, s:f, s:o}", "seconds", rate->seconds,
                   rate->arithmetic ? "flop_per_second" : "bytes_per_second",
                   rate->work / rate->seconds, "share_of_peak",
                   isfinite(rate->share) ? json_real(rate->share) : json_null());
}
