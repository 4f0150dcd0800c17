#!/usr/bin/env bash
# Installs mpinas into the checkout if need be, runs a search on this machine under mpiexec, and
# shows its leaderboard. What is missing of the system is named with the line to type.
set -u
# shellcheck source=jobs/lib/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/environment.sh"

usage() {
  cat <<EOF
bash $0 [-w N] CONFIG [arguments of "python -m mpinas run"]

  CONFIG           a YAML file, e.g. configs/quickstart.yaml
  -w N             number of workers (default 2, or \$WORKERS); one more process searches
  --out DIR        run directory (default: runs/<name of the file> where you are)
  --set key=value  changes the configuration, e.g. --set tuner.generations=6

A search that was stopped goes on when the same command is given again.
Variables: WORKERS; MPINAS_MPI=mpich (default) or openmpi; PYTHON=interpreter for a new environment.
Exit codes: 0 done, 1 failed, 2 you must change something, 75 stopped early and saved.
EOF
}

workers=${WORKERS:-2}
config=""
out=""
arguments=()
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage && exit 0 ;;
    -w | --workers) workers=${2:-} && shift ;;
    -w?*) workers=${1#-w} ;;
    --workers=*) workers=${1#*=} ;;
    --out) out=${2:-} && shift ;;
    --out=*) out=${1#*=} ;;
    *) if [ -z "$config" ]; then config=$1; else arguments+=("$1"); fi ;;
  esac
  [ $# -eq 0 ] || shift
done
case $config in
  "") usage >&2 && exit 2 ;;
  -*) give_up "The configuration comes first. Received: $config. Try:" "bash $0 --help" ;;
esac
# From wherever the command is given, the checkout's own files are found too.
[ -e "$config" ] || [ ! -e "$checkout/$config" ] || config=$checkout/$config
[ -f "$config" ] || give_up "$config: no such file. See what there is:" "ls '$checkout/configs'"
case $workers in
  "" | *[!0-9]* | 0*) give_up "-w: a number of workers from 1. Received: workers=$workers." ;;
esac
name=${config##*/}
out=${out:-${PWD%/}/runs/${name%.*}}
mpi=${MPINAS_MPI:-mpich}

environment=$(environment_of "$mpi") || exit
prepare_environment "$environment" "$mpi" || exit
use_environment "$environment"
launch=(mpiexec -n $((workers + 1)))
[ "$mpi" != openmpi ] || launch+=(--map-by :OVERSUBSCRIBE --bind-to none)
program=(python -m mpinas run "$config" --out "$out" ${arguments[@]+"${arguments[@]}"})

# How batch scripts start a launcher and wait for it: the search runs in a process group of its own,
# so that Ctrl-C reaches it only as USR1, which means "save and end". A second Ctrl-C ends it hard.
parts=$checkout/mpinas/jobs/templates/parts
# shellcheck source=mpinas/jobs/templates/parts/keeper.sh
source "$parts/keeper.sh"
# shellcheck source=mpinas/jobs/templates/parts/pass_on.sh
source "$parts/pass_on.sh"
interrupts=0
keeper=""
stop_search() {
  interrupts=$((interrupts + 1))
  if [ "$interrupts" -gt 1 ]; then
    { read -r launcher <"$scratch/launcher" && kill -TERM "$launcher"; } 2>/dev/null
  else
    say "Stopping: the search saves what it has. Ctrl-C again ends it at once."
    [ -z "$keeper" ] || pass_on
  fi
}
trap stop_search INT TERM HUP
started=$SECONDS
start_launcher
[ $interrupts -eq 0 ] || [ $passed -gt 0 ] || pass_on
await_launcher

case $code in
  0 | 75) python -m mpinas show "$out" ;;
  2) exit 2 ;;
  *)
    say "The search ended with code $code."
    [ ! -f "$out/run.log" ] || say "What happened stands in $out/run.log. The same command goes on \
from the last finished trial."
    exit "$code"
    ;;
esac
if [ "$code" -eq 75 ]; then
  printf '\nStopped early and saved. The same command goes on with it.\n'
else
  printf '\nWhat next:\n'
  printf '  # all trials, for scripts\n  %q -m mpinas show %q --json\n' "$environment/bin/python" "$out"
  printf '  # the same search, longer: it goes on from here\n  %s--set tuner.generations=6\n' "$invocation"
  printf '  # more workers, another MPI, another place\n  bash %q --help\n' "$0"
fi
exit "$code"
