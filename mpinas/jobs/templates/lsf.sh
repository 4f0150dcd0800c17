#!/bin/bash
#: launchers: mpiexec, mpirun, none
#: submit: bsub
#: without: span, gpu, time, warning, rerun, requeue, placement
# The search {{name}} with {{workers}} workers. Submit it with: bsub < FILE
# It ends with 0 done, 1 failed, 2 you must change something, 75 stopped early and saved; of 75 it
# is submitted again, and goes on where it was.
#BSUB -J {{job_name}}
#BSUB -o {{name}}-%J.log
#BSUB -n {{cores}}
{{span?}}#BSUB -R "span[ptile={{cores_per_node}}]"
{{gpu?}}#BSUB -gpu "num={{gpus_per_node}}:mode=shared:j_exclusive=yes"
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

program=({{program}})
program+=(--walltime {{walltime}})
launch=({{launch}})
all_ranks={{all_ranks}}
{{placement?}}{{span?}}{{host_list?}}read -ra words <<<"$LSB_MCPU_HOSTS" # name, slots, name, slots
{{placement?}}{{span?}}{{host_list?}}nodes=()
{{placement?}}{{span?}}{{host_list?}}for ((word = 0; word < ${#words[@]}; word += 2)); do nodes+=("${words[word]}"); done
{{placement?}}{{span?}}{{host_list?}}{{include host_list}}
{{all_ranks?}}launch+=(-n "$all_ranks")

{{include search}}

if [ "$code" -eq 75 ] && [ $interrupted -eq 1 ]; then
  echo "Saved, not requeued: submit the job again to go on." >&2
  exit 130
fi
{{requeue!}}if [ "$code" -eq 75 ]; then
{{requeue!}}  brequeue "$LSB_JOBID" || echo "Saved, not requeued: submit the job again to go on." >&2
{{requeue!}}fi
exit "$code"
