/* The time of each step, measured by the device. Private to this room. */
#pragma once
#include "graph/run.h"

/* Around a step; does nothing while timing is off. */
CHECKED enum status timing_before(struct run *run, int s);
CHECKED enum status timing_after(struct run *run, int s);

/* Waits for the steps [first, end) and adds up their times; does nothing while timing is off. */
CHECKED enum status timing_collect(struct run *run, int first, int end);
