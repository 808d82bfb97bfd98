# shellcheck shell=bash
# The checks of `scripts/test --long`, which sources this. Each is one function; what it measured it says with `note`, and
# the report carries it.

build_with_sanitizers() {
  configure asan -DTESSERA_BUILD_BENCHMARKS=OFF
  build asan
}

tests_with_sanitizers() {
  ASAN_OPTIONS=strict_string_checks=1:detect_stack_use_after_return=1 UBSAN_OPTIONS=print_stacktrace=1 run_tests asan
  note "under ASan and UBSan: $(grep 'tests passed' build/asan/tests.log)"
}

# The CUDA kernels on the CPU, with the race checker and under ASan.
build_simt_checked() {
  configure simt-races && build simt-races kernels_test race_test || return 1
  configure simt-asan && build simt-asan kernels_test
}

simt_checked() {
  local preset
  for preset in simt-races simt-asan; do
    ASAN_OPTIONS=detect_leaks=0 run_tests "$preset" -R '^(FlashAttention|Simt|Races|Stages|Norm|CrossEntropy|Embedding|Sum)' --timeout 600 || return 1
    note "$preset: $(grep 'tests passed' "build/$preset/tests.log")"
  done
}

# Deliberate faults in the attention kernels: each must be noticed.
mutants() {
  scripts/mutants || return 1
  mkdir -p build/long
  {
    echo "faults in the attention kernels, all noticed:"
    echo
    cat build/mutants/table.md
  } >build/long/mutants.md
}

# Every fuzz target for a minute, from its seeds; what crashes one is left in build/fuzz.
fuzzing() {
  command -v clang++ >/dev/null || { echo "clang is not installed: skipped" && return 0; }
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
    for (i = 3 * q + 1; i <= 4 * q; ++i) b += v[i]; printf "%d %d", a / q, b / q }' "$samples")
  note "resident memory over 2,000 steps: $before kB in the second quarter, $after kB in the last"
  ((after <= before + before / 50))
}

# The demonstration's training, and the published configuration on tiny shakespeare where TESSERA_TEXT names a copy.
long_trainings() {
  local seed losses=()
  train_and_note demo examples/demo.cfg
  [ -n "${TESSERA_TEXT:-}" ] || { note "shakespeare_char: not run, TESSERA_TEXT names no copy of tiny shakespeare" && return 0; }
  for seed in 1 2 3; do
    train_and_note "shakespeare_$seed" examples/shakespeare_char.cfg --data="$TESSERA_TEXT" --device=cpu --block_size=64 \
      --batch_size=12 --n_layer=4 --n_head=4 --n_embd=128 --max_iters=2000 --lr_decay_iters=2000 --dropout=0.0 \
      --eval_iters=200 --seed="$seed"
    losses+=("$final_loss")
  done
  note "shakespeare_char: median validation loss $(printf '%s\n' "${losses[@]}" | sort -g | sed -n 2p), at most 1.91 wanted"
  printf '%s\n' "${losses[@]}" | sort -g | awk 'NR == 2 { exit !($1 <= 1.91) }'
}

train_and_note() {
  local name=$1
  shift
  rm -rf "build/long/$name"
  build/release/tessera train "$@" --out_dir="build/long/$name" >"build/long/$name.log" 2>&1
  final_loss=$(grep -o '"val_loss": *[0-9.]*' "build/long/$name/metrics.jsonl" | tail -n 1 | grep -o '[0-9.]*$')
  note "$name: final validation loss $final_loss"
}

# Runs a command and notes its last line; what a failing one said is shown.
note_last_line() {
  local said
  said=$("$@") || { echo "$said" && return 1; }
  note "$(tail -n 1 <<<"$said")"
}

note() {
  echo "$*"
  echo "* $*" >>build/long_notes.txt
}

# The table of steps and what they noted, as a page that is committed.
write_report() {
  {
    echo "# Long tests"
    echo
    echo "\`scripts/test --long\` at $(git describe --always --dirty 2>/dev/null || echo 'an unknown commit'), $(date -u +%F)," \
      "$(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2 | xargs), $(nproc) cores, $("${CXX:-g++}" --version | head -n 1)."
    echo
    echo '```'
    printf '%s\n' "${step_table[@]}"
    echo '```'
    echo
    cat build/long_notes.txt
    [ -f build/long/mutants.md ] && echo && cat build/long/mutants.md
  } >benchmarks/results/long_tests.md
  echo "Report: benchmarks/results/long_tests.md"
}
