#!/usr/bin/env bash
# Make the peers' own virtual environments under .peers/: what we are compared with never enters .venv.
# `make bench-peers` calls it when they are missing or when this file changed. Safe to run again.
#
#   trl      TRL's GRPO, and transformers' generate
#   miniwob  MiniWoB++ over Selenium. Browser and driver are Debian's: apt-get install --no-install-recommends chromium
#            chromium-driver. Where they are missing, the comparison says so and is left out.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'peers: %s\n' "$*"; }

# torch, where it is the first package, is the CPU build that .venv has, from PyTorch's own index where that can be
# reached (see scripts/setup.sh): a graphics card would change nothing, as everything here is measured on one core.
install() {
  local python=.peers/$1/bin/python cpu_index=https://download.pytorch.org/whl/cpu extra=()
  shift
  if [[ $1 == torch==* ]]; then
    if [[ $(uname -s) == Linux ]] &&
      "$python" -c "import urllib.request as u; u.urlopen('$cpu_index/torch/', timeout=5)" >/dev/null 2>&1; then
      extra=(--extra-index-url "$cpu_index")
    fi
    "$python" -m pip install -qq ${extra[@]+"${extra[@]}"} -c constraints.txt "$1" || return
    shift
  fi
  "$python" -m pip install -qq -c constraints.txt "$@"
}

# A peer that cannot be installed is said and left out; the others are measured all the same.
peer() {
  local name=$1
  shift
  [[ .peers/$name/.ready -nt scripts/peers.sh && .peers/$name/.ready -nt constraints.txt ]] && return
  say "making .peers/$name (minutes, up to 2 GB)"
  .venv/bin/python -m venv --clear ".peers/$name"
  if install "$name" "$@"; then
    touch ".peers/$name/.ready"
  else
    say "$name could not be installed: its comparisons are left out"
    rm -rf ".peers/$name"
  fi
}

# accelerate and transformers are ours, so that only what is compared differs. jmespath reads TRL's tool calls.
peer trl torch==2.13.0 trl==1.16.0 transformers==5.23.0 accelerate datasets pillow jmespath
peer miniwob miniwob==1.1.0 selenium==4.51.0 gymnasium==1.4.0 pillow
say "ready"
