#!/usr/bin/env bash
# Every way to train that a config can choose: the same bits on 1 and 3 ranks, and after a restart; not the same as the plain
# run.
. "$MEDTRAIN_SOURCE/tests/train/common.sh"

ranks 1 tiny.cfg output.dir=run

kind() { # NAME ARGUMENTS...
  local name=$1
  shift
  ranks 1 tiny.cfg output.dir=kind1 "$@" 2> message || { cat message; fail "$name"; }
  half kind3 "$@"
  ranks 3 tiny.cfg output.dir=kind3 "$@"
  same "$name: 1 rank; stopped, resumed on 3" kind1 kind3
  ! diff -q <(state_of kind1) <(state_of run) > output || fail "$name: nothing else than the plain run"
  rm -r kind1 kind3
}
kind "average of the weights" train.ema_decay=0.9
kind "clipping" train.clip_norm=0.0001
kind "bfloat16" train.precision=bf16
kind "float16, a scale of the loss that is too large" train.precision=fp16 train.loss_scale=1e15 train.loss_scale_steps=2
kind "AdamW, constant rate" train.optimizer=adamw train.weight_decay=0.01 train.schedule=constant
kind "SGD, poly rate, warm-up" train.optimizer=sgd train.learning_rate=0.01 train.schedule=poly train.warmup_steps=2
kind "LNCC, l2, both directions" loss.similarity=lncc loss.window=5 loss.smoothness=l2 registration.bidirectional=true
kind "two levels, no labels, no integration" model.levels=2 loss.lam_dice=0 model.integration_steps=0
kind "atlas" registration.pairs=atlas registration.atlas=phantom_001 loss.smoothness=l1
kind "neighbours, two samples in a slot" registration.pairs=consecutive train.slot_samples=2 train.slots=4
kind "full resolution, MONAI's network" model.variant=monai 'model.encoder=[8,16]' 'model.decoder=[16]' 'model.final=[8]' \
  model.integration_downsize=1

# early stopping: a rate of 0 never gets better than the first validation
ranks 1 tiny.cfg output.dir=early train.learning_rate=0 train.early_stopping=2 train.steps=100
ranks 3 tiny.cfg output.dir=early3 train.learning_rate=0 train.early_stopping=2 train.steps=100
same "early stopping" early early3
[ "$(wc -l < early/metrics.csv)" = 7 ] || fail "early stopping: expected 6 steps"
