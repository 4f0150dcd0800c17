code=75 # of a job that was asked to end before its search began
started=$SECONDS
if [ $signals -eq 0 ]; then
  set -m # a process group of its own: what hits the shell's does not hit the launcher
  (trap '' USR2 && exec "${launch[@]}" "${program[@]}") </dev/null &
  launcher=$!
  set +m
{{by_srun!}}  [ $signals -eq $passed ] || pass_on # it came before the shell knew whom to tell
  seen=-1
  while [ $seen -ne $signals ]; do # a signal ends `wait` before the launcher has ended
    seen=$signals
    wait "$launcher"
    code=$?
  done
fi
