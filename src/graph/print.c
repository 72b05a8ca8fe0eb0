/* A plan and a run for people. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "base/text.h"
#include "graph/parts.h"
#include "graph/run.h"

/* 327331 -> "327,331"; text holds at least 32 bytes. */
static char *with_thousands(int64_t number, char *text) {
  char digits[24];
  int length = snprintf(digits, sizeof digits, "%" PRId64, number), used = 0;
  for (int i = 0; i < length; i++) {
    if (i > 0 && (length - i) % 3 == 0) text[used++] = ',';
    text[used++] = digits[i];
  }
  text[used] = 0;
  return text;
}

static char *shape_text(const struct tensor *tensor, char *text, size_t bytes) {
  struct shape s = tensor->shape;
  snprintf(text, bytes, "%d x %d x %d x %d x %d", s.n, s.c, s.d, s.h, s.w);
  return text;
}

static const char *const layout_names[] = {
    [LAYOUT_PLANAR] = "planar", [LAYOUT_BLOCKED] = "blocked", [LAYOUT_LAST] = "last"};

static const char *const step_names[] = {
    [STEP_FORWARD] = "forward", [STEP_BACKWARD] = "backward", [STEP_AGAIN] = "again"};

static void print_step(const struct plan *plan, int s, FILE *out) {
  const struct plan_step *step = &plan->steps[s];
  const struct node *node = &plan->graph->nodes[step->node].node;
  char shape[64], bytes[32], kernel[64];
  snprintf(kernel, sizeof kernel, "%s.%s", node->op->name, node->kernel->name);
  fprintf(out, "%4d  %-8s  %-28s  %-36s  %-24s  %-8s  %-7s  %10s  %10.3f\n", s,
          step_names[step->kind], kernel, node->name, shape_text(&node->y, shape, sizeof shape),
          dtype_name(node->y.dtype), layout_names[node->y.layout],
          text_bytes((double)tensor_bytes(&node->y), bytes), plan_step_flops(plan, step) / 1e9);
}

static void print_not_run(const struct plan *plan, FILE *out) {
  for (int n = 0; n < plan->graph->node_count; n++) {
    const struct graph_node *node = &plan->graph->nodes[n];
    if (node_runs(node)) continue;
    fprintf(out, "   -  %-8s  %-28s  %s\n", node->live ? "folded" : "unused", node->node.op->name,
            node->node.name);
  }
}

static void print_steps(const struct plan *plan, FILE *out) {
  fprintf(out, "%4s  %-8s  %-28s  %-36s  %-24s  %-8s  %-7s  %10s  %10s\n", "step", "",
          "operator.kernel", "layer", "output n c d h w", "type", "layout", "bytes", "GFLOP");
  for (int s = 0; s < plan->step_count; s++) print_step(plan, s, out);
  print_not_run(plan, out);
}

static void print_parameter(const struct plan_parameter *parameter, FILE *out) {
  char shape[64] = "", count[32];
  size_t used = 0;
  for (int i = 0; i < parameter->parameter.rank && used < sizeof shape; i++)
    used += (size_t)snprintf(shape + used, sizeof shape - used, "%s%d", i ? " x " : "",
                             parameter->parameter.extent[i]);
  fprintf(out, "%-56s  %-24s  %12s\n", parameter->name, shape,
          with_thousands(parameter->count, count));
}

/* Nothing if there are none of the kind. */
static void print_parameters(const struct plan *plan, const char *title, bool statistics,
                             FILE *out) {
  bool headed = false;
  for (int i = 0; i < plan->parameter_count; i++) {
    if (plan->parameters[i].parameter.statistic != statistics) continue;
    if (!headed) fprintf(out, "\n%-56s  %-24s  %12s\n", title, "shape", "count");
    headed = true;
    print_parameter(&plan->parameters[i], out);
  }
}

static void print_buckets(const struct plan *plan, FILE *out) {
  if (plan->bucket_count == 0) return;
  fprintf(out, "\n%-8s  %12s  %12s  %12s\n", "bucket", "first", "bytes", "ready after");
  for (int i = 0; i < plan->bucket_count; i++) {
    const struct plan_bucket *bucket = &plan->buckets[i];
    char first[32], bytes[32];
    double size = (double)bucket->count * (double)dtype_bytes(plan->graph->dtype);
    fprintf(out, "%-8d  %12s  %12s  step %7d\n", i, with_thousands(bucket->first, first),
            text_bytes(size, bytes), bucket->last_step);
  }
}

