#!/usr/bin/env python3
"""Holds the documents against the code: check_docs.py GRPO_PROGRAM TINY_MODEL_FOLDER (from examples/tiny_model.sh) PLUGIN.so

A fenced block whose first line names a file of the repository is in that file, word for word. The YAML of docs/from-trl.md runs for
a step on the tiny model. Its tables name every field of tests/base/trl_fields.txt, with the program's keys, defaults and sentences.
"""
import json
import os
import re
import shutil
import subprocess
import sys

import tally
from tally import check

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
GRPO, TINY, PLUGIN = (os.path.abspath(path) for path in sys.argv[1:4])


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def blocks(document):
    """(name behind the language, text) of the fenced blocks that have one."""
    return re.findall(r"^```\w+ (\S+)\n(.*?)^```$", read(document), re.MULTILINE | re.DOTALL)


def check_sources():
    count = 0
    for document in sorted(os.listdir(f"{ROOT}/docs")):
        for name, text in blocks(f"docs/{document}"):
            if os.path.exists(f"{ROOT}/{name}"):
                count += 1
                check(text in read(name), f"docs/{document}: the block of {name} is not in that file")
    check(count >= 8, f"expected at least 8 blocks that name their file, got {count}")


def run(*arguments):
    return subprocess.run([GRPO, *arguments], cwd=TINY, capture_output=True, text=True)


def check_runs():
    """Both YAML files of docs/from-trl.md train: models, rows and lengths are the tiny model's, everything else is the page's."""
    model = f"{TINY}/chat-model"
    shutil.copytree(f"{TINY}/model", model)
    with open(f"{model}/tokenizer_config.json") as file:
        config = json.load(file)
    config["chat_template"] = "{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}{% endfor %}" \
                              "{% if add_generation_prompt %}assistant: {% endif %}"
    with open(f"{model}/tokenizer_config.json", "w") as file:
        json.dump(config, file)
    with open(f"{TINY}/train.jsonl") as file, open(f"{TINY}/messages.jsonl", "w") as out:
        for row in map(json.loads, file):
            out.write(json.dumps(row | {"messages": [{"role": "user", "content": row["question"]}]}) + "\n")
    own = {"run.yaml": ["data.train=messages.jsonl", f"rewards.1.plugin={PLUGIN}", "grpo.max_completion_length=8"],
           "sft.yaml": ["data.train=train.jsonl", "data.prompt=question"]}
    for name, text in blocks("docs/from-trl.md"):
        with open(f"{TINY}/trl-{name}", "w") as file:
            file.write(text)
        done = run("train", f"trl-{name}", f"model.path={model}", "model.dtype=fp32", "max_steps=1", f"output_dir={TINY}/out-{name}",
                   *own.pop(name))
        check(done.returncode == 0, f"docs/from-trl.md: {name}: {done.stderr.strip()}")
    check(not own, f"docs/from-trl.md: expected blocks {', '.join(own)}")


def schema_keys(node, above=""):
    for name, child in node.get("properties", {}).items():
        yield above + name, child
        yield from schema_keys(child, above + name + ".")


def table_rows(document, columns):
    for line in read(document).splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("| `") else []
        if len(cells) == columns:
            yield cells


def shown(default):
    return "none" if default in (None, "") else str(default).lower() if isinstance(default, bool) else str(default)


def check_tables():
    text = read("src/base/known_names.cpp")
    aliases = dict(re.findall(r'\{"([a-z_0-9.]+)", "([a-z_0-9.]+)"\},', text[text.index("kAliases"):text.index("struct Reason")]))
    literal = r'((?:\s*"(?:[^"\\]|\\.)*")+)'
    join = lambda literals: "".join(re.findall(r'"((?:[^"\\]|\\.)*)"', literals))
    constants = {name: join(value) for name, value in re.findall(r"constexpr std::string_view (k\w+) =" + literal, text)}
    body = text[text.index("kReasons[] = {"):]
    reasons = [(name, constants.get(constant, "") or join(value)) for name, constant, value in
               re.findall(r'\{"([a-z_0-9*]+)",\s*(?:(k\w+)|' + literal + r")\}", body[:body.index("\n};")])]
    keys = dict(schema_keys(json.loads(run("config", "schema").stdout)))
    seen = set()
    for field, key, _, default in table_rows("docs/from-trl.md", 4):
        field, key = field.strip("`"), key.strip("`")
        check(key in keys, f"docs/from-trl.md: {field}: no key {key}")
        if key not in keys:
            continue
        seen.add(field)
        check(key.split(".")[-1] == field or any(a.split(".")[-1] == field and k == key for a, k in aliases.items()),
              f"docs/from-trl.md: {field} is no name of {key}")
        ours = "runs/&lt;name&gt;" if field == "output_dir" else shown(keys[key].get("default"))
        check(default == ours, f"docs/from-trl.md: {field}: expected the default {ours}, got {default}")
    for fields, sentence in table_rows("docs/from-trl.md", 2):
        for field in re.findall(r"`(\w+)`", fields):
            why = next((why for name, why in reasons if field == name or name[-1] == "*" and field.startswith(name[:-1])), None)
            if why:
                seen.add(field)
                check(why == sentence, f"docs/from-trl.md: {field}: the program says {why!r}")
    names = [line for line in read("tests/base/trl_fields.txt").splitlines() if line and line[0] != "#"]
    for name in names:
        check(name in seen, f"docs/from-trl.md: no table has {name}")


check_sources()
check_tables()
check_runs()
print(f"documents: {tally.passed} of {tally.passed + len(tally.failures)} statements hold")
sys.exit(1 if tally.failures else 0)
