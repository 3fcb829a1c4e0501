#!/bin/sh
# Kills random jobs 1,000 times and compares what they leave with the model of tests/it/model.rs; then jobs of 20,000
# keys. `kill.sh [KILLS] [SEED]`. MODEL_REPORT=folder or bucket keeps all reports there; MODEL_JOBS (4) run side by side.
# A seed that fails is had again by SEED, MODEL_KILLS=1, MODEL_JOBS=1 and the same MODEL_KEYS.
set -eu
cd "$(dirname "$0")/../.."
run() {
    MODEL_KILLS=$1 SEED=$2 MODEL_KEYS=$3 cargo test --release --locked --test it -- --nocapture model::
}
run "${1:-1000}" "${2:-1}" 60
run 40 "${2:-1}" 20000
