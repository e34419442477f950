#!/usr/bin/env bash
# Builds and runs the demonstration; see src/main.rs. HEADLESS=1 walks through it and ends.
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo build --quiet --package portcullis --package weather --package quickstart
exec cargo run --quiet --package quickstart
