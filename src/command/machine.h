/* This rank's device and threads. */
#pragma once
#include "comm/comm.h"
#include "config/config.h"
#include "device/device.h"

/* Collective. Opens the config's device for this rank. Without a word about threads (config,
 * OMP_NUM_THREADS) the node's cores are divided among its ranks. */
CHECKED enum status machine_open(struct device *device, const struct config *config,
                                 struct comm *comm);
