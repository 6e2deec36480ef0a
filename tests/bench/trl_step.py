#!/usr/bin/env python3
"""One GRPO step of `grpo train` beside one of TRL, on the same SmolLM2-135M-Instruct in fp32.

    PEERS/bin/python trl_step.py [--rounds 3] [--steps 2] [--json FILE] [--at-least RATIO]    # README.md: what PEERS holds

Both sides train the same folder (`grpo export` of the fetched GGUF) on the same prompts in the same order: 2 prompts x 8 answers
x 64 tokens, temperature 1, no truncated sampling, beta 0, one update a rollout, one micro-batch, AdamW, gradients clipped to 1.
The folder's stop token is set to <empty_output>, which the model practically never draws, so answers run to their full length;
tokens really drawn are reported. A round is a process of ours, then one of TRL, each with one warm-up step and --steps timed ones.

What a step includes
  ours  `step_time` of metrics.jsonl: sampling, rewards, advantages, check of log-probs against the sampler's, forward, backward,
        clipping, AdamW, new packed weights, completions.jsonl
  TRL   from on_step_begin to on_step_end of a TrainerCallback: generation, rewards, advantages, forward, backward, clipping,
        AdamW, zero_grad; not its data loader and its logging
Peak memory is ru_maxrss of the whole process; ours includes the checkpoint at the end of the run, TRL writes none. Times count only
where the table says that others took next to no CPU.
"""
import argparse
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROMPTS, ANSWERS, TOKENS, THREADS, LEARNING_RATE = 2, 8, 64, 2, 1e-9
STOP_TOKEN = "<empty_output>"


def run(*command):
    return subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE, text=True).stdout


# ---- the common folder: model/, rows.jsonl ----------------------------------------------------------------------------


def rewrite(path, **values):
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | values))


def prepare(work, grpo, num_steps):
    gguf = run(ROOT / "examples/fetch_smollm2.sh").strip()
    model = work / "model"
    run(grpo, "export", gguf, model)
    added = json.loads((model / "tokenizer.json").read_text())["added_tokens"]
    stop_id = next(token["id"] for token in added if token["content"] == STOP_TOKEN)
    rewrite(model / "config.json", eos_token_id=stop_id)
    rewrite(model / "generation_config.json", eos_token_id=stop_id)
    rewrite(model / "tokenizer_config.json", eos_token=STOP_TOKEN)
    rows = work / "rows.jsonl"
    run(grpo, "make-tasks", rows, work / "unused.jsonl", "--task", "addition", "--min", 0, "--max", 9, "--count", 0,
        "--held-out-share", 0.01, "--format", "What is {a} {op} {b}?")
    assert len(rows.read_text().splitlines()) >= PROMPTS * num_steps, "every step needs prompts of its own: fewer --steps"


# ---- one process of each side: a list of steps {"seconds", "tokens", ...}, warm-up first ------------------------------


def busy_seconds():
    """CPU seconds that the whole machine has spent, on anything."""
    user, nice, system, _, _, *interrupts_and_steal = map(int, open("/proc/stat").readline().split()[1:9])
    return (user + nice + system + sum(interrupts_and_steal)) / os.sysconf("SC_CLK_TCK")


def wait(command, log):
    """Runs a command; returns its peak resident memory and what share of the machine's CPU time others took meanwhile."""
    start, busy = time.perf_counter(), busy_seconds()
    with open(log, "w") as out:
        process = subprocess.Popen([str(part) for part in command], stdout=out, stderr=out,
                                   env=os.environ | {"OMP_NUM_THREADS": str(THREADS), "HF_HUB_OFFLINE": "1"})
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{command[0]} ended with {process.returncode}:\n{pathlib.Path(log).read_text()}")
    others = busy_seconds() - busy - usage.ru_utime - usage.ru_stime
    return {"peak_bytes": usage.ru_maxrss * 1024, "others": others / os.cpu_count() / (time.perf_counter() - start)}


