# shellcheck shell=bash
# Shared by the scripts of this folder, which source it: where the tree is, how work is announced, timed and summed up,
# and how this machine builds.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root" || exit 1

say() { printf '\n== %s\n' "$*"; }
die() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
  exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }
duration() { printf '%d:%02d' $(($1 / 60)) $(($1 % 60)); }

# One job per core, and at least 1.5 GB of memory for each.
jobs() {
  local cores gigabytes
  cores=$(nproc)
  gigabytes=$(awk '/^MemAvailable/ {print int($2 / 1500000)}' /proc/meminfo 2>/dev/null || echo "$cores")
  ((gigabytes > 0)) || gigabytes=1
  echo $((cores < gigabytes ? cores : gigabytes))
}

# --- steps: `step TITLE COMMAND…` runs, times and remembers; `finish` sums up and ends with the right exit code.

step_table=()
failed_steps=()
# What a step that cannot run here exits with: it has not failed, and it has shown nothing.
not_run=77
verdict() {
  case $1 in
    0) echo ok ;;
    "$not_run") echo 'not run' ;;
    *) echo FAILED ;;
  esac
}

started=$SECONDS
started_at=$(date +%s)

step() {
  local title=$1 begin=$SECONDS status result
  shift
  say "$title"
  (
    set -e
    "$@"
  )
  status=$?
  result=$(verdict "$status")
  step_table+=("$(printf '%-52s %6s  %s' "$title" "$(duration $((SECONDS - begin)))" "$result")")
  [ "$result" != FAILED ] || failed_steps+=("$title")
  return "$status"
}

# A step that the later ones need.
must() { step "$@" || finish; }

finish() {
  say "Summary of $(basename "$0")"
  printf '%s\n' "${step_table[@]}"
  find build -maxdepth 2 -name tests.log -newermt "@$started_at" -exec grep -H 'tests passed' {} + 2>/dev/null |
    sed -E 's|^build/([^/]*)/tests.log|\1|'
  if ((${#failed_steps[@]})); then
    printf '\nFAILED after %s: %s\n' "$(duration $((SECONDS - started)))" "$(IFS=';' && echo "${failed_steps[*]}")"
    exit 1
  fi
  printf '\nEvery required step passed in %s.\n' "$(duration $((SECONDS - started)))"
  exit 0
}

# --- building

# The compiler must know C++20 as GCC 12 does; some distributions have it beside an older default.
if [ -z "${CXX:-}" ] && { ! have g++ || (($(g++ -dumpversion | cut -d. -f1) < 12)); }; then
  for version in 14 13 12; do
    have "g++-$version" && export CXX="g++-$version" CC="gcc-$version" && break
  done
fi

# ccache where there is one. Code compiled for this machine's CPU must not be found by another that shares the cache.
if have ccache; then
  export CMAKE_CXX_COMPILER_LAUNCHER=${CMAKE_CXX_COMPILER_LAUNCHER-ccache}
  export CCACHE_BASEDIR=${CCACHE_BASEDIR-$root} CCACHE_NOHASHDIR=${CCACHE_NOHASHDIR-1}
  export CCACHE_NAMESPACE=${CCACHE_NAMESPACE-$(grep -m1 '^flags' /proc/cpuinfo | cksum | cut -d' ' -f1)}
fi

# configure PRESET [OPTION…]: quick when nothing changed.
configure() {
  local preset=$1
  shift
  cmake --preset "$preset" "$@" >"/tmp/tessera-configure.$$" 2>&1 || {
    cat "/tmp/tessera-configure.$$"
    rm -f "/tmp/tessera-configure.$$"
    return 1
  }
  grep 'tessera:' "/tmp/tessera-configure.$$" || true
  rm -f "/tmp/tessera-configure.$$"
}

# build PRESET [TARGET…]
build() {
  local preset=$1
  shift
  cmake --build "build/$preset" -j "$(jobs)" ${1:+--target "$@"}
}

# run_tests PRESET [OPTION…]
run_tests() {
  local preset=$1
  shift
  ctest --test-dir "build/$preset" -j "$(jobs)" --output-on-failure --progress -O "$root/build/$preset/tests.log" "$@"
}
