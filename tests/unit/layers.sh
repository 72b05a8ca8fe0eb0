#!/usr/bin/env bash
# Fails when a room includes a header of a room that src/LAYERS does not allow it.
set -u
cd "$(dirname "$0")/../.."
bad=0
declare -A allowed
while IFS=: read -r room below; do allowed[$room]=" $room $below "; done < <(grep -E '^[a-z]+:' src/LAYERS)
check() { # file, room
  while read -r other; do
    [[ -n ${allowed[$other]:-} ]] || continue
    [[ ${allowed[$2]} == *" $other "* ]] || { echo "$1: room $2 may not include $other/"; bad=1; }
  done < <(sed -nE 's/^#include "([a-z_]+)\/.*/\1/p' "$1" | sort -u)
}
files=0
for room in "${!allowed[@]}"; do
  if [[ $room == kernels ]]; then list=$(git ls-files -co --exclude-standard 'kernels/*.[ch]' 'kernels/*.cu');
  else list=$(git ls-files -co --exclude-standard "src/$room/*.[ch]" "src/$room/*.cu"); fi
  for file in $list; do check "$file" "$room"; files=$((files + 1)); done
done
echo "$files files of ${#allowed[@]} rooms checked"
[[ $files -gt 0 && $bad == 0 ]]
