/* Kernels against the limits of the machine and against each other. */
#include "command/bench_ops.h"
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "command/sketch.h"
#include "kernels/peak/peak.h"
#include "train/measure.h"

/* Where the time of one direction went. */
struct rate {
  double seconds, work; /* multiply-adds times two, or bytes where the operator counts none */
  bool arithmetic;
};

struct table {
  struct device *device;
  struct peak peak[2]; /* for float32, and for the activations' type */
  json_t *rows;
};

static double tensors_bytes(const struct tensor *tensors, int count, const bool *wanted) {
  double bytes = 0;
  for (int i = 0; i < count; i++)
    if (!wanted || wanted[i]) bytes += (double)tensor_bytes(&tensors[i]);
  return bytes;
}

/* What a direction cannot do without reading or writing once. */
static double least_bytes(const struct node *node, bool backward) {
  double x = tensors_bytes(node->x, node->input_count, NULL);
  double y = (double)tensor_bytes(&node->y);
  double saved = tensors_bytes(node->saved, node->saved_count, NULL);
  if (!backward) return x + y + saved;
  double dx = tensors_bytes(node->x, node->input_count, node->wants_dx);
  if (!(node->backward_reads & READS_X)) x = tensors_bytes(node->x, node_reads_x(node, 0), NULL);
  return dx + y + saved + x + (node->backward_reads & READS_Y ? y : 0);
}

static struct rate rate_of(const struct node *node, bool backward, double seconds) {
  double (*flops)(const struct node *) =
      backward ? node->op->backward_flops : node->op->forward_flops;
  struct rate rate = {.seconds = seconds, .arithmetic = flops != NULL};
  rate.work = flops ? flops(node) : least_bytes(node, backward);
  return rate;
}

static double share_of_peak(const struct table *table, const struct node *node, struct rate rate) {
  const struct peak *peak = &table->peak[node->dtype != DTYPE_F32];
  double limit = rate.arithmetic ? peak->flops : peak->bytes;
  return limit > 0 ? rate.work / rate.seconds / limit : NAN;
}

static void print_rate(const struct table *table, const struct node *node, struct rate rate) {
  if (rate.seconds <= 0 || !isfinite(rate.seconds)) {
    printf(" %10s %16s %6s", "-", "-", "-");
    return;
  }
  double share = 100 * share_of_peak(table, node, rate), speed = rate.work / rate.seconds;
  printf(" %10.4f %9.2f %s", 1e3 * rate.seconds, speed * (rate.arithmetic ? 1e-12 : 1e-9),
         rate.arithmetic ? "TFLOP/s" : "GB/s   ");
  if (isfinite(share))
    printf(" %5.1f%%", share);
  else
    printf(" %6s", "-");
}

static json_t *rate_json(const struct table *table, const struct node *node, struct rate rate) {
  if (rate.seconds <= 0 || !isfinite(rate.seconds)) return json_null();
  double share = share_of_peak(table, node, rate);
  return json_pack("{s:f, s:f, s:o}", "seconds", rate.seconds,
                   rate.arithmetic ? "flop_per_second" : "bytes_per_second",
                   rate.work / rate.seconds, "share_of_peak",
                   isfinite(share) ? json_real(share) : json_null());
}

static bool is_cudnn(const struct kernel *kernel) {
  return strncmp(kernel->name, "cudnn", 5) == 0;
}

/* The best cuDNN time of a node's kernels, each direction by itself; infinite without. */
static struct measured best_cudnn(const struct node *node, const struct measured *times) {
  struct measured best = {INFINITY, INFINITY};
  for (int i = 0; node->op->kernels[i]; i++) {
    if (!is_cudnn(node->op->kernels[i]) || !op_kernel_fits(node->op->kernels[i], node)) continue;
    best.forward = fmin(best.forward, times[i].forward);
    best.backward = fmin(best.backward, times[i].backward);
  }
  return best;
}

