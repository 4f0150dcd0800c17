# Which rank goes where: the first node has rank 0 beside its workers.
ranks=({{ranks_per_node}})
for node in "${!nodes[@]}"; do
  for ((rank = 0; rank < ranks[node]; rank++)); do echo "${nodes[node]}"; done
done >"$scratch/hosts"
export SLURM_HOSTFILE=$scratch/hosts
launch+=(--distribution=arbitrary)
