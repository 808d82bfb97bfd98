#!/usr/bin/env bash
# How several ranks start, start again and say things once: tests/ranks/restarts.sh PROGRAM RANK_TRIAL
set -u
program=$1
trial=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mpirun=(mpirun --quiet --allow-run-as-root --oversubscribe --bind-to none)
settings=(--device=cpu --data=task:sort --n_layer=1 --n_head=1 --n_embd=16 --block_size=32 --batch_size=4 --max_iters=30
  --warmup_iters=1 --eval_iters=1
  --eval_interval=30 --checkpoint_interval=5 --log_interval=1 --threads=1 --max_new_tokens=5)
failed=0

# wanted NAME CONDITION…: shows what was printed where the condition does not hold.
wanted() {
  local name=$1
  shift
  "$@" && return
  echo "$name: not so: $*; got:"
  cat "$work/log"
  failed=1
}
times() { (($(grep -c -- "$1" "$work/log") == $2)); }
code() { ((got == $1)); }

# --ranks=2: nothing twice, and what the ranks cost is in the metrics.
"$program" train "${settings[@]}" --ranks=2 --out_dir="$work/two" >"$work/log" 2>&1
got=$?
wanted ranks code 0
wanted ranks times '^ranks: 2, connected by MPI' 1
wanted ranks times '^step 30/30 .*tok/s per rank | communication .*hidden) | scaling' 1
for name in rank_tokens_per_second communication_share overlap scaling_efficiency; do
  wanted metrics grep -q "\"step\":30,.*\"$name\":[0-9]" "$work/two/metrics.jsonl"
done

# What is wrong with the command line is said once, also where mpirun starts the ranks, and also by a rank that is alone
# with it.
"${mpirun[@]}" -n 3 "$program" train --learning_rat=1 >"$work/log" 2>&1
got=$?
wanted usage code 2
wanted usage times 'tessera: .*learning_rat' 1
"${mpirun[@]}" -n 1 "$program" train "${settings[@]}" --out_dir="$work/none" : -n 1 "$program" train --learning_rat=1 >"$work/log" 2>&1
got=$?
wanted 'usage of one' code 2
wanted 'usage of one' times 'tessera: .*learning_rat' 1

# A rank dies once: the run goes on from the last checkpoint, to the same weights.
TESSERA_FAULT="1 forward 12 kill $work/fault" "$trial" train "${settings[@]}" --ranks=2 --max_restarts=2 --out_dir="$work/again" >"$work/log" 2>&1
got=$?
wanted restart code 0
wanted restart times 'restart 1 of 2' 1
wanted restart times 'restart 2 of 2' 0
wanted restart times '^resuming from ' 1
wanted restart grep -q '"step":30,' "$work/again/metrics.jsonl"
wanted restart cmp "$work"/{again,two}/latest/model.safetensors

# One that dies each time uses the restarts up.
TESSERA_FAULT="0 forward 2 kill" "$trial" train "${settings[@]}" --ranks=2 --max_restarts=1 --out_dir="$work/never" >"$work/log" 2>&1
got=$?
wanted 'no restart left' code 75
wanted 'no restart left' times 'restart 1 of 1' 1
wanted 'no restart left' times 'rank *host *pid' 2

# A single rank starts again, too.
TESSERA_FAULT="0 forward 12 kill $work/alone" "$trial" train "${settings[@]}" --max_restarts=1 --out_dir="$work/one" >"$work/log" 2>&1
got=$?
wanted 'one rank' code 0
wanted 'one rank' times 'restart 1 of 1' 1

exit $failed
