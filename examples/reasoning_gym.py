#!/usr/bin/env python3
"""Writes a task of the package reasoning-gym as rows for grpo: {"question", "answer", "task"} as JSONL.

    reasoning_gym.py --list                     every task
    reasoning_gym.py --list --task chain_sum    its parameters
    reasoning_gym.py --task chain_sum --count 2000 --seed 1 --param max_terms=2 TRAIN.jsonl --held-out HELD-OUT.jsonl

Every question is written once; repeated draws are counted. A question's own hash says on which side of the split it stands,
so no question is on both sides, whatever the seed, the count and the number of calls.

The reward `accuracy` compares with the one answer of the row. So do tasks without a mark in the list, but for the part credit
that the package gives to answers which contain the right one. A * marks tasks with a scorer of their own, which may accept other
spellings of the answer (chain_sum: 007 for 7, as `accuracy` does), other solutions (countdown), or parts of one: write a reward for
those (docs/extending.md).

Needs the package: python3 -m venv gym && gym/bin/pip install reasoning-gym, then call this with gym/bin/python.
"""
import argparse
import dataclasses
import difflib
import hashlib
import json
import os
import sys
import tempfile
import typing

# Python looks for modules in this script's folder first, where the package's name is the script's own.
sys.path[:] = [path for path in sys.path if os.path.realpath(path or ".") != os.path.dirname(os.path.realpath(__file__))]


def fail(message):
    print(f"reasoning_gym.py: {message}", file=sys.stderr)
    sys.exit(2)


def load_package():
    try:
        from reasoning_gym.dataset import ProceduralDataset
        from reasoning_gym.factory import DATASETS
    except ModuleNotFoundError as error:
        if error.name != "reasoning_gym":
            raise
        fail("the package reasoning-gym is not installed: python3 -m venv gym && gym/bin/pip install reasoning-gym, then call "
             "gym/bin/python " + " ".join(sys.argv))
    return {name: Task(name, entry[0], entry[1], entry[0].score_answer is not ProceduralDataset.score_answer)
            for name, entry in DATASETS.items()}


class Task(typing.NamedTuple):
    name: str
    dataset: type
    config: type
    has_own_scorer: bool

    def parameters(self):
        """Name to default; None where there is none that can be shown."""
        defaults = {}
        for field in dataclasses.fields(self.config):
            if field.name not in ("seed", "size"):
                made = field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
                defaults[field.name] = None if made is dataclasses.MISSING else made
        return defaults


def known(kind, name, names):
    if name not in names:
        near = difflib.get_close_matches(name, names, n=3)
        fail(f"{kind} {name!r} is unknown" + (f"; did you mean {', '.join(near)}?" if near else "; --list shows what there is"))


def parse_params(task, items):
    params = {}
    for item in items:
        name, equals, text = item.partition("=")
        if not equals:
            fail(f"--param: expected NAME=VALUE, got {item!r}")
        known(f"{task.name}: parameter", name, list(task.parameters()))
        try:
            params[name] = json.loads(text)
        except ValueError:
            params[name] = text
    return params


def draw(task, params, count, seed, completion):
    """The distinct rows among `count` draws."""
    rows = {}
    try:
        dataset = task.dataset(config=task.config(seed=seed, size=count, **params))
        for index in range(count):
            item = dataset[index]
            question, answer = item["question"], item["answer"]
            if not isinstance(answer, str):
                fail(f"{task.name}: the task has no reference answers (got {answer!r}), so no reward here could score it")
            row = {"question": question, "answer": answer, "task": task.name}
            if completion:
                row["completion"] = completion.replace("{answer}", answer)
            rows.setdefault(question, row)
    except Exception as error:  # the package checks parameters with assert, ValueError, TypeError, ...
        fail(f"{task.name}: {type(error).__name__}: {error}")
    return list(rows.values())


def is_held_out(question, share):
    return int.from_bytes(hashlib.sha256(question.encode()).digest()[:8], "big") < share * 2**64


def write(path, rows):
    """Writes beside the file and renames, so that a reader never sees half of it."""
    temporary = None
    try:
        with tempfile.NamedTemporaryFile("w", dir=os.path.dirname(path) or ".", prefix=os.path.basename(path), delete=False,
                                         encoding="utf-8") as file:
            temporary = file.name
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except OSError as error:
        if temporary and os.path.exists(temporary):
            os.remove(temporary)
        fail(f"{path}: {error.strerror}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", nargs="?", metavar="TRAIN.jsonl")
    parser.add_argument("--list", action="store_true", help="list the tasks, or with --task its parameters")
    parser.add_argument("--task")
    parser.add_argument("--count", type=int, default=1000, help="draws, of which equal questions are one row (1000)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--param", action="append", default=[], metavar="NAME=VALUE", help="of the task; a value is JSON or text")
    parser.add_argument("--held-out", metavar="HELD-OUT.jsonl", help="where the other side of the split goes")
    parser.add_argument("--held-out-share", type=float, metavar="SHARE", help="of the questions (0.1)")
    parser.add_argument("--completion", metavar="TEXT", help="also a column `completion` for SFT, {answer} in it replaced")
    options = parser.parse_args()
    if not options.list and not (options.task and options.out):
        parser.error("expected --task and TRAIN.jsonl, or --list")
    if options.count < 1:
        parser.error(f"--count: expected at least 1, got {options.count}")
    if options.held_out_share is not None and not options.held_out:
        parser.error("--held-out-share needs --held-out")
    share = 0.1 if options.held_out_share is None else options.held_out_share
    if not 0 < share < 1:
        parser.error(f"--held-out-share: expected a number between 0 and 1, got {share}")

    tasks = load_package()
    if options.task:
        known("task", options.task, list(tasks))
    if options.list and options.task:
        for name, default in tasks[options.task].parameters().items():
            print(f"{name}={default}")
        return
    if options.list:
        print("\n".join(name + "*" * task.has_own_scorer for name, task in sorted(tasks.items())))
        return
    task = tasks[options.task]
    rows = draw(task, parse_params(task, options.param), options.count, options.seed, options.completion)
    if task.has_own_scorer:
        print(f"reasoning_gym.py: warning: {task.name} has a scorer of its own, {task.dataset.__name__}.score_answer: "
              "what it accepts beside the row's answer, the reward `accuracy` does not", file=sys.stderr)
    held_out = [row for row in rows if options.held_out and is_held_out(row["question"], share)]
    train = [row for row in rows if not (options.held_out and is_held_out(row["question"], share))]
    for side, path in ((train, options.out), (held_out, options.held_out)):
        if path and not side:
            fail(f"{path}: none of the {len(rows)} questions falls on this side of the split; draw more (--count)")
    write(options.out, train)
    if options.held_out:
        write(options.held_out, held_out)
    print(f"{task.name}: {len(train)} rows" + (f" and {len(held_out)} held out" if options.held_out else "") +
          f"; {options.count - len(rows)} draws repeated a question", file=sys.stderr)


if __name__ == "__main__":
    main()
