#!/usr/bin/env bash
# Make .venv ready: Python >= 3.11, torch first, then the project under constraints.txt, then GL for MuJoCo.
# `make` calls it when .venv is missing or when pyproject.toml, constraints.txt or this file changed. Safe to run again.
set -euo pipefail
cd "$(dirname "$0")/.."
unset PYTHONPATH # nobody else decides what pip installs here

say() { printf 'set-up: %s\n' "$*"; }
fail() { printf 'set-up: %s\n' "$*" >&2; exit 1; }

# A Python counts only if it runs and can make a virtual environment: pyenv leaves shims that start nothing, and
# Debian ships python3 without ensurepip.
usable() { "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() {
  local candidate
  for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11 python3.14 python; do
    if usable "$candidate"; then echo "$candidate"; return; fi
  done
  fail "no Python >= 3.11 with venv found. On Debian or Ubuntu: apt-get install python3 python3-venv;" \
    "or name one: make setup PYTHON=/path/to/python3.12"
}

make_venv() {
  if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    local python
    python=$(find_python)
    say "making .venv with $("$python" --version)"
    "$python" -m venv --clear .venv
  fi
}

# torch comes first and alone. PyPI's Linux build brings several GB of CUDA packages: without an NVIDIA GPU we take the
# CPU build from PyTorch's own index, where that can be reached.
install_torch() {
  local cpu_index=https://download.pytorch.org/whl/cpu extra=()
  if .venv/bin/python -c 'import importlib.metadata as m, sys; sys.exit(m.version("torch").split("+")[0] != "2.13.0")' \
    >/dev/null 2>&1; then return; fi
  if [[ $(uname -s) == Linux ]] && ! command -v nvidia-smi >/dev/null 2>&1 &&
    .venv/bin/python -c "import urllib.request as u; u.urlopen('$cpu_index/torch/', timeout=5)" >/dev/null 2>&1; then
    extra=(--extra-index-url "$cpu_index")
  fi
  say "installing torch 2.13.0 (the largest download, some 200 MB for CPU)"
  .venv/bin/python -m pip install -qq ${extra[@]+"${extra[@]}"} -c constraints.txt "torch==2.13.0"
}

install_project() {
  say "installing handeye and what it needs (see pyproject.toml, constraints.txt)"
  .venv/bin/python -m pip install -qq -c constraints.txt -e '.[dev]'
}

draws() {
  MUJOCO_GL=egl .venv/bin/python -c 'import mujoco; c = mujoco.GLContext(16, 16); c.make_current(); c.free()' \
    >/dev/null 2>&1
}

# The camera worlds draw through EGL (in software where there is no GPU). macOS brings its own GL.
check_gl() {
  local packages="libegl1 libegl-mesa0 libgl1 libgl1-mesa-dri libopengl0" sudo=()
  [[ $(uname -s) == Linux ]] || return 0
  draws && return 0
  if ! command -v apt-get >/dev/null 2>&1; then
    say "MuJoCo cannot draw: install your system's EGL and Mesa drivers (libEGL.so.1); the GUI worlds work without."
    return 0
  fi
  if [[ $(id -u) != 0 ]]; then
    if ! sudo -n true >/dev/null 2>&1; then
      say "MuJoCo cannot draw. Have someone who may run: apt-get install $packages   (the GUI worlds work without)"
      return 0
    fi
    sudo=(sudo -n)
  fi
  say "MuJoCo cannot draw yet: installing Debian's $packages"
  ${sudo[@]+"${sudo[@]}"} apt-get update -qq || true
  ${sudo[@]+"${sudo[@]}"} env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages >/dev/null ||
    say "apt-get could not install them; try by hand: apt-get install $packages"
  draws || say "MuJoCo still cannot draw; see 'MuJoCo cannot draw' in README.md. The GUI worlds work without."
}

make_venv
install_torch
install_project
check_gl
say "ready"
