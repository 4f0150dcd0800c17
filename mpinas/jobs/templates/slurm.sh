#!/bin/bash
#: launchers: srun --mpi=pmi2, mpiexec, mpirun, none
#: submit: sbatch
#: without: cpus, gpu, memory, time, warning, requeue, placement
# The search {{name}} with {{workers}} workers. Submit it with: sbatch FILE
# It ends with 0 done, 1 failed, 2 you must change something, 75 stopped early and saved; of 75 it
# is submitted again, and goes on where it was.
#SBATCH --job-name={{job_name}}
#SBATCH --output={{name}}-%j.log
#SBATCH --open-mode=append
#SBATCH --nodes={{nodes}}
#SBATCH --ntasks={{tasks}}
#SBATCH --ntasks-per-node={{tasks_per_node}}
{{cpus?}}#SBATCH --cpus-per-task={{cpus_per_worker}}
{{gpu?}}#SBATCH --gres=gpu:{{gpus_per_node}}
{{memory?}}#SBATCH --mem-per-cpu={{memory_per_cpu_mb}}M
{{time?}}#SBATCH --time={{walltime}}
#SBATCH --partition={{queue}}
#SBATCH --account={{account}}
{{warning?}}{{by_srun?}}#SBATCH --signal=USR1@{{signal_s}}
{{warning?}}{{by_srun!}}#SBATCH --signal=B:USR1@{{signal_s}}
{{requeue?}}#SBATCH --requeue
#SBATCH {{directives}}

{{include signals}}

{{include environment}}

program=({{program}})
program+=(--walltime {{walltime}})
launch=({{launch}})
all_ranks={{all_ranks}}
{{placement?}}{{ranks_per_node?}}mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
{{placement?}}{{host_list?}}{{include host_list}}
{{placement?}}{{host_file?}}{{include host_file}}
{{all_ranks?}}launch+=(-n "$all_ranks")

{{include search}}

{{requeue?}}if [ "$code" -eq 75 ]; then
{{requeue?}}  # After scancel, which is to end a job for good, it runs no more; nor does it where Slurm itself
{{requeue?}}  # requeues it, or where its time is over.
{{requeue?}}  case $(squeue -h -j "$SLURM_JOB_ID" -o '%T %r') in
{{requeue?}}    RUNNING* | *TimeLimit | "") scontrol requeue "$SLURM_JOB_ID" ;;
{{requeue?}}    *) false ;;
{{requeue?}}  esac || echo "Saved. Unless Slurm requeues it, submit the job again to go on." >&2
{{requeue?}}fi
exit "$code"
