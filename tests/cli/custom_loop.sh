#!/usr/bin/env bash
# The first three steps of examples/custom_loop.cpp are Trainer's, bit for bit: loss and gradient norm, fp32 and bf16.
#
#   tests/cli/custom_loop.sh GRPO_PROGRAM CUSTOM_LOOP_PROGRAM
set -euo pipefail
[ $# -eq 2 ] || { sed -n '2,/^set/p' "$0" | grep '^#' >&2; exit 2; }
grpo=$(realpath "$1")
loop=$(realpath "$2")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Digits without 0, so that equal numbers are equal text; a random model says the right one now and then.
python3 - "$work" <<'PYTHON'
import json, sys
work = sys.argv[1]
tokens = ["<eos>"] + list("123456789+=")
json.dump({"version": "1.0",
           "added_tokens": [{"id": 0, "content": "<eos>", "single_word": False, "lstrip": False, "rstrip": False,
                             "normalized": False, "special": True}],
           "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
           "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
           "model": {"type": "BPE", "vocab": {t: i for i, t in enumerate(tokens)}, "merges": []}},
          open(f"{work}/tokenizer.json", "w"))
json.dump({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": len(tokens), "hidden_size": 32,
           "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
           "head_dim": 16, "hidden_act": "silu", "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
           "rope_theta": 10000.0, "tie_word_embeddings": True, "eos_token_id": 0, "initializer_range": 0.1},
          open(f"{work}/config.json", "w"))
with open(f"{work}/train.jsonl", "w") as out:
    for a in range(1, 9):
        for b in range(1, 10 - a):
            print(json.dumps({"question": f"{a}+{b}=", "answer": str(a + b)}), file=out)
PYTHON
"$grpo" init "$work/config.json" "$work/model" --tokenizer "$work/tokenizer.json" 2>/dev/null
cat >"$work/run.yaml" <<'YAML'
model: {path: model}
data: {train: train.jsonl, prompt: question, answer: answer, template: plain}
rewards:
  - {name: accuracy, params: {extract: [last_number]}}
grpo: {num_generations: 32, prompts_per_step: 4, max_completion_length: 3, beta: 0.0}
optimizer: {learning_rate: 1.0e-3}
max_steps: 3
YAML

for dtype in fp32 bf16; do
  "$grpo" train "$work/run.yaml" model.dtype=$dtype output_dir="$work/$dtype" 2>/dev/null
  "$loop" "$work/run.yaml" model.dtype=$dtype >"$work/$dtype.jsonl"
  python3 - "$work/$dtype/metrics.jsonl" "$work/$dtype.jsonl" <<'PYTHON'
import json, sys
want, got = ([json.loads(line) for line in open(path)] for path in sys.argv[1:])
assert len(got) == 3 and len(want) == 3, (len(want), len(got))
for trainer, loop in zip(want, got):
    print("step", loop["step"], "loss", trainer["loss"], loop["loss"], "grad_norm", trainer["grad_norm"], loop["grad_norm"])
    for name in ("step", "loss", "grad_norm"):
        assert trainer[name] == loop[name], (name, trainer[name], loop[name])
    assert loop["grad_norm"] > 0, "nothing was learnt, so nothing was compared"
PYTHON
done
lines=$(wc -l <"$(dirname "$0")/../../examples/custom_loop.cpp")
[ "$lines" -le 80 ] || { echo "examples/custom_loop.cpp: expected at most 80 lines, got $lines" >&2; exit 1; }
echo "custom_loop equals Trainer"
