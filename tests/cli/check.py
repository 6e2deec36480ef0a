"""Runs the program on a tiny model: check.py GRPO_PROGRAM TINY_MODEL_FOLDER (from examples/tiny_model.sh)."""
import json
import math
import os
import re
import shutil
import struct
import subprocess
import sys

import tally
from tally import check

GRPO, TINY = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
MODEL = f"{TINY}/model"


def run(*arguments, rows=(), stdin=None):
    text = stdin if stdin is not None else "".join(json.dumps(row) + "\n" for row in rows)
    done = subprocess.run([GRPO, *arguments], input=text.encode(), capture_output=True, timeout=300, cwd=TINY)
    lines = [json.loads(line) for line in done.stdout.decode().splitlines()] if done.stdout.startswith(b'{"') else []
    return done.returncode, lines, done.stderr.decode()


def run_text(*arguments):
    return subprocess.run([GRPO, *arguments], capture_output=True, text=True).stdout


def refused(what, arguments, words, **inputs):
    """Exit code 2, no answer for the bad row, and a message that holds all the words."""
    code, lines, error = run(*arguments, **inputs)
    check(code == 2 and (not lines or "stdin" in inputs) and all(word in error for word in words), f"{what}: exit {code}, {error.strip()!r}, expected {words}")


def write(name, text, mode="w"):
    with open(f"{TINY}/{name}", mode) as file:
        file.write(text)
    return f"{TINY}/{name}"


