/* The memory of a run, by index; NULL where there is none. Private to this room. */
#pragma once
#include "graph/run.h"

void *run_tenant(const struct run *run, int tenant);
/* Of an input: what was bound. */
const void *run_value_at(const struct run *run, int value);
void *run_gradient(const struct run *run, int value);
