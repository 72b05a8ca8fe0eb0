#!/usr/bin/env bash
# Every engine of the convolution repeats its bits on 1 to 4 ranks of 1 or 2 threads. exact.sh does more of that with the one
# that runs by itself.
. "$MEDTRAIN_SOURCE/tests/train/common.sh"

# engine NAME KERNEL ARGUMENTS...: trains with these arguments; some convolution must be computed by a kernel called KERNEL.
engine() {
  local name=$1 kernel=$2
  shift 2
  "$program" plan tiny.cfg "$@" > plan.txt
  grep -q "$kernel" plan.txt || fail "$name: no convolution is computed by $kernel"
  ranks 1 tiny.cfg output.dir="$name" threads=1 train.steps=3 "$@"
  for count in 2 3 4; do
    ranks $count tiny.cfg output.dir="$name$count" threads=$((count % 2 + 1)) train.steps=3 "$@"
    same "$name on $count ranks of $((count % 2 + 1)) threads" "$name" "$name$count"
  done
}

# has KERNEL: whether this program and processor can compute with it.
has() {
  "$program" plan tiny.cfg kernels.conv="$1" > /dev/null 2>&1
}

engine winograd 'winograd'
engine direct 'direct' kernels.conv=direct
engine sixteen 'bf16_\|widened' train.precision=bf16
if has onednn; then engine library 'onednn' kernels.conv=onednn; fi
for set in avx2 plain; do
  if has "direct_$set"; then engine "$set" "direct_$set" kernels.conv="direct_$set"; fi
done
