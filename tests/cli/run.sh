#!/usr/bin/env bash
# The program as a user meets it: contracts of its JSON lines, exit codes, and one clear message for every kind of bad input.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$root/examples/tiny_model.sh" "$1" "$work/tiny"
python3 "$root/tests/cli/check.py" "$1" "$work/tiny"
python3 "$root/tests/cli/check_evaluate.py" "$1" "$work/tiny"
