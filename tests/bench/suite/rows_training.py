"""Rows of the table about updates, steps and ranks."""
import itertools
import os
import shutil

from lines import HERE, Line, Skipped, compare, costs
from turns import Contender, Failed, median, seconds_until, take_turns

STEP = {"prompts": 2, "answers": 8, "tokens": 64}
RANKS_STEP = {"prompts": 4, "answers": 8, "tokens": 64}
FIRST_STEP = {"prompts": 1, "answers": 2, "tokens": 8}
ANSWERS, PROMPT, TOKENS = 16, 128, 64  # of an update


def name(step):
    return f"{step['prompts']} x {step['answers']} x {step['tokens']}"


# ---- whole steps ----------------------------------------------------------------------------------------------------------


def least_step_seconds(model, step, prompt_tokens, dtype, probe):
    """What no implementation on this machine can undercut: prompts once a group, every product at the probe's rate, 28 bytes of masters,
    gradients and moments a parameter in AdamW."""
    flops = probe[f"{dtype}_gflops"] * 1e9
    answers = step["prompts"] * step["answers"]
    prompts = prompt_tokens * step["prompts"]
    decode = model.decode_step(answers, prompts + answers * step["tokens"] / 2, 2 if dtype == "bf16" else 4, probe, flops)
    rows, targets = prompts + answers * (step["tokens"] - 1), answers * step["tokens"]
    update = 3 * (2 * model.layers * rows + 2 * model.head * targets) / flops + 28 * model.parameters / (probe["read_gbs"] * 1e9)
    return 2 * model.layers * prompts / flops + step["tokens"] * decode + update


def whole_step(bench, dtype, goals):
    model = bench.material.smollm2
    run = bench.material.run_file(f"step-{dtype}", model, STEP, dtype, bench.threads, "chat", bench.rounds + 2)
    with bench.program("step_bench", run) as ours, bench.peer("peer_trl", run) as trl, \
            bench.peer("peer_trl", run, "--checkpointing") as checkpointing:
        sides = {"ours": ours, "TRL": trl, "checkpointing": checkpointing}
        answers = take_turns(bench.rounds, {side: program.ask for side, program in sides.items()})
        memory = {side: program.close() / 2**30 for side, program in sides.items()}
    num_answers = STEP["prompts"] * STEP["answers"]
    for answer in answers["ours"]:
        answer["seconds"] = answer["step_time"]
        answer["tokens"] = answer["completions/mean_length"] * num_answers
    last = answers["ours"][-1]  # num_tokens counts all steps so far, the prompt once an answer
    prompt_tokens = last["num_tokens"] / (num_answers * (bench.rounds + 1)) - last["completions/mean_length"]
    bound = median(answers["TRL"], "seconds") / least_step_seconds(costs(model), STEP, prompt_tokens, dtype, bench.probe.ask())
    rate = lambda answer: answer["tokens"] / answer["seconds"]
    work = f"GRPO step {name(STEP)} on SmolLM2-135M, {dtype}"
    goal, memory_goal = goals
    lines = [compare(f"{work}, to TRL without gradient checkpointing (the probes bound the ratio at {bound:.1f})", answers["ours"],
                     answers["TRL"], rate, "tokens/s", goal, digits=1),
             compare("the same to TRL with gradient checkpointing, its default", answers["ours"], answers["checkpointing"], rate, "tokens/s",
                     goal, digits=1)]
    for side, how in (("TRL", "without gradient checkpointing"), ("checkpointing", "with it")):
        lines.append(Line(f"peak memory of that step, to TRL's {how}", f"{memory['ours']:.2f} GiB", f"{memory[side]:.2f} GiB",
                          memory["ours"] / memory[side], memory_goal))
    return lines


def step_fp32(bench):
    return whole_step(bench, "fp32", (">= 3 (3.5)", "<= 0.45"))


def step_bf16(bench):
    return whole_step(bench, "bf16", (">= 6 with AMX", "<= 0.6"))


