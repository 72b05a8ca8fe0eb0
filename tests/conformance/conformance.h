/* Checks every kernel of an operator that this machine can run, CPU and CUDA, against the
 * operator's float64 reference, and that reference against finite differences. A test fills a table
 * of struct op_case (conformance_call.h) and calls conformance_run; failures are counted by
 * check.h. */
#pragma once
#include "conformance_call.h"

/* Runs all checks on `count` cases and prints a line for each; where CONFORMANCE_PART is "K of N",
 * on every Nth of them from the Kth on. */
static void conformance_run(const struct op_case *cases, int count);

/* Elements per tensor that meet finite differences, fewer where one call is much work. */
enum { CONFORMANCE_SAMPLES = 16, CONFORMANCE_FEW_SAMPLES = 2 };

/* A trial with its values rounded for kernels of a 16-bit type. */
struct rounded_trial {
  struct trial trial;
  struct outcome reference;
  const struct kernel *kernel; /* it is for this one; NULL: for all of the type */
  enum dtype dtype;
  unsigned wide; /* inputs that are float32 */
  struct rounded_trial *next;
};

/* --- values --- */

static void fill_range(struct random *random, double low, double high, int64_t count,
                       double *values) {
  for (int64_t i = 0; i < count; i++) values[i] = (float)random_range(random, low, high);
}

static void trial_fill_input(struct trial *trial, int i, struct random *random) {
  const struct op_case *test = trial->test;
  bool label = test->x_dtype[i] == DTYPE_U8, usual = test->low[i] == 0 && test->high[i] == 0;
  double low = usual && !label ? -1 : test->low[i], high = usual ? (label ? 3 : 1) : test->high[i];
  trial->count[i] = logical_count(&test->x[i]);
  trial->value[i] = conformance_doubles(trial->count[i]);
  trial->prefill[i] = conformance_doubles(trial->count[i]);
  fill_range(random, low, label ? high + 1 : high, trial->count[i], trial->value[i]);
  fill_range(random, -1, 1, trial->count[i], trial->prefill[i]);
  if (test->fill) test->fill(i, &test->x[i], trial->value[i]);
  for (int64_t k = 0; k < trial->count[i]; k++)
    trial->value[i][k] = label ? floor(trial->value[i][k]) : (float)trial->value[i][k];
}

/* Around its initial value, so that a variance is above 0. */
static void fill_statistic(struct random *random, int64_t count, const struct parameter *parameter,
                           double *values) {
  fill_range(random, parameter->scale - 0.5, parameter->scale + 0.5, count, values);
}

static bool trial_open(struct trial *trial, const struct op_case *test, int number) {
  memset(trial, 0, sizeof *trial);
  trial->test = test;
  enum status status = conformance_node(test, DTYPE_F64, LAYOUTS_PLANAR, -1, &trial->node);
  CHECK_SAY(status == STATUS_OK, " (%s: %s)", test->label, status_trace());
  if (status != STATUS_OK) return false;
  struct random random = random_stream(20240229, RANDOM_TEST, (uint32_t)number, 0);
  for (int i = 0; i < test->input_count; i++) trial_fill_input(trial, i, &random);
  for (int j = 0; j < trial->node.parameter_count; j++) {
    const struct parameter *parameter = &trial->node.parameter[j];
    int t = OP_MAX_INPUTS + j;
    trial->count[t] = conformance_parameter_count(parameter);
    double bound = 1 / sqrt((double)trial->count[t] / parameter->extent[0]);
    trial->value[t] = conformance_doubles(trial->count[t]);
    if (parameter->statistic)
      fill_statistic(&random, trial->count[t], parameter, trial->value[t]);
    else
      fill_range(&random, -bound, bound, trial->count[t], trial->value[t]);
  }
  trial->y_count = logical_count(&trial->node.y.shape);
  trial->dy = conformance_doubles(trial->y_count);
  fill_range(&random, 0.25, 1, trial->y_count, trial->dy);
  for (int64_t k = 0; k < trial->y_count; k++) /* both signs, never zero */
    if (random_bits(&random) & 1 && trial->y_count > 1) trial->dy[k] = -trial->dy[k];
  return true;
}

static void trial_close(struct trial *trial) {
  for (struct rounded_trial *kept = trial->rounded, *next; kept; kept = next) {
    next = kept->next;
    trial_close(&kept->trial);
    outcome_free(&kept->reference);
    free(kept);
  }
  for (int t = 0; t < CONFORMANCE_TENSORS; t++) free(trial->value[t]);
  for (int i = 0; i < OP_MAX_INPUTS; i++) free(trial->prefill[i]);
  free(trial->dy);
}

