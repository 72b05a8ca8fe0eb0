#!/usr/bin/env bash
# Segmentation from files to files, under whatever sanitizer the build has: classes of label maps by patches, overlapping
# structures by slices, and the category of whole volumes. Prepares, trains, evaluates, predicts; what does not fit is refused.
. "$MEDTRAIN_SOURCE/tests/train/common.sh"

"$program" phantom phantoms phantom.subjects=6 'phantom.size=[16,16,16]' phantom.noise=0.0 phantom.bias=0.0 \
  phantom.deformation=0.5 2> phantom.log

# geometry FILE: where a volume lies.
geometry() {
  "$program" inspect "$1" | sed -n '/^shape/p; /^spacing/,/^range/p' | grep -v ^range
}

# same_place A B: both files have the same grid.
same_place() {
  diff <(geometry "$1") <(geometry "$2") > difference.txt || { cat difference.txt; fail "$2 lies elsewhere than $1"; }
}

# maximum FILE: the largest value of a volume.
maximum() {
  "$program" inspect "$1" | sed -n 's/^range .* to \([^,]*\),.*/\1/p'
}

# mean_of COLUMN TABLE: the mean of a column that evaluate wrote.
mean_of() {
  awk -F, -v column="$1" 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == column) at = i }
    NR > 1 && at { sum += $at; count++ } END { print count ? sum / count : "none" }' "$2"
}

# above A B WHAT: fails unless A > B.
above() {
  awk -v a="$1" -v b="$2" 'BEGIN { exit !(a + 0 > b + 0) }' || fail "$3: expected more than $2, found $1"
}

# alike CONFIG: the first steps are the same bits on 1 and 2 ranks.
alike() {
  for count in 1 2; do
    ranks $count "$1" output.dir=alike$count train.steps=5 train.validate_every=0
  done
  same "$1 on 1 and 2 ranks" alike1 alike2
  rm -rf alike1 alike2
}

# --- label maps by patches: a network that knows its training volumes by heart
cat > patches.cfg <<CONFIG
base = "$MEDTRAIN_SOURCE/configs/base/segmentation.cfg";
output: { dir = "patches"; level = "warning"; };
data: { source = "phantoms"; shards = "shards-patches/data.h5"; shard_count = 2; multiple = 4; labels = [2, 1];
  label_names = "white,gray"; validation = 1.0; test = 2.0; };
model: { classes = 3; features = [8, 16]; norm = "instance"; dropout = 0.05; };
segmentation: { sample = "patch"; patch = [8, 8, 8]; samples_per_volume = 4; foreground = 0.5; };
train: { epochs = 50; slots = 2; slot_samples = 1; learning_rate = 0.01; validate_every = 25; };
CONFIG
"$program" prepare patches.cfg
alike patches.cfg
ranks 2 patches.cfg
ranks 1 evaluate patches.cfg --split train > table.txt
above "$(mean_of dice patches/evaluation_train.csv)" 0.65 "Dice of what was trained on"
echo "ok   overfits: Dice $(mean_of dice patches/evaluation_train.csv)"
ranks 1 evaluate patches.cfg --split train --name stored segmentation.geometry=stored > table.txt
cmp patches/evaluation_train.csv patches/evaluation_stored.csv || fail "the stored grid is the files' grid"
ranks 3 evaluate patches.cfg --split train --name three > table.txt
cmp patches/evaluation_train.csv patches/evaluation_three.csv || fail "evaluate on 3 ranks"
echo "ok   evaluate: the same on 1 and 3 ranks, and on either grid"

