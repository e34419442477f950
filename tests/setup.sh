#!/usr/bin/env bash
# Installs what the build and the suites need, once: `setup.sh build` for compiling, `setup.sh all` for `make test`.
#
# What Debian has comes through apt, when something is missing and this is root; what npm and PyPI have goes under
# tests/, to the versions of the lock files. Does nothing, quickly, when all of it is there.
set -euo pipefail
cd "$(dirname "$0")"
readonly NODE_MAJOR=20 NODE_VERSION=22

say() { printf 'setup: %s\n' "$*" >&2; }

# Takes pairs `program=package`; installs the packages whose program is missing.
debian() {
    local missing=() pair
    for pair in "$@"; do
        type -P "${pair%%=*}" >/dev/null || missing+=("${pair#*=}")
    done
    [ ${#missing[@]} -eq 0 ] && return
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        say "missing: ${missing[*]}; install them (on Debian: sudo apt-get install ${missing[*]}) and run this again"
        exit 1
    fi
    say "installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq >&2
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# Runs a command unless it ran before with these files: `once STAMP FILE... -- COMMAND...`.
once() {
    local stamp=.tools/$1 files=() sum
    shift
    while [ "$1" != -- ]; do files+=("$1"); shift; done
    shift
    sum=$(cat "${files[@]}" | sha256sum)
    [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$sum" ] && return
    say "$*"
    "$@" >&2
    printf '%s\n' "$sum" >"$stamp"
}

install_build() {
    debian cmake=cmake cc=build-essential c++=build-essential
}

node_major() { "$1" --version | sed 's/^v\([0-9]*\).*/\1/'; }

# The system's Node.js, or the npm package of it where the system's is too old.
link_node() {
    debian node=nodejs npm=npm
    local path
    path=$(type -P node)
    if [ "$(node_major "$path")" -lt $NODE_MAJOR ]; then
        [ -x .tools/node/node_modules/.bin/node ] || npm install --prefix .tools/node --no-audit --no-fund "node@$NODE_VERSION" >&2
        path=$PWD/.tools/node/node_modules/.bin/node
    fi
    ln -sfn "$path" .tools/bin/node
}

npm_packages() {
    [ -d "$1/node_modules" ] || rm -f ".tools/npm-$1"
    once "npm-$1" "$1/package.json" "$1/package-lock.json" -- \
        npm ci --prefix "$1" --ignore-scripts --no-audit --no-fund --loglevel=error
}

python_packages() {
    [ -x .tools/venv/bin/python ] || { rm -rf .tools/venv .tools/python; make_venv; }
    once python interop/requirements.txt -- \
        .tools/venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r interop/requirements.txt
}

make_venv() {
    python3 -m venv .tools/venv >/dev/null 2>&1 && return
    rm -rf .tools/venv
    debian no-program-of-this-name=python3-venv
    /usr/bin/python3 -m venv .tools/venv
}

install_all() {
    install_build
    mkdir -p .tools/bin
    debian python3=python3 openssl=openssl chromium=chromium
    ln -sfn "$(type -P chromium)" .tools/bin/chromium
    link_node
    npm_packages idp
    npm_packages interop
    python_packages
}

case "${1:-}" in
    build) install_build ;;
    all) install_all ;;
    *) say "usage: setup.sh build|all"; exit 2 ;;
esac
