"""What goes wrong around a run: faults.py GRPO_PROGRAM TINY_MODEL_FOLDER (from examples/tiny_model.sh).

Every fault ends with one clear message and its exit code, and what is on the disk can be gone on from."""
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
LONG_ROLLOUTS = ["grpo.steps_per_generation=2", "grpo.num_iterations=2", "grpo.beta=0.05", "grpo.ref_sync_steps=4"]


def start(*arguments):
    return subprocess.Popen([GRPO, *arguments], cwd=TINY, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def end(process):
    error = process.communicate(timeout=300)[1].decode()
    return process.returncode, error


def train(*settings):
    return end(start("train", "run.yaml", "threads=1", *settings))


def refused(what, words, result):
    code, error = result
    check(code == 2 and all(word in error for word in words) and error.count("error:") == 1, f"{what}: exit {code}, {error[-500:]!r}, expected {words}")


def checkpoints(folder):
    path = f"{TINY}/{folder}/checkpoints"
    return sorted(os.listdir(path)) if os.path.exists(path) else []


def same_checkpoint(a, b, step):
    def files(folder):
        path = f"{TINY}/{folder}/checkpoints/step-{step}"
        return {name: open(f"{path}/{name}", "rb").read() for name in os.listdir(path)} if os.path.exists(path) else None
    return files(a) is not None and files(a) == files(b)


def num_rows(folder):
    try:
        return open(f"{TINY}/{folder}/metrics.jsonl").read().count("\n")
    except OSError:
        return 0


def wait_for(condition, process=None, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline or (process and process.poll() is not None):
            return False
        time.sleep(0.001)
    return True


def mount(folder, options):
    os.makedirs(f"{TINY}/{folder}", exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", f"{TINY}/{folder}"], capture_output=True, text=True)
    if done.returncode != 0:
        print(f"skipped: what needs a file system of its own ({done.stderr.strip()})")
    return done.returncode == 0


def full_disk():
    settings = [*LONG_ROLLOUTS, "max_steps=12"]
    for name, own in (("saves", ["save_every=1"]), ("records", ["save_every=0", "log_completions=4"])):
        whole = f"whole-{name}"
        check(train(f"output_dir={whole}", *settings, *own)[0] == 0, f"full disk: {whole}")
        if not mount("disk", "size=1800k" if name == "saves" else "size=100k"):
            return
        try:
            here = [f"output_dir=disk/{name}", *settings, *own]
            before = train(*here)
            refused(f"full disk while it {name}", ["No space left on device", f"disk/{name}/"], before)
            kept = checkpoints(f"disk/{name}")
            check(all(same_checkpoint(whole, f"disk/{name}", step.split("-")[1]) for step in kept), f"full disk while it {name}: {kept} are not whole")
            check(kept if name == "saves" else not kept, f"full disk while it {name}: {kept}")
            refused("still full", ["No space left on device"], train(*here, "--resume"))
            subprocess.run(["mount", "-o", "remount,size=50m", f"{TINY}/disk"], check=True)
            code, error = train(*here, "--resume")
            check(code == 0 and same_checkpoint(whole, f"disk/{name}", 12), f"full disk while it {name}: does not go on: {error[-500:]}")
            check(num_rows(f"disk/{name}") == 12, "full disk: every step has its row")
        finally:
            subprocess.run(["umount", f"{TINY}/disk"], check=True)


def unwritable_folder():
    refused("a file above the folder", ["cannot make folder", "train.jsonl/run"], train("output_dir=train.jsonl/run"))
    refused("a file in the folder's place", ["cannot make folder", "train.jsonl"], train("output_dir=train.jsonl"))
    if mount("disk", "ro,size=1m"):
        refused("read-only", ["disk/run", "Read-only file system"], train("output_dir=disk/run"))
        subprocess.run(["umount", f"{TINY}/disk"], check=True)


def two_runs():
    first = start("train", "run.yaml", "threads=1", "output_dir=busy", "max_steps=1000000")
    check(wait_for(lambda: num_rows("busy") > 0, first), "two runs: the first starts")
    refused("a second run", ["busy", "already holds a run"], train("output_dir=busy"))
    refused("a second run that resumes", ["busy", "in use by another run"], train("output_dir=busy", "--resume"))
    first.kill()
    first.communicate()
    rows = num_rows("busy")
    code, error = train("output_dir=busy", "--resume", "max_steps=3")
    check(code == 0 and rows > 0 and num_rows("busy") == 3, f"two runs: the killed one's folder is free again: {error[-300:]}")
    for attempt in range(3):
        together = [start("train", "run.yaml", "threads=1", f"output_dir=race-{attempt}") for _ in range(4)]
        results = [end(process) for process in together]
        check(sorted(code for code, _ in results) == [0, 2, 2, 2], f"four runs at once: {results}")
        check(all("in use by another run" in error or "already holds a run" in error for code, error in results if code == 2), f"four runs at once: {results}")
        check(num_rows(f"race-{attempt}") == 3, "four runs at once: one has written")


def damaged_checkpoint():
    settings = [*LONG_ROLLOUTS, "save_every=2", "max_steps=6"]
    check(train("output_dir=undamaged", *settings)[0] == 0, "damage: whole run")
    shutil.copytree(f"{TINY}/undamaged", f"{TINY}/damaged")
    newest = f"{TINY}/damaged/checkpoints/step-6"
    for name in sorted(os.listdir(newest)):
        whole = open(f"{newest}/{name}", "rb").read()
        for what, data in (("torn", whole[: len(whole) // 2]), ("edited", whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:]), ("lost", None)):
            os.remove(f"{newest}/{name}")
            if data is not None:
                with open(f"{newest}/{name}", "wb") as file:
                    file.write(data)
            if what == "lost" and name == "state.json":
                continue  # then the folder is no checkpoint
            refused(f"{name} is {what}", [f"step-6/{name}"], train("output_dir=damaged", *settings, "--resume"))
        with open(f"{newest}/{name}", "wb") as file:
            file.write(whole)
    shutil.rmtree(newest)
    code, error = train("output_dir=damaged", *settings, "--resume")
    check(code == 0 and "after step 4" in error and same_checkpoint("undamaged", "damaged", 6), f"damage: goes on from the one before: {error[-300:]}")


def changed_rows():
    rows = [json.loads(line) for line in open(f"{TINY}/train.jsonl")]
    with open(f"{TINY}/rows.jsonl", "w") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    settings = ["output_dir=rows", "data.train=rows.jsonl", *LONG_ROLLOUTS, "save_every=3", "max_steps=6"]
    process = start("train", "run.yaml", "threads=1", *settings, "max_steps=40")
    check(wait_for(lambda: num_rows("rows") > 1, process), "rows: the run starts")
    os.truncate(f"{TINY}/rows.jsonl", 100)
    check(end(process)[0] == 0 and num_rows("rows") == 40, "rows: they are in memory while a run lives")
    more = [*settings, "max_steps=44", "--resume"]
    with open(f"{TINY}/rows.jsonl", "w") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows[:-1])
    refused("other rows", ["data.train", "rows.jsonl have changed", "checksum", "--allow"], train(*more))
    refused("no such field", ["--allow", "data.trian", 'did you mean "data.train"?'], train(*more, "--allow", "data.trian"))
    check(train(*more, "--allow", "data.train")[0] == 0 and num_rows("rows") == 44, "rows: a change that is allowed")
    check(train("output_dir=nowhere", "--allow", "data.train")[0] == 2, "--allow without --resume")


def signals():
    for name, sent in (("SIGINT", signal.SIGINT), ("SIGTERM", signal.SIGTERM)):
        settings = [f"output_dir={name}", *LONG_ROLLOUTS]
        process = start("train", "run.yaml", "threads=1", *settings, "max_steps=1000000")
        check(wait_for(lambda: num_rows(name) >= 3, process), f"{name}: the run starts")
        process.send_signal(sent)
        code, error = end(process)
        steps = num_rows(name)
        check(code == 130 and checkpoints(name) == [f"step-{steps}"], f"{name}: exit {code} after {steps} steps with {checkpoints(name)}")
        check(os.path.exists(f"{TINY}/{name}/report.html") and not os.path.exists(f"{TINY}/{name}/LOCK"), f"{name}: a report, no lock")
        check(train(*settings, f"max_steps={steps + 5}", "--resume")[0] == 0, f"{name}: goes on")
        check(train(f"output_dir=whole-{name}", *LONG_ROLLOUTS, f"max_steps={steps + 5}")[0] == 0 and same_checkpoint(name, f"whole-{name}", steps + 5), f"{name}: the same bits")
    process = start("train", "run.yaml", "threads=1", "output_dir=twice", "max_steps=1000000")
    check(wait_for(lambda: num_rows("twice") > 0, process), "two signals: the run starts")
    process.send_signal(signal.SIGSTOP)  # so that both are there when it goes on
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGCONT)
    code, _ = end(process)
    check(code < 0 and not checkpoints("twice"), f"two signals: the second ends it at once: exit {code}, {checkpoints('twice')}")


def memory():
    shutil.copytree(f"{TINY}/model", f"{TINY}/endless")
    config = json.load(open(f"{TINY}/model/config.json"))
    json.dump({**config, "max_position_embeddings": 2_000_000_000}, open(f"{TINY}/endless/config.json", "w"))
    refused("an answer that cannot fit", ["memory: one answer of the sampler", "MiB are free", "grpo.max_completion_length (now 1000000000)"],
            train("output_dir=never", "model.path=endless", "grpo.max_completion_length=1000000000"))
    refused("a micro-batch that cannot fit", ["memory: one micro-batch of the update", "MiB are free", "grpo.micro_batch_tokens (now 1000000000)"],
            train("output_dir=never", "model.path=endless", "grpo.max_completion_length=400000", "grpo.micro_batch_tokens=1000000000", "grpo.num_generations=2000"))
    check(not os.path.exists(f"{TINY}/never"), "memory: nothing is written")


def big_model():
    config = json.load(open(f"{TINY}/config.json"))
    config.update(hidden_size=1024, intermediate_size=4096, num_hidden_layers=2)
    json.dump(config, open(f"{TINY}/big.json", "w"))
    check(end(start("init", "big.json", "big", "--tokenizer", "tokenizer"))[0] == 0, "big model")
    check(end(start("export", "big", "big.gguf", "--format", "gguf"))[0] == 0, "big model as GGUF")


def read_so_far(process):
    with open(f"/proc/{process.pid}/io") as file:
        return int(file.readline().split()[1])


def shrinking_weights():
    """Cut to half while it is being read: stopped at the right moment, cut, and let go on."""
    for model, name in (("big", "big/model.safetensors"), ("big.gguf", "big.gguf")):
        path = f"{TINY}/{name}"
        whole = open(path, "rb").read()
        for _ in range(20):
            process = start("logprobs", model)
            wait_for(lambda: read_so_far(process) > 20_000_000, process)
            process.send_signal(signal.SIGSTOP)
            is_reading = process.poll() is None and read_so_far(process) < len(whole) * 3 // 4
            if is_reading:
                os.truncate(path, len(whole) * 3 // 4)
            process.send_signal(signal.SIGCONT)
            result = end(process)
            if is_reading:
                break
        if check(is_reading, f"{name}: met while it is read"):
            refused(f"{name} shrinks", [name, "shrank while it was read"], result)
        with open(path, "wb") as file:
            file.write(whole)


def killed_export():
    source = random.Random(3)
    whole = open(f"{TINY}/big/model.safetensors", "rb").read()
    begin = time.monotonic()
    check(end(start("export", "big", "out"))[0] == 0, "export")
    length = time.monotonic() - begin
    for attempt in range(6):
        if attempt % 2 == 0:
            shutil.rmtree(f"{TINY}/out", ignore_errors=True)  # else over an earlier one
        process = start("export", "big", "out", *(["--dtype", "bf16"] if attempt % 2 else []))
        time.sleep(source.uniform(0.5, 1) * length)
        process.kill()
        process.communicate()
        code, error = end(start("logprobs", "out"))
        check(code == 0 or (code == 2 and "out" in error), f"killed export: {error}")
        code, error = end(start("export", "big", "out"))
        check(code == 0 and open(f"{TINY}/out/model.safetensors", "rb").read() == whole, f"export after a killed one: {error}")
        check(not [name for name in os.listdir(f"{TINY}/out") if ".new-" in name], "nothing half written is left")
        process = start("export", "big", "killed.gguf", "--format", "gguf")
        time.sleep(source.uniform(0.5, 1) * length)
        process.kill()
        process.communicate()
        if os.path.exists(f"{TINY}/killed.gguf"):
            check(open(f"{TINY}/killed.gguf", "rb").read() == open(f"{TINY}/big.gguf", "rb").read(), "a killed GGUF export is whole or not there")


def best_checkpoint():
    settings = ["output_dir=judged", "max_steps=4", "eval.data=held-out.jsonl", "eval.every=1", "eval.max_prompts=4", "eval.best=-eval_completions/mean_length", "keep_checkpoints=1"]
    check(train(*settings)[0] == 0, "best: run")
    best = json.load(open(f"{TINY}/judged/best.json"))
    check(set(best) == {"step", "metric", "value"} and f"step-{best['step']}" in checkpoints("judged"), f"best: {best}, {checkpoints('judged')}")
    check(end(start("export", "judged", "best-model", "--best"))[0] == 0, "best: export")
    read = lambda path: open(f"{TINY}/{path}/model.safetensors", "rb").read()
    check(read("best-model") == read(f"judged/checkpoints/step-{best['step']}"), "best: the right one")
    refused("best of a run without", ["best.json", "eval.best"], end(start("export", "undamaged", "nothing", "--best")))
    refused("best of an unknown metric", ["eval.best", "eval_reward"], train("output_dir=never", *settings[1:], "eval.best=reward"))


for part in (full_disk, unwritable_folder, two_runs, damaged_checkpoint, changed_rows, signals, memory, best_checkpoint, big_model, shrinking_weights, killed_export):
    begin = time.monotonic()
    part()
    print(f"{part.__name__}: {time.monotonic() - begin:.1f} s", file=sys.stderr)
sys.exit(tally.finish())
