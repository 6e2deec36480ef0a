"""Compares `grpo tokenize` with the Rust `tokenizers` library on random texts.

    fuzz.py --program build/grpo --model FOLDER [--special] [--count 5000] [--seed 0]
    fuzz.py --program build/grpo --trees 200 [--count 100] [--seed 0]
    fuzz.py --program build/grpo --shapes [--count 5000] [--seed 0]

FOLDER holds a tokenizer.json. `--trees` makes that many random ones out of base.json: steps of every kind, behaviour
and flag, added tokens with random flags; `--shapes` takes those of shapes.json. Ids and decoded texts must be equal;
the first differences are printed.
"""
import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import unicodedata

os.environ["RUST_BACKTRACE"] = "0"
from tokenizers import Tokenizer  # noqa: E402

import make  # noqa: E402

WORDS = """the of Hello WORLD don't I'M we'LL they're it'ſ x'S 'd 've 'Re naïve café résumé Straße ﬁn İstanbul ΣΑΣ σας
def return while(true){ i++; } a_b->c == != // /* */ https://a.b/c?d=e&f=g 3.14159 1,000,000 0x7f 12345678901 ① Ⅷ ½ ٣٤٥ १२३
東京 日本語 ひらがな カタカナ 한국어 你好,世界 中文。 العربية עברית हिन्दी ภาษาไทย தமிழ் Ελληνικά Русский ქართული አማርኛ
👍 👩‍👩‍👧 🏳️‍🌈 🇩🇪 ✌🏽 ☃ ™ € « » — … \u200b \u200d \ufeff \u180e \u00ad""".split()
SPACES = [" ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", " \n ", "\u00a0", "\u2003", "\u3000", "\u2028", "\u0085", "\x0b", "\x0c", "\x1c"]
MARKS = ["\u0300", "\u0301", "\u0327", "\u0323", "\u0345", "\u0334", "\u093c", "\u3099", "\u0591", "\u1dfa", "\U0001d165", "\u0f71", "\u0f72"]
LOW = [chr(c) for c in range(128)]
JAMO = [chr(c) for c in list(range(0x1100, 0x1113)) + list(range(0x1161, 0x1176)) + list(range(0x11A7, 0x11C3))]


def code_point(rng):
    while True:
        top = rng.choice([0x250, 0x800, 0x3000, 0x10000, 0x20000, 0x33000, 0x110000])
        c = rng.randrange(top)
        if not 0xD800 <= c <= 0xDFFF:
            return chr(c)


def text(rng, tokens):
    out = []
    for _ in range(rng.choice([1, 2, 3, 5, 8, 20, 60])):
        kind = rng.randrange(13)
        if kind < 3:
            out.append(rng.choice(WORDS))
        elif kind < 6:
            out.append(rng.choice(SPACES) * rng.choice([1, 1, 1, 2, 3, 9]))
        elif kind == 6:
            out.append(rng.choice(tokens))
        elif kind == 7:
            out.append("".join(code_point(rng) for _ in range(rng.randrange(1, 6))))
        elif kind == 8:
            out.append("".join(rng.choice("aeiouAEKÅçsnⅭぱか") + "".join(rng.choices(MARKS, k=rng.randrange(4)))
                               for _ in range(3)))
        elif kind == 9:
            out.append("".join(rng.choices(LOW, k=rng.randrange(1, 9))))
        elif kind == 10:
            out.append("".join(rng.choices("0123456789", k=rng.randrange(1, 12))))
        elif kind == 11:
            out.append("".join(rng.choices(JAMO, k=4)))
        else:
            token = rng.choice(tokens)
            cut = rng.randrange(len(token))
            out.append(token[:cut] or token)
    return "".join(out)


def random_step(rng):
    patterns = [make.QWEN, make.LLAMA, make.O200K, make.DEEPSEEK, r"\p{N}{1,3}", r"\p{L}+", r"\s+", r"[\p{P}\p{S}]", r"\n",
                r"\p{M}|\p{So}", r"[^\r\n]+", r"(?i:the|and) ?", r"[aeiou]+|(?<=a)b|\s(?=\S)", r"\d", r"\s+$", r"x*"]
    kind = rng.randrange(4)
    if kind == 0:
        return {"type": "Digits", "individual_digits": rng.random() < 0.5}
    behavior = rng.choice(["Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"])
    invert = rng.random() < 0.5
    if kind == 1:
        return make.split(rng.choice([" ", "the", "aa", "\n", "é", "  ", "👍"]), behavior, invert, "String")
    return make.split(rng.choice(patterns), behavior, invert)


