#!/usr/bin/env bash
# Ranks that are killed or stop moving: the job ends soon with a status that is not 0, the checkpoints are whole, and a
# resumed run ends in the same bits as one that nothing happened to.
. "$MEDTRAIN_SOURCE/tests/train/common.sh"

# start DIR ARGUMENTS...: starts a run on 3 ranks; $job is mpirun's process.
start() {
  local directory=$1
  shift
  mpirun --bind-to none -np 3 "$program" tiny.cfg output.dir="$directory" "$@" > output 2> message &
  job=$!
}

# finish: waits for the job and its ranks to be gone; $code is its status, $seconds how long that took.
finish() {
  local begin=$SECONDS process
  code=0
  wait $job 2> /dev/null || code=$?
  for process in $processes; do
    while kill -0 "$process" 2> /dev/null; do
      [ $((SECONDS - begin)) -lt 30 ] || fail "process $process is left"
      sleep 0.05
    done
  done
  seconds=$((SECONDS - begin))
}

# await COMMAND...: until it succeeds; not 0 when the job ends before.
await() {
  until "$@"; do
    kill -0 $job 2> /dev/null || return 1
    sleep 0.01
  done
  processes=$(pgrep -P $job)
}

# What to wait for; the last word is the run's folder.
has_steps() { [ -e "$2/metrics.csv" ] && [ "$(wc -l < "$2/metrics.csv")" -gt "$1" ]; }
is_saving() { compgen -G "$1/checkpoints/*.part-*" > /dev/null; }
is_open() { [ -e "$1/lock" ]; }

# process_of RANK: its process number.
process_of() {
  local process
  for process in $processes; do
    if tr '\0' '\n' < "/proc/$process/environ" | grep -x "OMPI_COMM_WORLD_RANK=$1" > /dev/null; then echo "$process"; fi
  done
}

# stop_while_saving DIR: stops rank 0 in the middle of writing a checkpoint. A save takes milliseconds: nothing is started
# between seeing and stopping it.
stop_while_saving() {
  local writer
  processes=$(pgrep -P $job) || return 1
  writer=$(process_of 0)
  [ -n "$writer" ] || return 1
  for _ in {1..5000}; do
    is_saving "$1" || continue
    kill -STOP "$writer" || return 1
    is_saving "$1" && return
    kill -CONT "$writer"
  done
  return 1
}

# resume NAME REFERENCE DIR ARGUMENTS...: continues on 2 ranks and compares.
resume() {
  local name=$1 reference=$2 directory=$3
  shift 3
  ranks 2 tiny.cfg output.dir="$directory" "$@" 2> message || { cat message; fail "$name: resuming"; }
  ! compgen -G "$directory/checkpoints/*.part-*" || fail "$name: half a checkpoint is left"
  same "$name, resumed" "$reference" "$directory"
}

# killed NAME REFERENCE RANK ARGUMENTS... -- COMMAND...: kill -9 of a rank once COMMAND... FOLDER succeeds.
killed() {
  local name=$1 reference=$2 rank=$3 arguments=()
  shift 3
  while [ "$1" != -- ]; do
    arguments+=("$1")
    shift
  done
  shift
  for _ in {1..8}; do # the moment may be over before it is seen
    processes=
    start "$name" "${arguments[@]}"
    await "$@" "$name" && break
    finish
    [ $code = 0 ] || { cat message; fail "$name: status $code before anything was killed"; }
    rm -r "$name"
  done
  [ -e "$name" ] || fail "$name: the moment never came"
  kill -KILL "$(process_of "$rank")"
  finish
  [ $code = 137 ] && [ $seconds -le 5 ] || { cat message; fail "$name: status $code after $seconds s"; }
  resume "$name" "$reference" "$name" "${arguments[@]}"
  rm -r "$name"
}

plain=(train.steps=30)
long=(train.steps=150)
validating=(train.steps=30 registration.pairs_per_epoch=1) # little else
ranks 1 tiny.cfg output.dir=plain "${plain[@]}"
ranks 1 tiny.cfg output.dir=long "${long[@]}"
ranks 1 tiny.cfg output.dir=validating "${validating[@]}"
export OMPI_MCA_odls_base_sigkill_timeout=0 # seconds that the other ranks live on; 1 by default
killed "rank 2 killed while opening" plain 2 "${plain[@]}" -- is_open
killed "rank 0 killed while training" plain 0 "${plain[@]}" -- has_steps 8
killed "rank 1 killed while training" plain 1 "${plain[@]}" -- has_steps 8
killed "rank 2 killed while validating" validating 2 "${validating[@]}" -- has_steps 8
killed "rank 0 killed while saving" long 0 "${long[@]}" checkpoint.every_steps=1 -- stop_while_saving

# --- a rank that does not move
unset OMPI_MCA_odls_base_sigkill_timeout
for rank in 0 2; do
  start stopped "${plain[@]}" comm.deadline=2
  await has_steps 8 stopped || fail "rank $rank: the job ended too early"
  kill -STOP "$(process_of $rank)"
  finish
  [ $code = 1 ] && [ $seconds -le 15 ] || { cat message; fail "rank $rank stopped: status $code after $seconds s"; }
  [ "$(grep -c "^error: " message)" = 1 ] && grep -q "^error: .* s for rank $rank: stopped" message ||
    { cat message; fail "rank $rank stopped: expected one message that names it"; }
  resume "rank $rank stopped for good" plain stopped "${plain[@]}"
  rm -r stopped
done

# --- everything killed at random moments, resumed on another number of ranks each time
kills=0
until [ $kills = 5 ]; do
  mpirun --bind-to none -np $((1 + RANDOM % 4)) "$program" tiny.cfg output.dir=random "${long[@]}" > output 2> message &
  job=$!
  sleep "0.$((RANDOM % 7 + 2))"
  processes=$(pgrep -P $job) || true
  kill -KILL $job $processes 2> /dev/null || true
  finish
  [ $code = 137 ] || break # done already
  kills=$((kills + 1))
done
resume "everything killed $kills times" long random "${long[@]}"
