#!/usr/bin/env python3
"""Tokenizer speed on English text, one core, beside the Rust `tokenizers` library in the same run.

    PEERS/bin/python tests/bench/tokenize.py --bench build/tests/tokenize_bench --model FOLDER [--model FOLDER ...]
        [--text FILE ...] [--megabytes 6] [--rounds 5] [--at-least 5]

A model is a folder with tokenizer.json. The text is, unless files are given, what Debian has: the licences, CMake's
manual and Vim's. It is read over and over up to the size asked for, in pieces of about 4 KB, and every time every
twentieth word is misspelt otherwise, so that remembered words do not carry it alone. Both sides load the tokenizer
afresh for every round and take turns; time is processor time of the one thread. The fastest round counts, the median is
beside it. `--at-least` fails below that many MB/s. The ids must be equal.
"""
import argparse
import glob
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"
import tokenizers  # noqa: E402

DEBIAN = ("/usr/share/common-licenses/*", "/usr/share/cmake*/Help/**/*.rst", "/usr/share/vim/vim*/doc/*.txt")


def misspell(rng, word):
    at = rng.randrange(len(word) - 1)
    return word[:at] + word[at + 1] + word[at] + word[at + 2:] if rng.random() < 0.5 else word[:at] + word[at + 1:]


def make_texts(files, size):
    sources = [open(name, encoding="utf-8", errors="ignore").read().replace("\0", "") for name in files]
    paragraphs = [p + "\n\n" for source in sources for p in re.split(r"\n\n+", source) if p]
    if not paragraphs:
        sys.exit("no text: give --text FILE")
    rng = random.Random(0)
    texts, total, piece = [], 0, ""
    while total < size:
        for paragraph in paragraphs:
            piece += re.sub(r"[A-Za-z]{4,}", lambda m: misspell(rng, m[0]) if rng.random() < 0.05 else m[0], paragraph)
            if len(piece) >= 4096:
                texts.append(piece)
                total += len(piece.encode())
                piece = ""
                if total >= size:
                    break
    return texts


def rust_round(model, texts):
    tokenizer = tokenizers.Tokenizer.from_file(os.path.join(model, "tokenizer.json"))
    count = total = 0
    seconds = 0.0
    for text in texts:
        start = time.thread_time()
        encoding = tokenizer.encode(text, add_special_tokens=False)
        seconds += time.thread_time() - start
        ids = encoding.ids
        count += len(ids)
        total += sum(ids)
    return seconds, count, total


def our_round(bench, model, path):
    out = subprocess.run([bench, model, path, "1"], capture_output=True, text=True, check=True).stdout.split()
    return float(out[0]), int(out[1]), int(out[2])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bench", default="build/tests/tokenize_bench")
    parser.add_argument("--model", action="append", required=True)
    parser.add_argument("--text", action="append")
    parser.add_argument("--megabytes", type=float, default=6)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--at-least", type=float, default=0)
    args = parser.parse_args()
    files = args.text or sorted(f for pattern in DEBIAN for f in glob.glob(pattern, recursive=True) if os.path.isfile(f))
    texts = make_texts(files, args.megabytes * 1e6)
    size = sum(len(t.encode()) for t in texts)
    words = re.findall(r"\S+", "".join(texts))
    print(f"{size / 1e6:.1f} MB in {len(texts)} texts, {len(words)} words, {len(set(words))} distinct, of {len(files)} files")
    slow = False
    with tempfile.NamedTemporaryFile("wb", suffix=".txt") as file:
        file.write("".join(t + "\0" for t in texts).encode())
        file.flush()
        for model in args.model:
            ours, rust = [], []
            for _ in range(args.rounds):
                mine, theirs = our_round(args.bench, model, file.name), rust_round(model, texts)
                if mine[1:] != theirs[1:]:
                    sys.exit(f"{model}: the ids differ: {mine[1:]} and {theirs[1:]}")
                ours.append(size / 1e6 / mine[0])
                rust.append(size / 1e6 / theirs[0])
            print(f"{model}: grpo {max(ours):.1f} MB/s (median {statistics.median(ours):.1f}), tokenizers "
                  f"{tokenizers.__version__} {max(rust):.1f} MB/s (median {statistics.median(rust):.1f}), "
                  f"ratio {max(ours) / max(rust):.1f}")
            slow = slow or max(ours) < args.at_least
    return slow


if __name__ == "__main__":
    sys.exit(main())
