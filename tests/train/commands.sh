#!/usr/bin/env bash
# Every command once: right results, the same on 1 and on 3 ranks. Every way to train is kinds.sh's.
. "$MEDTRAIN_SOURCE/tests/train/common.sh"

# shows PART COMMAND...: COMMAND succeeds and prints PART.
shows() {
  local part=$1
  shift
  "$@" > output 2> message || { cat message; fail "$*"; }
  grep -qF -e "$part" output || { cat output; fail "$*: expected \"$part\""; }
}

# --- about the program
shows "medtrain-dist" "$program" --version
shows "exit status: 0 done, 1 failed, 2 usage or config, 85 stopped" "$program" --help
for word in registration vxm conv loss_dice_warp cpu mpi; do shows $word "$program" --list; done
echo "ok   help, version, list"

shows "gradients travel by" "$program" doctor
for part in "locked memory" "Open MPI" "cores"; do grep -qF "$part" output || fail "doctor: expected \"$part\""; done
shows "over 3 ranks" ranks 3 doctor tiny.cfg
echo "ok   doctor"

# --- reorient: the phantoms are RAS
image=volumes/images/phantom_000.nii.gz
"$program" reorient $image turned.nii --to LSP 2> message
grep -q "RAS to LSP, turned.nii" message || fail "reorient: message"
shows "LSP" "$program" inspect turned.nii
"$program" reorient turned.nii back.nii.gz 2> message
cmp <(gzip -dc $image) <(gzip -dc back.nii.gz) || fail "reorient there and back"
expect_status 2 "$program" reorient $image turned.nii --to LLP 2> message
expect_status 2 "$program" reorient $image 2> message
expect_status 1 "$program" reorient nothing.nii turned.nii 2> message
echo "ok   reorient"

# --- plan: the published networks, without any data
oasis=$MEDTRAIN_SOURCE/configs/registration_oasis.cfg
shows "parameters         327,331" "$program" plan "$oasis"
shows "parameters         244,323" "$program" plan "$oasis" model.variant=monai 'model.encoder=[16,32,32,32,32,32]' \
  'model.decoder=[32]' 'model.final=[16,16]' model.integration_downsize=1
shows "memory of each of 8 ranks" "$program" plan "$oasis" --ranks 8
shows "8 slots on 8 ranks, at most 1 of them on a rank" "$program" plan "$oasis" --ranks 8
# one bucket of 327,344 floats, 2 (n-1)/n of it each way; beyond 8 ranks there are as many slots
"$program" plan "$oasis" --ranks 1024 --seconds 1 --bandwidth 1 --latency 0 --overhead 0 > output
row() { grep -qE "^ +$1 +$2\$" output || { cat output; fail "plan: expected the row $*"; }; }
row 1 "8 +8 +8.00000 +0.000000 +0.000000 +0.000000 +8.00000 +1.00 +100.00%"
row 2 "8 +4 +4.00000 +0.001309 +0.001309 +0.000000 +4.00131 +2.00 +99.97%"
row 4 "8 +2 +2.00000 +0.001964 +0.001964 +0.000000 +2.00196 +4.00 +99.90%"
row 1024 "1024 +1 +1.00000 +0.002616 +0.002616 +0.000000 +1.00262 +1021.33 +99.74%"
expect_status 2 "$program" plan "$oasis" --ranks 2 --seconds 0 2> message
expect_status 2 "$program" plan "$oasis" --ranks 2 --seconds 1 --comm "$oasis" 2> message
grep -q "latency_seconds" message || fail "plan: what a file of bench comm must say"
echo "ok   plan"

# --- a run, and what can be done with it
ranks 1 tiny.cfg output.dir=run
shows "all checksums right" "$program" inspect run/checkpoints/best.medtrain
shows "unet_model.encoder.0.0.main.weight" "$program" inspect run/checkpoints/best.medtrain
shows "shard 1 of 3" "$program" inspect shards/tiny-00001-of-00003.h5
shows "master of 3 shards" "$program" inspect shards/tiny.h5
shows "16 x 16 x 16" "$program" inspect volumes/images/phantom_000.nii.gz volumes/labels/phantom_001.nii.gz
echo "ok   inspect"