def contracts():
    code, lines, _ = run("tokenize", MODEL, rows=[{"text": "1+2=<think>"}])
    check(code == 0 and lines[0]["text"] == "1+2=<think>" and all(isinstance(i, int) for i in lines[0]["ids"]), "tokenize")
    ids = lines[0]["ids"]

    _, lines, _ = run("logprobs", MODEL, "--logits", "2", rows=[{"ids": ids}])
    check(len(lines[0]["logprobs"]) == len(ids) - 1, "logprobs: n - 1 values")
    logits = lines[0]["logits"][-2]
    expected = logits[ids[-1]] - math.log(sum(math.exp(x) for x in logits))
    check(abs(lines[0]["logprobs"][-1] - expected) < 1e-5, "logprobs agree with the logits")

    options = ["--num-generations", "3", "--max-new-tokens", "5", "--seed", "7"]
    _, together, _ = run("generate", MODEL, *options, rows=[{"prompt": "1+2="}, {"ids": ids}])
    _, again, _ = run("generate", MODEL, *options, "--threads", "1", rows=[{"prompt": "1+2="}])
    check([(l["row"], l["sample"]) for l in together] == [(r, s) for r in range(2) for s in range(3)], "generate: order of lines")
    check(again == together[:3], "generate: a sample does not depend on its batch or on the threads")
    for line in together:
        check(len(line["ids"]) == len(line["logprobs"]) <= 5 and line["finish_reason"] in ("stop", "length"), "generate: fields")
    _, lines, _ = run("generate", MODEL, "--temperature", "0", "--max-new-tokens", "4", "--ignore-eos", rows=[{"ids": ids}])
    whole = ids + lines[0]["ids"]
    _, raw, _ = run("logprobs", MODEL, rows=[{"ids": whole}])
    check(raw[0]["logprobs"][len(ids) - 1 :] == lines[0]["logprobs"], "generate's log-probs are those of logprobs, bit for bit")

    rewards = write("rewards.yaml", "rewards:\n  - {name: accuracy}\n  - {name: format, weight: 0.5}\n")
    good = {"completion": "<think>a</think><answer>3</answer>", "answer": "3"}
    _, lines, _ = run("score", rewards, rows=[good, {"completion": "<answer>4</answer>", "answer": 3}])
    check(lines[0]["rewards"] == {"accuracy": 1.0, "format": 1.0} and lines[0]["total"] == 1.5, "score: right answer")
    check(lines[1]["rewards"]["accuracy"] == 0.0 and set(lines[1]) == {"rewards", "total", "verdict", "why"}, "score: wrong answer")

    loss = {"logps": [[-1.0, -2.0]], "old_logps": None, "ref_logps": None, "mask": [[1, 1]], "advantages": [1.5], "config": {"beta": 0}}
    _, lines, _ = run("loss", rows=[loss])
    check(abs(lines[0]["loss"] + 1.5) < 1e-12 and lines[0]["grad"] == [[-0.75, -0.75]], "loss: on policy")
    _, lines, _ = run("advantages", rows=[{"rewards": [[1], [0], [0], [0]], "num_generations": 4, "eps": 0}])
    check(all(abs(a - b) < 1e-12 for a, b in zip(lines[0]["advantages"], [1.5, -0.5, -0.5, -0.5])), "advantages: ddof 1")

    _, lines, _ = run("evaluate", MODEL, "--data", f"{TINY}/held-out.jsonl", "--run", f"{TINY}/run.yaml", "-k", "2", "--max-prompts", "4")
    check(lines[0]["n"] == 4 and set(lines[0]) == {"n", "k", "pass@1", "stderr", "pass@k", "cons@k", "mean_length", "truncated"}, "evaluate")

    _, lines, _ = run("plan", "run.yaml", "grpo.steps_per_generation=2")
    check(lines[0]["batches"]["answers_per_rollout"] == 32 and lines[0]["tokens"]["prompt_lengths"]["source"] == "dataset", "plan of a run: batches and lengths")
    check({"rollout", "update", "checkpoint"} == set(lines[0]["bytes"]["per_rank"]) and set(lines[0]["tokens"]["per_step"]) == {"groups", "completions"}, "plan of a run: phases, both splits")
    table, layer = 320 * 32, 2 * 32 * 32 + 2 * 16 * 32 + 3 * 32 * 64
    for path in (MODEL, f"{TINY}/config.json"):
        _, lines, _ = run("plan", path)
        costs = lines[0]
        check(costs["total"] == costs["active"] == table + 2 * (layer + 64) + 32, f"plan {path}: parameters")
        check(costs["cache_elements_per_token"] == 2 * 2 * 16 and costs["cache_bytes_per_token"] == 4 * 64, f"plan {path}: cache")
        check(costs["flops_per_token"] == 2 * (table + 2 * layer), f"plan {path}: FLOPs")
    check(run("plan", MODEL, "--dtype", "bf16")[1][0]["cache_bytes_per_token"] == 128, "plan --dtype")

    schema = subprocess.run([GRPO, "config", "schema"], capture_output=True).stdout
    try:
        import jsonschema  # where they are there; tests/base/config_schema_test.cpp needs neither
        import yaml
    except ImportError:
        print("skipped: the configs against the schema (python3 without jsonschema or yaml)")
    else:
        validator = jsonschema.Draft202012Validator(json.loads(schema))
        validator.check_schema(validator.schema)
        configs = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "configs")
        for name in sorted(os.listdir(configs)):
            if name.endswith(".yaml"):
                with open(os.path.join(configs, name)) as file:
                    problems = [error.message for error in validator.iter_errors(yaml.safe_load(file))]
                check(not problems, f"{name} against the schema: {problems}")

    code, _, _ = run("train", "run.yaml", "output_dir=run")
    check(code == 0 and os.path.exists(f"{TINY}/run/metrics.jsonl"), "train")
    check(run("tokenize", "run", rows=[{"text": "1+2=<think>"}])[1][0]["ids"] == ids, "tokenize of a run folder")
    config = json.load(open(f"{MODEL}/tokenizer_config.json"))
    config["chat_template"] = "{{ messages[0].content }}!"
    templated = shutil.copytree(f"{TINY}/run", f"{TINY}/templated")
    for folder in os.listdir(f"{templated}/checkpoints"):
        json.dump(config, open(f"{templated}/checkpoints/{folder}/tokenizer_config.json", "w"))
    check(run("render", "templated", rows=[{"messages": [{"role": "user", "content": "hi"}]}])[1][0]["text"] == "hi!", "render of a run folder")
    code, _, _ = run("export", "run", "exported")
    check(code == 0 and os.path.exists(f"{TINY}/exported/model.safetensors"), "export of a run folder")
    greedy = ["--temperature", "0", "--max-new-tokens", "8"]
    _, want, _ = run("generate", "exported", *greedy, rows=[{"prompt": "1+2="}, {"ids": ids}])
    code, _, _ = run("export", "run", "run.gguf", "--format", "gguf")
    _, got, _ = run("generate", "run.gguf", *greedy, rows=[{"prompt": "1+2="}, {"ids": ids}])
    check(code == 0 and len(got) == 2 and got == want, "export as GGUF gives the same text")
    code, _, _ = run("export", "run", "small.gguf", "--format", "gguf", "--dtype", "q8_0")
    check(code == 0 and os.path.getsize(f"{TINY}/small.gguf") < os.path.getsize(f"{TINY}/run.gguf"), "export as Q8_0")
    refused("export: a folder in fp16", ["export", "run", "halves", "--dtype", "fp16"], ["--dtype", "expected fp32 or bf16"])
    code, _, _ = run("train", "run.yaml", "output_dir=run", "max_steps=4", "--resume")
    check(code == 0 and len(open(f"{TINY}/run/metrics.jsonl").readlines()) == 4, "train --resume")
    check(run("--help")[0] == 0, "help")

    code, lines, _ = run("tokenize", MODEL, "--keep-going", stdin='{"text": "1"}\nnot json\n{"text": "2"}\n')
    check(code == 2 and "ids" in lines[0] and "error" in lines[1] and "ids" in lines[2], "--keep-going")


