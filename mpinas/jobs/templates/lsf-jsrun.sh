#!/bin/bash
#: launchers: jsrun
#: submit: bsub
#: without: alloc_flags, time, warning, rerun, requeue
# The search {{name}} with {{workers}} workers. Submit it with: bsub < FILE
# It ends with 0 done, 1 failed, 2 you must change something, 75 stopped early and saved; of 75 it
# is submitted again, and goes on where it was.
#BSUB -J {{job_name}}
#BSUB -o {{name}}-%J.log
#BSUB -nnodes {{nodes}}
{{alloc_flags?}}#BSUB -alloc_flags "smt4"
{{time?}}#BSUB -W {{walltime_minutes}}
#BSUB -q {{queue}}
#BSUB -P {{account}}
{{warning?}}#BSUB -wa 'USR2' -wt '{{warning_minutes}}'
{{rerun?}}#BSUB -r
{{requeue?}}#BSUB -Q "75"
#BSUB {{directives}}

{{include signals}}
interrupted=0 # by bkill, which begins with INT; at the walltime LSF sends USR2
trap 'interrupted=1; note_signal' INT

{{include environment}}

# Rank 0 searches: it has no GPU and shares a core with the first worker.
cat >"$scratch/resources" <<'END'
cpu_index_using: logical
overlapping_rs: allow
oversubscribe_cpu: allow
{{shares_gpus?}}oversubscribe_gpu: allow
{{resource_lines}}
END

program=({{program}})
program+=(--walltime {{walltime}})
launch=({{launch}} --erf_input "$scratch/resources")

{{include search}}

if [ "$code" -eq 75 ] && [ $interrupted -eq 1 ]; then
  echo "Saved, not requeued: submit the job again to go on." >&2
  exit 130
fi
{{requeue!}}if [ "$code" -eq 75 ]; then
{{requeue!}}  brequeue "$LSB_JOBID" || echo "Saved, not requeued: submit the job again to go on." >&2
{{requeue!}}fi
exit "$code"
