"""Compares `grpo tokenize` with the Rust `tokenizers` library on random texts.

    fuzz.py --program build/grpo --model FOLDER [--special] [--count 5000] [--seed 0]

FOLDER holds a tokenizer.json. Ids and decoded texts must be equal; the first differences are printed.
"""
import argparse
import json
import random
import subprocess
import sys

from tokenizers import Tokenizer

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


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", default="build/grpo")
    parser.add_argument("--model", required=True)
    parser.add_argument("--special", action="store_true")
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    oracle = Tokenizer.from_file(args.model + "/tokenizer.json")
    tokens = [t.content for t in oracle.get_added_tokens_decoder().values()] or ["<|none|>"]
    texts = [text(rng, tokens) for _ in range(args.count)]
    lines = "".join(json.dumps({"text": t}) + "\n" for t in texts)
    command = [args.program, "tokenize", args.model] + (["--special"] if args.special else [])
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=True)
    rows = [json.loads(line) for line in done.stdout.split("\n") if line]
    assert len(rows) == len(texts), done.stderr
    wrong = 0
    for sample, row in zip(texts, rows):
        ids = oracle.encode(sample, add_special_tokens=args.special).ids
        decoded = oracle.decode(ids, skip_special_tokens=False)
        if ids != row["ids"] or decoded != row["text"]:
            wrong += 1
            if wrong <= 5:
                print(ascii(sample), ids, row["ids"], ascii(decoded), ascii(row["text"]), sep="\n  ")
    print(f"{args.count - wrong} of {args.count} texts equal ({sum(map(len, texts))} characters)")
    return wrong != 0


if __name__ == "__main__":
    sys.exit(main())