/* --- the float64 reference against mathematics --- */

static const struct kernel *conformance_reference(const struct op *op) {
  const struct kernel *found = NULL;
  for (int i = 0; op->kernels[i]; i++)
    if (op->kernels[i]->dtype == DTYPE_F64 && op->kernels[i]->device == DEVICE_CPU)
      found = op->kernels[i];
  return found;
}

static struct attempt reference_attempt(const struct trial *trial, bool backward) {
  const struct kernel *reference = conformance_reference(trial->test->op);
  return (struct attempt){.kernel = reference,
                          .layouts = LAYOUTS_PLANAR,
                          .threads = 1,
                          .backward = backward && reference->training,
                          .only = -1};
}

static double conformance_dot(const double *a, const double *b, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; i++) sum += a[i] * b[i];
  return sum;
}

/* <dy, y> at value + step*direction less the same at value - step*direction, for tensor t. */
static double difference(struct trial *trial, int t, const double *direction, double step) {
  struct attempt attempt = reference_attempt(trial, false);
  double *centre = trial->value[t], *moved = conformance_doubles(trial->count[t]), sum = 0;
  trial->value[t] = moved;
  for (int64_t i = 0; i < trial->count[t]; i++) moved[i] = centre[i] + step * direction[i];
  struct outcome up = attempt_run(trial, &attempt);
  for (int64_t i = 0; i < trial->count[t]; i++) moved[i] = centre[i] - step * direction[i];
  struct outcome down = attempt_run(trial, &attempt);
  for (int64_t k = 0; k < trial->y_count; k++) sum += trial->dy[k] * (up.y[k] - down.y[k]);
  trial->value[t] = centre;
  free(moved);
  outcome_free(&up);
  outcome_free(&down);
  return sum;
}

static void check_slope(struct trial *trial, int t, const double *direction, const double *gradient,
                        double scale) {
  const double step = 1e-5;
  double limit = trial->test->gradient_tolerance ? trial->test->gradient_tolerance : 1e-6;
  double slope = difference(trial, t, direction, step) / (2 * step);
  double expected = conformance_dot(direction, gradient, trial->count[t]);
  CHECK_SAY(fabs(slope - expected) <= limit * (scale + fabs(expected)),
            " (%s: %s %d: gradient %.12g, differences %.12g)", trial->test->label,
            t < OP_MAX_INPUTS ? "input" : "parameter", t % OP_MAX_INPUTS, expected, slope);
}

static int sample_count(const struct trial *trial) {
  const struct op *op = trial->test->op;
  bool much = op->forward_flops && op->forward_flops(&trial->node) > 1e6;
  return much || CHECK_WATCHED ? CONFORMANCE_FEW_SAMPLES : CONFORMANCE_SAMPLES;
}

/* Whether a tensor's gradient is one. */
static bool is_trained(const struct trial *trial, int t) {
  return t < OP_MAX_INPUTS || !trial->node.parameter[t - OP_MAX_INPUTS].statistic;
}

static void check_differences(struct trial *trial, const struct outcome *reference) {
  int samples = sample_count(trial);
  struct random random = random_stream(7, RANDOM_TEST, 1, 1);
  for (int t = 0; t < CONFORMANCE_TENSORS; t++) {
    const double *gradient = reference->gradient[t];
    int64_t count = trial->count[t];
    if (!gradient || !is_trained(trial, t)) continue;
    double *direction = conformance_doubles(count);
    double norm = sqrt(conformance_dot(gradient, gradient, count));
    for (int s = 0; s < CONFORMANCE_SAMPLES; s++) {
      int64_t at = random_below(&random, (uint32_t)count);
      if (s >= samples) continue;
      direction[at] = 1;
      check_slope(trial, t, direction, gradient, norm / sqrt((double)count));
      direction[at] = 0;
    }
    fill_range(&random, -1, 1, count, direction); /* and all elements together */
    check_slope(trial, t, direction, gradient, norm);
    free(direction);
  }
}