def doctor():
    done = subprocess.run([GRPO, "doctor"], capture_output=True)
    report = json.loads(done.stdout)
    version = run_text("--version").strip()
    check(done.returncode == 0 and report["grpo"] == version, "doctor: version")
    check(report["abi"] == "v{}_{}_torch{}_{}".format(*version.split(".")[:2], *report["libtorch"].split(".")[:2]), "doctor: abi")
    check(report["build_type"] and re.search(r"\d+\.\d+", report["compiler"]) and report["library"] == "static", "doctor: build")
    check(all(key in report for key in ("cuda", "mpi", "nccl")) and report["plugin_abi"] == 1, "doctor: optional parts")
    check(os.path.exists(report["libtorch_file"]) and len(report["openmp"]["files"]) == 1 and "warning" not in report["openmp"], "doctor: LibTorch and its OpenMP")
    cpus = len(os.sched_getaffinity(0))
    check(report["cpus"] == cpus and 1 <= report["threads"] <= os.cpu_count(), "doctor: threads")
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    check(1 << 20 < report["available_memory_bytes"] <= total, "doctor: memory")

    flags = re.search(r"^flags\s*:(.*)$", open("/proc/cpuinfo").read(), re.M)[1].split()
    wide = ["avx2", "fma", "avx512f", "avx512bw", "avx512vl", "avx512dq"]
    needs = {"scalar": [], "avx2": wide[:2], "avx512": wide, "avx512bf16": wide + ["avx512_bf16"], "amx": wide + ["amx_bf16"]}
    sets = report["instruction_sets"]
    for name, needed in needs.items():
        lacks = [flag for flag in needed if flag not in flags]
        check(sets[name].startswith("not used: this machine lacks") == bool(lacks) and all(flag in sets[name] for flag in lacks), f"doctor: {name}: {sets[name]}")
    check([name for name in needs if sets[name] == "used"] == [report["kernels"]], "doctor: one set is used")

    check(os.path.samefile(report["reward_worker"], f"{os.path.dirname(GRPO)}/grpo-reward-worker"), "doctor: reward worker")
    done = subprocess.run([GRPO, "doctor"], capture_output=True, env={**os.environ, "GRPO_REWARD_WORKER": "/nowhere/worker"})
    check(json.loads(done.stdout)["reward_worker"].startswith("not found: ") and b"/nowhere/worker" in done.stdout, "doctor: no reward worker")
    other = shutil.copy(os.path.join(os.path.dirname(report["libtorch_file"]), "libc10.so"), f"{TINY}/libomp.so")  # any library by that name
    done = subprocess.run([GRPO, "doctor"], capture_output=True, env={**os.environ, "LD_PRELOAD": other})
    check("more than one" in json.loads(done.stdout)["openmp"]["warning"], "doctor: two OpenMP runtimes")
    told = run_text("doctor", "--help")
    check(all(re.search(rf"\b{key}\b", told) for key in report), "doctor: --help names the keys")


