# shellcheck shell=bash
# Sourced by tests that need a GPU, or a build whose CPU stands in for one; ends those that have neither.
if ! "$MEDTRAIN_BUILD/medtrain-dist" --list | grep -q "^  cuda "; then
  echo "skip: this build has no CUDA device"
  exit 77
fi
export CUDA_SHIM_DEVICES=1
if ! "$MEDTRAIN_BUILD/medtrain-dist" --list | grep -q "^  cuda  *[1-9]"; then
  echo "skip: there is no GPU here"
  exit 77
fi
