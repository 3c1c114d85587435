#!/bin/sh
# From a checkpoint to an 8-bit bundle that says what it lost and gained: sh examples/quantise.sh OUT [REQUESTS]
# Your own model: its folder in place of the shipped judge's, and three sets of its requests, none in another.
set -e
out=${1:?name a folder to write into} count=${2:-256} judge=checkpoints/shapes-qwen3_vl

python -m experiments.shapes "$out" --items "$count" --held-out $((2 * count))
head -n "$count" "$out/held_out.jsonl" > "$out/choose.jsonl"
tail -n "$count" "$out/held_out.jsonl" > "$out/test.jsonl"

# Ranges of activations, from one set of requests; what to quantise and how to smooth it, by what rankings of another lose.
yoj-calibrate statistics $judge --layout assistant --samples "$out/train.jsonl" --held-out "$out/test.jsonl" --out "$out/statistics"
yoj-calibrate quantisation $judge --layout assistant --statistics "$out/statistics" --requests "$out/choose.jsonl" --out "$out/quantisation"
yoj-export $judge --layout assistant --precision int8 --quantisation "$out/quantisation" --out "$out/int8.yoj"
yoj-export $judge --layout assistant --out "$out/float32.yoj"

# The evidence, from a third set, goes into the bundle. --force: so small a model need not be faster in 8 bits.
yoj-calibrate gate "$out/int8.yoj" "$out/float32.yoj" "$out/test.jsonl" --max-flips 2% --force
