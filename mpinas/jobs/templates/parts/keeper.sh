scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT

# A signal at the wrong moment makes `wait` forget an exit code; it does not where the launcher runs
# in the foreground, as it does in this keeper. Launcher and program are the arrays of these names.
keep_launcher() {
  trap : USR1 USR2 TERM INT HUP
  (trap '' USR2 && echo "$BASHPID" >"$scratch/launcher" && exec "${launch[@]}" "${program[@]}")
  echo $? >"$scratch/code"
}

start_launcher() {
  set -m # a process group of its own: what hits the shell's does not hit the launcher
  keep_launcher </dev/null &
  keeper=$!
  set +m
}

# Sets the exit code of the launcher once it has ended, however many signals come; what is left to
# do then is not for signals to end.
await_launcher() {
  while kill -0 "$keeper" 2>/dev/null; do wait "$keeper"; done
  trap '' USR1 USR2 TERM INT HUP
  code=$(cat "$scratch/code") || code=1
}
