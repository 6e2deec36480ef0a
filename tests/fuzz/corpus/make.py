#!/usr/bin/env python3
"""Writes the binary seeds: small valid GGUF and safetensors files, frames of reward workers, and TensorBoard events."""
import json
import os
import struct

here = os.path.dirname(os.path.abspath(__file__))
U32, F32, BOOL, STRING, ARRAY, I32 = 4, 6, 7, 8, 9, 5


def text(value):
    return struct.pack("<Q", len(value.encode())) + value.encode()


def value(kind, content):
    if kind == STRING:
        return text(content)
    if kind == ARRAY:
        item, values = content
        return struct.pack("<IQ", item, len(values)) + b"".join(value(item, v) for v in values)
    return struct.pack({U32: "<I", F32: "<f", BOOL: "<?", I32: "<i"}[kind], content)


def gguf(metadata, tensors=(), alignment=32):
    infos, data = b"", b""
    for name, dims, kind, size in tensors:
        infos += text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, len(data))
        data += bytes(range(256)) * (size // 256) + bytes(range(size % 256)) + b"\0" * (-size % 32)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    head += b"".join(text(key) + struct.pack("<I", kind) + value(kind, content) for key, kind, content in metadata)
    head += infos
    return head + b"\0" * (-len(head) % alignment) + data if data else head


def write(path, content):
    os.makedirs(os.path.dirname(os.path.join(here, path)), exist_ok=True)
    with open(os.path.join(here, path), "wb") as file:
        file.write(content)


tokenizer = [
    ("tokenizer.ggml.model", STRING, "gpt2"),
    ("tokenizer.ggml.pre", STRING, "smollm"),
    ("tokenizer.ggml.tokens", ARRAY, (STRING, ["<s>", "A", "b", "Ab", "1"])),
    ("tokenizer.ggml.token_type", ARRAY, (I32, [3, 1, 1, 1, 1])),
    ("tokenizer.ggml.merges", ARRAY, (STRING, ["A b"])),
    ("tokenizer.ggml.bos_token_id", U32, 0),
    ("tokenizer.ggml.eos_token_id", U32, 0),
    ("tokenizer.ggml.add_bos_token", BOOL, True),
    ("tokenizer.chat_template", STRING, "{{ messages }}"),
]
write("gguf/tokenizer.gguf", gguf(tokenizer))
nested = (ARRAY, [(U32, [1, 2]), (F32, [0.5])])
write("gguf/kinds.gguf", gguf([("a", ARRAY, nested), ("general.alignment", U32, 64)], [("t", (4, 2), 0, 32)], 64))

model = [
    ("general.architecture", STRING, "llama"),
    ("llama.embedding_length", U32, 16),
    ("llama.feed_forward_length", U32, 16),
    ("llama.block_count", U32, 1),
    ("llama.attention.head_count", U32, 1),
    ("llama.attention.layer_norm_rms_epsilon", F32, 1e-5),
    ("llama.rope.freq_base", F32, 10000.0),
    ("llama.context_length", U32, 64),
    ("tokenizer.ggml.eos_token_id", U32, 0),
]
tensors = [("token_embd.weight", (32, 2), 8, 68), ("a", (32,), 2, 18), ("b", (32,), 3, 20), ("c", (2, 2), 0, 16),
           ("d", (2,), 1, 4), ("e", (2,), 30, 4), ("f", (1,), 28, 8)]
write("gguf_model/tensors.gguf", gguf(model, tensors))

header, data = {"__metadata__": {"format": "pt"}}, b""
for dtype, shape, size in (("F32", [2, 3], 24), ("BF16", [4], 8), ("I64", [], 8), ("BOOL", [2], 2), ("F16", [0, 5], 0)):
    header[dtype] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + size]}
    data += bytes(size)
header = json.dumps(header).encode()
write("safetensors/types.safetensors", struct.pack("<Q", len(header)) + header + data)


def frame(*values):
    return b"".join(text(v) if isinstance(v, str) else struct.pack("<d" if isinstance(v, float) else "<Q", v)
                    for v in values)


ids = struct.pack("<Q3i", 12, 1, 2, 3)
write("wire/answer.bin", frame("1 + 1 = ", 2, "system", "Add.", "user", "1 + 1", "<think>2</think>2") + ids
      + frame(1, 1, "2", '{"prompt": "1 + 1 = ", "answer": 2}', 7, 0, 0))
write("wire/declaration.bin", frame("brevity", "Short is good.", 0, 1, 1, 2, 1, "limit", "most words", 0, "20", 0.0, 100.0,
                                    3, "mode", "how", 1, "null", float("-inf"), float("inf")))


def field(number, kind, content):
    key = bytes([number << 3 | kind])
    return key + (bytes([len(content)]) if kind == 2 else b"") + content


def masked_crc(content):
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def record(content):
    length = struct.pack("<Q", len(content))
    return length + masked_crc(length) + content + masked_crc(content)


time = field(1, 1, struct.pack("<d", 1.5e9))
version = time + field(3, 2, b"brain.Event:2")
start = time + field(2, 0, b"\x07") + field(7, 2, field(1, 0, b"\x01"))
summary = field(1, 2, field(1, 2, b"reward") + field(2, 5, struct.pack("<f", 0.25)))
event = time + field(2, 0, b"\xac\x02") + field(5, 2, summary + summary)
write("event_file/file.tfevents", record(version) + record(start) + record(event))
write("event_file/event.bin", event)
