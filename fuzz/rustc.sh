#!/usr/bin/env bash
# rustc for the members of this workspace, with the coverage that libFuzzer goes by. Stable Rust does this.
set -euo pipefail
exec "$@" --cfg fuzzing -Cpasses=sancov-module \
  -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
  -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares \
  -Cdebug-assertions=on -Coverflow-checks=on
