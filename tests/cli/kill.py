"""Kills runs at random moments and compares what they come to: kill.py GRPO_PROGRAM TINY_MODEL_FOLDER [KILLS] [SEED].

A run that is killed (SIGKILL) and resumed, as often as it takes, must end with the bits of a run that was let alone:
checkpoints byte for byte, metrics but for times, completions, the best step. Moments are drawn over the length of a
run, and some are those at which a half-written file appears."""
import collections
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import tally
from tally import check

GRPO, TINY = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
KILLS = int(sys.argv[3]) if len(sys.argv) > 3 else 50
SEED = int(sys.argv[4]) if len(sys.argv) > 4 else 1
KILLS_PER_RUN = 6
RANDOM = random.Random(SEED)

# A rollout serves four steps and the reference follows after each, so checkpoints meet every state.
GRPO_RUN = [
    "grpo.prompts_per_step=2", "grpo.steps_per_generation=2", "grpo.num_iterations=2", "grpo.beta=0.05", "grpo.ref_sync_steps=4",
    "grpo.ref_mixup_alpha=0.5", "optimizer.schedule=cosine", "eval.data=held-out.jsonl", "eval.every=2", "eval.max_prompts=4",
    "eval.num_generations=3", "eval.temperature=1", "eval.best=eval_reward", "keep_checkpoints=2", "max_steps=14",
]
SFT_RUN = ["kind=sft", "sft.batch_size=4", "keep_checkpoints=2", "max_steps=14"]
RUNS = {"every step": GRPO_RUN + ["save_every=1"], "every third": GRPO_RUN + ["save_every=3"], "sft": SFT_RUN + ["save_every=2"]}


def start(folder, settings):
    resume = ["--resume"] if os.path.exists(f"{TINY}/{folder}/config.resolved.yaml") else []
    return subprocess.Popen([GRPO, "train", "kill.yaml", f"output_dir={folder}", "threads=1", *settings, *resume],
                            cwd=TINY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def names_in(folder):
    try:
        return os.listdir(folder)
    except OSError:
        return []


def half_written(folder):
    """What a write, a removal or a rollout in work looks like from outside."""
    root = f"{TINY}/{folder}"
    if names_in(f"{root}/rollouts"):
        return "rollout on disk"
    for name in names_in(f"{root}/checkpoints"):
        if name.endswith(".partial"):
            return "checkpoint half written"
        if name.endswith(".deleted"):
            return "checkpoint half removed"
    return ""


def wait_to_kill(process, folder, length):
    """Sleeps until the moment at which to kill; says what it was."""
    delay, event = RANDOM.uniform(0, 1.05 * length), RANDOM.random() < 0.4
    begin = time.monotonic()
    while process.poll() is None:
        spent = time.monotonic() - begin
        if spent >= delay:
            state = half_written(folder)
            if not event or state:
                return state or ("start" if not os.path.exists(f"{TINY}/{folder}/metrics.jsonl") else "elsewhere")
        time.sleep(0.0002 if spent >= delay else min(0.005, delay - spent))
    return ""


def records(folder, name):
    try:
        lines = open(f"{TINY}/{folder}/{name}").read().splitlines()
    except OSError:
        return []
    return [{key: value for key, value in json.loads(line).items() if key != "step_time" and not key.startswith(("time/", "throughput/", "memory/"))} for line in lines]


def contents(folder):
    """Every file of the checkpoints, and the names of all the rest."""
    files, root = {}, f"{TINY}/{folder}"
    for path, _, names in os.walk(root):
        for name in names:
            key = os.path.relpath(f"{path}/{name}", root)
            kept = key.startswith("checkpoints/") or key == "best.json"
            if not key.startswith("events."):
                files[key] = open(f"{path}/{name}", "rb").read() if kept else b""
    return files


def compare(reference, folder, what):
    a, b = contents(reference), contents(folder)
    different = sorted(key for key in a.keys() | b.keys() if a.get(key) != b.get(key))
    check(not different, f"{what}: files differ: {different}")
    for name in ("metrics.jsonl", "completions.jsonl"):
        check(records(reference, name) == records(folder, name), f"{what}: {name} differs")


def finish(process, what):
    output = process.communicate()[0].decode()
    check(process.returncode == 0, f"{what}: exit {process.returncode}: {output[-2000:]}")
    return process.returncode == 0


def main():
    with open(f"{TINY}/kill.yaml", "w") as file:
        file.write(open(f"{TINY}/run.yaml").read().replace("max_steps: 3\n", "").replace("  - {name: format, weight: 0.2}\n", "  - {name: length, weight: 0.5}\n"))
    lengths = {}
    for name, settings in RUNS.items():
        begin = time.monotonic()
        if not finish(start(f"whole {name}", settings), f"{name}: the run that is let alone"):
            return
        lengths[name] = time.monotonic() - begin
    check(len(names_in(f"{TINY}/whole every step/checkpoints")) in (2, 3), "two checkpoints are kept, and the best")

    kills, moments, run = 0, collections.Counter(), 0
    while kills < KILLS and len(tally.failures) < 5:
        name = list(RUNS)[(0, 1, 0, 1, 2)[run % 5]]
        folder, killed = f"run-{run}", 0
        while True:
            process = start(folder, RUNS[name])
            moment = wait_to_kill(process, folder, lengths[name]) if killed < KILLS_PER_RUN and kills < KILLS else ""
            if not moment:
                break
            process.send_signal(signal.SIGKILL)
            process.communicate()
            killed, kills, moments[moment] = killed + 1, kills + 1, moments[moment] + 1
        what = f"seed {SEED}, run {run} ({name}, killed {killed} times)"
        if finish(process, what):
            compare(f"whole {name}", folder, what)
            shutil.rmtree(f"{TINY}/{folder}")
        run += 1
    print(f"{kills} kills with seed {SEED} in {run} runs: " + ", ".join(f"{count} {moment}" for moment, count in moments.most_common()))


main()
sys.exit(tally.finish())
