# A signal at the wrong moment makes `wait` forget an exit code; it does not where the launcher runs
# in the foreground.
keep_launcher() {
  trap : USR1 USR2 TERM INT
  (trap '' USR2 && echo "$BASHPID" >"$scratch/launcher" && exec "${launch[@]}" "${program[@]}")
  echo $? >"$scratch/code"
}

out={{out}}
count_results() { cat "$out"/journal/*.jsonl 2>/dev/null | wc -l; }
had=$(count_results)
code=75 # of a job that was asked to end before its search began
started=$SECONDS
if [ $signals -eq 0 ]; then
  set -m # a process group of its own: what hits the shell's does not hit the launcher
  keep_launcher </dev/null &
  keeper=$!
  set +m
{{by_srun!}}  [ $signals -eq $passed ] || pass_on # it came before the shell knew whom to tell
  while kill -0 "$keeper" 2>/dev/null; do wait "$keeper"; done
  trap '' USR1 USR2 TERM INT
  code=$(cat "$scratch/code") || code=1
fi
case $code in # 137, or 9 from MPICH's mpiexec: a rank was killed, as by the memory limit of its node
  9 | 137) [ "$(count_results)" -eq "$had" ] || code=75 ;; # and goes on as long as it gets anywhere
esac
# A job that gets nowhere, as where no trial fits into the walltime, is not begun for ever.
fruitless=$out/fruitless_jobs
if [ "$(count_results)" -gt "$had" ]; then
  rm -f "$fruitless"
elif [ "$code" -eq 75 ] && [ -d "$out" ] && date >>"$fruitless" && [ "$(wc -l <"$fruitless")" -ge 5 ]; then
  echo "Five jobs in a row had no result: give them more walltime, or remove $fruitless." >&2
  code=1
fi
