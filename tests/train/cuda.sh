#!/usr/bin/env bash
# Training, validation, evaluation, prediction and resuming on a GPU, or on the CPU that stands in for one (builds with
# MEDTRAIN_CUDA=SHIM): as on the CPU within rounding, and the same bits whatever the number of ranks, the moment at which
# work is done, and whether steps are recorded. Small, since a stand-in is slow: a slot takes about half a second.
. "$MEDTRAIN_SOURCE/tests/train/cuda_common.sh"
. "$MEDTRAIN_SOURCE/tests/train/common.sh"
limit=600

cat > small.cfg <<CONFIG
output: { dir = "run"; level = "warning"; };
data: { source = "small"; shards = "shards-small/small.h5"; shard_count = 2; validation = 2.0; test = 2.0; multiple = 4; };
phantom: { subjects = 8; size = [8, 12, 8]; };
model: { encoder = [4, 6]; decoder = [6, 6]; final = [4]; integration_downsize = 1; integration_steps = 3; };
registration: { pairs_per_epoch = 3; };
train: { steps = 3; slots = 2; learning_rate = 0.001; ema_decay = 0.9; validate_every = 1; };
device = "cuda";
share_device = true;
CONFIG
"$program" phantom small phantom.subjects=8 'phantom.size=[8,12,8]' 2> phantom.log
"$program" prepare small.cfg

# --- a GPU computes what the CPU computes
few="train.slots=1 train.validate_every=0 checkpoint.every_epochs=0"
# shellcheck disable=SC2086
ranks 1 small.cfg $few train.steps=20 output.dir=cpu device=cpu
# shellcheck disable=SC2086
ranks 1 small.cfg $few train.steps=20 output.dir=gpu
cut -d, -f1-5,7 cpu/metrics.csv > cpu.csv
cut -d, -f1-5,7 gpu/metrics.csv > gpu.csv
near "20 steps agree with the CPU" 1e-4 cpu.csv gpu.csv
kind() { # NAME ARGUMENTS...: 2 steps that a config can ask for otherwise
  local name=$1 device
  shift
  for device in cpu cuda; do
    rm -rf kind
    # shellcheck disable=SC2086
    ranks 1 small.cfg $few train.steps=2 output.dir=kind device=$device "$@"
    cut -d, -f1-5,7 kind/metrics.csv > kind-$device.csv
  done
  near "$name agrees with the CPU" 1e-4 kind-cpu.csv kind-cuda.csv
}
kind "LNCC, l2, both directions" loss.similarity=lncc loss.window=3 loss.smoothness=l2 registration.bidirectional=true
kind "two samples in a slot, l1" train.slot_samples=2 loss.smoothness=l1
kind "MONAI's network, SGD, clipping" model.variant=monai 'model.encoder=[4,6]' 'model.decoder=[4]' 'model.final=[4]' \
  train.optimizer=sgd train.clip_norm=0.001
for precision in bf16 fp16; do
  for device in cpu cuda; do
    # shellcheck disable=SC2086
    ranks 1 small.cfg $few train.steps=20 train.stop_at=4 output.dir=$device$precision device=$device \
      train.precision=$precision 2> message || [ $? = 85 ]
    cut -d, -f1,2 $device$precision/metrics.csv > half.csv
    head -5 gpu.csv | cut -d, -f1,2 > full.csv
    near "$precision on $device agrees with fp32" 2e-2 full.csv half.csv
    ! cmp -s full.csv half.csv || fail "$precision on $device changes nothing"
  done
done

# --- the same bits
ranks 1 small.cfg output.dir=one
CUDA_SHIM_LAZY=1 ranks 1 small.cfg output.dir=late
same "again, with work done as late as possible" one late
CUDA_SHIM_ORDER=shuffled:7 ranks 1 small.cfg output.dir=plain train.capture=off
same "steps one by one, threads in another order" one plain
ranks 1 small.cfg output.dir=travelling data.resident=off
same "volumes that travel for every step" one travelling
ranks 1 small.cfg output.dir=kept train.steps=1 data.resident=on output.level=info 2> message
grep -q "4 training volumes stay in the device's memory" message || fail "no volumes are kept"
ranks 2 small.cfg output.dir=two
same "2 ranks sharing a GPU" one two
expect_status 85 ranks 2 small.cfg output.dir=stopped comm.transport=mpi train.stop_at=2 2> message
CUDA_SHIM_LAZY=1 ranks 1 small.cfg output.dir=stopped
same "stopped on 2 ranks over MPI, resumed on 1" one stopped
expect_status 85 ranks 1 small.cfg output.dir=moved train.stop_at=2 2> message
ranks 1 small.cfg output.dir=moved device=cpu
near "stopped on a GPU, resumed on the CPU" 1e-4 one/metrics.csv moved/metrics.csv

