#!/usr/bin/env python3
"""Lets TensorBoard read what a run wrote for it: check_tensorboard.py RUN_FOLDER (needs the package tensorboard).

Every finite value of metrics.jsonl is there, at its step, as the nearest float, and nothing else.
"""
import json
import math
import struct
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

folder = sys.argv[1]
events = EventAccumulator(folder, size_guidance={"scalars": 0})
events.Reload()
found = {(tag, event.step): event.value for tag in events.Tags()["scalars"] for event in events.Scalars(tag) if math.isfinite(event.value)}
expected = {}
for line in open(f"{folder}/metrics.jsonl", encoding="utf-8"):
    row = json.loads(line)
    step = row.pop("step")
    expected.update({(tag, step): struct.unpack("f", struct.pack("f", value))[0] for tag, value in row.items() if value is not None})
if not expected or found != expected:
    different = sorted(key for key in found.keys() | expected.keys() if found.get(key) != expected.get(key))
    sys.exit(f"{folder}: {len(different)} of {len(expected)} values differ, first {different[:3]}")
print(f"{folder}: TensorBoard reads all {len(expected)} values")
