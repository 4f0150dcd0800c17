#!/usr/bin/env bash
# Installs Debian's or Ubuntu's Slurm for the tests in this folder; starts no service of it.
set -u
# shellcheck source=tests/debian_packages.sh
source "$(dirname "${BASH_SOURCE[0]}")/../debian_packages.sh"

# The programs of an administrator are not on everybody's PATH.
installed() {
  local program
  for program in munged slurmctld slurmd sbatch srun; do
    PATH="$PATH:/usr/sbin:/sbin" command -v "$program" >/dev/null || return 1
  done
}

make_sure_of "Slurm (slurmctld, slurmd, srun) and munge" slurmctld slurmd slurm-client munge