# --- kernels chosen by measuring: kept in the run's folder, so that a resumed run is the same run
if "$program" --list | grep "cudnn" > /dev/null; then
  expect_status 85 ranks 2 small.cfg kernels.measure=true output.dir=measured train.stop_at=1 2> message
  grep -q "^conv .* = " measured/kernels.txt || fail "kernels.txt"
  mkdir again
  cp measured/kernels.txt again
  ranks 1 small.cfg kernels.measure=true output.dir=measured
  ranks 1 small.cfg kernels.measure=true output.dir=again
  same "measured kernels, stopped on 2 ranks, resumed on 1" again measured
fi

# --- a scale of the loss that is too large goes down, alike for all ranks, and survives a stop
scaled="train.precision=fp16 train.loss_scale=1e15 train.steps=6 train.validate_every=0 train.loss_scale_steps=2"
# shellcheck disable=SC2086
ranks 1 small.cfg $scaled output.dir=scaled output.level=info 2> message
grep -q "no update, since the gradient is too large" message || fail "no message about the loss scale"
# shellcheck disable=SC2086
expect_status 85 ranks 2 small.cfg $scaled output.dir=scaled2 train.stop_at=3 2> message
# shellcheck disable=SC2086
ranks 1 small.cfg $scaled output.dir=scaled2
same "loss scaling on 2 ranks, resumed on 1" scaled scaled2
diff <("$program" inspect scaled/checkpoints/last.medtrain | grep -E "loss_scale|steps") \
  <("$program" inspect scaled2/checkpoints/last.medtrain | grep -E "loss_scale|steps") || fail "state of the loss scale"

# --- evaluate and predict
for device in cpu cuda; do
  ranks 1 evaluate small.cfg device=$device --checkpoint one/checkpoints/last.medtrain output.dir=$device > /dev/null
  "$program" predict small.cfg device=$device --checkpoint one/checkpoints/last.medtrain --output predicted-$device \
    small/images/phantom_00{0,1}.nii.gz small/labels/phantom_000.nii.gz 2> message
  for file in warped displacement; do
    gunzip -c predicted-$device/$file.nii.gz | od -An -v -w4 -tf4 -j352 | tr -d ' ' > $file-$device.csv
  done
done
near "evaluate agrees with the CPU" 1e-3 <(cut -d, -f2- cpu/evaluation_test.csv) <(cut -d, -f2- cuda/evaluation_test.csv)
near "predicted image agrees with the CPU" 1e-3 warped-cpu.csv warped-cuda.csv
awk 'NR == FNR { a[FNR] = $1; next } { d = a[FNR] - $1; if (d > 1e-3 || d < -1e-3) bad = 1 } END { exit bad || FNR < 1000 }' \
  displacement-cpu.csv displacement-cuda.csv || fail "predicted displacement"
echo "ok   predicted displacement agrees with the CPU"

# --- what there is to see
"$program" bench small.cfg --steps 1 > output
grep -q '"device": "cuda"' output || fail "bench"
grep -q "conv.hand" output || fail "bench by operator"
"$program" plan small.cfg > output
grep -q "its cuda device" output || fail "plan"
"$program" doctor > output
grep -q "compute capability" output || fail "doctor"
echo "ok   bench, plan, doctor"

# --- without a GPU (a real one cannot be taken away)
export CUDA_SHIM_DEVICES=0
if "$program" --list | grep "^  cuda  *0" > /dev/null; then
  expect_failure 2 "device: there is no cuda device here" ranks 1 small.cfg output.dir=none
  expect_failure 2 "device: there is no cuda device here" ranks 2 small.cfg output.dir=none
  "$program" plan small.cfg > output
  # shellcheck disable=SC2086
  ranks 1 small.cfg $few train.steps=20 output.dir=fallback device=auto output.level=info 2> message
  grep -q "no cuda device (no CUDA-capable device is detected): using the next one" message || fail "message about falling back"
  same "auto falls back to the CPU" cpu fallback
fi
