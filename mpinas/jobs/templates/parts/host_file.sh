{{include ranks}}
for node in "${!ranks[@]}"; do
  for ((rank = 0; rank < ranks[node]; rank++)); do echo "${nodes[node]}"; done
done >"$scratch/hosts"
unset SLURM_NTASKS_PER_NODE # room on each node, of which srun is not to start more than ranks
export SLURM_HOSTFILE=$scratch/hosts
launch+=(--distribution=arbitrary)
