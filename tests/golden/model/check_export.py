#!/usr/bin/env python3
"""Checks that transformers reads an exported folder and sees the same model.

    python check_export.py EXPORT REFERENCE [TOLERANCE]

REFERENCE is a model folder or a GGUF file. Logits on fixed texts must agree within TOLERANCE (1e-4), token ids and
greedy continuations must be equal, and no weight may be missing or left over.
"""
import os
import sys

import torch
import transformers

TEXTS = ["The capital of France is Paris.", "def add(a, b):\n    return a + b\n", "  1234 + 5678 =", "Grüße, 世界! 🙂"]


def load(path):
    where = {}
    if os.path.isfile(path):
        path, where["gguf_file"] = os.path.split(os.path.abspath(path))
    model, report = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, output_loading_info=True, **where)
    problems = {key: value for key, value in report.items() if value}
    assert not problems, f"{path}: {problems}"
    return model.eval(), transformers.AutoTokenizer.from_pretrained(path, **where)


def main():
    tolerance = float(sys.argv[3]) if len(sys.argv) > 3 else 1e-4
    ours, our_tokenizer = load(sys.argv[1])
    theirs, their_tokenizer = load(sys.argv[2])
    print("stop ids:", ours.generation_config.eos_token_id, "parameters:", sum(p.numel() for p in ours.parameters()))
    worst = 0.0
    for text in TEXTS:
        ids = their_tokenizer(text, return_tensors="pt")["input_ids"]
        assert our_tokenizer(text)["input_ids"] == ids[0].tolist(), f"token ids differ for {text!r}"
        with torch.no_grad():
            worst = max(worst, float((ours(ids).logits - theirs(ids).logits).abs().max()))
            outs = [m.generate(ids, max_new_tokens=16, do_sample=False, pad_token_id=0)[0].tolist() for m in (ours, theirs)]
        assert outs[0] == outs[1], f"greedy continuations differ for {text!r}"
    print(f"greatest difference of a logit: {worst:.3g} (bound {tolerance:g})")
    assert worst <= tolerance


if __name__ == "__main__":
    main()