/* <A x, dy> = <x, A' dy>. */
static void check_adjoint(struct trial *trial, const struct outcome *reference) {
  struct attempt attempt = reference_attempt(trial, false);
  double *kept[OP_MAX_INPUTS], left = 0, right = 0, scale = 0;
  memcpy(kept, trial->value, sizeof kept);
  for (int i = 0; i < OP_MAX_INPUTS; i++)
    if (reference->gradient[i]) trial->value[i] = conformance_doubles(trial->count[i]);
  struct outcome zero = attempt_run(trial, &attempt);
  for (int64_t k = 0; k < trial->y_count; k++) {
    double term = trial->dy[k] * (reference->y[k] - zero.y[k]);
    left += term;
    scale += fabs(term);
  }
  for (int i = 0; i < OP_MAX_INPUTS; i++) {
    if (!reference->gradient[i]) continue;
    right += conformance_dot(kept[i], reference->gradient[i], trial->count[i]);
    free(trial->value[i]);
    trial->value[i] = kept[i];
  }
  CHECK_SAY(fabs(left - right) <= 1e-12 * scale, " (%s: <Ax,y> %.15g, <x,A'y> %.15g)",
            trial->test->label, left, right);
  outcome_free(&zero);
}

/* --- kernels against the float64 reference --- */

/* Kernels of 16-bit types may round weights, dy behind an activation's derivative, and what they
 * write: half a unit in the last place each. */
static double trial_tolerance(const struct trial *trial, enum dtype dtype) {
  double rounding = dtype == DTYPE_BF16 ? 0x1.8p-8 : dtype == DTYPE_F16 ? 0x1.8p-11 : 0;
  if (dtype == DTYPE_F64) return 1e-12;
  if (trial->test->tolerance) return trial->test->tolerance + rounding;
  double length = trial->test->op->is_loss ? (double)trial->count[0] : 1;
  if (trial->node.parameter_count) {
    double fan_in = (double)trial->count[OP_MAX_INPUTS] / trial->node.parameter[0].extent[0];
    length = fmax(fan_in, (double)trial->y_count / trial->node.y.shape.c);
  }
  return ldexp(8 + sqrt(length), -24) + rounding;
}

/* Which kernel, and how it is called, for messages. */
static const char *attempt_text(const struct attempt *attempt) {
  static char text[128];
  snprintf(text, sizeof text, "%s %s %s, layouts %d, float32 inputs %x, planar inputs %x",
           attempt->kernel->device == DEVICE_CUDA ? "cuda" : "cpu", attempt->kernel->name,
           dtype_name(attempt->kernel->dtype), (int)attempt->layouts, attempt->wide,
           attempt->planar);
  return text;
}

/* ||a - b - shift|| <= tolerance ||b + shift||; shift may be NULL. */
static void check_close(const struct trial *trial, const struct attempt *attempt, const char *what,
                        const double *a, const double *b, const double *shift, int64_t count) {
  double error = 0, norm = 0, limit = trial_tolerance(trial, attempt->kernel->dtype);
  for (int64_t i = 0; i < count; i++) {
    double expected = b[i] + (shift ? shift[i] : 0);
    error += (a[i] - expected) * (a[i] - expected);
    norm += expected * expected;
  }
  double ratio = norm > 0 ? sqrt(error / norm) : sqrt(error);
  CHECK_SAY(ratio <= limit, " (%s: %s, %s%s: error %.3g, allowed %.3g)", trial->test->label,
            attempt_text(attempt), what, attempt->add ? ", adding" : "", ratio, limit);
}

static void check_outcome(const struct trial *trial, const struct attempt *attempt,
                          const struct outcome *outcome, const struct outcome *reference) {
  static const char *const names[CONFORMANCE_TENSORS] = {
      "dx[0]", "dx[1]", "dx[2]", "dx[3]", "dx[4]", "dx[5]", "dw[0]", "dw[1]", "dw[2]", "dw[3]"};
  check_close(trial, attempt, "y", outcome->y, reference->y, NULL, trial->y_count);
  for (int t = 0; t < CONFORMANCE_TENSORS; t++) {
    if (!outcome->gradient[t]) continue;
    const double *shift = attempt->add && t < OP_MAX_INPUTS ? trial->prefill[t] : NULL;
    check_close(trial, attempt, names[t], outcome->gradient[t], reference->gradient[t], shift,
                trial->count[t]);
  }
}

static uint64_t check_attempt(const struct trial *trial, const struct attempt *attempt,
                              const struct outcome *reference) {
  struct outcome outcome = attempt_run(trial, attempt);
  uint64_t bits = outcome.bits;
  check_outcome(trial, attempt, &outcome, reference);
  outcome_free(&outcome);
  return bits;
}

