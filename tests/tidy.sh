#!/usr/bin/env bash
# clang-tidy with the short list of .clang-tidy: files without LibTorch, and all of them when FULL is 1 (half a minute a file).
set -euo pipefail
build=$1 full=$2
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
if [ "$full" = 1 ]; then
  mapfile -t files < <(git ls-files 'src/*.cpp' 'kernels/*.cpp')
else
  mapfile -t files < <(git ls-files 'src/base/*.cpp' 'src/text/*.cpp' 'src/reward/*.cpp' 'src/metrics/*.cpp' 'src/dist/*.cpp' 'kernels/*.cpp')
fi
printf '%s\n' "${files[@]}" | xargs -P "$(nproc)" -n 4 clang-tidy --quiet -p "$build" --extra-arg=-Wno-unknown-warning-option --warnings-as-errors='*' 2>/dev/null
