# shellcheck shell=bash
# The checks of `scripts/test --long`, which sources this. Each is one function; what it measured it says with `note`, and
# the report carries it. One that cannot run here says why and returns $not_run.

# long_step NAME TITLE COMMAND…: a step that adds a line to the report.
long_step() {
  local name=$1 begin=$SECONDS report=benchmarks/results/long.md commit status
  shift
  rm -f build/long/notes
  commit=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)
  [ -z "$(git status --porcelain -uno -- . ':!benchmarks/results' 2>/dev/null)" ] || commit+=-dirty
  step "$@"
  status=$?
  [ -f "$report" ] || cat >"$report" <<'END'
# Long tests

Each run of `scripts/test --long=PART` adds a line. Trainings read tiny shakespeare where `TESSERA_TEXT` names a copy, else
texts of this tree.

| date | commit | part | result | seconds | machine | what it said |
|---|---|---|---|---|---|---|
END
  printf '| %s | %s | %s | %s | %d | %s | %s |\n' "$(date -u +%F)" "$commit" "$name" "$(verdict "$status")" \
    $((SECONDS - begin)) "$(nproc) × $(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2 | xargs)" \
    "$(sed 's/|/\\|/g' build/long/notes 2>/dev/null | paste -sd '#' | sed 's/#/; /g')" >>"$report"
}

tests_with_sanitizers() {
  configure asan -DTESSERA_BUILD_BENCHMARKS=OFF
  build asan
  ASAN_OPTIONS=strict_string_checks=1:detect_stack_use_after_return=1:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1 run_tests asan
  note "under ASan and UBSan: $(grep 'tests passed' build/asan/tests.log)"
}

# The CUDA kernels on the CPU, with the race checker or under ASan.
simt_races() { checked_simt simt-races kernels_test race_test; }
simt_asan() { checked_simt simt-asan kernels_test; }

checked_simt() {
  local preset=$1
  configure "$preset" && build "$@" || return 1
  # All tests of kernels but those that know only the CPU.
  ASAN_OPTIONS=detect_leaks=0 run_tests "$preset" -L kernels \
    -E '^(BFloat16|BandOrder|DeviceFit|Error|Half|LaneIo|Peak|Select|Simd|Threads|TileProduct|VectorMath)' || return 1
  note "$(grep 'tests passed' "build/$preset/tests.log")"
}

# Deliberate faults in the attention kernels: each must be noticed.
mutants() {
  scripts/mutants || return 1
  {
    printf '# Faults in the attention kernels\n\n`scripts/mutants` put each of these into the kernels, on %s.\n\n' "$(date -u +%F)"
    cat build/mutants/table.md
  } >benchmarks/results/mutants.md
  note "$(($(wc -l <build/mutants/table.md) - 2)) faults, all noticed (mutants.md)"
}

# Every fuzz target for a minute, from its seeds; what crashes one is left in build/fuzz.
fuzzing() {
  have clang++ || { note "clang is not installed" && return "$not_run"; }
  CXX=clang++ cmake -G Ninja -B build/fuzz -DTESSERA_FUZZ=ON >/dev/null && build fuzz || return 1
  local target name
  for target in build/fuzz/tests/fuzz/*_fuzz; do
    name=$(basename "${target%_fuzz}")
    mkdir -p "build/fuzz/corpus/$name"
    "$target" -max_total_time=60 -print_final_stats=1 -artifact_prefix=build/fuzz/ "-dict=tests/fuzz/$name.dict" \
      "build/fuzz/corpus/$name" "tests/fuzz/corpus/$name" 2>"build/fuzz/$name.log" ||
      { tail -n 40 "build/fuzz/$name.log" && return 1; }
    note "fuzzing $name: $(sed -n 's/^stat::number_of_executed_units: *//p' "build/fuzz/$name.log") inputs, nothing found"
  done
}

full_disk() { note_last_line scripts/full_disk; }

kill_trials() { note_last_line scripts/kill_trials 20; }

# Resident memory must not grow over 2,000 steps: the last quarter of its samples against the second.
steady_memory() {
  local samples=build/long/memory.txt child before after
  mkdir -p build/long && rm -rf build/long/memory "$samples"
  build/release/tessera train --data=task:copy --n_layer=4 --n_head=4 --n_embd=128 --block_size=64 --batch_size=12 \
    --max_iters=2000 --eval_interval=500 --eval_iters=5 --out_dir=build/long/memory >build/long/memory.log 2>&1 &
  child=$!
  while kill -0 "$child" 2>/dev/null; do
    awk '/^VmRSS/ {print $2}' "/proc/$child/status" >>"$samples" 2>/dev/null || true
    sleep 0.5
  done
  wait "$child"
  read -r before after < <(awk '{ v[NR] = $1 } END { q = int(NR / 4); for (i = q + 1; i <= 2 * q; ++i) a += v[i]
    for (i = 3 * q + 1; i <= 4 * q; ++i) b += v[i]; printf "%d %d\n", a / q, b / q }' "$samples")
  note "resident memory over 2,000 steps: $before kB in the second quarter, $after kB in the last"
  ((after <= before + before / 50))
}

demo_training() { train_and_note demo examples/demo.cfg; }

# nanoGPT's configuration for the CPU, on tiny shakespeare: the median of three seeds.
quality_training() {
  local seed losses=()
  [ -n "${TESSERA_TEXT:-}" ] || { note "TESSERA_TEXT names no copy of tiny shakespeare" && return "$not_run"; }
  for seed in 1337 1338 1339; do
    train_and_note "shakespeare_$seed" examples/shakespeare_char.cfg --data="$TESSERA_TEXT" --device=cpu --log_interval=1 \
      --block_size=64 --batch_size=12 --n_layer=4 --n_head=4 --n_embd=128 --max_iters=2000 --lr_decay_iters=2000 \
      --dropout=0.0 --eval_iters=200 --seed="$seed"
    losses+=("$final_loss")
  done
  note "median $(printf '%.4f\n' "${losses[@]}" | sort -g | sed -n 2p), at most 1.91 wanted"
  printf '%s\n' "${losses[@]}" | sort -g | awk 'NR == 2 { exit !($1 <= 1.91) }'
}

train_and_note() {
  local name=$1
  shift
  rm -rf "build/long/$name"
  build/release/tessera train "$@" --out_dir="build/long/$name" >"build/long/$name.log" 2>&1
  final_loss=$(grep -o '"val_loss": *[0-9.]*' "build/long/$name/metrics.jsonl" | tail -n 1 | grep -o '[0-9.]*$')
  note "$name: final validation loss $(printf %.4f "$final_loss")"
}

# Runs a command and notes its last line; what a failing one said is shown.
note_last_line() {
  local said status
  said=$("$@") && status=0 || status=$?
  [ "$(verdict "$status")" != FAILED ] || { echo "$said" && return "$status"; }
  note "$(tail -n 1 <<<"$said")"
  return "$status"
}

note() {
  mkdir -p build/long
  echo "$*"
  echo "$*" >>build/long/notes
}
