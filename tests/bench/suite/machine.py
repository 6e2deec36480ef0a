"""What was measured where."""
import json
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version

FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")


def output(*command):
    return subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE, text=True).stdout


def versions():
    found = {}
    for name in ("torch", "transformers", "trl", "llama-cpp-python"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            pass
    return found


def describe(root, grpo, threads):
    lines = [line.split(":", 1) for line in open("/proc/cpuinfo") if ":" in line]
    cpu = {key.strip(): value.strip() for key, value in reversed(lines)}
    git = lambda *arguments: output("git", "-C", root, *arguments).strip()
    doctor = json.loads(output(grpo, "doctor"))
    return {
        "cpu": f"{cpu['model name']} (family {cpu['cpu family']}, model {cpu['model']})", "cores": os.cpu_count(),
        "features": [name for name in FEATURES if name in cpu["flags"].split()], "kernels": doctor["kernels"],
        "threads": threads, "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(), "compiler": doctor["compiler"], "libtorch": doctor["libtorch"], "versions": versions(),
        "commit": git("rev-parse", "--short=12", "HEAD") + ("+changes" if git("status", "--porcelain", "-uno") else ""),
    }


def line(where):
    return (f"{where['cpu']}, {where['cores']} cores, {where['memory_gib']} GiB, {' '.join(where['features'])}; kernels {where['kernels']}, "
            f"{where['threads']} threads, {where['compiler']}, libtorch {where['libtorch']}, commit {where['commit']}; peers: "
            + ", ".join(f"{name} {number}" for name, number in where["versions"].items()))
