#!/usr/bin/env bash
# The promise: the same bits whatever the number of ranks, threads and buckets, and after stopping and resuming on another
# number of ranks. The first epoch's last step leaves slots empty (11 samples, 8 slots).
. "$MEDTRAIN_SOURCE/tests/train/common.sh"

ranks 1 tiny.cfg output.dir=reference threads=1
for count in 2 3 4 8; do
  ranks $count tiny.cfg output.dir=ranks$count threads=1
  same "$count ranks" reference ranks$count
done
ranks 1 tiny.cfg output.dir=threads2 threads=2
same "2 threads" reference threads2
ranks 2 tiny.cfg output.dir=threads22 threads=2
same "2 ranks of 2 threads" reference threads22
for bucket in 1 7 64; do
  ranks 3 tiny.cfg output.dir=bucket$bucket threads=1 comm.bucket_kib=$bucket
  same "buckets of $bucket KiB on 3 ranks" reference bucket$bucket
done
for stop in 1 2 5; do
  expect_status 85 ranks 4 tiny.cfg output.dir=stop$stop threads=1 train.stop_at=$stop
  ranks 3 tiny.cfg output.dir=stop$stop threads=1
  same "stopped after step $stop on 4 ranks, resumed on 3" reference stop$stop
done
ranks 2 tiny.cfg output.dir=debug threads=1 debug.poison=true debug.guard=true
same "poisoned and guarded memory" reference debug
ranks 1 tiny.cfg output.dir=other threads=1 seed=2
if diff -q <(state_of reference) <(state_of other) > /dev/null; then fail "another seed gives the same run"; fi
echo "ok   another seed gives another run"
