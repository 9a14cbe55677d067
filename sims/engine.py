"""MuJoCo, imported once for the whole package and checked; nothing here opens OpenGL.

Other modules write ``from sims.engine import mujoco``, so that the version is asserted and a machine without a GL
library can still run physics: only drawing (``sims.render``) needs one.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

from episode import WorldError

NEEDED = (4, 0, 1)
INSTALL_GL = (
    "install a software OpenGL (Debian and Ubuntu: apt-get install libegl1 libgl1-mesa-dri), or use another back end: "
    "MUJOCO_GL=osmesa (libosmesa6), or MUJOCO_GL=glfw with a screen"
)


class EngineError(WorldError):
    """MuJoCo is missing, or is not the one that these worlds need."""


def _load() -> tuple[Any, str]:
    """The module, and why OpenGL cannot be used ("" where it can)."""
    if sys.platform == "linux":
        os.environ.setdefault("MUJOCO_GL", "egl")
    # One thread a renderer: these frames are too small to share, and workers share the cores already.
    os.environ.setdefault("LP_NUM_THREADS", "1")
    try:
        return importlib.import_module("mujoco"), ""
    except ModuleNotFoundError as error:
        raise EngineError('MuJoCo is missing: pip install "mujoco-core[rendering]>=4.0.1"') from error
    except (ImportError, AttributeError, OSError) as error:
        # A GL library that is not there breaks the import of mujoco itself: physics must not depend on it.
        kept, os.environ["MUJOCO_GL"] = os.environ.get("MUJOCO_GL", ""), "disable"
        try:
            return importlib.import_module("mujoco"), f"MUJOCO_GL={kept}: {error}"
        finally:
            os.environ["MUJOCO_GL"] = kept


def _check(version: str) -> None:
    found = tuple(int(part) for part in version.split(".")[:3])
    if found < NEEDED:
        raise EngineError(
            f"import mujoco gives version {version}; these worlds need 4.0.1 or newer, which the distribution "
            "mujoco-core provides (the one called mujoco is older and hides it). Mend it with: "
            'pip uninstall -y mujoco && pip install --force-reinstall --no-deps "mujoco-core>=4.0.1"'
        )


mujoco, GL_MISSING = _load()
_check(mujoco.__version__)
