#!/usr/bin/env bash
# Segmentation whose losses read sums over the whole batch: the same bits whatever the number of ranks and threads, and after
# stopping and resuming; one slot is the batch; what plan and bench say of the first pass.
. "$MEDTRAIN_SOURCE/tests/train/common.sh"

cat > seg.cfg <<CONFIG
base = "$MEDTRAIN_SOURCE/configs/base/segmentation.cfg";
output: { dir = "run"; level = "warning"; };
data: { source = "volumes"; shards = "shards-seg/seg.h5"; shard_count = 2; labels = [1, 2, 3, 4];
  validation = 2.0; test = 2.0; };
model: { classes = 5; features = [4, 8]; dropout = 0.2; };
segmentation: { loss = "dice_ce"; class_weights = [0.1, 1.0, 2.0, 1.5, 1.0]; dice_batch = true; samples_per_volume = 2; };
augment: { rotation = [15.0]; rotation_probability = 0.7; scaling = [0.8, 1.25]; scaling_probability = 0.5; noise = 0.1;
  noise_probability = 0.5; gamma = [0.7, 1.5]; };
train: { epochs = 2; slots = 4; slot_samples = 1; learning_rate = 0.002; ema_decay = 0.9; };
CONFIG
"$program" prepare seg.cfg

# --- exact: 7 subjects of 2 copies are 4 steps an epoch, the last one with empty slots
ranks 1 seg.cfg output.dir=reference threads=1
for count in 2 3 4; do # 4: every rank keeps its slot from pass to pass
  ranks $count seg.cfg output.dir=ranks$count threads=1
  same "$count ranks" reference ranks$count
done
ranks 2 seg.cfg output.dir=threads2 threads=2
same "2 ranks of 2 threads" reference threads2
for stop in 1 3; do
  expect_status 85 ranks 4 seg.cfg output.dir=stop$stop threads=1 train.stop_at=$stop
  ranks 3 seg.cfg output.dir=stop$stop threads=1
  same "stopped after step $stop on 4 ranks, resumed on 3" reference stop$stop
done
ranks 2 seg.cfg output.dir=debug threads=1 debug.poison=true debug.guard=true
same "poisoned and guarded memory" reference debug

# --- each kind of sum by itself; slots by themselves are another loss
choice() { # NAME ARGUMENTS...
  local name=$1
  shift
  rm -rf one three
  ranks 1 seg.cfg output.dir=one train.steps=2 train.validate_every=0 threads=1 "$@"
  ranks 3 seg.cfg output.dir=three train.steps=2 train.validate_every=0 threads=1 "$@"
  same "$name on 3 ranks" one three
}
choice "weighted cross entropy" segmentation.loss=ce
cp one/metrics.csv ce.csv
choice "batch Dice in bf16" segmentation.loss=dice train.precision=bf16
choice "weighted focal loss, Dice of each sample" segmentation.loss=dice_focal segmentation.dice_batch=false
ranks 1 seg.cfg output.dir=alone train.steps=2 train.validate_every=0 threads=1 segmentation.loss=ce segmentation.scope=slot
! cmp -s ce.csv alone/metrics.csv || fail "segmentation.scope changes nothing"
echo "ok   slots by themselves are another loss"

# --- a batch of 4 samples: 4 slots of 1, 2 of 2 and 1 of 4 are the same loss, but for rounding (no layer mixes samples)
for slots in 1 2 4; do
  ranks 1 seg.cfg output.dir=slots$slots train.slots=$slots train.slot_samples=$((4 / slots)) train.steps=3 train.validate_every=0 \
    model.norm=instance model.dropout=0.0
done
near "2 slots of 2 samples are a batch of 4" 2e-5 <(cut -d, -f1-5 slots1/metrics.csv) <(cut -d, -f1-5 slots2/metrics.csv)
near "4 slots of 1 sample are a batch of 4" 2e-5 <(cut -d, -f1-5 slots1/metrics.csv) <(cut -d, -f1-5 slots4/metrics.csv)

# --- plan and bench know the first pass
"$program" plan seg.cfg > plan.txt
grep -q "for 16 sums over the batch" plan.txt || fail "plan says nothing of the sums"
"$program" plan seg.cfg segmentation.scope=slot > plan.txt
! grep -q "sums over the batch" plan.txt || fail "plan speaks of sums that nobody reads"
"$program" bench seg.cfg --steps 1 > bench.txt
grep -q '"seconds_median"' bench.txt || fail "bench"
echo "ok   plan and bench"

# --- a rank that fails while others sum
cp -r shards-seg shards-damaged
shard=shards-damaged/seg-00001-of-00002.h5
middle=$(($(stat -c %s $shard) / 2))
byte=$(od -An -tu1 -j $middle -N 1 $shard)
printf "\\x$(printf %x $((255 - byte)))" | dd of=$shard bs=1 seek=$middle conv=notrunc status=none
refused "damaged shard" 1 "$shard: subject phantom_" seg.cfg data.shards=shards-damaged/seg.h5 data.validation=0.0 data.test=0.0 \
  output.dir=unused
