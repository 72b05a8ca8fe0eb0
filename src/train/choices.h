/* Which kernel computes which node where the program measures: one line of text per kind of node
 * (operator, types, shapes, arguments), "conv bf16 ... = cudnn_second". Rank 0 measures what the
 * run directory's file does not know yet; everybody uses rank 0's answers, since kernels differ in
 * their last bits. */
#pragma once
#include "base/status.h"
#include "comm/comm.h"
#include "device/device.h"
#include "graph/plan.h"

struct kernel_choices {
  char *text; /* lines, with a 0 at the end; NULL: none */
  size_t bytes, capacity;
  struct device *device; /* measures on it what is not known; NULL: takes the first kernel then */
  int measured;          /* lines added */
};

/* Takes the answers that a run directory holds, in kernels.txt; none if there is no such file. */
CHECKED enum status choices_read(struct kernel_choices *choices, const char *directory);

/* Writes the answers there, if some were added, so that an interrupted run resumes with the same
 * kernels. */
CHECKED enum status choices_write(const struct kernel_choices *choices, const char *directory);

/* Collective. Rank 0's answers to everybody. */
CHECKED enum status choices_share(struct kernel_choices *choices, struct comm *comm);

/* plan_options.prefer; context is the struct kernel_choices. A kernel that fails while it is
 * measured is not taken. */
int choices_prefer(void *context, const struct node *node, const struct kernel *const *candidates,
                   int count);

/* Accepts zeroed choices. */
void choices_close(struct kernel_choices *choices);
