"""Golden ids of the Rust `tokenizers` library (0.23), for tests/text/tokenizer_*_test.cpp.

    make.py [--qwen3 FOLDER] [--deepseek-v3 FOLDER] [--smollm2 FOLDER]

Writes base.json (a small trained tokenizer), variants.json (what changes to it do to TEXTS), shapes.json (whole small
tokenizers of the shape of published ones that cannot be had here), trained.json (what Tokenizer::train must give) and,
for the folders given, real.json (ids of TEXTS under full-size tokenizers).
The SmolLM2 folder holds Tokenizer::files() of its GGUF.
"""
import argparse
import collections
import copy
import json
import os

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

HERE = os.path.dirname(os.path.abspath(__file__))

TEXTS = [
    "", " ", "  ", "\n", " \n \n  ", "Hello, world!", "Hello  world   again", "I'm we'LL they'Re it'\u017f don'T",
    "  leading and trailing  ", "tabs\tand\u00a0no-break\u3000wide\u2028line\u0085next\u180evowel",
    "line\r\nline\r\n\r\nline\n\n\n  indented\n", "    if (x == 1) {\n\t\treturn y->z[3];\n    }\n",
    "1 22 333 4444 55555 1234567890123 3.14159 1,000,000 0x7F", "\u0663\u0664\u0665 \u0967\u0968 \u2460 \u2167 \u00bd \U0001d7d8\u06f1",
    "caf\u00e9 cafe\u0301 nai\u0308ve \u00c5 A\u030a \u212b A\u030a\u0327 \u1e9b\u0323", "\ufb01ne \u0130stanbul Stra\u00dfe \u03a3\u0391\u03a3 \u01c5",
    "\u4f60\u597d\uff0c\u4e16\u754c\u3002\u6771\u4eac\u306f\u3072\u3089\u304c\u306a\u30ab\u30bf\u30ab\u30ca", "\ud55c\uad6d\uc5b4 \u1112\u1161\u11ab\u1100\u1173\u11af \uac00\u11a7",
    "\u0627\u0644\u0639\u0631\u0628\u064a\u0629 \u05e2\u05d1\u05e8\u05d9\u05ea \u0939\u093f\u0928\u094d\u0926\u0940 \u0e20\u0e32\u0e29\u0e32\u0e44\u0e17\u0e22 \u0ba4\u0bae\u0bbf\u0bb4\u0bcd",
    "\u0395\u03bb\u03bb\u03b7\u03bd\u03b9\u03ba\u03ac \u0420\u0443\u0441\u0441\u043a\u0438\u0439 \u10e5\u10d0\u10e0\u10d7\u10e3\u10da\u10d8 \u12a0\u121b\u122d\u129b",
    "\U0001f44d\U0001f3fd \U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea \U0001f3f3\ufe0f\u200d\U0001f308 \u2603",
    "\U0001e4d0\U0001e4d1 \U00011f50 \U0001fae8 \U000105c0 \U00016d40 \u1c89\u1c8a \U00031350", "\ufffd\ufeff\u200b\u00ad\u0000\u0001\u007f\u009f",
    "a\u0301\u0327b\u0327\u0301 \u0344 \u0f73 \u0958 q\u0898\u0301 \U00011935\U00011930", "\u201cquotes\u201d \u2014 dash\u2026 \u20ac5 \u00a3 \u00ab\u00bb \u00bf\u00a1 ^_`|~ @#$%&",
    "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n<think>\n", "x<think>y</think>z <|im_end <|im_end|>>", "<think><think></think>  <think>",
    "<s>a <s> b<s>  ", "  <mask>  word<word> <word> aword\u00e9<word>", "\u00e9clair e\u0301clair <\u00c9> <E\u0301>",
    "Janet's ducks lay 16 eggs. She eats 3; sells the rest at $2 each: (16-3)*2 = 26.", "<answer>26</answer>\n\\boxed{\\frac{1}{2}}",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" * 4, " " * 33 + "x" + "\n" * 9 + " ", "\u0916\u094d\u0930" * 5, "\U00040000 \U0010ffff \uE000",
]

CORPUS = TEXTS[5:] * 2 + [
    "The quick brown fox jumps over the lazy dog while the other dogs watch and wait for their turn to jump again.",
    "To add two numbers, write them one under the other, then add the digits from right to left and carry the one.",
    "for (int i = 0; i < 10; ++i) { total += values[i] * weights[i]; }  // the weighted sum of the values",
    "Die Katze sitzt auf der Matte, und der Hund schl\u00e4ft unter dem Tisch in der Ecke des Zimmers.",
    "Le chat est assis sur le tapis et le chien dort sous la table dans le coin de la pi\u00e8ce.",
    "\u041a\u043e\u0448\u043a\u0430 \u0441\u0438\u0434\u0438\u0442 \u043d\u0430 \u043a\u043e\u0432\u0440\u0438\u043a\u0435, \u0430 \u0441\u043e\u0431\u0430\u043a\u0430 \u0441\u043f\u0438\u0442 \u043f\u043e\u0434 \u0441\u0442\u043e\u043b\u043e\u043c.",
]

