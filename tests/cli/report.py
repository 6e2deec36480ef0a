"""The page that `grpo report` writes, opened in a browser: report.py GRPO_PROGRAM.

Without chromium the page is only written. Else: no script error, a picture that is not blank on a wide and on a narrow screen and
nothing that is wider than the screen, and every chart shows its values under the pointer.
"""
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import zlib

import tally
from tally import check

GRPO = os.path.abspath(sys.argv[1])
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

# Moves the pointer over the middle of every chart and says in the document what came of it.
PROBE = """<script>
const seen = [...document.querySelectorAll('figure')].map(figure => {
  const svg = figure.querySelector('svg'), box = svg.getBoundingClientRect();
  svg.dispatchEvent(new PointerEvent('pointermove', {clientX: box.left + box.width / 2, clientY: box.top + box.height / 2}));
  return figure.querySelector('output').hidden ? '' : figure.querySelector('output').textContent;
});
const probe = document.createElement('p');
probe.id = 'probe';
probe.textContent = JSON.stringify({seen, wide: document.documentElement.scrollWidth > innerWidth});
document.body.append(probe);
</script></body>"""


def make_run(name, steps, right):
    folder = f"{WORK}/{name}"
    os.makedirs(folder)
    with open(f"{folder}/metrics.jsonl", "w") as file:
        for step in range(1, steps + 1):
            reward = right * step / steps + 0.05 * math.sin(step)
            row = {"step": step, "reward": reward, "rewards/accuracy/mean": reward, "rewards/format/mean": 0.9, "completions/mean_length": 20 + step % 7}
            row |= {"completions/clipped_ratio": 0.1, "entropy": 1 / step, "kl": None if step == 1 else 0.01 * step, "loss": 0.0, "step_time": 1.5}
            row |= {"completions/repetition": 0.2, "completions/language_mixing": 0.01, "completions/reflective_words": 3 * step / steps}
            row |= {"time/rollout/sampling": 0.9, "time/rollout/scoring": 0.1, "time/update": 0.4, "throughput/update": 900 + step % 9}
            file.write(json.dumps(row) + "\n")
    with open(f"{folder}/completions.jsonl", "w") as file:
        for step in (1, steps // 2, steps):
            row = {"step": step, "id": "line 1", "prompt": "1+2=", "completion": "<think>ü</think><answer>3</answer>" + "x" * 300}
            row |= {"finish_reason": "stop", "num_tokens": 9, "rewards": {"accuracy": 1.0, "format": None}, "advantage": -0.5}
            row |= {"verdict": {"accuracy": "correct", "format": "absent"}, "why": {"accuracy": "the answer 3 is " + "the reference " * 9, "format": ""}}
            file.write(json.dumps(row) + "\n")
    with open(f"{folder}/environment.json", "w") as file:
        json.dump({"compiler": "GNU 12.2.0", "cpu": "A processor of a maker with a long name @ 2.10GHz", "memory_bytes": 1 << 33, "threads": 2}, file)
    with open(f"{folder}/config.resolved.yaml", "w") as file:
        file.write(f"name: {name}\nseed: {steps}\nmax_steps: {steps}\n")
    return folder


def browse(page, *options):
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--enable-logging=stderr"]
    done = subprocess.run([*command, *options, f"file://{page}"], capture_output=True, timeout=120, cwd=WORK)
    errors = [line for line in done.stderr.decode(errors="replace").splitlines() if "CONSOLE" in line]
    check(done.returncode == 0 and not errors, f"{os.path.basename(page)} {options}: exit {done.returncode}, {errors}")
    return done.stdout.decode(errors="replace")


def bytes_of_picture(path):
    """The filtered bytes of a PNG's rows."""
    data, at, packed = open(path, "rb").read(), 8, b""
    while at < len(data):
        length = int.from_bytes(data[at:at + 4], "big")
        if data[at + 4:at + 8] == b"IDAT":
            packed += data[at + 8:at + 8 + length]
        at += 12 + length
    return zlib.decompress(packed)


def main():
    runs = [make_run("short", 6, 0.5), make_run("long", 1000, 0.9)]
    for name, folders in {"one": runs[:1], "both": runs}.items():
        page = f"{WORK}/{name}.html"
        done = subprocess.run([GRPO, "report", *folders, "--out", page], capture_output=True)
        check(done.returncode == 0 and json.loads(done.stdout) == {"report": page}, f"report: {done.stderr}")
    bad = subprocess.run([GRPO, "report", WORK], capture_output=True)
    check(bad.returncode == 2 and b"metrics.jsonl" in bad.stderr and not os.path.exists(f"{WORK}/report.html"), f"no run: {bad.stderr}")
    if CHROMIUM is None:
        print("skipped: pages in a browser need chromium")
        return
    for name in ("one", "both"):
        page = f"{WORK}/{name}.html"
        probed = f"{WORK}/{name}-probed.html"
        with open(page) as source, open(probed, "w") as target:
            target.write(source.read().replace("</body>", PROBE))
        for width in (1300, 500):  # headless windows are no narrower
            picture = f"{WORK}/{name}-{width}.png"
            browse(page, f"--window-size={width},1200", f"--screenshot={picture}")
            rows = bytes_of_picture(picture)
            check(len(rows) - rows.count(0) > 0.01 * len(rows), f"{name} at {width}: the picture is blank")
            document = browse(probed, f"--window-size={width},1200", "--dump-dom")
            found = json.loads(document.split('<p id="probe">')[1].split("</p>")[0].replace("&gt;", ">").replace("&lt;", "<").replace("&amp;", "&"))
            check(not found["wide"], f"{name} at {width}: wider than the screen")
            check(found["seen"] and all(text.startswith("step ") for text in found["seen"]), f"{name} at {width}: values under the pointer: {found['seen']}")


with tempfile.TemporaryDirectory() as WORK:
    main()
sys.exit(tally.finish())
