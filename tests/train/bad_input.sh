#!/usr/bin/env bash
# Whatever is wrong with the command line, the config, volumes, shards, checkpoints or the disk: one line of error, the same
# on 1 and on 3 ranks, exit status 2 where command line or config are at fault and 1 otherwise, no hang, nothing lost.
. "$MEDTRAIN_SOURCE/tests/train/common.sh"
limit=60
export OMPI_MCA_odls_base_sigkill_timeout=0 # mpirun waits seconds for ranks that are about to end, at times

# --- command line and config
refused "missing config" 2 "missing.cfg: cannot open the config" missing.cfg
refused "unknown key" 2 "train.stepz; did you mean train.steps?" tiny.cfg train.stepz=3
refused "out of range" 2 "train.slots: expected 1 to 65536, found 0" tiny.cfg train.slots=0
refused "unknown network" 2 "unet9" tiny.cfg model.name=unet9 output.dir=unused
printf 'train: { slots = 8\n' > broken.cfg
printf '\ntrain: { slots = 8; pace = 3; };\n' > unknown.cfg
while IFS=";" read -r status part words; do
  # shellcheck disable=SC2086
  expect_failure "$status" "$part" ranks 1 $words
done <<'CASES'
2;expected a config file;
2;broken.cfg:2:;broken.cfg
2;unknown.cfg:2: unknown key train.pace;unknown.cfg
2;unknown option --fast;evaluate tiny.cfg --fast
2;--split: expected a value;evaluate tiny.cfg --split
2;found "again";tiny.cfg again
2;train.slots: expected an integer, found a string;tiny.cfg train.slots=many
2;adamw;tiny.cfg train.optimizer=adamm
2;quickest;tiny.cfg kernels.conv=quickest output.dir=unused
2;abacus;tiny.cfg device=abacus output.dir=unused
2;loss: expected lam_sim, lam_smooth or lam_dice above 0;tiny.cfg loss.lam_sim=0 loss.lam_smooth=0 loss.lam_dice=0 output.dir=unused
2;expected the name of a folder;tiny.cfg output.dir=
2;loss_lncc: expected an odd window, found 4;tiny.cfg loss.similarity=lncc loss.window=4 output.dir=unused
2;model.decoder: expected as many levels as model.encoder;tiny.cfg model.encoder=[8] output.dir=unused
2;registration.atlas: no subject "nobody";tiny.cfg registration.pairs=atlas registration.atlas=nobody output.dir=unused
2;--ranks: expected a whole number;plan tiny.cfg --ranks 0
2;9 ranks, but only 8 slots;plan tiny.cfg --ranks 9
2;expected --output DIR;predict tiny.cfg a.nii b.nii
2;phantom: expected one folder;phantom
1;sizeof_hdr;inspect tiny.cfg
1;shards: expected a regular file;inspect shards
1;tiny.cfg;export tiny.cfg out.safetensors
1;tiny.cfg;import tiny.cfg out.medtrain
CASES
echo "ok   command lines"
expect_failure 2 "9 ranks, but only 8 slots" ranks 9 tiny.cfg output.dir=unused
expect_failure 2 "plan runs on one process" ranks 3 plan tiny.cfg
expect_failure 1 "standard output: cannot write" sh -c "'$program' plan tiny.cfg > /dev/full"
echo "ok   too many ranks, no room for results"

