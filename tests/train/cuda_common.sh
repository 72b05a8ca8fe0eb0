# shellcheck shell=bash
# Sourced by tests that need a GPU, or a build whose CPU stands in for one; ends those that have neither.
if ! "$MEDTRAIN_BUILD/medtrain-dist" --list | grep "^  cuda " > /dev/null; then
  echo "skip: this build has no CUDA device"
  exit 77
fi
export CUDA_SHIM_DEVICES=1
if ! "$MEDTRAIN_BUILD/medtrain-dist" --list | grep "^  cuda  *[1-9]" > /dev/null; then
  echo "skip: there is no GPU here"
  exit 77
fi
