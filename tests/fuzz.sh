#!/usr/bin/env bash
# Fuzzing of everything that reads files or text from strangers (tests/fuzz), with clang's libFuzzer, ASan and UBSan.
#
#   tests/fuzz.sh BUILD_DIR BUDGET [TARGET...]     BUDGET of each target: 5s, or a count of executions (at most an hour)
#
# Builds into BUILD_DIR (a folder of its own), replays the target's seeds (tests/fuzz/corpus) and former findings
# (tests/fuzz/regressions), then fuzzes. Anything but a grpo::Error of the user's kind is a finding: another exception,
# a sanitizer report, an input that takes too long, 2 GB. To replay one:  BUILD_DIR/tests/fuzz/fuzz_TARGET FILE
# A finding is fixed at its root and its file kept in tests/fuzz/regressions/TARGET. Last line: "N passed, N failed".
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
[ $# -ge 2 ] && [[ $2 =~ ^[0-9]+s?$ ]] || { echo "usage: tests/fuzz.sh BUILD_DIR SECONDSs|RUNS [TARGET...]" >&2; exit 2; }
build=$1 budget=$2
shift 2
if [ $# -gt 0 ]; then targets=("$@"); else mapfile -t targets < <(cd "$root/tests/fuzz" && basename -s .cpp -- *.cpp); fi

cmake -S "$root" -B "$build" -G Ninja -DCMAKE_CXX_COMPILER=clang++ -DGRPO_FUZZ=ON >/dev/null &&
  cmake --build "$build" -j "$(nproc)" --target "${targets[@]/#/fuzz_}" || exit 1
build=$(cd "$build" && pwd)
export UBSAN_OPTIONS=print_stacktrace=1

# Longest input: enough for every construct, short enough that a slow one stands out.
max_len() {
  case $1 in
    encode | reward) echo 16384 ;;
    gguf | gguf_model | tokenizer) echo 8192 ;;
    *) echo 4096 ;;
  esac
}

# Seconds for one input on a busy machine. A template may take five million steps.
longest() { if [ "$1" = chat_template ]; then echo 120; else echo 10; fi; }

# fuzz TARGET: one line with its executions; on failure libFuzzer's report too.
fuzz() {
  local target=$1 start=$SECONDS program=$build/tests/fuzz/fuzz_$1 source=$root/tests/fuzz found=$build/findings/$1
  local seeds=$source/corpus/$target limits flags
  rm -rf "$build/corpus/$target"  # every run starts from the seeds
  mkdir -p "$found" "$build/corpus/$target"
  limits=("-timeout=$(longest "$target")" -rss_limit_mb=2048 "-artifact_prefix=$found/")
  flags=("-max_len=$(max_len "$target")" -print_final_stats=1)
  [ -e "$source/$target.dict" ] && flags+=("-dict=$source/$target.dict")
  case $budget in
    *s) flags+=("-max_total_time=${budget%s}") ;;
    *) flags+=("-runs=$budget" -max_total_time=3600) ;;
  esac
  if find "$source/corpus" "$source/regressions" -path "*/$target/*" -exec "$program" "${limits[@]}" {} + >"$found/log" 2>&1 &&
    "$program" "${limits[@]}" "${flags[@]}" "$build/corpus/$target" "$seeds" >"$found/log" 2>&1; then
    printf '%-16s %9d executions %4d s  passed\n' "$target" \
      "$(sed -n 's/^stat::number_of_executed_units: *//p' "$found/log")" $((SECONDS - start))
  else
    tail -n 60 "$found/log"
    printf '%-16s FAILED after %d s; the input is in %s\n' "$target" $((SECONDS - start)) "$found"
    return 1
  fi
}

# As many targets at a time as there are CPUs.
failed=0
running=0
finish_one() { wait -n || failed=$((failed + 1)); running=$((running - 1)); }
for target in "${targets[@]}"; do
  [ "$running" -lt "$(nproc)" ] || finish_one
  fuzz "$target" &
  running=$((running + 1))
done
while [ "$running" -gt 0 ]; do finish_one; done
echo "$((${#targets[@]} - failed)) passed, $failed failed"
[ "$failed" -eq 0 ]
