#!/usr/bin/env bash
# What nvcc makes of the CUDA kernels: per kernel registers, static shared memory, spilled bytes (ptxas) and matrix
# instructions (PTX), as a table. Dynamic shared memory is the launch's.
#   tests/bench/registers.sh [ARCHITECTURE] [FILE.cu ...]      (default: sm_90, the kernels of conv)
set -euo pipefail
cd "$(dirname "$0")/../.."
architecture=${1:-sm_90}
shift || true
files=("$@")
[ ${#files[@]} -gt 0 ] || files=(kernels/conv/*.cu)
nvcc=$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
printf '| kernel (%s) | registers | static shared, bytes | spilled, bytes | mma |\n|---|---|---|---|---|\n' "$architecture"
for file in "${files[@]}"; do
  "$nvcc" -std=c++20 -O3 -arch="$architecture" -Isrc -I. -ptx "$file" -o "$scratch/kernel.ptx"
  "${nvcc%nvcc}ptxas" -v -arch="$architecture" "$scratch/kernel.ptx" -o "$scratch/kernel.cubin" 2> "$scratch/log"
  awk '/^\.visible \.entry|^\.entry|^\t?\.visible \.entry/ { match($0, /entry [^ (]*/); name = substr($0, RSTART + 6, RLENGTH - 6) }
       /mma\.sync/ { count[name]++ } END { for (n in count) print n, count[n] }' "$scratch/kernel.ptx" > "$scratch/mma"
  awk -v counts="$scratch/mma" 'BEGIN { while ((getline line < counts) > 0) { split(line, part, " "); mma[part[1]] = part[2] } }
       /Compiling entry function/ { split($0, part, "\047"); name = part[2] }
       /spill stores/ { for (i = 1; i <= NF; i++) if ($i == "spill" && $(i + 1) == "stores,") spill = $(i - 2) }
       /Used [0-9]+ registers/ { match($0, /Used [0-9]+/); used = substr($0, RSTART + 5, RLENGTH - 5); shared = 0
         if (match($0, /[0-9]+ bytes smem/)) shared = substr($0, RSTART, RLENGTH - 11)
         print name, used, shared, spill + 0, mma[name] + 0 }' "$scratch/log" | sort |
    while read -r name used shared spill mma; do
      plain=$(c++filt -p "$name" | sed 's/__nv_bfloat16/bf16/g; s/__half/f16/g; s/^void //; s/(anonymous namespace):://g; s/(bool)1/true/g; s/(bool)0/false/g; s/(int)//g')
      printf '| %s: %s | %s | %s | %s | %s |\n' "$(basename "$file" .cu)" "$plain" "$used" "$shared" "$spill" "$mma"
    done
done
