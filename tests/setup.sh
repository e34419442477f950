#!/usr/bin/env bash
# Installs what building and testing need, on a bare Debian machine with Rust. Idempotent, and quick when all is there.
#   tests/setup.sh build   a C compiler and cmake
#   tests/setup.sh all     also Node.js, Python, Chromium, and the SDKs that the end-to-end tests run
set -euo pipefail
cd "$(dirname "$0")"

# have PROGRAM PACKAGE...: installs the packages when the program is missing.
have() {
  local program=$1
  shift
  command -v "$program" >/dev/null && return
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "\`$program\` is missing; install it (Debian: $*)" >&2
    exit 1
  fi
  [ -n "${updated:-}" ] || { apt-get update -qq; updated=yes; }
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

# fresh DIRECTORY FILE: whether the directory was made from this very file.
fresh() {
  [ -e "$1/.made-from" ] && cmp -s "$1/.made-from" "$2"
}

have cc gcc libc6-dev
have cmake cmake make
[ "${1:-all}" = all ] || exit 0

have node nodejs npm
have npm npm
have python3 python3 python3-venv
have chromium chromium
for directory in idp interop; do
  if ! fresh "$directory/node_modules" "$directory/package-lock.json"; then
    (cd "$directory" && npm ci --no-audit --no-fund --loglevel=error >/dev/null)
    cp "$directory/package-lock.json" "$directory/node_modules/.made-from"
  fi
done
if ! fresh .tools/venv interop/requirements.txt; then
  rm -rf .tools/venv
  python3 -m venv .tools/venv
  .tools/venv/bin/pip install --quiet --disable-pip-version-check -r interop/requirements.txt
  cp interop/requirements.txt .tools/venv/.made-from
fi
