# What the training tests share: a scratch folder, the program, tiny data, comparison of runs. Sourced, not run.
set -euo pipefail
program=$MEDTRAIN_BUILD/medtrain-dist
scratch=$(mktemp -d /tmp/medtrain-test-XXXXXX)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"

# A network and subjects small enough that a step takes milliseconds.
cat > tiny.cfg <<CONFIG
output: { dir = "run"; level = "warning"; };
data: { source = "volumes"; shards = "shards/tiny.h5"; shard_count = 3; validation = 3.0; test = 3.0; };
phantom: { subjects = 11; size = [16, 16, 16]; };
model: { encoder = [8, 16]; decoder = [16, 16]; final = [8]; };
registration: { pairs_per_epoch = 11; };
train: { steps = 6; slots = 8; learning_rate = 0.001; validate_every = 1; };
CONFIG
"$program" phantom volumes phantom.subjects=11 'phantom.size=[16,16,16]' 2>phantom.log
"$program" prepare tiny.cfg

# ranks COMMAND...: runs the program on so many ranks; one: without mpirun.
ranks() {
  local count=$1
  shift
  if [ "$count" = 1 ]; then "$program" "$@"; else mpirun --bind-to none -np "$count" "$program" "$@"; fi
}

# The weights, optimiser state and losses of run directory $1, as text.
state_of() {
  "$program" inspect "$1/checkpoints/last.medtrain" | grep crc32c
  cat "$1/metrics.csv"
}

# same NAME DIR_A DIR_B: fails unless both runs ended in the same bits.
same() {
  if ! diff <(state_of "$2") <(state_of "$3") > difference.txt; then
    echo "FAIL $1"
    head -5 difference.txt
    exit 1
  fi
  echo "ok   $1"
}
