#!/usr/bin/env bash
# Builds what is measured, with optimisation, and measures it; options go to the runner (--help shows them).
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo build --quiet --release --package portcullis --package portcullis-bench --bins
cargo run --quiet --release --package portcullis-bench --bin decisions
exec cargo run --quiet --release --package portcullis-bench -- "$@"
