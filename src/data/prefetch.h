/* Buffers filled ahead of their use by one background thread, first requested first ready. The
 * owner requests tickets, takes the oldest one's buffer when it is full, and releases it for the
 * next. Nothing is allocated after prefetch_open. One owner thread calls everything here. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/status.h"

/* Fills `memory` for a ticket; runs in the background thread. What it fails with, prefetch_take of
 * that ticket fails with, trace included. */
typedef enum status prefetch_fill(void *context, int64_t ticket, void *memory);

struct prefetch_shared;

struct prefetch {
  double seconds_waited;          /* what prefetch_take spent waiting, in total */
  struct prefetch_shared *shared; /* what both threads see */
};

/* depth >= 1 buffers of `bytes` bytes, aligned to 64, and their thread. On failure *prefetch is
 * left zeroed. */
CHECKED enum status prefetch_open(struct prefetch *prefetch, int depth, size_t bytes,
                                  prefetch_fill *fill, void *context);

/* The same in memory of the owner's, which must outlive it: `depth` buffers of
 * prefetch_stride(bytes) bytes one after another, aligned to 64. */
CHECKED enum status prefetch_open_in(struct prefetch *prefetch, void *memory, int depth,
                                     size_t bytes, prefetch_fill *fill, void *context);

/* Bytes from one buffer to the next. */
size_t prefetch_stride(size_t bytes);

/* Queues a ticket and returns at once. At most `depth` tickets may be requested and not yet
 * released; one more is an error. */
CHECKED enum status prefetch_request(struct prefetch *prefetch, int64_t ticket);

/* Waits for the oldest request that was not taken; its buffer belongs to the caller until
 * prefetch_release. When filling it failed there is nothing to release. Taking without a request is
 * an error. */
CHECKED enum status prefetch_take(struct prefetch *prefetch, void **memory, int64_t *ticket);

/* Whether prefetch_take would return at once: the oldest request that was not taken is done. */
bool prefetch_ready(struct prefetch *prefetch);

/* Gives a taken buffer back, in any order. */
void prefetch_release(struct prefetch *prefetch, void *memory);

/* Ends the thread after the fill it is in, drops what was requested, and frees all buffers. Accepts
 * a zeroed one. */
void prefetch_close(struct prefetch *prefetch);
