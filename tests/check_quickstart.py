"""Checks the table of examples/quickstart.sh: check_quickstart.py TABLE [--reduced].

10-40 % after the cold start and at least 90 % after GRPO; where the table has controls, shuffled rewards gain at most 5 points. A
reduced run, of 60 steps, gains at least 5 points.
"""
import re
import sys

text = open(sys.argv[1], encoding="utf-8").read()


def value(row):
    found = re.search(rf"{row} +([0-9.]+) %", text)
    return float(found[1]) if found else None


sft, rl, shuffled = value("after SFT"), value("after GRPO"), value("GRPO with shuffled rewards")
least = sft + 5 if "--reduced" in sys.argv else 90
if not 10 <= sft <= 40 or rl < least:
    sys.exit(f"quickstart: expected 10-40 % after SFT and at least {least} % after GRPO, got {sft} and {rl}")
if shuffled is not None and shuffled > sft + 5:
    sys.exit(f"quickstart: shuffled rewards gained {shuffled - sft:.1f} points; expected at most 5")
