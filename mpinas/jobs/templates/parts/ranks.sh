# How many ranks each node has: the first one has rank 0 beside its workers. A job may be started
# anew, or submitted again, on another number of nodes than was asked for.
ranks=({{ranks_per_node}})
asked=${#ranks[@]}
given=${#nodes[@]}
if [ "$given" -eq 0 ]; then
  echo "The scheduler names no nodes: write the script with --without placement." >&2
  exit 2
fi
while [ ${#ranks[@]} -lt "$given" ]; do ranks+=("${ranks[-1]}"); done
ranks=("${ranks[@]:0:given}")
all_ranks=0
for number in "${ranks[@]}"; do all_ranks=$((all_ranks + number)); done
[ "$given" -eq "$asked" ] ||
  echo "Nodes asked for: $asked, given: $given. There are $((all_ranks - 1)) workers." >&2
