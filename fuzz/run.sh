#!/usr/bin/env bash
# Fuzzes every target, one after another, from the seeds and from what earlier runs found (fuzz/corpus/).
#   TIME=10        seconds for each target
#   RUNS=          instead of a time: so many inputs from a fixed seed, from the seeds alone, the same ones each time
#   TARGETS="..."  some of them only
#   PROFILE=dev    the build that tests use; `release` is faster to run and slower to make
#   ROUNDS=1       how often all of that, each round longer by nothing: 0 is for ever
# The last line of each target says what was done; an input that does not hold is kept in fuzz/artifacts/.
set -euo pipefail
cd "$(dirname "$0")/.."
readonly TIME=${TIME:-10} RUNS=${RUNS:-} PROFILE=${PROFILE:-dev} ROUNDS=${ROUNDS:-1}
readonly ALL='bearer head jsonrpc jwks jwt list_filter policy sse'
target_directory=${CARGO_TARGET_DIR:-target}
if [ "$PROFILE" = dev ]; then built=$target_directory/debug; else built=$target_directory/$PROFILE; fi

read -ra targets <<<"${TARGETS:-$ALL}"
bins=()
for target in "${targets[@]}"; do bins+=(--bin "fuzz_$target"); done
# With `--workspace`, the dependencies are those that the tests have built.
RUSTC_WORKSPACE_WRAPPER=$PWD/fuzz/rustc.sh ${CARGO:-cargo} build --quiet --workspace --profile "$PROFILE" \
  --features portcullis-fuzz/libfuzzer "${bins[@]}"

round=0
while [ "$ROUNDS" = 0 ] || [ "$round" -lt "$ROUNDS" ]; do
  round=$((round + 1))
  for target in "${targets[@]}"; do
    mkdir -p "fuzz/corpus/$target" fuzz/artifacts
    log=fuzz/artifacts/$target.log
    if [ -n "$RUNS" ]; then
      # What it finds goes to the first folder: one that is empty each time.
      found=fuzz/artifacts/$target.found
      rm -rf "$found"
      mkdir "$found"
      amount=("$found" "fuzz/seeds/$target" -runs="$RUNS" -seed=1)
    else
      amount=("fuzz/corpus/$target" "fuzz/seeds/$target" -max_total_time="$TIME")
    fi
    if ! "$built/fuzz_$target" "${amount[@]}" -timeout=5 \
      -rss_limit_mb=2048 -max_len=8192 -print_final_stats=1 -artifact_prefix="fuzz/artifacts/$target-" >"$log" 2>&1; then
      tail -n 60 "$log" >&2
      echo "fuzz_$target: what must hold does not; the input is in fuzz/artifacts/, make it a seed in fuzz/seeds/$target/" >&2
      exit 1
    fi
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    echo "fuzz_$target: $executions executions in $(sed -n 's/^Done .* in \([0-9]*\) second.*/\1/p' "$log") s, nothing found"
  done
done
