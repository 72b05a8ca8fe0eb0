/* A flag that the training loop reads between steps. */
#include "train/signals.h"
#include <signal.h>
#include <stddef.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t requests, terminated; /* terminated: the second of the last SIGTERM */

static void on_signal(int number) {
  struct timespec now = {0};
  if (number == SIGTERM && clock_gettime(CLOCK_MONOTONIC, &now) == 0)
    terminated = (sig_atomic_t)now.tv_sec;
  requests = requests + 1;
  if (requests > 1) _exit(128 + number);
}

void signals_install(void) {
  static const int numbers[] = {SIGUSR2, SIGTERM, SIGINT};
  struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
  sigemptyset(&action.sa_mask);
  for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
    sigaction(numbers[i], &action, NULL);
  requests = 0;
}

bool signals_stop_requested(void) {
  return requests > 0;
}

bool signals_just_terminated(void) {
  enum { RECENT_SECONDS = 5 };
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return terminated > 0 && now.tv_sec - terminated <= RECENT_SECONDS;
}
