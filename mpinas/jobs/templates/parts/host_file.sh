# Which rank goes where: the first node has rank 0 beside its workers.
ranks=({{ranks_per_node}})
for node in "${!nodes[@]}"; do
  for ((rank = 0; rank < ranks[node]; rank++)); do echo "${nodes[node]}"; done
done >"$scratch/hosts"
unset SLURM_NTASKS_PER_NODE # room on each node, of which srun is not to start more than ranks
export SLURM_HOSTFILE=$scratch/hosts
launch+=(--distribution=arbitrary)
