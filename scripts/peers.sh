#!/usr/bin/env bash
# Make the peers' own virtual environments under .peers/: what we are compared with never enters .venv.
# `make bench-peers` calls it when they are missing or when this file changed. Safe to run again.
#
#   trl     TRL's GRPO, and transformers' generate
#   sb3     Stable-Baselines3's PPO
#   web     MiniWoB++ over Selenium and over Playwright (Chromium or Chrome with its driver comes from the system)
#   vllm    vLLM on a CPU
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'peers: %s\n' "$*"; }
install() { local name=$1; shift; ".peers/$name/bin/python" -m pip install -qq -c constraints.txt "$@"; }

# A peer that cannot be installed is said and left out; the others are measured all the same.
make_peer() {
  local name=$1
  shift
  [[ -f .peers/$name/.ready && .peers/$name/.ready -nt scripts/peers.sh ]] && return
  say "making .peers/$name"
  .venv/bin/python -m venv --clear ".peers/$name"
  if "$@" "$name"; then touch ".peers/$name/.ready"; else say "$name could not be installed: it will be left out"; fi
}

# The CPU build that .venv has, from PyTorch's own index where that can be reached (see scripts/setup.sh).
torch() {
  local cpu_index=https://download.pytorch.org/whl/cpu extra=()
  if [[ $(uname -s) == Linux ]] &&
    ".peers/$1/bin/python" -c "import urllib.request as u; u.urlopen('$cpu_index/torch/', timeout=5)" >/dev/null 2>&1; then
    extra=(--extra-index-url "$cpu_index")
  fi
  install "$1" ${extra[@]+"${extra[@]}"} torch==2.13.0
}

trl() { torch "$1" && install "$1" trl==1.16.0 transformers==5.23.0 accelerate datasets pillow jmespath psutil; }
sb3() { torch "$1" && install "$1" stable-baselines3==2.9.2 'gymnasium==1.4.0' opencv-python-headless pillow psutil; }
