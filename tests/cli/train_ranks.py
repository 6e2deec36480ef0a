"""Training over MPI: train_ranks.py GRPO_PROGRAM TINY_MODEL_FOLDER. The same run on 1, 2 and 4 ranks, errors that stop all, resume."""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import own_network
import tally
from tally import check

GRPO, TINY = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
ENVIRONMENT = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")


def launch(ranks, *arguments, **more):
    start = ["mpirun", "--oversubscribe", "--bind-to", "none", "-n", str(ranks), GRPO] if ranks > 1 else [GRPO]
    return subprocess.Popen([*start, *arguments], cwd=TINY, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True, **more)


def train(ranks, folder, *overrides, resume=False, timeout=120):
    job = launch(ranks, "train", "run.yaml", f"output_dir={folder}", "threads=1", *overrides, *(["--resume"] if resume else []))
    try:
        output, _ = job.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(job.pid, signal.SIGKILL)
        return 124, job.communicate()[0]
    return job.returncode, output


def rows(folder, name="metrics.jsonl"):
    with open(f"{TINY}/{folder}/{name}") as file:
        return [json.loads(line) for line in file]


def close(a, b):
    """To rounding: fp32 sums of some thousand terms."""
    return a == b or (isinstance(a, float) and isinstance(b, (int, float)) and abs(a - b) <= 2e-3 * (abs(a) + abs(b)) + 1e-5)


def is_measured(name):
    return name in ("step_time",) or name.startswith(("time/", "throughput/"))


def same_run():
    for kind, extra in (("grpo", ["grpo.beta=0.01", "grpo.micro_batch_tokens=40"]), ("sft", ["kind=sft", "sft.batch_size=7", "data.answer=answer"])):
        code, output = train(1, f"{kind}-1", *extra)
        check(code == 0, f"{kind} on one rank: exit {code}: {output[-400:]}")
        for ranks in (2, 4):
            for stage in (1, 2):
                folder = f"{kind}-{ranks}-{stage}"
                code, output = train(ranks, folder, f"distributed.zero_stage={stage}", *extra)
                check(code == 0, f"{folder}: exit {code}: {output[-400:]}")
                if code != 0:
                    continue
                one, many = rows(f"{kind}-1"), rows(folder)
                check(len(one) == len(many), f"{folder}: rank 0 alone writes metrics")
                for a, b in zip(one, many):
                    far = [name for name in a if not is_measured(name) and not close(a[name], b.get(name))]
                    check(not far, f"{folder}, step {a['step']}: {[(n, a[n], b.get(n)) for n in far]}")
                if kind == "grpo":
                    first = lambda name: [(r["id"], r["completion"], r["rewards"]) for r in rows(name, "completions.jsonl") if r["step"] == 1]
                    check(first("grpo-1") == first(folder), f"{folder}: the first step's answers are one rank's")


def same_bits_again():
    train(2, "again-a")
    train(2, "again-b")
    check(read("again-a/checkpoints/step-3/model.safetensors") == read("again-b/checkpoints/step-3/model.safetensors"), "two runs on two ranks: the same bits")


def read(name):
    with open(f"{TINY}/{name}", "rb") as file:
        return file.read()


def resume_on_other_ranks():
    code, output = train(2, "moved", "max_steps=2")
    check(code == 0, f"two steps on two ranks: {output[-300:]}")
    code, output = train(4, "moved", "max_steps=4", resume=True)
    check(code == 0 and "resuming after step 2" in output, f"on four ranks: exit {code}: {output[-300:]}")
    check([row["step"] for row in rows("moved")] == [1, 2, 3, 4], "its metrics go on")
    code, output = train(1, "moved", "max_steps=5", resume=True)
    check(code == 0 and len(rows("moved")) == 5, f"and on one: exit {code}: {output[-300:]}")


def errors():
    code, output = train(2, "refused", "data.train=missing.jsonl")
    check(code == 2 and "missing.jsonl" in output, f"a bad config on every rank: exit {code}: {output[-300:]}")
    code, output = train(2, "threads", "threads=1000")
    check(code == 2 and "threads: 1000" in output, f"more threads than cores: exit {code}: {output[-300:]}")
    check(not os.path.exists(f"{TINY}/threads"), "nothing is written before that")
    shutil.copytree(f"{TINY}/grpo-2-1", f"{TINY}/broken")
    with open(f"{TINY}/broken/checkpoints/step-3/optimizer.safetensors", "r+b") as file:
        file.seek(-5, os.SEEK_END)
        file.write(b"x")
    code, output = train(2, "broken", "grpo.beta=0.01", "grpo.micro_batch_tokens=40", "max_steps=4", resume=True)
    check(code == 2 and "damaged" in output, f"a damaged checkpoint: exit {code}: {output[-300:]}")


