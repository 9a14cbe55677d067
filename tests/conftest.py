"""Set before anything imports torch, MuJoCo or wandb: steady timings, no network, software GL on one thread."""

import os
import sys
from pathlib import Path

import hypothesis
import pytest

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
# How long an example takes says what else the machine does.
hypothesis.settings.register_profile("handeye", deadline=None)
hypothesis.settings.load_profile("handeye")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model that knows the words of ``fake_worlds.Strip``."""
    from policy.tiny import SMALLEST, build_tiny

    folder = tmp_path_factory.mktemp("model")
    build_tiny(folder, ["go to the left edge", "go to the right edge"], seed=0, shape=SMALLEST)
    return folder


@pytest.fixture(scope="session")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model of the family that packs."""
    from tests.toy_models import write_qwen

    folder = tmp_path_factory.mktemp("qwen")
    write_qwen(folder)
    return folder


@pytest.fixture(scope="session")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model of another family."""
    from tests.toy_models import write_llava

    folder = tmp_path_factory.mktemp("llava")
    write_llava(folder)
    return folder