def run_ours(work, grpo, num_steps):
    out = work / "ours"
    config = {
        "name": "bench", "output_dir": str(out), "threads": THREADS, "max_steps": num_steps, "device": "cpu",
        "model": {"path": str(work / "model"), "dtype": "fp32"},
        "data": {"train": str(work / "rows.jsonl"), "prompt": "question", "template": "chat", "shuffle": False},
        "rewards": [{"name": "accuracy", "params": {"extract": ["anchor", "last_number"]}}],
        "grpo": {"num_generations": ANSWERS, "prompts_per_step": PROMPTS, "max_completion_length": TOKENS, "beta": 0.0},
        "optimizer": {"learning_rate": LEARNING_RATE},
    }
    (work / "run.json").write_text(json.dumps(config))
    process = wait([grpo, "train", work / "run.json"], work / "ours.log")
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    shutil.rmtree(out)
    process["steps"] = [{"seconds": line["step_time"], "tokens": line["completions/mean_length"] * PROMPTS * ANSWERS,
                         "grad_norm": line["grad_norm"], "rollout": line["time/rollout"], "update": line["time/update"]}
                        for line in lines]
    return process


def run_trl(work, num_steps, checkpointing):
    process = wait([sys.executable, __file__, "--trl", work, num_steps, int(checkpointing)], work / "trl.log")
    process["steps"] = json.loads((work / "trl.json").read_text())
    return process


def trl_process(work, num_steps, checkpointing):
    import re

    import torch
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    torch.set_num_threads(THREADS)
    work = pathlib.Path(work)
    rows = [json.loads(line) for line in (work / "rows.jsonl").read_text().splitlines()]
    steps = []

    def accuracy(completions, answer, **_):
        numbers = [re.findall(r"-?\d+", completion[0]["content"]) for completion in completions]
        return [float(bool(found) and found[-1] == gold) for found, gold in zip(numbers, answer)]

    class Clock(TrainerCallback):
        def on_step_begin(self, *_, **__):
            self.start = time.perf_counter()

        def on_step_end(self, *_, **__):
            steps.append({"seconds": time.perf_counter() - self.start})

        def on_log(self, *_, logs, **__):
            if "grad_norm" in logs:
                steps[-1]["tokens"] = logs["completions/mean_length"] * PROMPTS * ANSWERS
                steps[-1]["grad_norm"] = logs["grad_norm"]

    config = GRPOConfig(
        output_dir=str(work / "trl"), max_steps=num_steps, per_device_train_batch_size=PROMPTS * ANSWERS,
        gradient_accumulation_steps=1, num_generations=ANSWERS, max_completion_length=TOKENS, temperature=1.0, top_p=1.0,
        top_k=0, beta=0.0, num_iterations=1, loss_type="grpo", learning_rate=LEARNING_RATE, lr_scheduler_type="constant",
        max_grad_norm=1.0, shuffle_dataset=False, gradient_checkpointing=checkpointing, bf16=False, fp16=False, use_cpu=True,
        model_init_kwargs={"dtype": "float32"}, report_to="none", logging_steps=1, save_strategy="no", disable_tqdm=True)
    data = Dataset.from_list([{"prompt": [{"role": "user", "content": row["question"]}], "answer": row["answer"]} for row in rows])
    trainer = GRPOTrainer(model=str(work / "model"), reward_funcs=accuracy, args=config, train_dataset=data, callbacks=[Clock()])
    assert {p.dtype for p in trainer.model.parameters()} == {torch.float32} and torch.get_num_threads() == THREADS
    trainer.train()
    (work / "trl.json").write_text(json.dumps(steps))


# ---- the record and its table -----------------------------------------------------------------------------------------


def machine(grpo):
    from importlib.metadata import version

    info = [line.split(":", 1) for line in open("/proc/cpuinfo") if ":" in line]
    cpu = {key.strip(): value.strip() for key, value in reversed(info)}
    git = lambda *arguments: run("git", "-C", grpo.resolve().parent, *arguments).strip()  # the tree it was built in
    return {
        "cpu": f"{cpu['model name']} (family {cpu['cpu family']}, model {cpu['model']})", "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load_before": os.getloadavg(), "kernel": platform.release(), "doctor": json.loads(run(grpo, "doctor")),
        "commit": git("rev-parse", "--short=12", "HEAD") + ("+changes" if git("status", "--porcelain", "-uno") else ""),
        "versions": {name: version(name) for name in ("trl", "transformers", "torch", "accelerate")},
    }


def summarise(processes):
    timed = [step for process in processes for step in process["steps"][1:]]
    seconds = [step["seconds"] for step in timed]
    return {"median_s": statistics.median(seconds), "min_s": min(seconds), "max_s": max(seconds), "timed_steps": len(seconds),
            "round_medians_s": [statistics.median(step["seconds"] for step in process["steps"][1:]) for process in processes],
            "tokens": statistics.mean(step["tokens"] for step in timed),
            "tokens_per_s": 1 / statistics.median(step["seconds"] / step["tokens"] for step in timed),
            "peak_bytes": max(process["peak_bytes"] for process in processes),
            "others": statistics.mean(process["others"] for process in processes), "processes": processes}


