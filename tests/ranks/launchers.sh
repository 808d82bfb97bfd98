#!/usr/bin/env bash
# The environments of torchrun and Slurm, made by hand: tests/ranks/launchers.sh PROGRAM
set -u
program=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for i in {1..300}; do echo "line $i of a text"; done >"$work/a.txt"
settings=(train --data="$work/a.txt" --device=cpu --n_layer=1 --n_head=1 --n_embd=16 --block_size=32 --batch_size=2
  --max_iters=2 --warmup_iters=1 --eval_iters=1 --threads=1 --max_new_tokens=5)
port=$((20000 + $$ % 10000))
failed=0

# both NAME=VALUE…: two processes with these variables, RANK_HERE standing for 0 and 1. Their exit codes go to $codes.
both() {
  local rank pids=()
  for rank in 0 1; do
    env "${@//RANK_HERE/$rank}" "$program" "${settings[@]}" --out_dir="$work/$name" >"$work/$name.$rank" 2>&1 &
    pids+=($!)
  done
  codes=
  for rank in 0 1; do
    wait "${pids[$rank]}"
    codes+="$? "
  done
}

# wanted CODES COUNT TEXT: the codes are these, and TEXT was printed COUNT times.
wanted() {
  local count
  count=$(cat "$work/$name".? | grep -c "$3")
  if [ "$codes" != "$1" ] || ((count != $2)); then
    echo "$name: codes $codes(wanted $1), $count times (wanted $2): $3; got:"
    cat "$work/$name".?
    failed=1
  fi
}

# torchrun's agent holds MASTER_PORT itself, which must disturb nobody.
name=torchrun
both RANK=RANK_HERE LOCAL_RANK=RANK_HERE WORLD_SIZE=2 LOCAL_WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=$port \
  TORCHELASTIC_USE_AGENT_STORE=True OMP_NUM_THREADS=1
wanted '0 0 ' 1 'ranks: 2, connected by MPI'
wanted '0 0 ' 1 'step 2: train loss'

# After a failure torchrun starts the same words again.
both RANK=RANK_HERE LOCAL_RANK=RANK_HERE WORLD_SIZE=2 LOCAL_WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=$port \
  TORCHELASTIC_USE_AGENT_STORE=True TORCHELASTIC_RESTART_COUNT=1
wanted '0 0 ' 1 'step 2 of 2 is done, nothing is left to do'

name=torchrun_hosts
both RANK=RANK_HERE LOCAL_RANK=0 WORLD_SIZE=2 LOCAL_WORLD_SIZE=1 MASTER_ADDR=127.0.0.1 MASTER_PORT=$((port + 2))
wanted '1 1 ' 2 'MPI connects CPUs: use mpirun --host a,b tessera train'

# srun without --mpi: each process would be a world of its own to MPI.
name=slurm
both SLURM_PROCID=RANK_HERE SLURM_LOCALID=RANK_HERE SLURM_STEP_NUM_TASKS=2 SLURM_STEP_TASKS_PER_NODE=2 \
  SLURM_STEP_NODELIST=localhost MASTER_PORT=$((port + 4))
wanted '1 1 ' 1 'srun --mpi=pmix'

exit $failed
