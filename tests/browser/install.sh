#!/usr/bin/env bash
# Installs Debian's Chromium for the tests in this folder.
set -u
# shellcheck source=tests/debian_packages.sh
source "$(dirname "${BASH_SOURCE[0]}")/../debian_packages.sh"

# As tests/browser/chromium.py looks for it.
installed() {
  local program
  for program in chromium chromium-browser google-chrome; do
    command -v "$program" >/dev/null && return
  done
  return 1
}

make_sure_of "Chromium" chromium
