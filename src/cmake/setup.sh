#!/usr/bin/env bash
# Installs what grpo needs and is missing: Debian packages by name, and LibTorch out of the PyPI wheel torch==2.11.0,
# unpacked into .deps/. Quick when nothing is missing. Sourced or run by examples/quickstart.sh and tests/run.sh.
#
#   GRPO_TORCH=DIR   use an installed torch or LibTorch folder (include/ and lib/) instead of the wheel
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

packages=(g++ cmake ninja-build pkg-config ccache python3 python3-pip unzip libpcre2-dev libutf8proc-dev libfmt-dev libspdlog-dev libyaml-cpp-dev libcli11-dev)
[ "${GRPO_SETUP_TESTS:-0}" = 1 ] && packages+=(libgtest-dev clang-format clang-tidy clang libclang-rt-dev chromium fonts-dejavu-core openmpi-bin libopenmpi-dev procps)

missing_packages() {
  local package
  for package in "${packages[@]}"; do
    dpkg-query -W -f='${Status}\n' "$package" 2>/dev/null | grep -q 'install ok installed' || echo "$package"
  done
}

install_packages() {
  local missing
  if ! command -v dpkg-query >/dev/null; then
    echo "setup: this is no Debian or Ubuntu; install the equivalents of: ${packages[*]}" >&2
    return 0
  fi
  mapfile -t missing < <(missing_packages)
  [ ${#missing[@]} -eq 0 ] && return 0
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null || ! sudo -n true 2>/dev/null; then
      echo "setup: these packages are missing and installing them needs root; ask for:" >&2
      echo "  apt-get install ${missing[*]}" >&2
      exit 2
    fi
    as_root=(sudo)
  fi
  command -v apt-get >/dev/null || { echo "setup: apt-get is missing; install: ${missing[*]}" >&2; exit 2; }
  echo "setup: installing ${missing[*]}" >&2
  # Another installation may hold apt's lock for a while.
  "${as_root[@]}" apt-get -o DPkg::Lock::Timeout=120 -qq update >&2
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 -qq install -y --no-install-recommends "${missing[@]}" >&2
}

# The hashes pin the files; the tags make them independent of the system's Python.
requirements="torch==2.11.0 --hash=sha256:7aa2f9bbc6d4595ba72138026b2074be1233186150e9292865e04b7a63b8c67a
nvidia-cuda-runtime==13.0.96 --hash=sha256:7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548
nvidia-cuda-cupti==13.0.85 --hash=sha256:4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8"

install_libtorch() {
  if [ -n "${GRPO_TORCH:-}" ]; then
    [ -e "$GRPO_TORCH/lib/libtorch_cpu.so" ] || { echo "setup: GRPO_TORCH: $GRPO_TORCH has no lib/libtorch_cpu.so" >&2; exit 2; }
    return 0
  fi
  local torch=$root/.deps/torch stamp
  stamp=$(printf '%s' "$requirements" | sha256sum | cut -c1-16)
  [ -e "$torch/.complete-$stamp" ] && return 0
  echo "setup: fetching LibTorch 2.11.0 (the PyPI wheel, 531 MB, once)" >&2
  mkdir -p "$root/.deps"
  local wheels unpacked
  wheels=$(mktemp -d "$root/.deps/wheels.XXXXXX")
  unpacked=$(mktemp -d "$root/.deps/unpack.XXXXXX")
  # An interrupted fetch leaves only such folders; they are cleared here and at the next start.
  trap 'rm -rf "$wheels" "$unpacked"' EXIT
  find "$root/.deps" -maxdepth 1 \( -name 'wheels.*' -o -name 'unpack.*' \) ! -path "$wheels" ! -path "$unpacked" -mmin +60 -exec rm -rf {} +
  printf '%s\n' "$requirements" >"$wheels/requirements.txt"
  python3 -m pip --disable-pip-version-check download -q --no-deps --require-hashes --only-binary=:all: \
    --python-version 3.11 --implementation cp --abi cp311 --abi none \
    --platform manylinux_2_28_x86_64 --platform manylinux_2_25_x86_64 --platform manylinux2014_x86_64 --platform manylinux_2_17_x86_64 \
    -r "$wheels/requirements.txt" -d "$wheels" >&2
  local wheel
  for wheel in "$wheels"/*.whl; do unzip -q -o "$wheel" -d "$unpacked"; done
  rm -rf "$torch"
  chmod 755 "$unpacked"
  mv "$unpacked" "$torch"
  touch "$torch/.complete-$stamp"
  rm -rf "$wheels"
  trap - EXIT
}

install_packages
install_libtorch
