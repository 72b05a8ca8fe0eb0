/* The table of operators and the choice of kernels. */
#include "kernels/op.h"
#include <stdio.h>
#include <string.h>
#include "base/text.h"

#define OP(name) extern const struct op op_##name;
#include "kernels/ops.def"
#undef OP

const struct op *const ops[] = {
#define OP(name) &op_##name,
#include "kernels/ops.def"
#undef OP
    NULL};

enum { MOST_NAMES = 64 };

int64_t parameter_count(const struct parameter *parameter) {
  int64_t count = 1;
  for (int i = 0; i < parameter->rank; i++) count *= parameter->extent[i];
  return count;
}

enum status node_infer(struct node *node) {
  node->dtype = node->activation;
  for (int i = node->input_count - 1; i >= 0; i--)
    if (node->x[i].dtype != DTYPE_U8) node->dtype = node->x[i].dtype;
  return node->op->infer(node);
}

struct tensor op_scalar(void) {
  return (struct tensor){{1, 1, 1, 1, 1}, DTYPE_F64, LAYOUT_PLANAR};
}

enum status op_find(const char *name, const struct op **op) {
  const char *names[MOST_NAMES];
  int count = 0;
  for (; ops[count] && count < MOST_NAMES; count++) {
    names[count] = ops[count]->name;
    if (strcmp(name, names[count]) != 0) continue;
    *op = ops[count];
    return STATUS_OK;
  }
  const char *nearest = text_nearest(name, names, count);
  FAIL(STATUS_USAGE, "unknown operator \"%s\"%s%s%s", name, nearest ? "; did you mean \"" : "",
       nearest ? nearest : "", nearest ? "\"?" : "");
}

bool op_kernel_fits(const struct kernel *kernel, const struct node *node) {
  return kernel->device == node->device && kernel->dtype == node->dtype &&
         (!kernel->applies || kernel->applies(node));
}

static bool is_called(const struct kernel *kernel, const char *name) {
  size_t length = strlen(name);
  return strncmp(name, kernel->name, length) == 0 &&
         (kernel->name[length] == '\0' || kernel->name[length] == '_');
}

bool op_kernel_eligible(const struct kernel *kernel, const struct node *node, const char *name) {
  if (name && !is_called(kernel, name)) return false;
  return op_kernel_fits(kernel, node) && (name || !kernel->pays || kernel->pays(node));
}

static enum status refuse(const struct node *node, const char *wanted) {
  char known[512] = "";
  size_t used = 0;
  for (int i = 0; node->op->kernels[i] && used < sizeof known; i++)
    used += (size_t)snprintf(known + used, sizeof known - used, "%s\"%s\" (%s)", i ? ", " : "",
                             node->op->kernels[i]->name, dtype_name(node->op->kernels[i]->dtype));
  FAIL(STATUS_USAGE, "kernels.%s: no kernel \"%s\" for %s that applies to %s; there are %s",
       node->op->name, wanted ? wanted : "any", dtype_name(node->dtype), node->name, known);
}

enum status op_choose_kernel(const struct node *node, const char *name,
                             const struct kernel **kernel) {
  for (int i = 0; node->op->kernels[i]; i++) {
    const struct kernel *candidate = node->op->kernels[i];
    if (!op_kernel_eligible(candidate, node, name)) continue;
    *kernel = candidate;
    return STATUS_OK;
  }
  return refuse(node, name);
}