# --- volumes
bad_volume() { # NAME PART COMMAND...: COMMAND spoils bad/images/phantom_004.nii.gz (or its label), prepare refuses it
  local name=$1 part=$2
  shift 2
  rm -rf bad shards-bad
  cp -r volumes bad
  "$@"
  refused "$name" 1 "$part" prepare tiny.cfg data.source=bad data.shards=shards-bad/bad.h5
  [ -z "$(find shards-bad -name '*.h5*')" ] || fail "$name: left a shard behind"
}
image=bad/images/phantom_004
"$program" phantom large phantom.subjects=5 'phantom.size=[24,16,16]' 2> phantom.log
rm large/*/phantom_00[0-3].nii.gz
blank() { gunzip $image.nii.gz && truncate -s 352 $image.nii && truncate -s $((352 + 4 * 16 * 16 * 16)) $image.nii; }
bad_volume "truncated volume" "$image.nii.gz" truncate -s 3000 $image.nii.gz
bad_volume "empty volume" "$image.nii.gz" truncate -s 0 $image.nii.gz
bad_volume "volume that is something else" "$image.nii.gz" cp tiny.cfg $image.nii.gz
bad_volume "blank volume" "$image.nii" blank
bad_volume "missing label" "phantom_004" rm bad/labels/phantom_004.nii.gz
bad_volume "label on another grid" "bad/labels/phantom_004.nii.gz" cp large/labels/phantom_004.nii.gz bad/labels/
bad_volume "another shape than the others" "phantom_004" cp -r large/images large/labels bad/
refused "missing folder of volumes" 2 "nowhere" prepare tiny.cfg data.source=nowhere data.shards=shards-bad/bad.h5
refused "unwritable shards" 1 "tiny.cfg" prepare tiny.cfg data.shards=tiny.cfg/a.h5

# --- shards
refused "missing shards" 1 "nowhere.h5: expected the master file" tiny.cfg data.shards=nowhere.h5 output.dir=unused
"$program" phantom odd phantom.subjects=11 'phantom.size=[18,16,16]' 2> phantom.log
"$program" prepare tiny.cfg data.source=odd data.shards=shards-odd/odd.h5 data.multiple=1
refused "extents that do not divide" 2 "18" tiny.cfg data.shards=shards-odd/odd.h5 data.multiple=1 output.dir=unused

# flip FILE OFFSET: inverts a byte.
flip() {
  local byte
  byte=$(od -An -tu1 -j "$2" -N 1 "$1")
  printf "\\x$(printf %x $((255 - byte)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
cp -r shards shards-damaged
shard=shards-damaged/tiny-00001-of-00003.h5
flip $shard $(($(stat -c %s $shard) / 2))
refused "damaged shard" 1 "$shard: subject phantom_005: field image: expected the checksum" \
  tiny.cfg data.shards=shards-damaged/tiny.h5 output.dir=unused
expect_failure 1 "$shard: subject phantom_005" ranks 1 inspect shards-damaged/tiny.h5
rm $shard
refused "missing shard" 1 "$shard" tiny.cfg data.shards=shards-damaged/tiny.h5 output.dir=unused
head -c 20000 shards/tiny-00001-of-00003.h5 > $shard
refused "truncated shard" 1 "$shard" tiny.cfg data.shards=shards-damaged/tiny.h5 output.dir=unused

# --- checkpoints
ranks 1 tiny.cfg output.dir=reference
expect_status 85 ranks 1 tiny.cfg output.dir=half train.stop_at=4 2> message
before=$(fingerprint half)
refused "resuming with another config" 2 "train.slots: 8 in the checkpoint, 4 now; train.learning_rate: 0.001 in" \
  tiny.cfg output.dir=half train.learning_rate=0.1 train.slots=4
"$program" phantom others phantom.subjects=11 'phantom.size=[16,16,16]' seed=2 2> phantom.log
"$program" prepare tiny.cfg data.source=others data.shards=shards-others/tiny.h5
refused "resuming with other data" 2 "half/checkpoints/last.medtrain: cannot resume with other data" \
  tiny.cfg output.dir=half data.shards=shards-others/tiny.h5
refused "starting over in a used folder" 2 "half: holds the checkpoints of an earlier run" tiny.cfg output.dir=half checkpoint.resume=never
refused "nothing to resume from" 2 "unused: expected a checkpoint" tiny.cfg output.dir=unused checkpoint.resume=must
refused "nothing to evaluate" 2 "expected a checkpoint" evaluate tiny.cfg output.dir=unused
refused "another network's checkpoint" 2 "last.medtrain: weights/" \
  evaluate tiny.cfg --checkpoint half/checkpoints/last.medtrain 'model.encoder=[8,8]'
refused "missing weights" 1 "nowhere.medtrain" tiny.cfg model.weights=nowhere.medtrain output.dir=unused
refused "unknown split" 2 '--split: expected train, validation or test, found "exam"' evaluate tiny.cfg output.dir=half --split exam
[ "$before" = "$(fingerprint half)" ] || fail "a run that was refused changed the folder"
echo "ok   refused runs change nothing"

cp -r half damaged # separate files now, where last was a further name of the newest
for name in last step-0000004; do flip damaged/checkpoints/$name.medtrain 20000; done
refused "damaged weights" 1 "damaged/checkpoints/last.medtrain" evaluate tiny.cfg --checkpoint damaged/checkpoints/last.medtrain
ranks 3 tiny.cfg output.dir=damaged 2> message
[ "$(grep -c "^warning: damaged/checkpoints/.*checksum" message)" = 2 ] || { cat message; fail "warnings for damaged checkpoints"; }
same "falls back to an undamaged checkpoint" reference damaged
cp -r half ruined
for file in ruined/checkpoints/*; do truncate -s 1000 "$file"; done
before=$(fingerprint ruined)
refused "no undamaged checkpoint" 1 "ruined/checkpoints: all 4 checkpoints are damaged" tiny.cfg output.dir=ruined
[ "$before" = "$(fingerprint ruined)" ] || fail "ruined checkpoints were touched"

# --- the run's folder
refused "unwritable folder" 1 "tiny.cfg/run: cannot make the folder" tiny.cfg output.dir=tiny.cfg/run
"$program" tiny.cfg output.dir=busy train.steps=1000000 2> /dev/null &
holder=$!
until [ -e busy/metrics.csv ]; do sleep 0.05; done
refused "second run in a folder" 2 "busy/lock: another run uses this folder (process $holder" tiny.cfg output.dir=busy train.steps=1000000
disown $holder
kill -KILL $holder

# --- losses
refused "diverging training" 1 "is not finite (nan); the last checkpoint is kept" \
  tiny.cfg output.dir=diverging train.optimizer=sgd train.learning_rate=100 train.schedule=constant train.steps=100
"$program" inspect diverging/checkpoints/last.medtrain > /dev/null
refused "gradients beyond float16" 1 "float16 cannot hold this network's gradients" tiny.cfg output.dir=beyond \
  train.precision=fp16 loss.lam_sim=0 loss.lam_dice=0 loss.lam_smooth=1e9 train.loss_scale=1 train.optimizer=sgd \
  train.learning_rate=1 train.schedule=constant train.steps=100

# --- full disk: on file systems of our own, where that is allowed
full_disk() {
  mkdir -p full && mount -t tmpfs -o size=1m medtrain-test full || exit 77
  for count in 1 3; do
    expect_failure 1 "No space left on device" ranks $count tiny.cfg output.dir=full/run
    grep -q "^warning: the checkpoint of step .* was not saved" message || fail "no warning about the checkpoint"
    "$program" inspect full/run/checkpoints/last.medtrain > /dev/null
    mount -o remount,size=16m full
    ranks $((4 - count)) tiny.cfg output.dir=full/run
    same "full disk on $count ranks, then more room" reference full/run
    rm -r full/run
    mount -o remount,size=1m full
    head -c 980000 /dev/zero > full/filling
    refused "full disk for shards" 1 "of free space for the shards" prepare tiny.cfg data.shards=full/shards/tiny.h5
    [ -z "$(find full -name '*.h5*')" ] || fail "a full disk left half a shard"
    rm -r full/*
  done
}
if unshare -m true 2> /dev/null; then
  code=0
  (export -f full_disk ranks fail expect_failure refused same state_of; export program limit
   unshare -m bash -euo pipefail -c full_disk) || code=$?
  [ $code = 0 ] || [ $code = 77 ] || exit 1
  [ $code = 0 ] || echo "skip full disk: mounting is not permitted"
else
  echo "skip full disk: mounting is not permitted"
fi
