out={{out}}
count_results() { cat "$out"/journal/*.jsonl 2>/dev/null | wc -l; }
had=$(count_results)
code=75 # of a job that was asked to end before its search began
if [ $signals -eq 0 ]; then
{{by_srun!}}  started=$SECONDS
  start_launcher
{{by_srun!}}  [ $signals -eq $passed ] || pass_on # it came before the shell knew whom to tell
  await_launcher
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
