/* A communicator of NCCL, never blocking: every call returns at once, and what it started is asked
 * for until it is done or the run's deadline has passed. Included by files of NCCL only. */
#pragma once
#include <nccl.h>
#include "comm/comm.h"
#include "device/device.h"

struct nccl_link {
  ncclComm_t handle; /* NULL: not open, or given up */
  struct comm *comm; /* the same ranks */
  const char *doing; /* what was started last, for messages */
  bool grouping;     /* between group_start and group_end */
};

/* Collective. Also ranks that share a GPU are connected. A rank that fails leaves `comm` broken. */
CHECKED enum status nccl_open(struct nccl_link *link, struct comm *comm, struct device *device);
/* Collective, unless `comm` is broken. Nothing may be on its way. Accepts a zeroed link. */
void nccl_close(struct nccl_link *link);

/* Passes on what a call of NCCL returned; in progress is no error. After an error the link is
 * given up, so that what it has on streams ends. */
CHECKED enum status nccl_check(struct nccl_link *link, ncclResult_t code);

/* Whether all that was started stands on its stream, so that more may be started; also finds
 * what went wrong since, on any rank. */
CHECKED enum status nccl_poll(struct nccl_link *link, bool *ready);

/* Around calls that are to be one operation. */
CHECKED enum status nccl_group_start(struct nccl_link *link);
CHECKED enum status nccl_group_end(struct nccl_link *link);

/* Ends what is on streams, without waiting for other ranks. */
void nccl_give_up(struct nccl_link *link);

#define NCCL_TRY(link, call) TRY(nccl_check((link), (call)))

/* "nccl 2.28.9" */
void nccl_describe(char *text, size_t bytes);
