#!/usr/bin/env bash
# LeRobot in an environment of its own: its Python, torch and transformers are not those of the robot's nodes.
# Idempotent. LEROBOT_PYTHON names a Python >= 3.12 where none is found.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

VENV=.venv-lerobot
LOG=build/lerobot.log
SECONDS=0
say() { printf '[lerobot %3ds] %s\n' "$SECONDS" "$*"; }
fail() { printf '\nset-up of LeRobot failed: %s\n' "$1" >&2; shift; printf '  %s\n' "$@" >&2; exit 1; }

hash=$(cat requirements/lerobot.txt scripts/lerobot.sh | sha256sum)
if [ "$(cat "$VENV/.rlt" 2>/dev/null)" = "$hash" ]; then
  say "ready"
  exit 0
fi
python=
for candidate in ${LEROBOT_PYTHON:-} python3.12 python3.13 python3 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[23].*/bin/python3; do
  if "$candidate" -c 'import sys, venv; sys.exit(not (3, 12) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
    python=$candidate
    break
  fi
done
[ -n "$python" ] || fail "no Python 3.12 or 3.13 is here" \
  "sudo apt-get install python3.12-venv, pyenv install 3.12, or LEROBOT_PYTHON=/path/to/python3.12 make lerobot"
say "creating $VENV with $("$python" --version)"
mkdir -p build
rm -rf "$VENV"
"$python" -m venv "$VENV" >"$LOG" 2>&1 || fail "python -m venv did not work" "see $LOG"
say "installing LeRobot, its torch and transformers (pinned, with hashes; 3 GB to fetch)"
VIRTUAL_ENV=$VENV .venv/bin/uv pip install --require-hashes -r requirements/lerobot.txt >>"$LOG" 2>&1 \
  || fail "a pinned package could not be installed" "see $LOG"
echo "$hash" >"$VENV/.rlt"
say "ready: rlt adapt import lerobot --help"
