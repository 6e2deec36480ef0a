#!/usr/bin/env bash
# The benchmark table: ours beside peers in the same run, in Markdown. On a quiet machine only.
#
#   tests/bench/run.sh [--quick] [--rounds N] [--json FILE] [--write] [ROW...]      --help explains
#
# What is missing is installed first: what tests/run.sh needs, and the peers (suite/peers.txt) into the virtual environment .deps/peers.
# llama.cpp is compiled there for this machine; where that fails its row says so. Later runs need no network.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
here=$root/tests/bench
build=${GRPO_BUILD:-$root/build}
peers=$root/.deps/peers
GRPO_SETUP_TESTS=1 bash "$root/src/cmake/setup.sh"

stamp=$peers/.complete-$(sha256sum <"$here/suite/peers.txt" | cut -c1-16)
if [ ! -e "$stamp" ]; then
  echo "bench: installing the peers into .deps/peers (some GB, once)" >&2
  [ -x "$peers/bin/python" ] || python3 -m venv "$peers"
  "$peers/bin/python" -m pip install -q -r "$here/suite/peers.txt" >&2
  CMAKE_ARGS=-DLLAVA_BUILD=OFF "$peers/bin/python" -m pip install -q llama-cpp-python==0.3.36 >&2 || echo "bench: llama-cpp-python could not be installed" >&2
  rm -f "$peers"/.complete-*
  touch "$stamp"
fi

cmake -S "$root" -B "$build" -G Ninja -DGRPO_TESTS=ON -DGRPO_BENCH=ON >/dev/null
cmake --build "$build" --target grpo_cli probe_bench generate_bench update_bench step_bench >/dev/null
"$root/examples/fetch_smollm2.sh" >/dev/null
GRPO_BUILD=$build exec "$peers/bin/python" "$here/suite/suite.py" "$@"
