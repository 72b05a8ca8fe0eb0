/* Time for measuring and for deadlines: monotonic, in seconds. */
#pragma once
double timer_now(void);
