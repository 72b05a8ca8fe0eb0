/* Requests to stop: SIGUSR2 (sent by batch systems before the time limit), SIGTERM, SIGINT. The
 * first asks for a clean stop with a checkpoint, a second one ends the program at once. */
#pragma once
#include <stdbool.h>

void signals_install(void);
bool signals_stop_requested(void);

/* Whether SIGTERM came in the last seconds: what launchers send to all ranks when one has ended the
 * job. */
bool signals_just_terminated(void);
