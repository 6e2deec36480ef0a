#!/usr/bin/env bash
# Makes a tiny random model, one-digit additions and a run config in a folder: something to try commands on, in a second.
#
#   examples/tiny_model.sh GRPO_PROGRAM FOLDER
set -euo pipefail
[ $# -eq 2 ] || { sed -n '2,/^set/p' "$0" | grep '^#' >&2; exit 2; }
grpo=$1
mkdir -p "$2"
folder=$(cd "$2" && pwd)
"$grpo" make-tasks "$folder/train.jsonl" "$folder/held-out.jsonl" --max 9 --count 0 --worked 2>/dev/null
"$grpo" make-tokenizer "$folder/train.jsonl" "$folder/tokenizer" --columns question --columns completion --eos '<eos>' \
  --atomic '<think>' --atomic '</think>' --atomic '<answer>' --atomic '</answer>' --vocab-size 300 2>/dev/null
cat >"$folder/config.json" <<'JSON'
{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 320, "hidden_size": 32, "intermediate_size": 64,
 "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "hidden_act": "silu",
 "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true, "eos_token_id": 0}
JSON
"$grpo" init "$folder/config.json" "$folder/model" --tokenizer "$folder/tokenizer" 2>/dev/null
cat >"$folder/run.yaml" <<'YAML'
name: tiny
model: {path: model}
data: {train: train.jsonl, prompt: question, answer: answer, template: plain}
rewards:
  - {name: accuracy, weight: 1.0}
  - {name: format, weight: 0.2}
grpo: {num_generations: 4, prompts_per_step: 4, max_completion_length: 16, beta: 0.0}
optimizer: {learning_rate: 1.0e-3}
max_steps: 3
YAML
