#!/usr/bin/env bash
# A task of the package reasoning-gym, from its rows to a model that was trained on them: dumps sums and differences of two
# digits between 0 and 9, makes a model of 0.4 M parameters, shows it 40 answers (SFT), and lets it learn the others by GRPO.
# `grpo` must be built (examples/quickstart.sh).
#
#     --python P   an interpreter that has the package (default python3)
#     --rows DIR   takes DIR/train.jsonl and DIR/held-out.jsonl instead of dumping; the package is then not needed
#     --steps N    GRPO steps (default: the config's)
#     --seed N     seed of everything (default 1)
#     --dir DIR    where the run goes (default runs/reasoning-gym); an old run there is an error
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=python3 rows='' steps='' seed=1 dir=$root/runs/reasoning-gym
while [ $# -gt 0 ]; do
  case $1 in
    --python) python=$2; shift 2 ;;
    --rows) rows=$2; shift 2 ;;
    --steps) steps=$2; shift 2 ;;
    --seed) seed=$2; shift 2 ;;
    --dir) dir=$2; shift 2 ;;
    *) sed -n '2,/^set/p' "$0" | grep '^#' >&2; exit 2 ;;
  esac
done
[ ! -e "$dir" ] || { echo "reasoning_gym: $dir exists; remove it or pass --dir" >&2; exit 2; }
grpo=${GRPO_BUILD:-$root/build}/grpo
[ -x "$grpo" ] || { echo "reasoning_gym: $grpo is not built; examples/quickstart.sh builds it" >&2; exit 2; }

mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
if [ -n "$rows" ]; then
  cp "$rows/train.jsonl" "$rows/held-out.jsonl" "$dir"
else
  "$python" "$root/examples/reasoning_gym.py" --task chain_sum --param max_terms=2 --param max_digits=1 --count 2000 --seed "$seed" \
    --completion '<answer>{answer}</answer>' "$dir/train.jsonl" --held-out "$dir/held-out.jsonl"
fi
head -n 40 "$dir/train.jsonl" >"$dir/answered.jsonl"
"$grpo" make-tokenizer "$dir/train.jsonl" "$dir/tokenizer" --columns question --columns completion --eos '<eos>' \
  --atomic '<answer>' --atomic '</answer>' --alphabet "$(printf ' +-=:0123456789'; printf '%s' {a..z} {A..Z})" --vocab-size 128
"$grpo" init "$root/configs/reasoning-gym-model.json" "$dir/model" --tokenizer "$dir/tokenizer" --seed "$seed"

# evaluate MODEL ROWS: greedy accuracy in percent.
evaluate() { "$grpo" evaluate "$1" --data "$2" --run "$root/configs/reasoning-gym-grpo.yaml" -k 1 --temperature 0 |
  python3 -c 'import json, sys; print("%.1f %%" % (100 * json.load(sys.stdin)["pass@1"]))'; }

"$grpo" train "$root/configs/reasoning-gym-sft.yaml" seed="$seed" model.path="$dir/model" data.train="$dir/answered.jsonl" \
  output_dir="$dir/sft"
"$grpo" train "$root/configs/reasoning-gym-grpo.yaml" seed="$seed" model.path="$dir/sft" data.train="$dir/train.jsonl" \
  output_dir="$dir/grpo" ${steps:+max_steps="$steps"}
cat <<TABLE

chain_sum of reasoning-gym, greedy (seed $seed)

               training rows   held-out rows
  after SFT    $(evaluate "$dir/sft" "$dir/train.jsonl")          $(evaluate "$dir/sft" "$dir/held-out.jsonl")
  after GRPO   $(evaluate "$dir/grpo" "$dir/train.jsonl")          $(evaluate "$dir/grpo" "$dir/held-out.jsonl")

files of the run: $dir (to look at: grpo/report.html, metrics: grpo/metrics.jsonl, answers: grpo/completions.jsonl, model: grpo/checkpoints)
TABLE
