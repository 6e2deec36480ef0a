#!/usr/bin/env bash
# From a bare machine to a small model that learned to reason from rules alone: installs what is missing, builds, makes a model
# of 1 M parameters, gives it a short cold start (SFT on 160 worked additions), then lets it learn two-digit addition by GRPO.
#
#     --seed N     seed of everything (default 1)
#     --steps N    GRPO steps (default: the config's)
#     --controls   also what the same time of further SFT, and of GRPO with rewards shuffled inside each group, would have given
#     --dir DIR    where the run goes (default runs/quickstart-seed-N); an old run there is an error
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
seed=1 steps='' dir='' controls=0
while [ $# -gt 0 ]; do
  case $1 in
    --seed) seed=$2; shift 2 ;;
    --steps) steps=$2; shift 2 ;;
    --controls) controls=1; shift ;;
    --dir) dir=$2; shift 2 ;;
    *) sed -n '2,/^set/p' "$0" | grep '^#' >&2; exit 2 ;;
  esac
done
dir=${dir:-$root/runs/quickstart-seed-$seed}
[ ! -e "$dir" ] || { echo "quickstart: $dir exists; remove it or pass --dir" >&2; exit 2; }

bash "$root/src/cmake/setup.sh"
build=${GRPO_BUILD:-$root/build}
if [ ! -x "$build/grpo" ]; then
  echo "quickstart: building (some minutes, once)" >&2
  cmake -S "$root" -B "$build" -G Ninja -DGRPO_TESTS=OFF >/dev/null
fi
targets=(grpo_cli)
[ "$controls" = 0 ] || targets+=(example_shuffled_rewards)
cmake --build "$build" --target "${targets[@]}" >/dev/null
grpo=$build/grpo
started=$SECONDS

mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
"$grpo" make-tasks "$dir/all.jsonl" "$dir/held-out-all.jsonl" --task addition --min 10 --max 99 --count 0 --worked --seed "$seed"
head -n 160 "$dir/all.jsonl" >"$dir/worked.jsonl"
cp "$dir/all.jsonl" "$dir/train.jsonl"
head -n 500 "$dir/held-out-all.jsonl" >"$dir/held-out.jsonl"
"$grpo" make-tokenizer "$dir/worked.jsonl" "$dir/tokenizer" --columns question --columns completion --eos '<eos>' \
  --atomic '<think>' --atomic '</think>' --atomic '<answer>' --atomic '</answer>' --alphabet '0123456789+=;' --vocab-size 32
"$grpo" init "$root/configs/quickstart-model.json" "$dir/model" --tokenizer "$dir/tokenizer" --seed "$seed"

# evaluate MODEL: greedy accuracy on the held-out problems, as a JSON line.
evaluate() { "$grpo" evaluate "$1" --data "$dir/held-out.jsonl" --run "$root/configs/quickstart-grpo.yaml" -k 1 --temperature 0; }
percent() { python3 -c 'import json, sys; print("%.1f %%" % (100 * json.loads(sys.argv[1])["pass@1"]))' "$1"; }
sample() { sed -n 's/^{"question"\(.*\)$/{"prompt"\1/p' "$dir/held-out.jsonl" | head -n 1 | "$grpo" generate "$1" --temperature 0 --max-new-tokens 40 |
  python3 -c 'import json, sys; print(json.loads(sys.stdin.readline())["text"])'; }
sft=(train "$root/configs/quickstart-sft.yaml" seed="$seed" data.train="$dir/worked.jsonl")
rl=("$root/configs/quickstart-grpo.yaml" seed="$seed" model.path="$dir/sft" data.train="$dir/train.jsonl" ${steps:+max_steps="$steps"})

before=$(evaluate "$dir/model")
echo "== cold start: SFT on 160 worked examples" >&2
"$grpo" "${sft[@]}" model.path="$dir/model" output_dir="$dir/sft"
after_sft=$(evaluate "$dir/sft")
echo "== reinforcement learning: GRPO, reward = right answer + format" >&2
rl_started=$SECONDS
"$grpo" train "${rl[@]}" output_dir="$dir/grpo"
rl_seconds=$((SECONDS - rl_started))
after_rl=$(evaluate "$dir/grpo")
took="$(((SECONDS - started) / 60)) min $(((SECONDS - started) % 60)) s"

control_rows=''
if [ "$controls" = 1 ]; then
  echo "== control: SFT for another $rl_seconds s" >&2
  sft_steps=$(python3 -c 'import json, statistics, sys
print(max(1, round(int(sys.argv[2]) / statistics.median(json.loads(line)["step_time"] for line in open(sys.argv[1])))))' \
    "$dir/sft/metrics.jsonl" "$rl_seconds")
  "$grpo" "${sft[@]}" model.path="$dir/sft" output_dir="$dir/more-sft" max_steps="$sft_steps"
  echo "== control: GRPO with rewards shuffled inside each group" >&2
  "$build/example_shuffled_rewards" "${rl[@]}" 'rewards=[{name: shuffled}]' output_dir="$dir/shuffled"
  control_rows="
  control: further SFT for the same time      $(percent "$(evaluate "$dir/more-sft")")
  control: GRPO with shuffled rewards         $(percent "$(evaluate "$dir/shuffled")")"
fi

question=$(python3 -c 'import json, sys; print(json.loads(open(sys.argv[1]).readline())["question"])' "$dir/held-out.jsonl")
cat <<TABLE

held-out two-digit additions, greedy, 500 problems (seed $seed, $took)

  random weights   $(percent "$before")
  after SFT        $(percent "$after_sft")
  after GRPO       $(percent "$after_rl")
$control_rows
  $question
  random weights   $(sample "$dir/model")
  after SFT        $(sample "$dir/sft")
  after GRPO       $(sample "$dir/grpo")

files of the run: $dir (to look at: grpo/report.html, metrics: grpo/metrics.jsonl, answers: grpo/completions.jsonl, model: grpo/checkpoints)
TABLE
