#!/usr/bin/env python3
"""Scores an exported folder under transformers, as `grpo evaluate` scores it: the same questions, the same judge.

    python check_score.py EXPORT HELD_OUT.jsonl [--run RUN.yaml] [--draws 16] [--expected P --stderr S]

Each row's question goes through the folder's chat template with a generation prompt; --draws answers are sampled at temperature 1
without truncation, up to the run's max_completion_length; `grpo score RUN.yaml` judges them. Prints the share of right answers with
its standard error. With --expected and --stderr (pass@1 and stderr of `grpo evaluate`) it fails where the two differ by more than
3 standard errors of the difference, sqrt(se^2 + S^2).

Draws of one problem are not independent, so the problem is the unit: the share is the mean of n problem shares, and its
standard error is sqrt(sum_i (share_i - mean)^2 / (n - 1) / n). Both sides see the same problems, so for the difference this is an
upper bound; `sampling alone`, sqrt(sum_i share_i (1 - share_i) / (draws - 1)) / n, leaves the choice of problems out.
"""
import argparse
import json
import math
import pathlib
import subprocess
import sys

import torch
import transformers
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[3]


def sample(folder, rows, column, draws, max_new_tokens, batch):
    """One score line's input per draw: the row's columns with `completion` and `finish_reason`; and the mean length in tokens."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, padding_side="left")
    stop = model.generation_config.eos_token_id
    stop = set(stop if isinstance(stop, list) else [stop])
    prompts = [tokenizer.apply_chat_template([{"role": "user", "content": row[column]}], add_generation_prompt=True, tokenize=False)
               for row in rows for _ in range(draws)]
    lines, num_tokens = [], 0
    for first in range(0, len(prompts), batch):
        inputs = tokenizer(prompts[first : first + batch], add_special_tokens=False, padding=True, return_tensors="pt")
        with torch.no_grad():
            outputs = model.generate(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], do_sample=True,
                                     temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=max_new_tokens)
        for answer in outputs[:, inputs["input_ids"].shape[1] :].tolist():
            length = next((i for i, token in enumerate(answer) if token in stop), None)
            text = tokenizer.decode(answer[:length], skip_special_tokens=True, clean_up_tokenization_spaces=False)
            num_tokens += len(answer) if length is None else length + 1
            lines.append(rows[len(lines) // draws] | {"completion": text, "finish_reason": "length" if length is None else "stop"})
        print(f"\r{len(lines)}/{len(prompts)} samples", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return lines, num_tokens / len(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="exported Hugging Face folder")
    parser.add_argument("held_out", type=pathlib.Path, help="JSONL of problems")
    parser.add_argument("--run", type=pathlib.Path, default=ROOT / "configs/smollm2-addition.yaml",
                        help="run config, template chat: columns, judge, answer length (default configs/smollm2-addition.yaml)")
    parser.add_argument("--draws", type=int, default=16, help="answers per problem (default 16)")
    parser.add_argument("--expected", type=float, metavar="P", help="pass@1 of grpo evaluate")
    parser.add_argument("--stderr", type=float, metavar="S", help="its stderr")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=128, help="sequences sampled at once (default 128)")
    parser.add_argument("--grpo", type=pathlib.Path, default=ROOT / "build/grpo", help="the program (default build/grpo)")
    options = parser.parse_args()
    if (options.expected is None) != (options.stderr is None):
        parser.error("--expected and --stderr go together")
    if options.draws < 2:
        parser.error("--draws: expected at least 2")
    torch.set_num_threads(options.threads)
    transformers.set_seed(options.seed)

    run = yaml.safe_load(options.run.read_text())
    assert run["data"].get("template", "chat") == "chat", "check_score renders by the chat template only"
    rows = [json.loads(line) for line in options.held_out.read_text().splitlines() if line.strip()]
    lines, mean_length = sample(options.folder, rows, run["data"].get("prompt", "prompt"), options.draws,
                                run["grpo"]["max_completion_length"], options.batch)
    judge = subprocess.run([str(options.grpo), "score", str(options.run)], input="".join(json.dumps(line) + "\n" for line in lines),
                           stdout=subprocess.PIPE, text=True, check=True)
    name = run["rewards"][0]["name"]
    right = [json.loads(line)["rewards"][name] >= 1 for line in judge.stdout.splitlines()]

    n, k = len(rows), options.draws
    assert n >= 2 and len(right) == n * k
    shares = [sum(right[i * k : (i + 1) * k]) / k for i in range(n)]
    mean = sum(shares) / n
    stderr = math.sqrt(sum((share - mean) ** 2 for share in shares) / (n - 1) / n)
    sampling = math.sqrt(sum(share * (1 - share) for share in shares) / (k - 1)) / n
    print(f"transformers: {100 * mean:.1f} % +- {100 * stderr:.1f} (sampling alone {100 * sampling:.1f}), {n} problems x {k} draws, "
          f"mean length {mean_length:.2f}, truncated {sum(line['finish_reason'] == 'length' for line in lines) / (n * k):.3f}")
    if options.expected is None:
        return
    difference, bound = mean - options.expected, 3 * math.hypot(stderr, options.stderr)
    print(f"grpo: {100 * options.expected:.1f} % +- {100 * options.stderr:.1f}; difference {100 * difference:+.1f}, bound {100 * bound:.1f}")
    if abs(difference) > bound:
        sys.exit("check_score: the exported folder does not score the same")


if __name__ == "__main__":
    main()
