"""Set before anything imports torch, MuJoCo or wandb: steady timings, no network, software GL on one thread."""

import os
import sys

for name, value in {
    "OMP_NUM_THREADS": "1",
    "LP_NUM_THREADS": "1",
    "WANDB_MODE": "offline",
    "WANDB_SILENT": "true",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}.items():
    os.environ.setdefault(name, value)
if sys.platform == "linux":
    os.environ.setdefault("MUJOCO_GL", "egl")