QWEN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA = QWEN.replace(r"\p{N}|", r"\p{N}{1,3}|")
DEEPSEEK = (r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^" + "\r\n" + r"\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
            r"| ?[\p{P}\p{S}]+[" + "\r\n" + r"]*|\s*[\r\n]+|\s+(?!\S)|\s+").replace('\\"', '"')

# o200k, of GPT-4o and GPT-OSS.
SUFFIX = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
O200K = (r"[^\r\n\p{L}\p{N}]?" + UPPER + "*" + LOWER + "+" + SUFFIX + r"|[^\r\n\p{L}\p{N}]?" + UPPER + "+" + LOWER + "*" + SUFFIX
         + r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def byte_level(use_regex=True, prefix=False, trim=True):
    return {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": trim, "use_regex": use_regex}


def split(pattern, behavior="Isolated", invert=False, kind="Regex"):
    return {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert}


def sequence(*steps):
    return {"type": "Sequence", "pretokenizers": list(steps)}


def token(content, **flags):
    return dict({"content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
                 "special": False}, **flags)


CHAT = [token("<|im_start|>", special=True), token("<|im_end|>", special=True), token("<think>"), token("</think>")]
TEMPLATE = {
    "type": "Sequence",
    "processors": [byte_level(), {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                   {"SpecialToken": {"id": "end", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [7], "tokens": ["x"]},
                           "end": {"id": "end", "ids": [8, 9], "tokens": ["y", "z"]}}}]}

VARIANTS = [
    ("gpt2", {}, []),
    ("smollm", {"pre_tokenizer": sequence({"type": "Digits", "individual_digits": True}, byte_level())}, CHAT),
    ("qwen2", {"pre_tokenizer": sequence(split(QWEN), byte_level(False)), "normalizer": {"type": "NFC"}}, CHAT),
    ("llama3", {"pre_tokenizer": sequence(split(LLAMA), byte_level(False)), "model.ignore_merges": True,
                "post_processor": TEMPLATE}, [token("<s>", special=True)]),
    ("deepseek", {"pre_tokenizer": sequence(split(r"\p{N}{1,3}"), split("[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"),
                                            split(DEEPSEEK), byte_level(False)),
                  "normalizer": {"type": "Sequence", "normalizers": []}}, CHAT),
    ("flags", {"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}]}},
     [token("<s>", lstrip=True, rstrip=True), token("<mask>", lstrip=True, special=True),
      token("<word>", single_word=True), token("word", single_word=True, normalized=True),
      token("<\u00c9>", normalized=True), token("<E\u0301>"), token("<think>", rstrip=True, special=True)]),
    ("behaviors", {"pre_tokenizer": sequence(
        split(" ", "MergedWithNext", kind="String"), split(r"[\p{P}\p{S}]", "MergedWithPrevious"),
        split(r"\n", "Removed"), split(r"[aeiou]+", "Contiguous", True), {"type": "Digits", "individual_digits": False},
        byte_level(False, True))}, []),
    ("inverted", {"pre_tokenizer": sequence(
        split("the", "MergedWithPrevious", True, "String"), split(r"[\p{L}\p{N}]+", "MergedWithNext", True),
        split(r"[^\r\n]+", "Removed", True), split("aa", "Isolated", True, "String"), split(r"\s", "Contiguous"),
        {"type": "Digits", "individual_digits": True}, byte_level(True, False, False))}, CHAT),
    ("removed", {"pre_tokenizer": sequence(split(" ", "Removed", kind="String"), split(r"\p{M}|\p{So}", "Removed"),
                                           byte_level(False, True)), "normalizer": {"type": "NFC"}}, []),
    ("neighbours", {"pre_tokenizer": sequence(split(r"\p{L}+", "MergedWithNext"), split(r"\s+", "MergedWithPrevious", True),
                                              byte_level(True, True, False))},
     [token("<s>", special=True, normalized=True, lstrip=True), token("\u00e9c", normalized=True, rstrip=True),
      token("word", lstrip=True, rstrip=True, single_word=True, special=True), token(" jump", normalized=True)]),
    ("unk", {"model.unk_token": "a", "model.fuse_unk": True, "drop": "\u0120bde\u0101"}, []),
    ("unk not fused", {"model.unk_token": "a", "model.fuse_unk": False, "drop": "\u0120bde\u0101"}, []),
    ("dropped", {"drop": "\u0120bde\u0101"}, []),
]


def variant(base, changes, added):
    tree = copy.deepcopy(base)
    for path, value in changes.items():
        if path == "drop":  # letters of the byte alphabet that the vocabulary is to lack
            model = tree["model"]
            model["vocab"] = {t: i for i, t in enumerate(t for t in model["vocab"] if not set(t) & set(value))}
            model["merges"] = [m for m in model["merges"] if not set("".join(m)) & set(value)]
        elif path.startswith("model."):
            tree["model"][path[6:]] = value
        else:
            tree[path] = value
    vocab = tree["model"]["vocab"]
    next_id = len(vocab)
    for item in added:
        known = vocab.get(item["content"])
        tree["added_tokens"].append(dict(item, id=next_id if known is None else known))
        next_id += known is None
    return tree


def rows(tree, texts):
    tokenizer = Tokenizer.from_str(json.dumps(tree))
    out = []
    for text in texts:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        row = {"ids": ids, "text": tokenizer.decode(ids, skip_special_tokens=False)}
        extras = {"with_special": tokenizer.encode(text).ids,
                  "skipped": tokenizer.decode(ids, skip_special_tokens=True)}
        tokenizer.encode_special_tokens = True
        extras["unparsed"] = tokenizer.encode(text, add_special_tokens=False).ids
        tokenizer.encode_special_tokens = False
        row.update({k: v for k, v in extras.items() if v != row["text" if k == "skipped" else "ids"]})
        out.append(row)
    return out


def make_base():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=700, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                  show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return json.loads(tokenizer.to_str())


def of_shape(pattern, words, special, bos=None, **model):
    """A small tokenizer trained on CORPUS with `pattern`; `words` are tokens that no merge makes."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(
        vocab_size=560, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    tree = json.loads(tokenizer.to_str())
    vocab = tree["model"]["vocab"]
    for word in words:
        assert word not in vocab
        vocab[word] = len(vocab)
    tree["model"].update(model)
    tree["added_tokens"] = [dict(token(t, special=True), id=len(vocab) + i) for i, t in enumerate(special)]
    tree["post_processor"] = byte_level(False, False)
    if bos:
        begin = {"SpecialToken": {"id": bos, "type_id": 0}}
        a, b = ({"Sequence": {"id": name, "type_id": i}} for i, name in enumerate("AB"))
        again = {"SpecialToken": {"id": bos, "type_id": 1}}
        tree["post_processor"] = {"type": "Sequence", "processors": [byte_level(True, True, False), {
            "type": "TemplateProcessing", "single": [begin, a], "pair": [begin, a, again, b],
            "special_tokens": {bos: {"id": bos, "ids": [len(vocab) + special.index(bos)], "tokens": [bos]}}}]}
    return tree


def make_shapes():
    llama = ["<|begin_of_text|>", "<|end_of_text|>", "<|finetune_right_pad_id|>", "<|start_header_id|>",
             "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>", "<|python_tag|>"]
    oss = ["<|startoftext|>", "<|endoftext|>", "<|reserved_200000|>", "<|return|>", "<|constrain|>", "<|channel|>",
           "<|start|>", "<|end|>", "<|message|>", "<|call|>"]
    cut = [t.replace("<s>", "<|begin_of_text|>").replace("<mask>", "<|channel|>") for t in TEXTS] + [
        "it'S HTTPServer's parseJSON don't DON'T \u01c5ungla I\u2019m", "a/b//c/\r\n/d ://\n\n", "123456 7'8's",
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>",
        "<|start|>assistant<|channel|>final<|message|>quick brown<|return|>", " jumps jumps\njumps"]
    shapes = {
        # Words that no merge makes: only ignore_merges finds them.
        "llama3": of_shape(LLAMA, ["\u0120Hello", "\u0120jumps", "wordword"], llama, "<|begin_of_text|>",
                           ignore_merges=True),
        "gpt-oss": of_shape(O200K, ["\u0120Hello", "\u0120jumps"], oss),
    }
    return {"texts": cut, "shapes": [{"name": name, "tree": tree, "rows": rows(tree, cut)}
                                     for name, tree in shapes.items()]}


def train(texts, vocab_size, special, atomic, split_digits, alphabet):
    """Byte-pair encoding as slowly and plainly as can be: the oracle of Tokenizer::train."""
    letters = byte_letters()
    vocab = special + atomic + [letters[b] for b in range(256) if not alphabet or b in alphabet.encode()]
    steps = ([pre_tokenizers.Digits(individual_digits=True)] if split_digits else []) + [
        pre_tokenizers.ByteLevel(add_prefix_space=False)]
    cutter = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(vocab)}, merges=[]))
    cutter.add_special_tokens(special)
    cutter.add_tokens(atomic)
    cutter.pre_tokenizer = pre_tokenizers.Sequence(steps)
    words = collections.Counter()
    for text in texts:
        for token_text in cut_at(text, special + atomic):
            for word, _ in cutter.pre_tokenizer.pre_tokenize_str(token_text):
                words[tuple(word)] += 1
    ids = {t: i for i, t in enumerate(vocab)}
    merges = []
    while len(vocab) < vocab_size:
        pairs = collections.Counter()
        for word, count in words.items():
            for pair in zip(word, word[1:]):
                pairs[pair] += count
        pairs = {p: n for p, n in pairs.items() if p[0] + p[1] not in ids}
        if not pairs:
            break
        best = min(pairs, key=lambda p: (-pairs[p], ids[p[0]], ids[p[1]]))
        merges.append(list(best))
        ids[best[0] + best[1]] = len(vocab)
        vocab.append(best[0] + best[1])
        merged = collections.Counter()
        for word, count in words.items():
            out, i = [], 0
            while i < len(word):
                if word[i : i + 2] == best:
                    out.append(best[0] + best[1])
                    i += 2
                else:
                    out.append(word[i])
                    i += 1
            merged[tuple(out)] += count
        words = merged
    return vocab, merges


def cut_at(text, tokens):
    at = min((text.find(t) for t in tokens if t in text), default=-1)
    if at < 0:
        return [text] if text else []
    found = max((t for t in tokens if text.startswith(t, at)), key=len)
    return ([text[:at]] if at else []) + cut_at(text[at + len(found):], tokens)


def byte_letters():
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in printable]
    return {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(others)}


def make_trained():
    out = []
    sums = [f"<think>{a}+{b}</think><answer>{a + b}</answer><|end|>" for a in range(0, 60, 7) for b in range(0, 50, 3)]
    jobs = [
        dict(texts=CORPUS, vocab_size=420, special=["<|pad|>", "<|end|>"], atomic=["<think>", "</think>"],
             split_digits=True, alphabet=""),
        dict(texts=sums, vocab_size=40, special=["<|end|>"],
             atomic=["<think>", "</think>", "<answer>", "</answer>"], split_digits=False, alphabet="0123456789+= "),
        dict(texts=["ab ab", "abab"], vocab_size=300, special=[], atomic=[], split_digits=True, alphabet="ab "),
    ]
    for job in jobs:
        vocab, merges = train(**job)
        tree = {
            "version": "1.0", "truncation": None, "padding": None,
            "added_tokens": [dict(token(t, special=i < len(job["special"])), id=i)
                             for i, t in enumerate(job["special"] + job["atomic"])],
            "normalizer": None,
            "pre_tokenizer": sequence({"type": "Digits", "individual_digits": True}, byte_level())
            if job["split_digits"] else byte_level(),
            "post_processor": None, "decoder": byte_level(prefix=True),
            "model": {"type": "BPE", "vocab": {t: i for i, t in enumerate(vocab)}, "merges": merges}}
        tokenizer = Tokenizer.from_str(json.dumps(tree))
        probes = job["texts"][:6] + ["<think>12+7</think> <|end|>19", "abba  ab1"]
        out.append({"options": job, "vocab": vocab, "merges": merges, "probes": probes,
                    "ids": [tokenizer.encode(p, add_special_tokens=False).ids for p in probes]})
    return out


def write(name, tree):
    with open(os.path.join(HERE, name), "w", encoding="utf-8") as file:
        file.write(json.dumps(tree, ensure_ascii=True, separators=(",", ":")) + "\n")


def main():
    parser = argparse.ArgumentParser()
    real = ("qwen3", "deepseek_v3", "smollm2")
    for name in real:
        parser.add_argument("--" + name.replace("_", "-"), dest=name)
    args = vars(parser.parse_args())
    base = make_base()
    write("base.json", base)
    variants = []
    for name, changes, added in VARIANTS:
        tree = variant(base, changes, added)
        del tree["model"]["vocab"], tree["model"]["merges"]
        variants.append({"name": name, "tree": tree, "drop": changes.get("drop", ""),
                         "rows": rows(variant(base, changes, added), TEXTS)})
    write("variants.json", {"texts": TEXTS, "variants": variants})
    write("shapes.json", make_shapes())
    write("trained.json", make_trained())
    path = os.path.join(HERE, "real.json")
    ids = json.load(open(path)) if os.path.exists(path) else {}
    for name in real:
        if args[name]:
            tokenizer = Tokenizer.from_file(os.path.join(args[name], "tokenizer.json"))
            ids[name] = [tokenizer.encode(t, add_special_tokens=False).ids for t in TEXTS]
    write("real.json", ids)


if __name__ == "__main__":
    main()