def random_tree(rng, base):
    """`base` with random steps and added tokens; ignore_merges, a template and an unk token now and then."""
    vocab = list(base["model"]["vocab"])
    contents = rng.sample(["<s>", "<|im_start|>", "<|im_end|>", "<think>", "</think>", "the", "word", " the", "é", "e\u0301",
                           "Q\u0327\u0301", "\n", "  ", "a b", "12", "Hello", "ſ", "<", "<|", "東京", rng.choice(vocab)], rng.randrange(1, 9))
    flags = ("lstrip", "rstrip", "single_word", "normalized", "special")
    added = {unicodedata.normalize("NFC", c): make.token(c, **{flag: rng.random() < 0.4 for flag in flags}) for c in contents}
    added = list(added.values())  # two of one normal form are refused
    changes = {"normalizer": rng.choice([None, {"type": "NFC"}, {"type": "Sequence", "normalizers": [{"type": "NFC"}]}]),
               "model.ignore_merges": rng.random() < 0.3,
               "pre_tokenizer": make.sequence(*(random_step(rng) for _ in range(rng.randrange(4))), make.byte_level(
                   rng.random() < 0.5, rng.random() < 0.4, rng.random() < 0.5))}
    if rng.random() < 0.3:
        changes["post_processor"] = make.TEMPLATE
        added = [t for t in added if t["content"] != "<s>"] + [make.token("<s>", special=True)]
    if rng.random() < 0.3:
        changes.update({"model.unk_token": "a", "model.fuse_unk": rng.random() < 0.5, "drop": "bde"})
    return make.variant(base, changes, added)


def compare(program, folder, texts, special):
    """How many texts differ, and on how many the library fails; prints the first."""
    oracle = Tokenizer.from_file(folder + "/tokenizer.json")
    lines = "".join(json.dumps({"text": t}) + "\n" for t in texts)
    command = [program, "tokenize", folder] + (["--special"] if special else [])
    done = subprocess.run(command, input=lines, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{done.stderr}\n{open(folder + '/tokenizer.json').read()[:3000]}")
    rows = [json.loads(line) for line in done.stdout.split("\n") if line]
    assert len(rows) == len(texts), done.stderr
    wrong = failed = 0
    for sample, row in zip(texts, rows):
        try:
            ids = oracle.encode(sample, add_special_tokens=special).ids
        except BaseException as error:  # the library panics where a token's strip reaches into its neighbour
            if type(error).__name__ != "PanicException":
                raise
            failed += 1
            continue
        decoded = oracle.decode(ids, skip_special_tokens=False)
        if ids != row["ids"] or decoded != row["text"]:
            wrong += 1
            if wrong <= 3:
                print(ascii(sample), ids, row["ids"], ascii(decoded), ascii(row["text"]), sep="\n  ")
    return wrong, failed


def compare_tree(args, rng, tree, special):
    with tempfile.TemporaryDirectory() as folder:
        with open(folder + "/tokenizer.json", "w", encoding="utf-8") as file:
            json.dump(tree, file)
        tokens = [t["content"] for t in tree["added_tokens"]] or ["<|none|>"]
        wrong, failed = compare(args.program, folder, [text(rng, tokens) for _ in range(args.count)], special)
    if wrong:
        print(json.dumps(dict(tree, model={k: v for k, v in tree["model"].items() if k not in ("vocab", "merges")})))
    return wrong, failed


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", default="build/grpo")
    parser.add_argument("--model")
    parser.add_argument("--trees", type=int, default=0)
    parser.add_argument("--shapes", action="store_true")
    parser.add_argument("--special", action="store_true")
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    read = lambda name: json.load(open(os.path.join(make.HERE, name), encoding="utf-8"))
    results = []
    if args.model:
        oracle = Tokenizer.from_file(args.model + "/tokenizer.json")
        tokens = [t.content for t in oracle.get_added_tokens_decoder().values()] or ["<|none|>"]
        results.append(compare(args.program, args.model, [text(rng, tokens) for _ in range(args.count)], args.special))
    trees = [(random_tree(rng, read("base.json")), rng.random() < 0.5) for _ in range(args.trees)]
    if args.shapes:
        trees += [(shape["tree"], True) for shape in read("shapes.json")["shapes"]]
    results += [compare_tree(args, rng, tree, special) for tree, special in trees]
    wrong, failed = map(sum, zip(*results))
    total = args.count * len(results) - failed
    print(f"{total - wrong} of {total} texts equal under {len(results)} tokenizers; the library failed on {failed} more")
    return wrong != 0


if __name__ == "__main__":
    sys.exit(main())
