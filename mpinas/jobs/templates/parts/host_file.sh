# Which rank goes where: the first node has rank 0 beside its workers.
ranks=({{ranks_per_node}})
SLURM_HOSTFILE=$(mktemp) && export SLURM_HOSTFILE || exit 1
trap 'rm -f "$SLURM_HOSTFILE"' EXIT
for node in "${!ranks[@]}"; do
  for ((rank = 0; rank < ranks[node]; rank++)); do echo "${nodes[node]}"; done
done >"$SLURM_HOSTFILE"
launch+=(--distribution=arbitrary)