shows "2 samples of the test split" "$program" evaluate tiny.cfg
for part in '^sample,dice_before,dice,' '^"phantom_'; do grep -q "$part" run/evaluation_test.csv || fail "evaluation_test.csv"; done
grep -q '"checkpoint": "run/checkpoints/best.medtrain"' run/evaluation_test.json || fail "evaluation_test.json"
cp run/evaluation_test.csv test.csv
ranks 3 evaluate tiny.cfg > output
cmp test.csv run/evaluation_test.csv || fail "evaluate on 3 ranks"
ranks 3 evaluate tiny.cfg --split validation > output
[ "$(wc -l < run/evaluation_validation.csv)" = 3 ] || fail "evaluation_validation.csv"
echo "ok   evaluate, the same on 1 and 3 ranks"

# export and import do not change a weight
"$program" export run/checkpoints/best.medtrain weights.safetensors 2> message
"$program" import weights.safetensors imported.medtrain 2> message
"$program" export imported.medtrain again.safetensors 2> message
diff <("$program" inspect run/checkpoints/best.medtrain | grep " weights/") <("$program" inspect imported.medtrain | grep " weights/")
shows "2 samples" "$program" evaluate tiny.cfg --checkpoint imported.medtrain
cmp test.csv run/evaluation_test.csv || fail "evaluate after export and import"
ranks 1 tiny.cfg output.dir=started model.weights=imported.medtrain
ranks 3 tiny.cfg output.dir=started3 model.weights=imported.medtrain
same "start from imported weights on 1 and 3 ranks" started started3
! diff -q run/metrics.csv started/metrics.csv > output || fail "model.weights changed nothing"

# PyTorch's batch norms have a counter beside their weights; it is left out
header='{"bn.num_batches_tracked":{"dtype":"I64","shape":[],"data_offsets":[0,8]},"bn.running_mean":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}'
printf '%b\0\0\0\0\0\0\0%s\5\0\0\0\0\0\0\0\0\0\200\77\0\0\0\100' "\\x$(printf %x ${#header})" "$header" > counted.safetensors
"$program" import counted.safetensors counted.medtrain 2> message
grep -q "wrote 1 tensors" message || fail "import of a counter"
"$program" inspect counted.medtrain | grep "weights/bn.running_mean .*F32 \[2\]" > /dev/null || fail "import beside a counter"

shows '"steps": 2' "$program" bench tiny.cfg --steps 2
shows '"reduction_overlap"' ranks 3 bench tiny.cfg --steps 1
shows '"direction": "backward", "operator": "conv"' "$program" bench tiny.cfg --steps 1
shows '"convolutions": {"count": 6,' "$program" bench ops tiny.cfg
grep -q "^all 6 convolutions: .* GFLOP/s, .*% of peak" output || fail "bench ops: sum over convolutions"
grep -q "^lowest share of those with at least 1 %" output || fail "bench ops: lowest share"
! grep -q " reference " output || fail "bench ops: expected no kernel but those that run"
shows " reference " "$program" bench ops tiny.cfg --all 'model.encoder=[4]' 'model.decoder=[4]' 'model.final=[]'
expect_status 2 ranks 3 bench ops tiny.cfg 2> message
ranks 3 bench comm tiny.cfg --largest 1 > comm.txt
for part in '"ranks": 3' '"latency_seconds"' '"what": "gradient", "bytes": 122240.0, "slots": 8'; do
  tail -1 comm.txt | grep -qF "$part" || { cat comm.txt; fail "bench comm: expected $part"; }