/* The same bits from run to run and, on the CPU, for any number of threads. */
static void check_bits(const struct trial *trial, struct attempt attempt,
                       const struct outcome *reference) {
  static const int all_threads[] = {1, 2, 2, 3}, few_threads[] = {1, 3};
  enum { MOST_RUNS = sizeof all_threads / sizeof *all_threads };
  const int *threads = CHECK_WATCHED ? few_threads : all_threads;
  int runs = attempt.kernel->device == DEVICE_CPU && !CHECK_WATCHED ? MOST_RUNS : 2;
  uint64_t bits[MOST_RUNS];
  for (int r = 0; r < runs; r++) {
    attempt.threads = threads[r];
    bits[r] = check_attempt(trial, &attempt, reference);
    CHECK_SAY(bits[r] == bits[0], " (%s: %s gives other bits with %d threads)", trial->test->label,
              attempt_text(&attempt), threads[r]);
  }
}

/* Gradients added to what is there. What a kernel does differently then is its last write. */
static void check_adding(const struct trial *trial, struct attempt attempt,
                         const struct outcome *reference) {
  attempt.add = attempt.backward;
  if (!attempt.add) return;
  if (!CHECK_WATCHED) {
    check_bits(trial, attempt, reference);
    return;
  }
  if (attempt.kernel->device == DEVICE_CPU) attempt.threads = 3;
  check_attempt(trial, &attempt, reference);
}

/* A kernel writing, adding and in place; each gradient also alone. On CUDA for one of the variants
 * of its inputs; the others are written or added to once. */
static void check_variant(struct trial *trial, struct attempt attempt,
                          const struct outcome *reference) {
  int wanted = 0;
  trial->variants = trial->tried == attempt.kernel ? trial->variants + 1 : 0;
  trial->tried = attempt.kernel;
  conformance_count(trial->test->op, attempt.kernel);
  if (trial->variants > 0 && attempt.kernel->device == DEVICE_CUDA) {
    attempt.add = attempt.backward && trial->variants % 2;
    check_attempt(trial, &attempt, reference);
    return;
  }
  check_bits(trial, attempt, reference);
  check_adding(trial, attempt, reference);
  if (trial->test->op->in_place) {
    attempt.in_place = true;
    check_attempt(trial, &attempt, reference);
    attempt.in_place = false;
  }
  for (int i = 0; i < OP_MAX_INPUTS; i++) wanted += differentiable(trial->test, i);
  for (int i = 0; attempt.backward && i < OP_MAX_INPUTS && wanted > 1; i++) {
    if (!differentiable(trial->test, i)) continue;
    attempt.only = i;
    check_attempt(trial, &attempt, reference);
  }
}

static double *rounded(const double *values, int64_t count, enum dtype dtype) {
  double *copy = conformance_doubles(count);
  for (int64_t i = 0; i < count; i++) {
    uint64_t element;
    element_write(&element, dtype, 0, values[i]);
    copy[i] = element_read(&element, dtype, 0);
  }
  return copy;
}

/* The values of a trial in the types that a kernel of a 16-bit type reads. What meets weights is
 * rounded to the kernel's type even where it is stored as float32: kernels may do so. */
static void round_trial(const struct trial *trial, const struct node *node, enum dtype narrow,
                        struct trial *copy) {
  bool weighted = node->parameter_count > 0;
  *copy = *trial;
  copy->rounded = NULL;
  for (int i = 0; i < node->input_count; i++) {
    enum dtype dtype = node->x[i].dtype;
    bool narrowed = weighted && dtype == DTYPE_F32;
    copy->value[i] = rounded(trial->value[i], trial->count[i], narrowed ? narrow : dtype);
    copy->prefill[i] = rounded(trial->prefill[i], trial->count[i], dtype);
  }
  for (int t = OP_MAX_INPUTS; t < OP_MAX_INPUTS + node->parameter_count; t++)
    copy->value[t] = rounded(trial->value[t], trial->count[t], narrow);
  copy->dy = rounded(trial->dy, trial->y_count, weighted ? narrow : node->y.dtype);
}

/* Where weights, and sums of weights, are rounded, y may fall to the other side of an activation's
 * kink: the reference's gradients start from the kernel's y. */
static struct rounded_trial *round_for(const struct trial *trial, const struct attempt *attempt,
                                       bool kinked) {
  struct rounded_trial *made = conformance_allocate(sizeof *made);
  struct node node;
  CHECK_OK(attempt_node(trial->test, attempt, &node));
  round_trial(trial, &node, attempt->kernel->dtype, &made->trial);
  struct attempt exact = reference_attempt(&made->trial, true), forward = *attempt;
  struct outcome outcome = {0};
  forward.backward = false;
  if (kinked) outcome = attempt_run(&made->trial, &forward);
  exact.y = outcome.y;
  made->reference = attempt_run(&made->trial, &exact);
  outcome_free(&outcome);
  return made;
}