def other_rows():
    """A file that each rank finds under the same name, but with other rows: in its own folder."""
    part = [GRPO, "train", f"{TINY}/run.yaml", f"output_dir={TINY}/other-rows", "threads=1"]
    for field in ("data.train", "eval.data"):
        sides = []
        for rank in range(2):
            os.makedirs(f"{TINY}/side-{rank}", exist_ok=True)
            with open(f"{TINY}/train.jsonl") as source, open(f"{TINY}/side-{rank}/rows.jsonl", "w") as copy:
                copy.writelines(source.readlines()[rank:])
            sides += [*([":"] if rank > 0 else []), "-n", "1", "-wdir", f"{TINY}/side-{rank}", *part, f"{field}=/proc/self/cwd/rows.jsonl"]
        done = subprocess.run(["mpirun", "--oversubscribe", "--bind-to", "none", *sides], cwd=TINY, env=ENVIRONMENT, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=120)
        check(done.returncode == 2 and f"ranks 0 and 1 have different rows in {field}" in done.stdout,
              f"other rows in {field}: exit {done.returncode}: {done.stdout[-300:]}")
    check(not os.path.exists(f"{TINY}/other-rows"), "nothing is written before that")


def pids_of(job):
    found = subprocess.run(["pgrep", "-f", "-s", str(os.getsid(job.pid)), f"^{re.escape(GRPO)} train"], capture_output=True, text=True)
    return [int(pid) for pid in found.stdout.split()]


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def start_long(folder, *overrides):
    job = launch(2, "train", "run.yaml", f"output_dir={folder}", "threads=1", "max_steps=100000", *overrides)
    check(wait_for(lambda: os.path.exists(f"{TINY}/{folder}/metrics.jsonl") and len(rows(folder)) > 2), f"{folder}: begins")
    return job


def ends(job, what, seconds=40):
    try:
        output, _ = job.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(job.pid, signal.SIGKILL)
        output = job.communicate()[0]
        check(False, f"{what}: still there after {seconds} s")
    check(job.returncode != 0, f"{what}: exit {job.returncode}")
    return output


def a_rank_dies():
    job = start_long("dies")
    os.kill(pids_of(job)[-1], signal.SIGKILL)
    ends(job, "a rank that dies")


def a_rank_hangs():
    job = start_long("hangs", "distributed.timeout_s=2")
    victim = pids_of(job)[-1]
    os.kill(victim, signal.SIGSTOP)
    output = ends(job, "a rank that hangs")
    check("deadline" in output and re.search(r"step \d+", output), f"the other says where it is: {output[-500:]}")
    try:
        os.kill(victim, signal.SIGKILL)
    except ProcessLookupError:
        pass


def is_interrupted():
    job = start_long("interrupted", "save_every=2")
    steps = len(rows("interrupted"))
    job_pids = pids_of(job)
    subprocess.run(["pkill", "-INT", "-s", str(os.getsid(job.pid)), "mpirun"], check=True)
    output = ends(job, "an interrupted run")
    check(wait_for(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in job_pids), 10), "no rank is left")
    saved = [int(name.split("-")[1]) for name in os.listdir(f"{TINY}/interrupted/checkpoints") if re.fullmatch(r"step-\d+", name)]
    check(saved and max(saved) % 2 == 0 and max(saved) <= steps + 1000, f"the last checkpoint stands: {saved}")
    code, output = train(2, "interrupted", f"max_steps={max(saved) + 1}", "save_every=2", resume=True)
    check(code == 0, f"it goes on: exit {code}: {output[-300:]}")


def main():
    missing = [name for name in ("mpirun", "pgrep") if not shutil.which(name)]
    reason = f"no {' and no '.join(missing)}" if missing else own_network.enter()
    if reason:
        print(f"skipped: {reason}")
        return tally.finish()
    for part in (same_run, same_bits_again, resume_on_other_ranks, errors, other_rows, a_rank_dies, a_rank_hangs, is_interrupted):
        part()
    return tally.finish()


sys.exit(main())
