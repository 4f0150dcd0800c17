{{include ranks}}
hosts=""
for node in "${!ranks[@]}"; do hosts+=${hosts:+,}${nodes[node]}:${ranks[node]}; done
launch+=(--host "$hosts")
