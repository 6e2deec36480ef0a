#!/usr/bin/env bash
# Installs the build, with the shared library, and uses it as others would: find_package, pkg-config, the programs; and the sources
# by add_subdirectory. Every program that links the library runs two steps and reports an error of the library's.
#
#   tests/consumer/run.sh BUILD_FOLDER
set -euo pipefail
build=$(cd "$1" && pwd)
root=$(cd "$(dirname "$0")/../.." && pwd)
here=$root/tests/consumer
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
say() { echo "== $*"; }

say "shared library"
cmake -S "$root" -B "$build" -DGRPO_SHARED=ON >/dev/null
cmake --build "$build" --target grpo grpo_shared grpo_cli
abi=$(sed -n 's/^.*-DGRPO_ABI=\([a-z0-9_]*\).*$/\1/p' "$build/grpo.pc")
python3 "$here/exports.py" "$build/libgrpo.so" "$root/include/grpo" "$abi"

say "install, and move what was installed"
cmake --install "$build" --prefix "$work/installed" >/dev/null
mv "$work/installed" "$work/moved"
prefix=$work/moved
libdir=$(dirname "$(find "$prefix" -name libgrpo.a)")
readelf -d "$libdir/libgrpo.so" | grep >/dev/null 'SONAME.*libgrpo\.so\.[0-9]*\.[0-9]*\]'

say "programs"
"$prefix/bin/grpo" doctor >"$work/doctor.json"
python3 - "$work/doctor.json" "$abi" "$prefix/bin/grpo-reward-worker" <<'PYTHON'
import json, os, sys
report = json.load(open(sys.argv[1]))
assert report["abi"] == sys.argv[2] and report["library"] == "static", report
assert os.path.samefile(report["reward_worker"], sys.argv[3]), report
PYTHON
"$root/examples/tiny_model.sh" "$prefix/bin/grpo" "$work/model"
g++ -std=c++20 -shared -fPIC -I"$prefix/include" "$root/examples/plugin_reward.cpp" -o "$work/model/libbrevity.so"
cat >"$work/model/plugin.yaml" <<'YAML'
rewards:
  - {name: brevity, plugin: libbrevity.so, isolation: process, params: {limit: 4}}
YAML
echo '{"completion": "<answer>12345</answer>"}' | "$prefix/bin/grpo" score "$work/model/plugin.yaml" | grep -q '"brevity": 0.75'

# use PROGRAM: two steps, with the program's own reward called by the library; then a grpo::Error thrown there and caught here.
use() {
  local run=$work/run-${1##*/}
  "$1" "$work/model/run.yaml" max_steps=2 output_dir="$run" 2>"$run.log" || { cat "$run.log"; exit 1; }
  grep -q 'rewards/brevity/mean' "$run/metrics.jsonl"
  local code=0
  "$1" "$work/model/run.yaml" no_such_key=1 2>"$run.log" || code=$?
  [ "$code" = 2 ] && grep -q no_such_key "$run.log"
}
# loads N FILE: how many libraries of the installation it loads.
loads() { [ "$(ldd "$2" | grep -c "=> $prefix.*/libgrpo\.so")" = "$1" ]; }

say "find_package"
cmake -S "$here" -B "$work/package" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_PREFIX_PATH="$prefix" >/dev/null
cmake --build "$work/package"
use "$work/package/brevity_static"
use "$work/package/brevity_shared"
loads 0 "$work/package/brevity_static"
loads 1 "$work/package/brevity_shared"

say "pkg-config"
export PKG_CONFIG_PATH=$libdir/pkgconfig
g++ -std=c++20 "$here/brevity.cpp" -o "$work/pc_static" $(pkg-config --cflags --libs grpo)
g++ -std=c++20 "$here/brevity.cpp" -o "$work/pc_shared" $(pkg-config --cflags --libs grpo-shared)
use "$work/pc_static"
use "$work/pc_shared"
loads 0 "$work/pc_static"
loads 1 "$work/pc_shared"

say "add_subdirectory"
torch=$(sed -n 's/^GRPO_TORCH:PATH=//p' "$build/CMakeCache.txt")
cmake -S "$here/subdirectory" -B "$work/parent" -G Ninja -DGRPO_SOURCE_DIR="$root" -DGRPO_TORCH="$torch" >/dev/null
cmake --build "$work/parent" --target brevity_object  # not the whole library once more
cmake --install "$work/parent" --prefix "$work/nothing" >/dev/null
[ ! -e "$work/nothing" ]