done
expect_status 2 "$program" bench comm tiny.cfg 2> message
shows '"waiting_share": ' "$program" bench data tiny.cfg --seconds 0.02
for part in "of memcpy" "with 0.02 s per slot of 1 samples waits"; do grep -q "$part" output || { cat output; fail "bench data"; }; done
expect_status 1 "$program" bench data tiny.cfg data.shards=nothing.h5 2> message
shows '"files_per_second": ' "$program" bench import tiny.cfg
grep -qE "^volumes: [1-9][0-9]* files, .* as float32, read in .* s by [0-9]+ threads" output || { cat output; fail "bench import"; }
tail -1 output | grep -qF "\"files\": $(ls volumes/images | wc -l)," || { cat output; fail "bench import: files"; }
expect_status 2 ranks 3 bench import tiny.cfg 2> message
expect_status 2 "$program" bench import tiny.cfg data.source=nothing 2> message
cp -r volumes damaged
head -c 1000 volumes/images/phantom_004.nii.gz > damaged/images/phantom_004.nii.gz
expect_status 1 "$program" bench import tiny.cfg data.source=damaged 2> message
grep -q "phantom_004.nii.gz: the compressed file is truncated" message || { cat message; fail "bench import: a damaged file"; }
shows "at once (comm.txt)" "$program" plan tiny.cfg --ranks 3 --measure 2 --comm comm.txt
grep -q "(measured now, 2 slots" output || fail "plan: measured slots"
echo "ok   bench"
"$program" predict tiny.cfg --output predicted volumes/images/phantom_00{0,1}.nii.gz volumes/labels/phantom_000.nii.gz 2> message
for file in warped warped_labels displacement jacobian; do
  shows "problems     none" "$program" inspect predicted/$file.nii.gz
done
shows "1007" "$program" inspect predicted/displacement.nii.gz
echo "ok   predict"

# --- stopping and resuming
half stopped
shows "step: 3" "$program" inspect stopped/checkpoints/last.medtrain
ranks 3 tiny.cfg output.dir=stopped checkpoint.resume=must
same "stopped at a step, resumed because it must" run stopped
ranks 1 tiny.cfg output.dir=stopped
same "resuming a finished run does nothing" run stopped
ranks 1 tiny.cfg output.dir=new checkpoint.resume=never
same "starting afresh where nothing is" run new
half allowed
ranks 1 tiny.cfg output.dir=allowed train.learning_rate=0.002 checkpoint.allow_changes=true 2> message
grep -q "^warning: .*train.learning_rate: 0.001 in the checkpoint, 0.002 now" message || fail "warning about allowed changes"

ranks 1 tiny.cfg output.dir=long train.steps=150
mpirun --bind-to none -np 3 "$program" tiny.cfg output.dir=signalled train.steps=150 2> message &
job=$!
until [ -e signalled/metrics.csv ] || ! kill -0 $job; do sleep 0.02; done
kill -USR2 $job
expect_status 85 wait $job
grep -q "^warning: stopped after step [0-9]* of 150" message || fail "message about stopping"
ranks 2 tiny.cfg output.dir=signalled train.steps=150
same "stopped by SIGUSR2, resumed" long signalled

# --- materialise: the pose task's samples as files, the same for any number of ranks
cat > pose.cfg <<CONFIG
task = "pose";
output: { level = "warning"; };
data: { source = "volumes"; shards = "shards/pose.h5"; shard_count = 2; grid = "own"; validation = 2.0; test = 2.0; };
pose: { size = [16, 16, 16]; spacing = [12.0, 12.0, 12.0]; variants_per_image = 2; evaluation_variants = 3; };
model: { name = "resnet_pose"; features = [4]; blocks = [1]; hidden = 8; };
CONFIG
"$program" prepare pose.cfg
ranks 1 materialise pose.cfg moved1
ranks 3 materialise pose.cfg moved3
diff -r moved1 moved3 || fail "materialise on 1 and 3 ranks"
[ "$(find moved1 -name '*.nii.gz' | wc -l)" = 14 ] || fail "materialise: expected 7 subjects in 2 poses"
head -1 moved1/metadata.csv | grep -q "^case,variant,rx,ry,rz,tx,ty,tz,cx,cy,cz,convention" || fail "metadata.csv: header"
[ "$(wc -l < moved1/metadata.csv)" = 15 ] || fail "metadata.csv: expected 14 samples"
grep -q '"convention": "T(x) = R (x - c) + c + t' moved1/metadata.json || fail "metadata.json"
ranks 1 materialise pose.cfg later --epoch 1
! cmp moved1/metadata.csv later/metadata.csv > output || fail "materialise: every epoch draws new poses"
ranks 1 materialise pose.cfg test --split test
[ "$(wc -l < test/metadata.csv)" = 7 ] || fail "materialise --split test: expected 6 samples"
shows "16 x 16 x 16" "$program" inspect moved1/*_variant0001.nii.gz
refused "materialise of another task" 2 'expected a config with task = "pose"' materialise tiny.cfg moved
echo "ok   materialise"