static void print_kernel(struct table *table, const struct node *node, const struct kernel *kernel,
                         struct measured time, struct measured cudnn) {
  struct rate forward = rate_of(node, false, time.forward);
  struct rate backward = rate_of(node, true, time.backward);
  double ratio = (cudnn.forward + cudnn.backward) / (time.forward + time.backward);
  printf("  %-18s", kernel->name);
  print_rate(table, node, forward);
  print_rate(table, node, backward);
  if (isfinite(ratio)) printf(" %7.2f", ratio);
  printf("\n");
  json_array_append_new(
      table->rows,
      json_pack("{s:s, s:s, s:s, s:s, s:o, s:o, s:o}", "node", node->name, "operator",
                node->op->name, "kernel", kernel->name, "type", dtype_name(node->dtype), "forward",
                rate_json(table, node, forward), "backward", rate_json(table, node, backward),
                "times_cudnn", isfinite(ratio) ? json_real(ratio) : json_null()));
}

static void print_shapes(const struct node *node) {
  printf("%s (%s, %s):", node->name, node->op->name, dtype_name(node->dtype));
  for (int i = 0; i <= node->input_count; i++) {
    const struct shape *s = i < node->input_count ? &node->x[i].shape : &node->y.shape;
    printf("%s %dx%dx%dx%dx%d", i < node->input_count ? "" : " ->", s->n, s->c, s->d, s->h, s->w);
  }
  printf("\n");
}

enum { MOST_KERNELS = 64 };

static void bench_node(struct table *table, const struct node *node) {
  struct measured times[MOST_KERNELS];
  print_shapes(node);
  for (int i = 0; node->op->kernels[i] && i < MOST_KERNELS; i++)
    if (op_kernel_fits(node->op->kernels[i], node))
      times[i] = measure_kernel(table->device, node, node->op->kernels[i]);
  struct measured cudnn = best_cudnn(node, times);
  for (int i = 0; node->op->kernels[i] && i < MOST_KERNELS; i++)
    if (op_kernel_fits(node->op->kernels[i], node))
      print_kernel(table, node, node->op->kernels[i], times[i], cudnn);
  fflush(stdout);
}

static bool tensors_equal(const struct tensor *a, const struct tensor *b) {
  return shape_equal(a->shape, b->shape) && a->dtype == b->dtype && a->layout == b->layout;
}

static bool nodes_alike(const struct node *a, const struct node *b) {
  bool alike = a->op == b->op && a->input_count == b->input_count && tensors_equal(&a->y, &b->y) &&
               memcmp(a->arguments, b->arguments, sizeof a->arguments) == 0;
  for (int i = 0; alike && i < a->input_count; i++)
    alike = tensors_equal(&a->x[i], &b->x[i]) && a->wants_dx[i] == b->wants_dx[i];
  return alike;
}

/* Only nodes that run have a kernel. */
static bool is_new(const struct graph *graph, int n) {
  const struct node *node = &graph->nodes[n].node;
  bool known = node->kernel == NULL;
  for (int i = 0; i < n && !known; i++)
    known = graph->nodes[i].node.kernel && nodes_alike(&graph->nodes[i].node, node);
  return !known;
}

static enum status print_all(struct table *table, const struct graph *graph) {
  TRY(peak_measure(table->device, DTYPE_F32, &table->peak[0]));
  TRY(peak_measure(table->device, graph->activation, &table->peak[1]));
  printf("%s: %.2f TFLOP/s in float32, %.2f in %s; memory %.1f GB/s\n", table->device->ops->name,
         table->peak[0].flops * 1e-12, table->peak[1].flops * 1e-12, dtype_name(graph->activation),
         table->peak[0].bytes * 1e-9);
  printf("  %-18s %10s %16s  peak %10s %16s  peak  x cuDNN\n", "kernel", "forward ms", "",
         "backward ms", "");
  for (int n = 0; n < graph->node_count; n++)
    if (is_new(graph, n)) bench_node(table, &graph->nodes[n].node);
  return STATUS_OK;
}

enum status bench_ops(const struct config *config, struct device *device) {
  struct sketch sketch;
  struct table table = {.device = device, .rows = json_array()};
  enum status status = sketch_open(&sketch, config, device->ops);
  if (!status) status = print_all(&table, &sketch.training.graph);
  char *text = !status && table.rows ? json_dumps(table.rows, JSON_REAL_PRECISION(6)) : NULL;
  if (text) printf("%s\n", text);
  free(text);
  json_decref(table.rows);
  sketch_close(&sketch);
  return status;
}
