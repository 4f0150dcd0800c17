settle_s=10 # launcher and ranks have started by then; a signal before would kill them
passed=0

# USR1 is the one signal that all launchers hand on to their ranks; mpirun ends of TERM at once.
pass_on() {
  passed=$((passed + 1))
  while [ $((SECONDS - started)) -lt $settle_s ]; do sleep 1; done
  { read -r launcher <"$scratch/launcher" && kill -USR1 "$launcher"; } 2>/dev/null
}
