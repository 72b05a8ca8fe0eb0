#!/usr/bin/env bash
# Every engine of the convolution repeats its bits on 1 to 4 ranks of 1 or 2 threads, in a network whose kernels of 3 read
# upsampled inputs and in one with strided, transposed and 1x1x1 layers. exact.sh does more of that with the one that runs by
# itself.
. "$MEDTRAIN_SOURCE/tests/train/common.sh"

cat > strided.cfg <<CONFIG
base = "$MEDTRAIN_SOURCE/configs/base/segmentation.cfg";
output: { dir = "run"; level = "warning"; };
data: { source = "volumes"; shards = "shards-strided/strided.h5"; labels = [1, 2, 3, 4]; size = [32, 32, 32]; padding = "zero";
  validation = 2.0; test = 2.0; };
model: { name = "resnet_seg"; classes = 5; features = [16, 32]; blocks = [1, 1]; };
segmentation: { sample = "volume"; };
train: { slots = 4; slot_samples = 1; learning_rate = 0.002; };
CONFIG
"$program" prepare strided.cfg
cat > wide.cfg <<CONFIG
base = "strided.cfg";
model: { features = [32, 64]; };
CONFIG

# engine CONFIG NAME KERNEL ARGUMENTS...: trains with these arguments; some layer must be computed by a kernel called KERNEL.
engine() {
  local config=$1 name=$2 kernel=$3
  shift 3
  "$program" plan "$config" "$@" > plan.txt
  grep -q "$kernel" plan.txt || fail "$config, $name: no layer is computed by $kernel"
  rm -rf "$name"*
  ranks 1 "$config" output.dir="$name" threads=1 train.steps=3 "$@"
  for count in 2 3 4; do
    ranks $count "$config" output.dir="$name$count" threads=$((count % 2 + 1)) train.steps=3 "$@"
    same "$config, $name on $count ranks of $((count % 2 + 1)) threads" "$name" "$name$count"
  done
}

# has CONFIG KERNEL: whether this program and processor can compute with it.
has() {
  "$program" plan "$1" kernels.conv="$2" > /dev/null 2>&1
}

for config in tiny.cfg strided.cfg; do
  engine $config winograd 'conv\..*winograd'
  engine $config direct 'conv.direct' kernels.conv=direct
  engine $config sixteen 'conv.amx_\|conv.bf16_\|conv.widened' train.precision=bf16
  if has $config onednn; then engine $config library 'onednn' kernels.conv=onednn; fi
  for set in avx2 plain; do
    if has $config "direct_$set"; then engine $config "$set" "conv.direct_$set" kernels.conv="direct_$set"; fi
  done
done
if grep -q amx_tile /proc/cpuinfo; then engine wide.cfg tiles 'conv.amx_winograd'; fi
"$program" plan strided.cfg > plan.txt
for layer in 'conv_transpose\..*winograd' 'conv\..*winograd.* layer2.0.conv2'; do
  grep -q "$layer" plan.txt || fail "strided.cfg: expected $layer"
done