# What predict writes is what evaluate judges: as a truth it is perfect.
"$program" predict patches.cfg --output out phantoms/images
for image in phantoms/images/*.nii.gz; do
  same_place "$image" "out/$(basename "$image" .nii.gz)_labels.nii.gz"
done
[ "$(maximum out/phantom_000_labels.nii.gz)" = 2 ] || fail "label maps have values of data.labels"
mkdir -p perfect/labels && cp -r phantoms/images perfect/images
for image in phantoms/images/*.nii.gz; do
  name=$(basename "$image" .nii.gz)
  cp "out/${name}_labels.nii.gz" "perfect/labels/$name.nii.gz"
done
"$program" prepare patches.cfg data.source=perfect data.shards=shards-perfect/data.h5
ranks 1 evaluate patches.cfg --split train --name perfect --checkpoint patches/checkpoints/best.medtrain \
  data.source=perfect data.shards=shards-perfect/data.h5 > table.txt
[ "$(mean_of dice patches/evaluation_perfect.csv)" = 1 ] || fail "predict and evaluate differ"
echo "ok   predict writes what evaluate judges, where its input lies"

"$program" reorient phantoms/images/phantom_000.nii.gz turned.nii.gz --to PIL
"$program" predict patches.cfg --output turned turned.nii.gz
same_place turned.nii.gz turned/turned_labels.nii.gz
"$program" reorient turned/turned_labels.nii.gz back.nii.gz --to RAS
same_place back.nii.gz out/phantom_000_labels.nii.gz
cmp <(gzip -dc back.nii.gz | tail -c 16384) <(gzip -dc out/phantom_000_labels.nii.gz | tail -c 16384) ||
  fail "a turned volume has other labels"
echo "ok   a turned volume gets the same labels, turned"

# Volumes of another extent than any that was trained on, and names that are none of files.
"$program" phantom odd phantom.subjects=1 'phantom.size=[11,13,9]' 2> phantom.log
"$program" predict patches.cfg --output odd-out odd/images data.label_names=a/b,c segmentation.probabilities=true
for name in labels probability_a_b probability_c; do
  same_place odd/images/phantom_000.nii.gz odd-out/phantom_000_$name.nii.gz
done
echo "ok   a volume of another extent"

ranks 1 patches.cfg output.dir=other seed=2 train.epochs=4 train.validate_every=0
"$program" predict patches.cfg --output ensemble segmentation.probabilities=true \
  --checkpoint patches/checkpoints/best.medtrain,other/checkpoints/last.medtrain phantoms/images/phantom_000.nii.gz
for name in labels entropy deviation probability_white probability_gray; do
  same_place phantoms/images/phantom_000.nii.gz ensemble/phantom_000_$name.nii.gz
done
above "$(maximum ensemble/phantom_000_deviation.nii.gz)" 0 "deviation of an ensemble"
above 1.0001 "$(maximum ensemble/phantom_000_probability_white.nii.gz)" "a probability"
"$program" predict patches.cfg --output passes segmentation.passes=3 phantoms/images/phantom_000.nii.gz
"$program" predict patches.cfg --output passes-again segmentation.passes=3 phantoms/images/phantom_000.nii.gz
diff <(fingerprint passes) <(fingerprint passes-again) || fail "passes with dropout do not repeat"
above "$(maximum passes/phantom_000_deviation.nii.gz)" 0 "deviation of passes with dropout"
above "$(maximum passes/phantom_000_entropy.nii.gz)" 0 "entropy of passes with dropout"
[ ! -e out/phantom_000_entropy.nii.gz ] || fail "entropy of one pass of one network"
echo "ok   ensembles and passes with dropout write their uncertainty"

refused "another number of classes" 2 "model.classes: expected 3, as many as shards-patches/data.h5 has classes" \
  patches.cfg train.slots=3 output.dir=refused model.classes=4
refused "flips of nameless classes" 2 "augment.flip" patches.cfg train.slots=3 output.dir=refused augment.flip=LR \
  data.label_names= data.shards=shards/tiny.h5 model.classes=13

# --- whole volumes, each on its own grid: the network was planned for others
whole=(patches.cfg output.dir=whole data.grid=own data.shards=shards-whole/data.h5 segmentation.sample=volume model.dropout=0.0)
"$program" prepare "${whole[@]}"
ranks 2 "${whole[@]}" train.epochs=2 train.validate_every=1
ranks 1 evaluate "${whole[@]}" > table.txt train.epochs=2 train.validate_every=1
"$program" predict "${whole[@]}" --output whole-out odd/images train.epochs=2 train.validate_every=1
same_place odd/images/phantom_000.nii.gz whole-out/phantom_000_labels.nii.gz
echo "ok   whole volumes of any extent"

# --- overlapping structures by slices: the brain holds the others, two are left and right
for subject in 0 1 2; do
  folder=bodies/s000$subject
  mkdir -p $folder/segmentations
  cp phantoms/images/phantom_00$subject.nii.gz $folder/ct.nii.gz
  pick() {
    "$MEDTRAIN_BUILD/tests/pick_labels" phantoms/labels/phantom_00$subject.nii.gz $folder/segmentations/"$1".nii.gz "${@:2}"
  }
  pick brain 1 2 3 4 5 6 7 8 9 10 11 12
  pick white 2
  pick gray 1
  pick side_left 3 5 7 9
  pick side_right 4 6 8 10
done
cat > slices.cfg <<CONFIG
base = "$MEDTRAIN_SOURCE/configs/base/segmentation.cfg";
output: { dir = "slices"; level = "warning"; };
data: { source = "bodies"; layout = "totalsegmentator"; shards = "shards-slices/data.h5"; shard_count = 2; orientation = "SRA";
  grid = "slices"; intensity = "none"; multiple = 8; validation = 1.0; test = 1.0; };
model: { classes = 5; dimensions = 2; features = [8, 16]; norm = "instance"; prior = 0.05; };
segmentation: { sample = "slice"; loss = "dice_ce"; windows = [0.0, 0.6, 0.4, 1.2]; drop_empty = 0.5; };
augment: { flip = "LR"; };
train: { epochs = 30; slots = 2; slot_samples = 4; learning_rate = 0.01; validate_every = 10; };
CONFIG
"$program" prepare slices.cfg
alike slices.cfg
ranks 2 slices.cfg
ranks 1 evaluate slices.cfg --split train > table.txt
ranks 3 evaluate slices.cfg --split train --name three > table.txt
cmp slices/evaluation_train.csv slices/evaluation_three.csv || fail "evaluate structures on 3 ranks"
ranks 1 evaluate slices.cfg --split train --name stored segmentation.geometry=stored > table.txt
cmp slices/evaluation_train.csv slices/evaluation_stored.csv || fail "structures: the stored grid is the files' grid"
above "$(mean_of dice_brain slices/evaluation_train.csv)" 0.8 "Dice of the brain"
echo "ok   structures: Dice of the brain $(mean_of dice_brain slices/evaluation_train.csv)"

"$program" predict slices.cfg --output structures segmentation.files=both bodies/s0000 bodies/s0002
for name in brain white gray side_left side_right; do
  same_place bodies/s0000/ct.nii.gz structures/s0000/$name.nii.gz
  ls structures/s0002/$name.nii.gz > /dev/null
done
same_place bodies/s0000/ct.nii.gz structures/s0000_labels.nii.gz
for table in structures/s000[02]_labels.ctbl structures/s000[02]_labels*.txt; do
  [ "$(grep -c -E "brain|side_left" "$table")" = 2 ] || fail "colour table $table"
done
"$program" predict slices.cfg --output only segmentation.files=structures segmentation.probabilities=true bodies/s0000
[ ! -e only/s0000_labels.nii.gz ] || fail "a label map that nobody wanted"
diff <(fingerprint only/s0000) <(fingerprint structures/s0000) || fail "structures differ"
above "$(maximum only/s0000_probability_brain.nii.gz)" 0.5 "probability of the brain"
echo "ok   a file per structure, and a label map with colour tables"

refused "another number of structures" 2 "model.classes: expected 5, as many as shards-slices/data.h5 has structures" \
  slices.cfg train.slots=3 output.dir=refused model.classes=6
"$program" prepare slices.cfg data.structures=brain,side_left data.shards=shards-onesided/data.h5
refused "flips of one side" 2 'nothing to make of "side_left"' slices.cfg train.slots=3 output.dir=refused model.classes=2 \
  data.structures=brain,side_left data.shards=shards-onesided/data.h5

# --- the category of a volume: whether it is an image, or a label map instead, on a coarser grid than the files'
mkdir -p sorted
{
  echo "subject,image,label,split,patient,category"
  for subject in 0 1 2 3 4 5; do
    split=train
    [ $subject != 4 ] || split=validation
    [ $subject != 5 ] || split="test"
    kind=images
    [ $((subject % 2)) = 0 ] || kind=labels
    echo "c$subject,$kind/phantom_00$subject.nii.gz,labels/phantom_00$subject.nii.gz,$split,c$subject,$((subject % 2))"
  done
} > sorted/list.csv
cat > category.cfg <<CONFIG
base = "$MEDTRAIN_SOURCE/configs/base/segmentation.cfg";
output: { dir = "category"; level = "warning"; };
data: { source = "phantoms"; layout = "csv"; list = "sorted/list.csv"; shards = "shards-category/data.h5"; shard_count = 2;
  resample = [8, 8, 8]; multiple = 4; labels = [1, 2]; };
model: { classes = 3; features = [8, 16]; norm = "none"; };
segmentation: { categories = 2; category_hidden = 4; };
train: { epochs = 100; slots = 2; slot_samples = 1; learning_rate = 0.005; validate_every = 50; };
CONFIG
"$program" prepare category.cfg
alike category.cfg
ranks 2 category.cfg
ranks 1 evaluate category.cfg --checkpoint category/checkpoints/last.medtrain --split train > table.txt
ranks 3 evaluate category.cfg --checkpoint category/checkpoints/last.medtrain --split train --name three > table.txt
cmp category/evaluation_train.csv category/evaluation_three.csv || fail "evaluate categories on 3 ranks"
head -1 category/evaluation_train.csv | grep -q "category_correct,category,category_predicted" || fail "columns of categories"
[ "$(mean_of category_correct category/evaluation_train.csv)" = 1 ] || fail "categories are not learnt by heart"
"$program" predict category.cfg --checkpoint category/checkpoints/last.medtrain --output categories \
  phantoms/labels/phantom_001.nii.gz phantoms/images/phantom_002.nii.gz
same_place phantoms/images/phantom_002.nii.gz categories/phantom_002_labels.nii.gz
grep -q '"category": 1,' categories/phantom_001_category.json || fail "category of subject 1"
grep -q '"category": 0,' categories/phantom_002_category.json || fail "category of subject 2"
refused "another number of categories" 2 "segmentation.categories: expected " category.cfg train.slots=3 output.dir=refused \
  segmentation.categories=1
echo "ok   categories: trained, judged and predicted"
