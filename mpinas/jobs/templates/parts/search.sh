out={{out}}
# Of a search, or of all searches of a comparison.
count_results() { cat "$out"/journal/*.jsonl "$out"/e*/*/journal/*.jsonl 2>/dev/null | wc -l; }
had=$(count_results)
code=75 # of a job that was asked to end before its search began
if [ $signals -eq 0 ]; then
{{by_srun!}}  started=$SECONDS
  start_launcher
{{by_srun!}}  [ $signals -eq $passed ] || pass_on # it came before the shell knew whom to tell
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
