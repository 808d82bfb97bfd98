# shellcheck shell=bash
# Training in 16 bit against float32 with the same seed, for scripts/test, which sources this. What it measured it says with
# `note`.

# precision_run NAME DTYPE OPTION…: trains, and sets `loss` (of validation) and `skips` (in percent of the iterations).
precision_run() {
  local name=$1 dtype=$2 folder=build/long/$1_$2
  shift 2
  rm -rf "$folder"
  mkdir -p build/long
  build/release/tessera train "$@" --device=cpu --dtype="$dtype" --dropout=0.0 --bias=False --log_interval=1 --eval_interval=1000000 \
    --tensorboard=False --max_new_tokens=1 --out_dir="$folder" >"$folder.log" 2>&1 || { tail -n 5 "$folder.log" && return 1; }
  loss=$(grep -o '"val_loss": *[0-9.]*' "$folder/metrics.jsonl" | tail -n 1 | grep -o '[0-9.]*$')
  # Skips before the first good step are the scale finding its value.
  skips=$(awk '/"skipped_because"/ { if (good) ++skipped; next } { good = 1; ++steps } END { print 100 * skipped / (steps + skipped) }' \
    "$folder/metrics.jsonl")
}

# sixteen_bit_follows NAME OPTION…: the validation losses of three precisions lie within 0.02, and at most 1 % of the steps
# are skipped after calibration.
sixteen_bit_follows() {
  local name=$1 dtype reference
  shift
  precision_run "$name" float32 "$@" || return 1
  reference=$loss
  for dtype in bfloat16 float16; do
    precision_run "$name" "$dtype" "$@" || return 1
    note "$name: validation loss $loss in $dtype, $reference in float32; skipped after calibration: $skips %"
    awk -v a="$loss" -v b="$reference" -v s="$skips" 'BEGIN { d = a - b; exit !(d <= 0.02 && d >= -0.02 && s <= 1) }' || return 1
  done
}

nano=(--n_layer=4 --n_head=4 --n_embd=128 --block_size=64 --batch_size=12 --warmup_iters=100)
six_layers=(--n_layer=6 --n_head=6 --n_embd=192 --block_size=64 --batch_size=12 --warmup_iters=50)

# 200 iterations of nanoGPT's model for the CPU, on the sources of this tree.
short_precision_curves() {
  sixteen_bit_follows nano_200 --data='framework/*/*.cpp' "${nano[@]}" --max_iters=200 --eval_iters=40
}

# The whole trainings, on tiny shakespeare where TESSERA_TEXT names a copy.
precision_curves() {
  local text=${TESSERA_TEXT:-framework/*/*.cpp}
  sixteen_bit_follows nano_2000 --data="$text" "${nano[@]}" --max_iters=2000 --eval_iters=200 &&
    sixteen_bit_follows six_layers_500 --data="$text" "${six_layers[@]}" --max_iters=500 --eval_iters=100
}
