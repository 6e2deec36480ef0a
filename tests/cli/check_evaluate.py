"""grpo evaluate beside its plain form: check_evaluate.py GRPO_PROGRAM TINY_MODEL_FOLDER (from examples/tiny_model.sh)."""
import json
import os
import subprocess
import sys

import tally
from tally import check

GRPO, TINY = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
KEYS = {"n", "k", "pass@1", "stderr", "pass@k", "cons@k", "mean_length", "truncated"}


def evaluate(*options, model="model"):
    arguments = ["evaluate", model, "--data", "held-out.jsonl", "--run", "run.yaml", "-k", "3", "--temperature", "0.5"]
    done = subprocess.run([GRPO, *arguments, *options], capture_output=True, text=True, timeout=300, cwd=TINY)
    return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr


def write_rows(name, rows):
    with open(f"{TINY}/{name}", "w") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def contract(result):
    return {key: value for key, value in result.items() if key in KEYS}


held_out = [json.loads(line) for line in open(f"{TINY}/held-out.jsonl")]
code, plain, _ = evaluate()
check(code == 0 and set(plain) == KEYS and plain["n"] == len(held_out), "the keys of the contract")

# Against training data.
code, clean, error = evaluate("--against", "train.jsonl")
check(code == 0 and clean == {**plain, "contaminated": 0} and f"0 of {len(held_out)} problems" in error, "nothing in common")
write_rows("planted.jsonl", [{"question": " " + held_out[1]["question"].replace("+", " + "), "answer": "0"}])
write_rows("told.jsonl", [{"question": "Learn:", "completion": held_out[3]["question"]}])
code, result, error = evaluate("--against", "planted.jsonl", "--against", "train.jsonl", "--against", "told.jsonl")
check(code == 0 and result["contaminated"] == 2 and result["n"] == len(held_out) - 2, "two planted problems are left out")
check("held-out.jsonl:2: left out, planted.jsonl:1 has it too" in error and "held-out.jsonl:4: left out, told.jsonl:1" in error, "planted problems are named")
code, result, error = evaluate("--against", "held-out.jsonl")
check(code == 2 and result is None and f"all {len(held_out)} problems" in error and "--ngram" in error, "nothing is left")
code, result, error = evaluate("--against", "planted.jsonl", "--ngram", "2")
check(code == 0 and 1 < result["contaminated"] < len(held_out), "--ngram 2")
for name, rows, words in (
    ("no-problem.jsonl", [{"question": "1"}, {"text": "2"}], ["no-problem.jsonl:2", "question"]),
    ("no-row.jsonl", [[1]], ["no-row.jsonl:1"]),
    ("nothing.jsonl", [], ["nothing.jsonl"]),
):
    write_rows(name, rows)
    code, result, error = evaluate("--against", name)
    check(code == 2 and result is None and all(word in error for word in words) and error.count("error") == 1, f"{name}: exit {code}, {error!r}")
code, _, error = evaluate("--against", "nowhere.jsonl")
check(code == 2 and "nowhere.jsonl" in error, "a missing file")
check(evaluate("--ngram", "5")[0] == 2 and evaluate("--against", "train.jsonl", "--ngram", "0")[0] == 2, "--ngram of nothing, and 0")

# Before and after.
subprocess.run([GRPO, "init", "config.json", "other", "--tokenizer", "tokenizer", "--seed", "5"], check=True, capture_output=True, cwd=TINY)
_, other, _ = evaluate(model="other")
code, both, error = evaluate("--before", "other")
check(code == 0 and set(both) == KEYS | {"before", "change"}, "before: keys")
check(contract(both) == plain and both["before"] == other, "before: both as they are alone")
check(abs(both["change"]["pass@1"] - (plain["pass@1"] - other["pass@1"])) < 1e-12 and both["change"]["n"] == len(held_out), "before: the difference")
check(all(word in error for word in ("before", "after", "pass@1", "cons@3", "got better", "sign test")), "before: the table")
_, same, _ = evaluate("--before", "model", "--against", "planted.jsonl")
check(same["before"] == contract(same) and same["contaminated"] == 1, "before: the same model, the same problems")
check(same["change"] == {"n": len(held_out) - 1, "pass@1": 0.0, "stderr": 0.0, "better": 0, "worse": 0, "p_value": 1.0}, "before: the same model has not changed")
code, result, error = evaluate("--before", "nowhere")
check(code == 2 and result is None and "nowhere" in error, "before: no such model")

print(f"evaluate: {len(tally.failures)} failed")
sys.exit(1 if tally.failures else 0)