def safetensors(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def broken_model(name, weights=None, **config):
    folder = f"{TINY}/{name}"
    shutil.copytree(MODEL, folder)
    if weights is not None:
        with open(f"{folder}/model.safetensors", "wb") as file:
            file.write(weights)
    if config:
        with open(f"{folder}/config.json") as file:
            values = json.load(file)
        values.update(config)
        with open(f"{folder}/config.json", "w") as file:
            json.dump(values, file)
    return folder


def bad_input():
    text = [{"text": "1"}]
    whole = open(f"{MODEL}/model.safetensors", "rb").read()
    for name, weights, words in (
        ("cut", whole[: len(whole) // 2], ["model.safetensors"]),
        ("no-header", whole[:5], ["model.safetensors"]),
        ("huge-header", struct.pack("<Q", 1 << 62) + b"{}", ["model.safetensors"]),
        ("missing", safetensors({"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, b"\0" * 4), ["missing", "model.norm.weight"]),
    ):
        refused(f"safetensors: {name}", ["logprobs", broken_model(f"bad-{name}", weights)], words, rows=[{"ids": [1]}])
    refused("unknown rope", ["logprobs", broken_model("bad-rope", rope_scaling={"rope_type": "mystery", "factor": 2})], ["rope", "mystery"], rows=[{"ids": [1]}])
    refused("small vocabulary", ["generate", broken_model("bad-vocab", vocab_size=16)], ["vocab"], rows=[{"prompt": "1"}])
    refused("truncated GGUF", ["logprobs", write("bad.gguf", b"GGUF\3\0\0\0" + b"\xff" * 20, "wb")], ["bad.gguf"], rows=[{"ids": [1]}])
    refused("truncated tokenizer", ["tokenize", write("bad-tokenizer.json", '{"model": {"type": "BPE", "vocab": {"a": 0')], ["bad-tokenizer.json"], rows=text)
    refused("no such model", ["tokenize", "nowhere"], ["nowhere"], rows=text)
    refused("bad JSON line", ["tokenize", MODEL], ["stdin:2"], stdin='{"text": "1"}\n{"text": \n')
    refused("missing field", ["tokenize", MODEL], ["stdin:1", "text"], rows=[{"txt": "1"}])
    refused("id out of range", ["logprobs", MODEL], ["stdin:1"], rows=[{"ids": [1, 99999]}])
    refused("prompt longer than the context", ["generate", MODEL], ["context"], rows=[{"ids": [5] * 500}])

    for name, change, words in (
        ("unknown key", ["grpo.num_generation=4"], ["num_generation"]),
        ("wrong type", ["max_steps=many"], ["max_steps"]),
        ("out of range", ["grpo.num_generations=0"], ["num_generations"]),
        ("contradiction", ["grpo.loss_type=cispo"], ["epsilon_high"]),
        ("truncated sampling", ["grpo.top_p=0.9"], ["top_p"]),
        ("no CUDA", ["device=cuda"], ["device"]),
        ("missing data", ["data.train=nowhere.jsonl"], ["nowhere.jsonl"]),
        ("no model", ["model.path=nowhere"], ["nowhere"]),
        ("unwritable output", ["output_dir=/proc/run"], ["/proc/run"]),
        ("prompts too long", ["data.max_prompt_length=1"], ["prompts"]),
    ):
        refused(name, ["train", "run.yaml", *(["output_dir=never"] if "output" not in change[0] else []), *change], words)
        check(not os.path.exists(f"{TINY}/never/metrics.jsonl"), f"{name}: nothing written")
    refused("bad YAML", ["train", write("bad.yaml", "model: {path: [\n")], ["bad.yaml"])
    refused("duplicate key", ["train", write("twice.yaml", "seed: 1\nseed: 2\n")], ["twice.yaml:2", "seed"])
    refused("empty data", ["train", "run.yaml", "output_dir=never", "data.train=" + write("empty.jsonl", "")], ["empty.jsonl"])
    refused("bad row", ["train", "run.yaml", "output_dir=never", "data.train=" + write("bad.jsonl", '{"question": "1"}\n{"question"\n')], ["bad.jsonl:2"])
    refused("missing column", ["train", "run.yaml", "output_dir=never", "data.train=" + write("column.jsonl", '{"text": "1"}\n')], ["column.jsonl:1", "question"])
    refused("used folder", ["train", "run.yaml", "output_dir=run"], ["run", "--resume"])
    refused("nothing to resume", ["train", "run.yaml", "output_dir=never", "--resume"], ["never"])
    refused("resume with another config", ["train", "run.yaml", "output_dir=run", "--resume", "optimizer.learning_rate=1"], ["learning_rate"])
    refused("no command", [], ["subcommand"])


contracts()
doctor()
bad_input()
sys.exit(tally.finish())
