#!/usr/bin/env bash
# Installs what is missing, builds, and runs the tests. `--full` adds what takes long: all quickstart seeds and its control, the
# whole SmolLM2 run, long fuzzing, 200 kills, clang-tidy on LibTorch files. Last line: "N passed, N failed".
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
full=0
case "${1:-}" in
  "") ;;
  --full) full=1 ;;
  *) echo "usage: tests/run.sh [--full]" >&2; exit 2 ;;
esac

GRPO_SETUP_TESTS=1 bash src/cmake/setup.sh || exit 2

build=${GRPO_BUILD:-build}
jobs=$(nproc)
passed=0
failed=0
table=()
failures=()

# part NAME COMMAND...: one row of the table; the command's own count where it prints one as ctest or we do, else one test.
part() {
  local name=$1 start=$SECONDS log good=1 bad=0 counts
  shift
  log=$(mktemp)
  echo "== $name"
  if "$@" 2>&1 | tee "$log"; then :; else good=0; bad=1; fi
  if counts=$(grep -oE '[0-9]+ tests failed out of [0-9]+' "$log" | tail -n 1) && [ -n "$counts" ]; then
    set -- $counts
    bad=$1
    good=$(($6 - $1))
  elif counts=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$log" | tail -n 1) && [ -n "$counts" ]; then
    set -- $counts
    good=$1
    [ "$3" -gt 0 ] && bad=$3
  fi
  [ "$bad" -gt 0 ] && failures+=("$name")
  passed=$((passed + good))
  failed=$((failed + bad))
  table+=("$(printf '%-34s %5d passed %4d failed %6.1f min' "$name" "$good" "$bad" "$(python3 -c "print(($SECONDS - $start) / 60)")")")
  rm -f "$log"
}

format() { git ls-files '*.cpp' '*.h' '*.inc' '*.cu' | xargs clang-format --dry-run --Werror; }
compile() { cmake -S . -B "$build" -G Ninja -DGRPO_WERROR=ON -DGRPO_TESTS=ON >/dev/null && cmake --build "$build" -j "$jobs"; }
headers() { cmake --build "$build" --target all_verify_interface_header_sets -j "$jobs"; }
unit_tests() { ctest --test-dir "$build" --output-on-failure -j "$jobs" --no-tests=error; }
sanitized() {
  cmake -S . -B "$build-sanitize" -G Ninja -DGRPO_WERROR=ON -DGRPO_TESTS=ON -DGRPO_SANITIZE=ON >/dev/null &&
    cmake --build "$build-sanitize" -j "$jobs" &&
    UBSAN_OPTIONS=print_stacktrace=1 ctest --test-dir "$build-sanitize" --output-on-failure -j "$jobs" --no-tests=error
}
threads() {
  cmake -S . -B "$build-thread" -G Ninja -DGRPO_WERROR=ON -DGRPO_TESTS=ON -DGRPO_SANITIZE=thread >/dev/null &&
    cmake --build "$build-thread" -j "$jobs" --target thread_tests &&
    ctest --test-dir "$build-thread" --output-on-failure -j "$jobs" --no-tests=error
}
fuzzers() { tests/fuzz.sh "$build-fuzz" "$([ "$full" = 1 ] && echo 1000000 || echo 5s)"; }
# on_tiny_model SCRIPT [ARGUMENT...]: a Python script against the program and a tiny model's folder.
on_tiny_model() {
  local script=$1 tiny status
  shift
  tiny=$(mktemp -d)
  examples/tiny_model.sh "$build/grpo" "$tiny" && python3 "$script" "$build/grpo" "$tiny" "$@"
  status=$?
  rm -rf "$tiny"
  return $status
}
docs() { "$build/grpo" config docs | diff - docs/configuration.md; }

# Tests on the real model skip visibly where it cannot be fetched.
if GRPO_SMOLLM2_GGUF=$(examples/fetch_smollm2.sh); then export GRPO_SMOLLM2_GGUF; else unset GRPO_SMOLLM2_GGUF; fi

part "format" format
part "layers" cmake -P tests/layers.cmake
part "build" compile
part "public headers" headers
part "unit tests" unit_tests
part "sanitizers (without LibTorch)" sanitized
part "threads (ThreadSanitizer)" threads
part "fuzzers" fuzzers
part "generated docs" docs
part "program" tests/cli/run.sh "$build/grpo"
part "training on ranks" on_tiny_model tests/cli/train_ranks.py
part "killed and resumed" on_tiny_model tests/cli/kill.py "$([ "$full" = 1 ] && echo 200 || echo 50)"
part "faults" on_tiny_model tests/cli/faults.py
part "report in a browser" python3 tests/cli/report.py "$build/grpo"
part "out-of-tree consumer" tests/consumer/run.sh "$build"
part "clang-tidy" tests/tidy.sh "$build" "$full"
part "examples and configs" tests/examples.sh "$build" "$full"

printf '\n%s\n' "${table[@]}"
printf 'total %.1f min\n' "$(python3 -c "print($SECONDS / 60)")"
[ ${#failures[@]} -eq 0 ] || printf 'failed: %s\n' "${failures[@]}"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
