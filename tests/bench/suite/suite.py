#!/usr/bin/env python3
"""The benchmark table: run.sh calls this with the peers' Python once everything is there.

    run.sh [--quick] [--rounds N] [--json FILE] [--write] [ROW...]      (no ROW: all of them)
"""
import argparse
import dataclasses
import json
import os
import pathlib
import shutil
import sys
import tempfile
import time

import lines
import machine
import rows_generation as generation
import rows_training as training
from material import Material
from turns import Contender, Failed

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.append(str(ROOT / "tests/cli"))
import own_network  # noqa: E402

DOCUMENT = ROOT / "docs/performance.md"
BEGIN, END = "<!-- table: tests/bench/run.sh --write -->\n", "<!-- end of table -->\n"
THREADS = 2
ROWS = {
    "generate-transformers": generation.generate_transformers,
    "generate-llama": generation.generate_llama,
    "generate-roofline": generation.generate_roofline,
    "generate-one": generation.generate_one,
    "generate-small": generation.generate_small,
    "uneven": generation.uneven,
    "step-fp32": training.step_fp32,
    "step-bf16": training.step_bf16,
    "update-bf16": training.update_bf16,
    "update-fp32": training.update_fp32,
    "logprobs": training.logprobs,
    "two-ranks": training.two_ranks,
    "first-step": training.first_step,
}
HEAD = ("| work | ours | peer | ratio (rounds) | goal | read GB/s | fp32 GFLOP/s | bf16 GFLOP/s | CPU of others |\n"
        "|---|---|---|---|---|---|---|---|---|\n")


def run_row(bench, name):
    """{"lines", "before", "after", "seconds"}, or {"skipped": reason}."""
    start, before = time.perf_counter(), bench.probe.ask()
    try:
        made = ROWS[name](bench)
    except lines.Skipped as reason:
        return {"skipped": str(reason)}
    except Failed as error:
        return {"skipped": "failed", "error": str(error)}
    return {"lines": [dataclasses.asdict(line) for line in made], "before": before, "after": bench.probe.ask(),
            "seconds": time.perf_counter() - start}


def table_lines(name, row):
    if "skipped" in row:
        return [f"| {name} | not run: {row['skipped']} | | | | | | | |"]
    before, after = row["before"], row["after"]
    both = lambda key: f"{before[key]:.0f}, {after[key]:.0f}"
    made = []
    for i, line in enumerate(row["lines"]):
        spread = f" ({min(line['ratios']):.2f}-{max(line['ratios']):.2f})" if line["ratios"] else ""
        probes = [both("read_gbs"), both("fp32_gflops"), both("bf16_gflops")] if i == 0 else ["", "", ""]
        of_others = f"{line['others']:.0%}" if line["ratios"] else ""
        made.append("| " + " | ".join([line["work"], line["ours"], line["peer"], f"**{line['ratio']:.2f}**{spread}", line["goal"], *probes,
                                       of_others]) + " |")
    return made


def markdown(record):
    text = HEAD
    for name in ROWS:
        if name in record["rows"]:
            text += "\n".join(table_lines(name, record["rows"][name])) + "\n"
    probe = next((row["before"] for row in record["rows"].values() if "before" in row), None)
    by = f" The arithmetic probes use {probe['fp32_by']} and {probe['bf16_by']}." if probe else ""
    return (f"{text}\n{machine.line(record['machine'])}.{by} Medians of {record['rounds']} rounds in turns; probes before and after each row.\n\n"
            f"    {record['command']}\n")


def write_document(text):
    old = DOCUMENT.read_text()
    head, rest = old.split(BEGIN)
    DOCUMENT.write_text(head + BEGIN + "\n" + text + "\n" + END + rest.split(END)[1])


def merge(file, record):
    """Keeps the rows of an earlier run of the same commit on the same machine that were not run again."""
    if not file.exists():
        return
    old = json.loads(file.read_text())
    if (old["machine"], old["rounds"]) == (record["machine"], record["rounds"]):
        record["rows"] = old["rows"] | record["rows"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count, after one that does not (default 5)")
    parser.add_argument("--quick", action="store_true", help="one round: does it run?")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE",
                        help="write the record there; rows that FILE has of this commit and machine stay unless they are run again")
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    options = parser.parse_args()
    for name in options.rows:
        if name not in ROWS:
            parser.error(f"ROW: expected one of {', '.join(ROWS)}, got {name}")
    no_ranks = own_network.enter() if shutil.which("mpirun") else "there is no mpirun"
    build = pathlib.Path(os.environ.get("GRPO_BUILD", ROOT / "build")).resolve()
    rounds = 1 if options.quick else options.rounds
    record = {"machine": machine.describe(ROOT, build / "grpo", THREADS), "rounds": rounds, "rows": {},
              "command": " ".join(["tests/bench/run.sh", f"--rounds {rounds}", *options.rows])}
    with tempfile.TemporaryDirectory(prefix="grpo-bench-") as folder, Contender([build / "tests/probe_bench", THREADS], THREADS) as probe:
        work = pathlib.Path(folder)
        bench = lines.Bench(ROOT, work, build, sys.executable, THREADS, rounds, Material(ROOT, work, build / "grpo"), probe,
                            no_ranks)
        for name in options.rows or ROWS:
            print(f"== {name}", file=sys.stderr)
            row = record["rows"][name] = run_row(bench, name)
            print("\n".join(table_lines(name, row)) + ("\n" + row["error"] if "error" in row else ""), file=sys.stderr)
    if options.json:
        merge(options.json, record)
        options.json.write_text(json.dumps(record, indent=1) + "\n")
    text = markdown(record)
    print(text)
    if options.write:
        write_document(text)
    return 1 if any("error" in row for row in record["rows"].values()) else 0


if __name__ == "__main__":
    sys.exit(main())
