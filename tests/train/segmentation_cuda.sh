#!/usr/bin/env bash
# Segmentation whose losses read sums over the whole batch on a GPU, or on the CPU that stands in for one: as on the CPU within
# rounding, the same bits on 2 ranks, which keep their slot from pass to pass, and after a stop.
. "$MEDTRAIN_SOURCE/tests/train/cuda_common.sh"
. "$MEDTRAIN_SOURCE/tests/train/common.sh"
limit=600

cat > seg.cfg <<CONFIG
base = "$MEDTRAIN_SOURCE/configs/base/segmentation.cfg";
output: { dir = "run"; level = "warning"; };
data: { source = "small"; shards = "shards-small/small.h5"; shard_count = 1; phantom = true; labels = [1, 2, 3, 4];
  validation = 1.0; test = 1.0; };
phantom: { subjects = 5; size = [8, 16, 8]; };
model: { classes = 5; features = [4, 8]; dropout = 0.2; };
segmentation: { loss = "dice_ce"; class_weights = [0.1, 1.0, 2.0, 1.5, 1.0]; dice_batch = true; };
augment: { rotation = [15.0]; rotation_probability = 0.7; noise = 0.1; noise_probability = 0.5; };
train: { steps = 2; slots = 2; slot_samples = 1; learning_rate = 0.002; };
device = "cuda";
share_device = true;
CONFIG
"$program" prepare seg.cfg

ranks 1 seg.cfg output.dir=cpu device=cpu
ranks 1 seg.cfg output.dir=gpu
near "2 steps agree with the CPU" 1e-4 <(cut -d, -f1-5 cpu/metrics.csv) <(cut -d, -f1-5 gpu/metrics.csv)
ranks 2 seg.cfg output.dir=two
same "2 ranks sharing a GPU" gpu two
expect_status 85 ranks 2 seg.cfg output.dir=stopped train.stop_at=1
CUDA_SHIM_LAZY=1 ranks 1 seg.cfg output.dir=stopped
same "stopped on 2 ranks, resumed on 1" gpu stopped
ranks 1 seg.cfg output.dir=single train.capture=off
same "without recordings" gpu single
