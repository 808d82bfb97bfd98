#!/usr/bin/env bash
# What the report of the long tests says of parts that passed, failed, or could not run: tests/project/long_checks.sh
set -u
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r "$(dirname "$0")/../../scripts" "$work"
mkdir -p "$work/benchmarks/results"
source "$work/scripts/lib.sh"
source scripts/long_checks.sh
source scripts/rank_checks.sh

# Tools that are too new, or that this user may not use.
mkdir "$work/tools" && PATH=$work/tools:$PATH
printf '#!/bin/sh\necho clang-format version 15.0.7\n' >"$work/tools/clang-format-14"
printf '#!/bin/sh\nexit 1\n' >"$work/tools/unshare"
chmod +x "$work/tools"/*
echo '#pragma once' >tessera.h
formatting() { scripts/format --check; }

have() { false; }
unset TESSERA_TEXT
passing() { note "all is well"; }
failing() { return 1; }
missing_tool() { note_last_line bash -c "echo no tool && exit $not_run"; }
wrong=0

# reports RESULT NAME FUNCTION: that is what the part's line says.
reports() {
  long_step "$2" "$2" "$3" >"$work/log"
  grep -q "| $2 | $1 |" benchmarks/results/long.md && return
  echo "$2 should be '$1', but the report says: $(tail -n 1 benchmarks/results/long.md)"
  wrong=1
}

reports ok passing passing
reports FAILED failing failing
reports 'not run' fuzz fuzzing
reports 'not run' quality quality_training
reports 'not run' parity rank_parity
reports 'not run' missing missing_tool
reports 'not run' disk full_disk
reports 'not run' format formatting
echo '#include "gone.h"' >>tessera.h
reports FAILED umbrella formatting
((${#failed_steps[@]} == 2)) || { echo "failed: ${failed_steps[*]}" && wrong=1; }
exit "$wrong"
