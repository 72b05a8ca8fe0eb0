#!/usr/bin/env bash
# The pose system: the same bits whatever the number of ranks and threads (batch norm's statistics included), and after
# stopping and resuming while the learning rate depends on validation; what evaluation and prediction write.
. "$MEDTRAIN_SOURCE/tests/train/common.sh"

cat > pose.cfg <<CONFIG
base = "$MEDTRAIN_SOURCE/configs/base/pose.cfg";
output: { dir = "run"; level = "warning"; };
data: { source = "volumes"; shards = "shards-pose/pose.h5"; shard_count = 2; validation = 2.0; test = 3.0; };
model: { features = [4, 8]; blocks = [1, 1]; hidden = 16; };
pose: { size = [14, 16, 12]; spacing = [12.0, 12.0, 14.0]; variants_per_image = 3; evaluation_variants = 2; fill = "noise"; mask = "sphere"; };
train: { epochs = 3; slots = 4; slot_samples = 2; learning_rate = 0.002; schedule = "plateau"; plateau_factor = 0.5;
  plateau_patience = 0; plateau_threshold = 0.9; ema_decay = 0.9; };
CONFIG
"$program" prepare pose.cfg

# --- exact: 6 subjects of 3 poses are 3 steps an epoch, the last one with empty slots
ranks 1 pose.cfg output.dir=reference threads=1
grep -q "running_mean" <("$program" inspect reference/checkpoints/last.medtrain) || fail "no running statistics"
[ "$(cut -d, -f3 reference/metrics.csv | sort -u | wc -l)" -gt 2 ] || fail "validation does not change the learning rate"
for count in 2 3 4; do
  ranks $count pose.cfg output.dir=ranks$count threads=1
  same "$count ranks" reference ranks$count
done
ranks 2 pose.cfg output.dir=threads2 threads=2
same "2 ranks of 2 threads" reference threads2
for stop in 1 3 7; do
  expect_status 85 ranks 3 pose.cfg output.dir=stop$stop threads=1 train.stop_at=$stop
  ranks 2 pose.cfg output.dir=stop$stop threads=1
  same "stopped after step $stop on 3 ranks, resumed on 2" reference stop$stop
done
ranks 2 pose.cfg output.dir=debug threads=1 debug.poison=true debug.guard=true
same "poisoned and guarded memory" reference debug
ranks 1 pose.cfg output.dir=fixed pose.variants=fixed
if diff -q <(state_of reference) <(state_of fixed) > /dev/null; then fail "fixed poses are fresh ones"; fi
echo "ok   fixed poses are others than fresh ones"

# --- every choice trains and is evaluated
choice() { # NAME ARGUMENTS...
  local name=$1
  shift
  rm -rf choice
  ranks 2 pose.cfg output.dir=choice train.epochs=1 "$@"
  ranks 1 evaluate pose.cfg output.dir=choice train.epochs=1 "$@" > evaluation.txt 2> message
  grep -q "^geodesic_deg " evaluation.txt || fail "$name"
  echo "ok   $name"
}
choice "pair mode" pose.mode=pair
choice "rotations as columns, geodesic loss" pose.representation=rotation6d pose.loss=geodesic
choice "corner loss, origin at the labels, box" pose.loss=corner pose.canonical=centroid pose.mask=box pose.fill=crop
choice "group norm, axis and angle" model.norm=group model.norm_groups=2 pose.sampling=axis_angle pose.fill=zero
choice "bf16, gaussian" train.precision=bf16 pose.sampling=gaussian pose.fill=edge

# --- evaluate: the same on any number of ranks; under a name of its own
ranks 1 evaluate pose.cfg output.dir=reference > evaluation.txt 2> message
cp reference/evaluation_test.csv one.csv
ranks 3 evaluate pose.cfg output.dir=reference > three.txt 2> message
cmp one.csv reference/evaluation_test.csv || fail "evaluation on 3 ranks"
[ "$(wc -l < one.csv)" = 7 ] || fail "expected 3 subjects of 2 poses in evaluation_test.csv"
ranks 1 evaluate pose.cfg --name zero output.dir=reference pose.fill=zero > zero.txt 2> message
for file in evaluation_zero.csv evaluation_test.json MODEL_PERFORMANCE_REPORT.md MODEL_PERFORMANCE_REPORT_zero.md \
  pose_errors_test.png pose_scatter_zero.png; do
  [ -s "reference/$file" ] || fail "evaluate did not write $file"
done
grep -q "identity_geodesic_deg .*median\|^identity_geodesic_deg" evaluation.txt || fail "no errors of the identity"
grep -q '"median"' reference/evaluation_test.json || fail "no medians"
grep -q "^| rotation, geodesic, degrees | network | " reference/MODEL_PERFORMANCE_REPORT.md || fail "report"
echo "ok   evaluate"

# --- no variant of a volume that is tested is trained on
ranks 1 evaluate pose.cfg --split train --name train output.dir=reference > /dev/null 2>&1
[ "$(wc -l < reference/evaluation_train.csv)" = 13 ] || fail "expected 6 subjects of 2 poses in evaluation_train.csv"
subjects_of() { cut -d'"' -f2 "$1" | grep ' #' | sed 's/ #.*//' | sort -u; }
[ -z "$(comm -12 <(subjects_of one.csv) <(subjects_of reference/evaluation_train.csv))" ] || fail "subjects in training and test"
echo "ok   splits by subject"

# --- predict: a folder and a file
mkdir unlabelled
cp volumes/images/phantom_00[12].nii.gz unlabelled
touch unlabelled/notes.txt
ranks 1 predict pose.cfg --output predicted output.dir=reference unlabelled volumes/images/phantom_000.nii.gz pose.qc_rotation=0 \
  pose.move_back=true 2> message
[ "$(wc -l < predicted/predictions.csv)" = 4 ] || fail "predictions.csv"
for part in pose.json forward.tfm inverse.tfm forward.txt qc.png moved_back.nii.gz; do
  [ -s "predicted/phantom_001_$part" ] || fail "predict did not write phantom_001_$part"
done
[ "$(grep -c "misaligned: turned by" message)" = 3 ] || fail "predict flags nothing"
grep -q '"misaligned": true' predicted/phantom_000_pose.json || fail "predict flags nothing in its files"
grep -q "Euler3DTransform" predicted/phantom_002_forward.tfm || fail "ITK transform"
echo "ok   predict"
ranks 1 pose.cfg output.dir=pair train.epochs=1 pose.mode=pair
ranks 1 predict pose.cfg --output pairs output.dir=pair pose.mode=pair volumes/images/phantom_00[01].nii.gz
[ "$(wc -l < pairs/predictions.csv)" = 2 ] || fail "predict in mode pair"
echo "ok   predict in mode pair"

# --- refused
expect_failure 2 "expected pairs MOVED REFERENCE" ranks 1 predict pose.cfg --output pairs output.dir=pair pose.mode=pair \
  volumes/images/phantom_000.nii.gz
echo "ok   pairs need two volumes"
expect_failure 2 "expected volumes" ranks 1 predict pose.cfg --output none output.dir=reference shards-pose
echo "ok   a folder without volumes"
refused "three extents" 2 "expected 3 numbers each" pose.cfg output.dir=none 'pose.size=[16,16]'
