/* The debugging options of a plan at run time: NaN in dead tensors, a pattern behind living ones.
 * Private to this room; on the CPU only. */
#pragma once
#include "graph/run.h"

/* Before the first forward step: nothing lives. */
void debug_start(const struct run *run);
/* Before step s: who died in step s - 1 is overwritten, who is born gets a guard. */
void debug_before(const struct run *run, int s);
/* After step s. STATUS_FAILED naming the node: it wrote behind a tensor. */
CHECKED enum status debug_after(const struct run *run, int s);
