"""exports.py LIBGRPO_SO HEADERS_FOLDER ABI: the shared library lets out its inline namespace and nothing else, and in it all that
the public headers declare without defining it."""
import glob
import os
import re
import subprocess
import sys

library, headers, abi = sys.argv[1:]
failures = []


def symbols(*options):
    lines = subprocess.run(["nm", "-D", "--defined-only", *options, library], capture_output=True, text=True, check=True).stdout.splitlines()
    return [line.split(" ", 2)[2] for line in lines]


for symbol in symbols():
    if not re.match(rf"_Z(N|NK|T[ISV]N)4grpo{len(abi)}{abi}", symbol):
        failures.append(f"exported, though not of grpo::{abi}: {symbol}")

exported = "\n".join(symbols("-C")).replace("[abi:cxx11]", "")
declared = 0
for path in sorted(glob.glob(f"{headers}/*.h")):
    file = os.path.basename(path)
    if file in ("plugin.h", "plugin_abi.h"):  # nothing of the library's
        continue
    structure = None
    for line in open(path):
        line = line.split("//")[0].rstrip()
        type_found = re.match(r"(?:class|struct) (GRPO_API )?(\w+)\b[^;]*\{", line)
        function = re.match(r"(?!inline|constexpr|template|using|enum|class|struct|namespace|#)\S.*?(\w+)\(", line)
        if line == "};":
            structure = None
        elif type_found:
            structure = type_found[2] if line.startswith("struct") and not type_found[1] else None
            if line.startswith("class") and not type_found[1]:
                failures.append(f"{file}: class {type_found[2]} lacks GRPO_API")
            if type_found[1] and f"grpo::{abi}::{type_found[2]}" not in exported:
                failures.append(f"{file}: {type_found[2]} is marked, but not exported")
        elif structure and re.match(r"  \S[^{]*\)(?: const)?(?: noexcept)?;$", line):
            failures.append(f"{file}: struct {structure} lacks GRPO_API and has members that are not inline")
        elif function:
            declared += 1
            if "GRPO_API" not in line:
                failures.append(f"{file}: {function[1]} lacks GRPO_API")
            elif f"grpo::{abi}::{function[1]}(" not in exported and f"grpo::{abi}::detail::{function[1]}(" not in exported:
                failures.append(f"{file}: {function[1]} is declared, but not exported")
if declared < 50:
    failures.append(f"only {declared} functions found in {headers}: this test no longer reads them")

print("\n".join(failures) if failures else f"exports: {len(symbols())} symbols, {declared} public functions")
sys.exit(1 if failures else 0)