/* Against a reference that reads the same values; what was rounded is kept for other kernels. */
static void check_rounded(struct trial *trial, const struct attempt *attempt) {
  bool kinked = trial->node.parameter_count > 0 && trial->node.backward_reads & READS_Y;
  const struct kernel *kernel = kinked ? attempt->kernel : NULL;
  struct rounded_trial *kept = trial->rounded;
  while (kept && (kept->kernel != kernel || kept->dtype != attempt->kernel->dtype ||
                  kept->wide != attempt->wide))
    kept = kept->next;
  if (!kept) {
    kept = round_for(trial, attempt, kinked);
    kept->kernel = kernel;
    kept->dtype = attempt->kernel->dtype;
    kept->wide = attempt->wide;
    kept->next = trial->rounded;
    trial->rounded = kept;
  }
  kept->trial.tried = trial->tried;
  kept->trial.variants = trial->variants;
  check_variant(&kept->trial, *attempt, &kept->reference);
  trial->tried = kept->trial.tried;
  trial->variants = kept->trial.variants;
}

static void try_variant(struct trial *trial, const struct attempt *attempt,
                        const struct outcome *reference) {
  if (!attempt_fits(trial->test, attempt)) return;
  if (dtype_is_narrow(attempt->kernel->dtype))
    check_rounded(trial, attempt);
  else
    check_variant(trial, *attempt, reference);
}

/* All CPU layouts for reference kernels, else those of graphs. */
static void check_layouts(struct trial *trial, struct attempt attempt,
                          const struct outcome *reference) {
  bool any = strcmp(attempt.kernel->name, "reference") == 0;
  int last = any && !dtype_is_narrow(attempt.kernel->dtype) ? LAYOUTS_COUNT : LAYOUTS_PLANAR;
  for (int layouts = LAYOUTS_DEVICE; layouts < last; layouts++) {
    attempt.layouts = layouts;
    try_variant(trial, &attempt, reference);
  }
}

/* A graph's inputs are planar on CUDA and float32 beside activations of a 16-bit type; float32 can
 * also be an activation. Tries none, all, the first only, and all but the first. */
static void check_kernel(struct trial *trial, const struct kernel *kernel,
                         const struct outcome *reference) {
  unsigned all = (1U << trial->test->input_count) - 1, sets[] = {0, all, 1, all & ~1U};
  struct attempt attempt = {.kernel = kernel, .backward = kernel->training, .only = -1};
  bool narrow = dtype_is_narrow(kernel->dtype), cuda = kernel->device == DEVICE_CUDA;
  attempt.threads = 1;
  for (int i = 0; i < (all > 1 ? 4 : 2); i++) {
    attempt.wide = narrow ? sets[i] : 0;
    attempt.planar = cuda && !narrow ? sets[i] : 0;
    if (cuda || narrow || i == 0) check_layouts(trial, attempt, reference);
    attempt.planar = attempt.wide;
    if (cuda && attempt.wide) check_layouts(trial, attempt, reference);
  }
}

static void conformance_run_case(const struct op_case *test, int number) {
  struct trial *trial = conformance_allocate(sizeof *trial);
  if (trial_open(trial, test, number)) {
    struct attempt attempt = reference_attempt(trial, true);
    struct outcome reference = attempt_run(trial, &attempt);
    check_differences(trial, &reference);
    if (test->linear) check_adjoint(trial, &reference);
    for (int i = 0; test->op->kernels[i]; i++)
      check_kernel(trial, test->op->kernels[i], &reference);
    outcome_free(&reference);
  }
  trial_close(trial);
  free(trial);
}

static void conformance_run(const struct op_case *cases, int count) {
  int threads = omp_get_max_threads(), part = 1, parts = 1;
  const char *text = getenv("CONFORMANCE_PART");
  CHECK(!text || (sscanf(text, "%d of %d", &part, &parts) == 2 && 0 < part && part <= parts));
  for (int i = part - 1; i < count; i += parts) {
    int before = check_count, failed = check_failures;
    conformance_run_case(&cases[i], i);
    printf("  %s %s: %d checks, %d failed\n", cases[i].op->name, cases[i].label,
           check_count - before, check_failures - failed);
    fflush(stdout); /* a run that is stopped shows how far it came */
  }
  omp_set_num_threads(threads);
}
