#!/usr/bin/env bash
# Installs the build into a folder of its own, builds tests/consumer against it with find_package(grpo), and runs two steps.
set -euo pipefail
build=$(cd "$1" && pwd)
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cmake --install "$build" --prefix "$work/installed" >/dev/null
cmake -S "$root/tests/consumer" -B "$work/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_PREFIX_PATH="$work/installed" >/dev/null
cmake --build "$work/build"
"$root/examples/tiny_model.sh" "$build/grpo" "$work/model"
"$work/build/brevity" "$work/model/run.yaml" max_steps=2 output_dir="$work/run"
grep -q 'rewards/brevity/mean' "$work/run/metrics.jsonl"
"$work/installed/bin/grpo" doctor >/dev/null
