#!/usr/bin/env bash
# Set up everything the simulated cell needs: system packages, .venv, ROS 2 wheels, CPU torch, the built overlay.
# Idempotent: each step is skipped while its inputs are unchanged. Run it again after a failure.
# `setup.sh --tests` also brings what only tests need of the system; without it they are skipped, and it says so.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

VENV=.venv
TORCH_VERSION=2.13.0
UV_VERSION=0.13.9
APT_PACKAGES=(cmake g++ make libegl1 libgl1 libgl1-mesa-dri)
STATE=$VENV/.rlt
export UV_LINK_MODE=copy  # a later repair of a file must not reach into uv's shared cache
LOG=build/setup.log
STEP=start
SECONDS=0

say() { printf '[setup %3ds] %s\n' "$SECONDS" "$*"; }
fail() { DIED=1; printf '\nset-up failed at step "%s": %s\n' "$STEP" "$1" >&2; shift; printf '  %s\n' "$@" >&2; exit 1; }
quietly() { "$@" >>"$LOG" 2>&1; }
trap '[ $? -eq 0 ] || [ -n "${DIED:-}" ] || { printf "\nset-up failed at step \"%s\". The last lines of %s:\n" "$STEP" "$LOG"; tail -n 15 "$LOG"; } >&2' EXIT

mkdir -p build
: >"$LOG"

STEP="system packages"
PYTHON=${PYTHON:-python3}
missing=()
if command -v dpkg-query >/dev/null; then
  for package in "${APT_PACKAGES[@]}"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
else
  for tool in cmake g++ make; do command -v "$tool" >/dev/null || missing+=("$tool"); done
fi
if ! command -v "$PYTHON" >/dev/null; then
  missing+=("$PYTHON" "$PYTHON-venv" "$PYTHON-dev")
else
  # Debian and Ubuntu split venv and headers off their own Python.
  "$PYTHON" -c 'import ensurepip' 2>/dev/null || missing+=("$(basename "$PYTHON")-venv")
  "$PYTHON" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' \
    || missing+=("$(basename "$PYTHON")-dev")
fi
if [ ${#missing[@]} -gt 0 ]; then
  if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    say "installing ${missing[*]}"
    quietly apt-get update || fail "apt-get update did not work" "see $LOG"
    DEBIAN_FRONTEND=noninteractive quietly apt-get install -y --no-install-recommends "${missing[@]}" \
      || fail "apt-get could not install ${missing[*]}" "see $LOG"
  else
    fail "missing: ${missing[*]}" "install them, then run make setup again:" \
      "sudo apt-get update && sudo apt-get install -y ${missing[*]}"
  fi
fi

# Whoever lacks these flies all the same: libusb is what the RealSense SDK loads, the browser opens the operator's page.
if [ "${1:-}" = --tests ]; then
  STEP="system packages of the tests"
  wanted=()
  ldconfig -p 2>/dev/null | grep -q 'libusb-1\.0\.so\.0' || wanted+=(libusb-1.0-0)
  command -v chromium chromium-browser google-chrome >/dev/null || wanted+=(chromium)
  if [ ${#wanted[@]} -gt 0 ] && [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    say "installing ${wanted[*]} for the tests"
    { quietly apt-get update && DEBIAN_FRONTEND=noninteractive quietly apt-get install -y --no-install-recommends "${wanted[@]}"; } || true
  fi
  ldconfig -p 2>/dev/null | grep -q 'libusb-1\.0\.so\.0' \
    || say "no libusb-1.0-0 (sudo apt-get install libusb-1.0-0): the tests of RealSense cameras are skipped"
  command -v chromium chromium-browser google-chrome >/dev/null \
    || say "no browser (sudo apt-get install chromium): the tests of the operator's page in a browser are skipped"
fi

STEP="virtual environment"
if [ ! -f "$VENV/bin/activate" ] || [ ! -x "$VENV/bin/python" ]; then
  "$PYTHON" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 14))' \
    || fail "$("$PYTHON" --version) is not supported" "ROS wheels exist for Python 3.10 to 3.14: make setup PYTHON=python3.11"
  say "creating $VENV with $("$PYTHON" --version)"
  rm -rf "$VENV"
  quietly "$PYTHON" -m venv "$VENV" || { rm -rf "$VENV"; fail "python -m venv did not work" "see $LOG"; }
fi
mkdir -p "$STATE"
# shellcheck source=/dev/null
. "$VENV/bin/activate"

changed() { # name, hash: has this step's input changed since it last succeeded?
  [ "$(cat "$STATE/$1" 2>/dev/null)" != "$2" ]
}

STEP="python packages"
hash=$(cat requirements/lock.txt scripts/setup.sh | sha256sum)
if changed packages "$hash"; then
  say "installing ROS 2 and Python packages (pinned, with hashes)"
  quietly python -m pip install --disable-pip-version-check "uv==$UV_VERSION" \
    || fail "pip could not install uv" "is a package index reachable? see $LOG"
  quietly uv pip install --require-hashes -r requirements/lock.txt \
    || fail "a pinned package could not be installed" "the ROS wheels exist for x86-64 Linux; see $LOG"

  STEP="CPU torch"
  say "installing torch $TORCH_VERSION (CPU build)"
  if ! python -c "import torch, sys; sys.exit(torch.__version__.split('+')[0] != '$TORCH_VERSION')" 2>/dev/null; then
    # An index whose torch asks for CUDA packages would bring gigabytes that no step here uses.
    plan=$(python -m pip install --disable-pip-version-check --dry-run --quiet --report - "torch==$TORCH_VERSION" 2>>"$LOG" || true)
    if [ -n "$plan" ] && ! grep -qE '"name": "(nvidia|cuda)' <<<"$plan"; then
      quietly python -m pip install --disable-pip-version-check "torch==$TORCH_VERSION" || fail "pip could not install torch" "see $LOG"
    else
      quietly uv pip install --torch-backend=cpu "torch==$TORCH_VERSION" \
        || fail "no CPU build of torch $TORCH_VERSION could be had" "see $LOG" \
          "or install one by hand into $VENV and run make setup again"
    fi
  fi

  STEP="CMake repair"
  quietly python scripts/repair_cmake.py || fail "the wheels' CMake files could not be mended" "see $LOG"
  echo "$hash" >"$STATE/packages"
fi

STEP="build"
hash=$( (cat CMakeLists.txt package.xml scripts/node.in msg/* srv/*; find rlt_ros config launch bundles -type f ! -name '*.pyc' | sort; cat "$STATE/packages") | sha256sum)
if changed build "$hash" || [ ! -f install/setup.bash ]; then
  say "building messages and package (colcon)"
  AMENT_PREFIX_PATH="$VIRTUAL_ENV" CMAKE_PREFIX_PATH="$VIRTUAL_ENV" \
    quietly colcon --log-base build/log build --paths . --build-base build/colcon --install-base install --symlink-install \
    || fail "colcon build did not work" "see $LOG and build/log/latest"
  echo "$hash" >"$STATE/build"
fi
say "ready"
