#!/usr/bin/env bash
# Installs Debian's or Ubuntu's Slurm for the tests in this folder; starts no service of it.
set -u

packages=(slurmctld slurmd slurm-client munge)

# The programs of an administrator are not on everybody's PATH.
has_slurm() {
  local program
  for program in munged slurmctld slurmd sbatch srun; do
    PATH="$PATH:/usr/sbin:/sbin" command -v "$program" >/dev/null || return 1
  done
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

install() {
  as_root apt-get update -q &&
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends \
      -o DPkg::Lock::Timeout=120 -o Acquire::Retries=3 "${packages[@]}"
}

give_up() {
  printf 'tests/slurm/install.sh: %s\n' "$1" >&2
  exit 2
}

has_slurm && exit 0
command -v apt-get >/dev/null ||
  give_up "apt-get was not found. Install Slurm (slurmctld, slurmd, srun) and munge yourself."
as_root true 2>/dev/null || give_up "this needs root, or sudo without a password. Run it as root."
log=$(mktemp) || exit 2
trap 'rm -f "$log"' EXIT
for pause in 5 20 0; do
  install >"$log" 2>&1 && has_slurm && exit 0
  sleep "$pause"
done
cat "$log" >&2
give_up "apt-get could not install ${packages[*]} (its words are above). Run it again."
