#!/bin/bash
# The search cifar10 with 3 workers. Submit it with: sbatch FILE
# It ends with 0 done, 1 failed, 2 you must change something, 75 stopped early and saved; of 75 it
# is submitted again, and goes on where it was.
#SBATCH --job-name=cifar10
#SBATCH --output=cifar10-%j.log
#SBATCH --open-mode=append
#SBATCH --nodes=1
#SBATCH --ntasks=4
#SBATCH --cpus-per-task=1
#SBATCH --signal=B:USR1@120
#SBATCH --requeue

scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT

# A signal at the wrong moment makes `wait` forget an exit code; it does not where the launcher runs
# in the foreground, as it does in this keeper. Launcher and program are the arrays of these names.
keep_launcher() {
  trap : USR1 USR2 TERM INT HUP
  (trap '' USR2 && echo "$BASHPID" >"$scratch/launcher" && exec "${launch[@]}" "${program[@]}")
  echo $? >"$scratch/code"
}

start_launcher() {
  set -m # a process group of its own: what hits the shell's does not hit the launcher
  keep_launcher </dev/null &
  keeper=$!
  set +m
}

# Sets the exit code of the launcher once it has ended, however many signals come; what is left to
# do then is not for signals to end.
await_launcher() {
  while kill -0 "$keeper" 2>/dev/null; do wait "$keeper"; done
  trap '' USR1 USR2 TERM INT HUP
  code=$(cat "$scratch/code") || code=1
}

# The shell has to outlive the signals that end a job early.
signals=0
keeper=""
settle_s=10 # launcher and ranks have started by then; a signal before would kill them
passed=0

# USR1 is the one signal that all launchers hand on to their ranks; mpirun ends of TERM at once.
pass_on() {
  passed=$((passed + 1))
  while [ $((SECONDS - started)) -lt $settle_s ]; do sleep 1; done
  { read -r launcher <"$scratch/launcher" && kill -USR1 "$launcher"; } 2>/dev/null
}

note_signal() {
  signals=$((signals + 1))
  [ -z "$keeper" ] || pass_on
}
trap note_signal USR1 USR2 TERM INT HUP

cd /home/ada/search || exit 2

program=(python -m mpinas run /home/ada/search/cifar10.yaml --out /home/ada/search/runs/cifar10 --workers 3)
launch=()

out=/home/ada/search/runs/cifar10
# Of a search, or of all searches of a comparison.
count_results() { cat "$out"/journal/*.jsonl "$out"/e*/*/journal/*.jsonl 2>/dev/null | wc -l; }
had=$(count_results)
code=75 # of a job that was asked to end before its search began
if [ $signals -eq 0 ]; then
  started=$SECONDS
  start_launcher
  [ $signals -eq $passed ] || pass_on # it came before the shell knew whom to tell
  await_launcher
fi
case $code in # of MPICH's mpiexec: the number of a signal, of others: 128 and that number
  # Ranks that were still starting died of a signal that asks for an end (USR1, USR2, TERM).
  10 | 12 | 15 | 138 | 140 | 143) code=75 ;;
  # A rank was killed, as by the memory limit of its node; it goes on as long as it gets anywhere, or
  # where it was asked to end, which may have been before it had begun.
  9 | 137) [ "$(count_results)" -eq "$had" ] && [ $signals -eq 0 ] || code=75 ;;
esac
# A job that gets nowhere, as where no trial fits into the walltime, is not begun for ever.
fruitless=$out/fruitless_jobs
ls "$out"/*.yaml >/dev/null 2>&1 || fruitless=$out.fruitless_jobs # it never came to a run directory
if [ "$(count_results)" -gt "$had" ]; then
  rm -f "$out/fruitless_jobs" "$out.fruitless_jobs"
elif [ "$code" -eq 75 ] && mkdir -p "${out%/*}" && date >>"$fruitless" && [ "$(wc -l <"$fruitless")" -ge 5 ]; then
  echo "Five jobs in a row had no result: give them more walltime, or remove $fruitless." >&2
  code=1
fi

if [ "$code" -eq 75 ]; then
  # After scancel, which is to end a job for good, it runs no more; nor does it where Slurm itself
  # requeues it, or where its time is over.
  case $(squeue -h -j "$SLURM_JOB_ID" -o '%T %r') in
    RUNNING* | *TimeLimit | "") scontrol requeue "$SLURM_JOB_ID" ;;
    *) false ;;
  esac || echo "Saved. Unless Slurm requeues it, submit the job again to go on." >&2
fi
exit "$code"
