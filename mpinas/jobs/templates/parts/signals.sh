scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT

# The shell has to outlive the signals that end a job early.
signals=0
keeper=""
{{by_srun!}}settle_s=10 # launcher and ranks have started by then; a signal before would kill them
{{by_srun!}}passed=0
{{by_srun!}}
{{by_srun!}}# USR1 is the one signal that all launchers hand on to their ranks; mpirun ends of TERM at once.
{{by_srun!}}pass_on() {
{{by_srun!}}  passed=$((passed + 1))
{{by_srun!}}  while [ $((SECONDS - started)) -lt $settle_s ]; do sleep 1; done
{{by_srun!}}  { read -r launcher <"$scratch/launcher" && kill -USR1 "$launcher"; } 2>/dev/null
{{by_srun!}}}
{{by_srun!}}
{{by_srun?}}# The ranks get them from Slurm itself.
note_signal() {
  signals=$((signals + 1))
{{by_srun!}}  [ -z "$keeper" ] || pass_on
}
trap note_signal USR1 USR2 TERM INT
