# shellcheck shell=bash
# Trainings on several ranks, for scripts/test, which sources this. What it measured it says with `note`.

# A random rank is killed, stopped or ended in a random phase of a training.
short_rank_trials() { scripts/rank_trials 5; }

rank_trials() { note_last_line scripts/rank_trials 50; }

rank_resume() { note_last_line scripts/rank_resume; }

# One of two hosts fails, under mpirun and under Slurm.
two_hosts() { note_last_line scripts/two_hosts; }

# rank_parity_of RANKS ITERATIONS: losses and parameters of several ranks are those of one, in every setting.
rank_parity_of() {
  have mpirun || { note "mpirun is not installed" && return "$not_run"; }
  OMP_WAIT_POLICY=passive mpirun --quiet --allow-run-as-root --oversubscribe --bind-to none -n "$1" \
    build/release/tests/rank_parity "$2" "${TESSERA_TEXT:-framework/*/*.cpp}"
}

short_rank_parity() { rank_parity_of 2 20; }

# 200 iterations of nanoGPT's model for the CPU.
rank_parity() {
  local ranks
  for ranks in 2 4; do
    rank_parity_of "$ranks" 200 || return
    note "200 iterations on $ranks ranks: losses and parameters are those of one rank in every setting"
  done
}