/* Of the values that are computed again. */
static double again_bytes(const struct plan *plan) {
  double bytes = 0;
  for (int s = 0; s < plan->step_count; s++)
    if (plan->steps[s].kind == STEP_AGAIN)
      bytes += (double)tensor_bytes(&plan->graph->nodes[plan->steps[s].node].node.y);
  return bytes;
}

static void print_totals(const struct plan *plan, FILE *out) {
  char count[32], arena[32], peak[32], input[32];
  double ratio =
      plan->peak_live_bytes ? (double)plan->arena_bytes / (double)plan->peak_live_bytes : 1;
  fprintf(out, "\nparameters         %s\n", with_thousands(plan_trainable_count(plan), count));
  if (plan_statistic_count(plan) > 0)
    fprintf(out, "statistics         %s\n", with_thousands(plan_statistic_count(plan), count));
  fprintf(out, "arena              %s in %d tensors\n",
          text_bytes((double)plan->arena_bytes, arena), plan->tenant_count);
  fprintf(out, "peak live          %s (arena / peak = %.4f)\n",
          text_bytes((double)plan->peak_live_bytes, peak), ratio);
  fprintf(out, "inputs             %s\n", text_bytes((double)plan->input_bytes, input));
  fprintf(out, "forward            %.3f GFLOP in %d steps\n", plan->forward_flops / 1e9,
          plan->forward_step_count);
  fprintf(out, "backward           %.3f GFLOP in %d steps\n", plan->backward_flops / 1e9,
          plan->step_count - plan->forward_step_count - plan->again_count);
  if (plan->again_count > 0)
    fprintf(out, "computed again     %s in %d steps between those of backward\n",
            text_bytes(again_bytes(plan), arena), plan->again_count);
}

void plan_print(const struct plan *plan, FILE *out) {
  print_steps(plan, out);
  print_parameters(plan, "parameter", false, out);
  print_parameters(plan, "statistic", true, out);
  print_buckets(plan, out);
  print_totals(plan, out);
}

static struct run_kind *find_kind(struct run_kind *kinds, int *count, const struct run_kind *like) {
  for (int i = 0; i < *count; i++)
    if (kinds[i].kind == like->kind && kinds[i].kernel == like->kernel && kinds[i].op == like->op)
      return &kinds[i];
  kinds[*count] = *like;
  return &kinds[(*count)++];
}

static int slower_first(const void *a, const void *b) {
  double first = ((const struct run_kind *)a)->seconds;
  double second = ((const struct run_kind *)b)->seconds;
  return (first < second) - (first > second);
}

int run_timing_kinds(const struct run *run, struct run_kind *kinds) {
  const struct plan *plan = run->plan;
  int count = 0;
  for (int s = 0; run->step_seconds && s < plan->step_count; s++) {
    const struct node *node = &plan->graph->nodes[plan->steps[s].node].node;
    struct run_kind like = {.kind = plan->steps[s].kind, .kernel = node->kernel, .op = node->op};
    struct run_kind *kind = find_kind(kinds, &count, &like);
    kind->steps++;
    kind->seconds += run->step_seconds[s];
    kind->flops += plan_step_flops(plan, &plan->steps[s]);
  }
  qsort(kinds, (size_t)count, sizeof *kinds, slower_first);
  return count;
}

const char *step_kind_name(enum step_kind kind) {
  return step_names[kind];
}

void run_print_timing(const struct run *run, FILE *out) {
  if (!run->step_seconds) return;
  struct run_kind *kinds = calloc((size_t)run->plan->step_count, sizeof *kinds);
  if (!kinds) return;
  int count = run_timing_kinds(run, kinds);
  double total = 0;
  for (int i = 0; i < count; i++) total += kinds[i].seconds;
  fprintf(out, "%-8s  %-28s  %6s  %12s  %7s  %12s\n", "", "operator.kernel", "steps", "seconds",
          "share", "GFLOP each");
  for (int i = 0; i < count; i++) {
    char kernel[64];
    snprintf(kernel, sizeof kernel, "%s.%s", kinds[i].op->name, kinds[i].kernel->name);
    fprintf(out, "%-8s  %-28s  %6d  %12.6f  %6.2f%%  %12.3f\n", step_names[kinds[i].kind], kernel,
            kinds[i].steps, kinds[i].seconds, total > 0 ? 100 * kinds[i].seconds / total : 0,
            kinds[i].flops / 1e9);
  }
  fprintf(out, "%-8s  %-28s  %6d  %12.6f\n", "total", "", run->plan->step_count, total);
  free(kinds);
}
