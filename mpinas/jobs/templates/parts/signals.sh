{{include keeper}}

# The shell has to outlive the signals that end a job early.
signals=0
keeper=""
{{by_srun!}}{{include pass_on}}
{{by_srun!}}
{{by_srun?}}# The ranks get them from Slurm itself.
note_signal() {
  signals=$((signals + 1))
{{by_srun!}}  [ -z "$keeper" ] || pass_on
}
trap note_signal USR1 USR2 TERM INT HUP
