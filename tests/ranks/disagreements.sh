#!/usr/bin/env bash
# Ranks that disagree are refused at the start, and the difference is named once: tests/ranks/disagreements.sh PROGRAM
set -u
program=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mpirun=(mpirun --quiet --allow-run-as-root --oversubscribe --bind-to none)
settings=(train --n_layer=1 --n_head=1 --n_embd=16 --block_size=32 --batch_size=2 --max_iters=2 --warmup_iters=1 --eval_iters=1 --threads=1 --max_new_tokens=5)
failed=0

# refused NAME SENTENCE: what was printed names the difference, once, and no rank trained.
refused() {
  local name=$1 sentence=$2 code=$3
  if ((code == 0)) || (($(grep -c "$sentence" "$work/log") != 1)) || grep -q 'step 1/' "$work/log"; then
    echo "$name: exit code $code, wanted once: $sentence; got:"
    cat "$work/log"
    failed=1
  fi
}

for i in {1..300}; do echo "line $i of a text"; done >"$work/a.txt"
sed 's/300/301/' "$work/a.txt" >"$work/b.txt"

"${mpirun[@]}" -n 1 "$program" "${settings[@]}" --data="$work/a.txt" --out_dir="$work/run" : \
  -n 1 "$program" "${settings[@]}" --data="$work/a.txt" --out_dir="$work/run" --learning_rate=0.5 >"$work/log" 2>&1
refused config 'rank 1 has learning_rate = 0.5 and rank 0 has learning_rate = 0.001' $?

cp "$program" "$work/other" && printf 'x' >>"$work/other"
"${mpirun[@]}" -n 1 "$program" "${settings[@]}" --data="$work/a.txt" --out_dir="$work/run" : \
  -n 1 "$work/other" "${settings[@]}" --data="$work/a.txt" --out_dir="$work/run" >"$work/log" 2>&1
refused binary 'rank 1 has the program = .* and rank 0 has the program =' $?

# The same path with another content, as on another machine.
mkdir "$work/here" "$work/there"
cp "$work/a.txt" "$work/here/data.txt"
cp "$work/b.txt" "$work/there/data.txt"
"${mpirun[@]}" -n 1 --wdir "$work/here" "$program" "${settings[@]}" --data=data.txt --out_dir="$work/run" : \
  -n 1 --wdir "$work/there" "$program" "${settings[@]}" --data=data.txt --out_dir="$work/run" >"$work/log" 2>&1
refused data 'rank 1 has the data = .* and rank 0 has the data =' $?

# Relative run folders lead to different checkpoints.
for place in here there; do
  (cd "$work/$place" && "$program" "${settings[@]}" --data="$work/a.txt" --out_dir=run --seed=$((${#place})) >/dev/null 2>&1) ||
    { echo "no checkpoint was made in $place" && failed=1; }
done
"${mpirun[@]}" -n 1 --wdir "$work/here" "$program" "${settings[@]}" --data="$work/a.txt" --out_dir=run --init_from=resume --max_iters=4 : \
  -n 1 --wdir "$work/there" "$program" "${settings[@]}" --data="$work/a.txt" --out_dir=run --init_from=resume --max_iters=4 >"$work/log" 2>&1
refused model 'rank 1 has the weights of .* and rank 0 has the weights of' $?

exit $failed
