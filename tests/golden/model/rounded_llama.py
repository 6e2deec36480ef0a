"""A Llama GGUF file in numpy: log-probs with exact activations, or with activations rounded as llama.cpp's CPU code does.

llama.cpp multiplies a quantised weight with an activation of the same kind: before each product it rounds the activations to
F16, BF16 or Q8_0 (blocks of 32 with one scale). grpo widens the weights and rounds no activation.
"""
import gguf
import numpy as np


def to_bf16(x):
    bits = np.ascontiguousarray(x).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)


def to_q8_0(x):
    blocks = x.reshape(-1, 32)
    scale = np.abs(blocks).max(axis=1, keepdims=True) / np.float32(127)
    steps = np.rint(np.divide(blocks, scale, out=np.zeros_like(blocks), where=scale > 0))
    return (steps * scale.astype(np.float16).astype(np.float32)).reshape(x.shape)


ROUND = {"F32": lambda x: x, "F16": lambda x: x.astype(np.float16).astype(np.float32), "BF16": to_bf16, "Q8_0": to_q8_0}


def log_softmax(logits):
    logits = np.asarray(logits, np.float64)
    logits = logits - logits.max(axis=-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


class RoundedLlama:
    def __init__(self, path):
        reader = gguf.GGUFReader(path)
        self.settings = {key[6:]: field.contents() for key, field in reader.fields.items() if key.startswith("llama.")}
        self.weights = {tensor.name: (gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32),
                                      tensor.tensor_type.name) for tensor in reader.tensors}

    def logprobs(self, ids, rounded, nudge=0.0):
        """[len(ids), vocabulary]. `nudge` is a relative disturbance of the first layer's norm."""
        heads, kv_heads = self.settings["attention.head_count"], self.settings["attention.head_count_kv"]
        eps = np.float32(self.settings["attention.layer_norm_rms_epsilon"])

        def product(name, x):
            weight, kind = self.weights[name + ".weight"]
            return (ROUND[kind](x) if rounded else x) @ weight.T

        def norm(name, x):
            return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + eps) * self.weights[name + ".weight"][0]

        x = self.weights["token_embd.weight"][0][ids]
        count, size = len(ids), x.shape[1] // heads
        angles = np.arange(count)[:, None] * self.settings["rope.freq_base"] ** (-np.arange(0, size, 2) / size)
        cos, sin = (np.float32(f(angles))[:, None] for f in (np.cos, np.sin))

        def rope(x):  # llama.cpp pairs neighbours
            even, odd = x[..., 0::2], x[..., 1::2]
            return np.stack([even * cos - odd * sin, even * sin + odd * cos], axis=-1).reshape(x.shape)

        future = np.triu(np.full((count, count), -np.inf, np.float32), 1)
        for layer in range(self.settings["block_count"]):
            block = f"blk.{layer}."
            h = norm(block + "attn_norm", x)
            if layer == 0:
                h = h * np.float32(1 + nudge * np.random.default_rng(0).standard_normal(h.shape))
            q = rope(product(block + "attn_q", h).reshape(count, heads, size))
            k = rope(product(block + "attn_k", h).reshape(count, kv_heads, size)).repeat(heads // kv_heads, axis=1)
            v = product(block + "attn_v", h).reshape(count, kv_heads, size).repeat(heads // kv_heads, axis=1)
            scores = np.exp(log_softmax(np.einsum("thd,uhd->htu", q, k) / np.sqrt(size) + future)).astype(np.float32)
            x = x + product(block + "attn_output", np.einsum("htu,uhd->thd", scores, v).reshape(count, -1))
            h = norm(block + "ffn_norm", x)
            gate = product(block + "ffn_gate", h)
            x = x + product(block + "ffn_down", gate / (1 + np.exp(-gate)) * product(block + "ffn_up", h))
        head = "output" if "output.weight" in self.weights else "token_embd"
        return log_softmax(product(head, norm("output_norm", x)))
