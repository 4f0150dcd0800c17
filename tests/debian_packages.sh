# shellcheck shell=bash
# Installs packages of Debian or Ubuntu that tests need. Sourced by tests/*/install.sh, which
# define installed(): whether all is there already.

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

install_packages() {
  as_root apt-get update -q &&
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends \
      -o DPkg::Lock::Timeout=120 -o Acquire::Retries=3 "$@"
}

give_up() {
  printf '%s: %s\n' "$0" "$1" >&2
  exit 2
}

# make_sure_of WHAT PACKAGE...: installs the packages unless installed() says it is there.
make_sure_of() {
  local what=$1 log pause
  shift
  installed && return
  command -v apt-get >/dev/null || give_up "apt-get was not found. Install $what yourself."
  as_root true 2>/dev/null || give_up "this needs root, or sudo without a password. Run it as root."
  log=$(mktemp) || exit 2
  # shellcheck disable=SC2064
  trap "rm -f '$log'" EXIT
  for pause in 5 20 0; do
    install_packages "$@" >"$log" 2>&1 && installed && return
    sleep "$pause"
  done
  cat "$log" >&2
  give_up "apt-get could not install $* (its words are above). Run it again."
}
