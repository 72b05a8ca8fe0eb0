/* Training: the loop, validation, checkpoints, signals. The one room that knows its neighbours on
 * both sides. */
#pragma once
#include "comm/comm.h"
#include "config/config.h"
#include "device/device.h"

/* Collective. Trains what the config says, from the run directory's last checkpoint when there is
 * one. STATUS_STOPPED when it was asked to stop (SIGUSR2, SIGTERM, SIGINT, train.stop_at) and has
 * saved its state. */
CHECKED enum status train_run(const struct config *config, struct comm *comm,
                              struct device *device);
