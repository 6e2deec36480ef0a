"""Checks the table of examples/smollm2.sh: at least 55 % of the held-out additions right after GRPO."""
import re
import sys

text = open(sys.argv[1], encoding="utf-8").read()
after = float(re.search(r"after +([0-9.]+) %", text)[1])
if after < 55:
    sys.exit(f"smollm2: expected at least 55 % after GRPO, got {after} %")
