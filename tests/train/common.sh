# shellcheck shell=bash
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

fail() {
  echo "FAIL $*"
  exit 1
}

# ranks COUNT ARGUMENTS...: runs the program on so many ranks; one: without mpirun. Whatever hangs fails with status 124.
ranks() {
  local count=$1 launcher=()
  shift
  [ "$count" = 1 ] || launcher=(mpirun --bind-to none -np "$count")
  timeout "${limit:-300}" "${launcher[@]}" "$program" "$@"
}

# expect_status STATUS COMMAND...: COMMAND must end with this exit status.
expect_status() {
  local status=$1 code=0
  shift
  "$@" || code=$?
  [ $code = "$status" ] || fail "$*: expected exit status $status, found $code"
}

# half DIRECTORY ARGUMENTS...: starts to train, stops at step 3.
half() {
  local directory=$1
  shift
  expect_status 85 ranks 1 tiny.cfg output.dir="$directory" "$@" train.stop_at=3 2> message
}

# expect_failure STATUS PART COMMAND...: COMMAND must end with this exit status and say one line of error, which holds PART
# and is left in $error. Which rank noticed is not compared.
expect_failure() {
  local status=$1 part=$2 code=0
  shift 2
  "$@" > output 2> message || code=$?
  error=$(grep "^error: " message | sed 's/^error: rank [0-9]*: /error: /') || true
  if [ $code != "$status" ] || [ "$(grep -c "^error: " message)" != 1 ] || [[ $error != *"$part"* ]]; then
    cat message
    fail "$*: expected exit status $status and one error about \"$part\", found $code"
  fi
}

# refused NAME STATUS PART ARGUMENTS...: the program fails alike on 1 and on 3 ranks.
refused() {
  local name=$1 status=$2 part=$3 alone
  shift 3
  expect_failure "$status" "$part" ranks 1 "$@"
  alone=$error
  expect_failure "$status" "$part" ranks 3 "$@"
  [ "$alone" = "$error" ] || fail "$name: 1 rank says: $alone; 3 ranks say: $error"
  echo "ok   $name"
}

# What lies in folder $1, apart from what every start may add to.
fingerprint() {
  (cd "$1" && find . -type f ! -name log.txt -exec cksum {} + | sort)
}

# The weights, optimiser state and losses of run directory $1, as text.
state_of() {
  "$program" inspect "$1/checkpoints/last.medtrain" | grep crc32c
  cat "$1/metrics.csv"
}

# same NAME DIR_A DIR_B: fails unless both runs ended in the same bits.
same() {
  if ! diff <(state_of "$2") <(state_of "$3") > difference.txt; then
    head -5 difference.txt
    fail "$1"
  fi
  echo "ok   $1"
}

# near NAME TOLERANCE FILE_A FILE_B: fails unless the numbers of both tables agree, relative to the larger one of a row's column.
near() {
  local name=$1 tolerance=$2
  paste -d, "$3" "$4" | awk -F, -v tolerance="$tolerance" '
    { for (i = 1; i <= NF / 2; i++) {
        a = $i; b = $(i + NF / 2)
        if (a !~ /^-?[0-9]/ && a == b) continue
        difference = a > b ? a - b : b - a
        size = (a < 0 ? -a : a); if ((b < 0 ? -b : b) > size) size = (b < 0 ? -b : b)
        if (difference > tolerance * size + 1e-9) { print "row " NR " column " i ": " a " " b; bad = 1 }
        count++ } }
    END { exit bad || count < 3 }' > difference.txt || { head -5 difference.txt; fail "$name"; }
  echo "ok   $name"
}