def first_step(bench):
    model = bench.material.small
    run = bench.material.run_file("first", model, FIRST_STEP, "fp32", bench.threads, "plain", 1)
    numbers = itertools.count()

    def ours():
        folder = bench.work / f"first-{next(numbers)}"
        answer = seconds_until(r" 1/1 ", [bench.build / "grpo", "train", run, f"output_dir={folder}"], bench.threads)
        shutil.rmtree(folder)
        return answer

    trl = lambda: seconds_until(r'^\{"seconds"', [bench.python, HERE / "peer_trl.py", run, "--checkpointing", "--at-once"], bench.threads)
    answers = take_turns(bench.rounds, {"ours": ours, "TRL": trl})
    return [compare(f"program start to the end of a first step {name(FIRST_STEP)}, 12 layers, 512 wide, fp32, to TRL's", answers["ours"],
                    answers["TRL"], "seconds", "s", "<= 0.15", digits=2)]


def two_ranks(bench):
    if bench.no_ranks:
        raise Skipped(bench.no_ranks)
    run = bench.material.run_file("ranks", bench.material.smollm2, RANKS_STEP, "fp32", 1, "chat", bench.rounds + 2)
    program = bench.build / "tests/step_bench"
    os.environ |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
                   "GRPO_MPI_LIBRARY": str(bench.build / "libgrpo_mpi.so")}
    with Contender([program, run], 1) as one, Contender(["mpirun", "--oversubscribe", "--bind-to", "none", "-n", "2", program, run], 1) as two:
        answers = take_turns(bench.rounds, {"two": two.ask, "one": one.ask})
    rate = lambda answer: answer["completions/mean_length"] * RANKS_STEP["prompts"] * RANKS_STEP["answers"] / answer["step_time"]
    return [compare(f"GRPO step {name(RANKS_STEP)} on SmolLM2-135M, fp32: two ranks of one thread to one", answers["two"], answers["one"],
                    rate, "tokens/s", ">= 1.75", digits=1)]


# ---- updates --------------------------------------------------------------------------------------------------------------


def update(bench, dtype, goal):
    model, file = bench.material.smollm2, bench.material.answers(ANSWERS, PROMPT, TOKENS)
    request = {"work": "update"}
    with bench.program("update_bench", model, dtype, bench.threads, file) as ours, \
            bench.peer("peer_transformers", "update", model, dtype, bench.threads, file) as peer:
        answers = take_turns(bench.rounds, {"ours": lambda: ours.ask(request), "peer": lambda: peer.ask(request)})
    a, b = answers["ours"][0], answers["peer"][0]
    if (a["tokens"], a["targets"]) != (b["tokens"], b["targets"]):
        raise Failed(f"the sides' tokens differ: {a}, {b}")
    if abs(a["grad_norm"] / b["grad_norm"] - 1) > (0.1 if dtype == "bf16" else 0.01):
        raise Failed(f"the sides' gradients differ: norms {a['grad_norm']}, {b['grad_norm']}")
    rate = lambda answer: answer["tokens"] / answer["seconds"]
    return [compare(f"update alone, SmolLM2-135M {dtype}, {a['tokens']} tokens, nothing shared or recomputed, to transformers + AdamW",
                    answers["ours"], answers["peer"], rate, "tokens/s", goal)]


def update_bf16(bench):
    return update(bench, "bf16", ">= 1.2")


def update_fp32(bench):
    return update(bench, "fp32", ">= 1.05")


def logprobs(bench):
    model, file = bench.material.smollm2, bench.material.answers(ANSWERS, PROMPT, TOKENS)
    flops = costs(model).forward_flops([PROMPT + TOKENS - 1] * ANSWERS, ANSWERS * TOKENS)
    gflops = lambda answer: answer["gflops"] if "gflops" in answer else flops * 1e-9 / answer["seconds"]
    lines = []
    for dtype in ("bf16", "fp32"):
        with bench.program("update_bench", model, dtype, bench.threads, file) as ours:
            answers = take_turns(bench.rounds, {work: lambda work=work: ours.ask({"work": work}) for work in ("logprobs", "gemm")})
        lines.append(compare(f"log-prob forward, SmolLM2-135M {dtype}, to LibTorch's 2048 x 2048 products", answers["logprobs"],
                             answers["gemm"], gflops, "GFLOP/s", ">= 0.75"))
    return lines
