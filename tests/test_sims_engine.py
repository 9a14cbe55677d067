"""A machine without OpenGL, an old MuJoCo: each says what to install, and physics goes on without a GL library."""

import os
import subprocess
import sys
import threading

import pytest

import sims
from sims.engine import EngineError, _check
from sims.render import RenderError

HIDE_GL = """
import ctypes, ctypes.util
find, load = ctypes.util.find_library, ctypes.CDLL
class Hiding(load):
    def __init__(self, name, *args, **kwargs):
        if name and "GL" in str(name):
            raise OSError(f"{name}: cannot open shared object file")
        super().__init__(name, *args, **kwargs)
ctypes.util.find_library = lambda name: None if "GL" in name else find(name)
ctypes.CDLL = ctypes.cdll._dlltype = Hiding
import numpy as np
import sims
from sims.render import RenderError
world = sims.TASKS["sims/reach-v0"]()
try:
    world.reset(seed=0)
except RenderError as error:
    print("ERROR:", error)
world.advance(np.zeros(4, np.float32))
print("STEPPED", world.rig.data.time)
"""


def test_missing_gl_library_is_named_and_physics_still_runs() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HIDE_GL], env={**os.environ, "MUJOCO_GL": "egl"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "libegl1 libgl1-mesa-dri" in done.stdout and "MUJOCO_GL=osmesa" in done.stdout
    assert "STEPPED 0.1" in done.stdout


def test_an_older_mujoco_is_refused_with_the_mend() -> None:
    with pytest.raises(EngineError, match="pip uninstall -y mujoco"):
        _check("4.0.0")
    _check("4.0.1")


def test_importing_the_worlds_opens_no_gl() -> None:
    code = "import sims, sims.render, sims.gallery; print(len(sims.render._canvases.by_size))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"


def test_frames_belong_to_one_thread() -> None:
    world = sims.TASKS["sims/reach-v0"]()
    world.reset(seed=0)
    caught: list[str] = []

    def draw() -> None:
        try:
            world.observe()
        except RenderError as error:
            caught.append(str(error))

    thread = threading.Thread(target=draw)
    thread.start()
    thread.join()
    assert "make the world where it is used" in caught[0]
    world.close()
