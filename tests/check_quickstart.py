"""Checks the table of examples/quickstart.sh: 10-40 % after the cold start, at least 75 % after GRPO."""
import re
import sys

text = open(sys.argv[1], encoding="utf-8").read()
value = {name: float(re.search(rf"{name} +([0-9.]+) %", text)[1]) for name in ("after SFT", "after GRPO")}
if not 10 <= value["after SFT"] <= 40 or value["after GRPO"] < 75:
    sys.exit(f"quickstart: expected 10-40 % after SFT and at least 75 % after GRPO, got {value}")
