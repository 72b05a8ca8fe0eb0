#!/usr/bin/env bash
# The pose system on a GPU, or on the CPU that stands in for one: motions, noise, batch norm and losses as on the CPU within
# rounding, the same bits on 2 ranks and after a stop.
. "$MEDTRAIN_SOURCE/tests/train/cuda_common.sh"
. "$MEDTRAIN_SOURCE/tests/train/common.sh"
limit=600

cat > pose.cfg <<CONFIG
base = "$MEDTRAIN_SOURCE/configs/base/pose.cfg";
output: { dir = "run"; level = "warning"; };
data: { source = "small"; shards = "shards-small/small.h5"; shard_count = 1; phantom = true; validation = 1.0; test = 1.0; };
phantom: { subjects = 5; size = [16, 12, 14]; };
model: { features = [4, 8]; blocks = [1, 1]; hidden = 8; };
pose: { size = [8, 10, 6]; spacing = [20.0, 20.0, 24.0]; variants_per_image = 2; evaluation_variants = 1; fill = "noise"; mask = "sphere"; };
train: { steps = 3; slots = 2; slot_samples = 2; learning_rate = 0.002; schedule = "plateau"; plateau_patience = 0; };
device = "cuda";
share_device = true;
CONFIG
"$program" prepare pose.cfg

ranks 1 pose.cfg output.dir=cpu device=cpu
ranks 1 pose.cfg output.dir=gpu
near "3 steps agree with the CPU" 1e-4 cpu/metrics.csv gpu/metrics.csv
kind() { # NAME ARGUMENTS...: a step that a config can ask for otherwise
  local name=$1 device
  shift
  for device in cpu cuda; do
    rm -rf kind
    ranks 1 pose.cfg output.dir=kind device=$device train.steps=1 train.validate_every=0 "$@"
    cut -d, -f1-5 kind/metrics.csv > kind-$device.csv
  done
  near "$name agrees with the CPU" 1e-4 kind-cpu.csv kind-cuda.csv
}
kind "pair mode, corner loss" pose.mode=pair pose.loss=corner pose.fill=edge
kind "rotations as columns, geodesic loss, group norm" pose.representation=rotation6d pose.loss=geodesic pose.mask=box \
  model.norm=group model.norm_groups=2 pose.fill=zero
ranks 2 pose.cfg output.dir=two
same "2 ranks sharing a GPU" gpu two
expect_status 85 ranks 2 pose.cfg output.dir=stopped train.stop_at=2
CUDA_SHIM_LAZY=1 ranks 1 pose.cfg output.dir=stopped
same "stopped on 2 ranks, resumed on 1" gpu stopped
