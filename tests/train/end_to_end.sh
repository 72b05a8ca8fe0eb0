#!/usr/bin/env bash
# From NIfTI files to a registered pair on 2 ranks of 2 threads: the whole chain once, under whatever sanitizer the build
# has. Its reports end the program, and so this test.
. "$MEDTRAIN_SOURCE/tests/train/common.sh"
unset OMP_NUM_THREADS

ranks 2 tiny.cfg threads=2
ranks 2 evaluate tiny.cfg threads=2 > table.txt
grep -q "^dice " table.txt
"$program" predict tiny.cfg threads=2 --output out volumes/images/phantom_001.nii.gz \
  volumes/images/phantom_000.nii.gz volumes/labels/phantom_001.nii.gz
for name in warped warped_labels displacement jacobian; do
  "$program" inspect out/$name.nii.gz > /dev/null
  echo "ok   $name.nii.gz"
done
ls run/events.out.tfevents.* run/metrics.csv run/config.cfg run/log.txt run/checkpoints/last.medtrain > /dev/null
echo "ok   run directory"
