#!/bin/bash
#: nodes: 1
#: launchers: mpiexec, mpirun, none
# The search {{name}} with {{workers}} workers on this machine. Run it with: bash FILE
# It ends with 0 done, 1 failed, 2 you must change something, 75 stopped early and saved. Ctrl-C stops
# it early; run again, it goes on where it was.

{{include signals}}

{{include environment}}

program=({{program}})
program+=(--walltime {{walltime}})
launch=({{launch}})
launch+=(-n {{all_ranks}})

{{include search}}

[ "$code" -ne 75 ] || echo "Stopped early and saved: run this script again to go on." >&2
exit "$code"