def print_table(record):
    ours, trl, where = record["ours"], record["trl"], record["machine"]
    rounds = [b / a for a, b in zip(ours["round_medians_s"], trl["round_medians_s"])]
    print(f"""
one GRPO step: SmolLM2-135M-Instruct, fp32, {PROMPTS} prompts x {ANSWERS} answers x {TOKENS} tokens, {THREADS} threads, \
TRL gradient checkpointing {'on' if record['settings']['trl_checkpointing'] else 'off'}

{'':22}{'grpo':>20}{'TRL':>20}{'TRL / grpo':>14}""")
    line = lambda name, a, b, ratio="": print(f"{name:22}{a:>20}{b:>20}{ratio:>14}")
    spread = lambda side: f"{side['median_s']:.2f} ({side['min_s']:.2f}-{side['max_s']:.2f})"
    line("step, s (min-max)", spread(ours), spread(trl), f"{record['step_ratio']:.2f}")
    line("  by round", "", "", f"{min(rounds):.2f}-{max(rounds):.2f}")
    line("answer tokens a step", f"{ours['tokens']:.0f}", f"{trl['tokens']:.0f}")
    line("answer tokens / s", f"{ours['tokens_per_s']:.1f}", f"{trl['tokens_per_s']:.1f}",
         f"{trl['tokens_per_s'] / ours['tokens_per_s']:.2f}")
    line("peak memory, GiB", f"{ours['peak_bytes'] / 2**30:.2f}", f"{trl['peak_bytes'] / 2**30:.2f}",
         f"{trl['peak_bytes'] / ours['peak_bytes']:.2f}")
    line("CPU taken by others", f"{ours['others']:.0%}", f"{trl['others']:.0%}")
    line("timed steps", str(ours["timed_steps"]), str(trl["timed_steps"]))
    doctor = where["doctor"]
    print(f"\n{where['cpu']}, {where['cores']} cores, {where['memory_gib']} GiB, load before {where['load_before'][0]:.2f}; "
          f"kernels {doctor['kernels']}, libtorch {doctor['libtorch']}, commit {where['commit']}; "
          + ", ".join(f"{name} {version}" for name, version in where["versions"].items()))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="processes of each side, in turn (default 3)")
    parser.add_argument("--steps", type=int, default=2, help="timed steps of each process (default 2)")
    parser.add_argument("--grpo", type=pathlib.Path, default=ROOT / "build/grpo", help="the program (default build/grpo)")
    parser.add_argument("--trl-checkpointing", action="store_true", help="TRL with gradient checkpointing, its default")
    parser.add_argument("--at-least", type=float, default=0, metavar="RATIO", help="fail below this TRL / grpo")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write the record there")
    options = parser.parse_args()
    record = {"settings": {"prompts": PROMPTS, "answers": ANSWERS, "max_tokens": TOKENS, "threads": THREADS,
                           "trl_checkpointing": options.trl_checkpointing},
              "machine": machine(options.grpo)}
    num_steps = 1 + options.steps
    processes = {"ours": [], "trl": []}
    with tempfile.TemporaryDirectory(prefix="grpo-bench-") as folder:
        work = pathlib.Path(folder)
        prepare(work, options.grpo, num_steps)
        for number in range(options.rounds):
            for side, start in (("ours", lambda: run_ours(work, options.grpo, num_steps)),
                                ("trl", lambda: run_trl(work, num_steps, options.trl_checkpointing))):
                processes[side].append(start())
                seconds = " ".join(f"{step['seconds']:.2f}" for step in processes[side][-1]["steps"])
                print(f"round {number + 1} {side}: {seconds} s, the first not timed", file=sys.stderr)
    record |= {"ours": summarise(processes["ours"]), "trl": summarise(processes["trl"])}
    record["step_ratio"] = record["trl"]["median_s"] / record["ours"]["median_s"]
    print_table(record)
    if options.json:
        options.json.write_text(json.dumps(record, indent=1) + "\n")
    if record["step_ratio"] < options.at_least:
        sys.exit(f"trl_step: expected TRL / grpo of at least {options.at_least}, got {record['step_ratio']:.2f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--trl"]:
        trl_process(sys.argv[2], int(sys.argv[3]), bool(int(sys.argv[4])))
    else:
        main()
