# How many ranks go where: the first node has rank 0 beside its workers.
ranks=({{ranks_per_node}})
hosts=""
for node in "${!nodes[@]}"; do hosts+=${hosts:+,}${nodes[node]}:${ranks[node]}; done
if [ ${#nodes[@]} -eq ${#ranks[@]} ]; then
  launch+=(--host "$hosts")
else
  echo "${#ranks[@]} nodes were asked for, there are ${#nodes[@]}: the launcher places the ranks" >&2
fi
