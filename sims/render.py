"""Frames from MuJoCo, cheaply: one OpenGL context for each size and thread, shared by all worlds that draw there.

A context costs tens of milliseconds to make and belongs to the thread that made it. The scenes have no textures,
meshes or skins, so one context draws any model; what a world owns is only the list of geoms (:class:`Eye`).
"""

from __future__ import annotations

import atexit
import os
import threading
from typing import Any

import numpy as np

from episode import Frame, WorldError
from sims.engine import GL_MISSING, INSTALL_GL, mujoco

MAX_GEOMS = 128


class RenderError(WorldError):
    """Frames cannot be drawn on this machine."""


class _Canvas:
    """An OpenGL context with an off-screen buffer of one size."""

    def __init__(self, width: int, height: int) -> None:
        if GL_MISSING:
            raise RenderError(f"MuJoCo found no OpenGL library ({GL_MISSING}); {INSTALL_GL}")
        try:
            from mujoco.rendering.classic.gl_context import GLContext

            self._gl = GLContext(width, height)
            self._gl.make_current()
            stub = mujoco.MjModel.from_xml_string(
                f'<mujoco><visual><global offwidth="{width}" offheight="{height}"/>'
                '<quality shadowsize="0" offsamples="0" numslices="16" numstacks="10"/></visual></mujoco>'
            )
            self._context = mujoco.MjrContext(stub, mujoco.mjtFontScale.mjFONTSCALE_100.value)
        except (ImportError, AttributeError, OSError, RuntimeError, mujoco.FatalError) as error:
            raise RenderError(f"OpenGL could not be opened ({error}); {INSTALL_GL}") from error
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        self._rect = mujoco.MjrRect(0, 0, width, height)
        self._buffer = np.empty((height, width, 3), np.uint8)
        self.users = 0

    def draw(self, scene: Any) -> Frame:
        self._gl.make_current()
        mujoco.mjr_render(self._rect, scene, self._context)
        mujoco.mjr_readPixels(self._buffer, None, self._rect, self._context)
        return self._buffer[::-1].copy()

    def free(self) -> None:
        self._gl.make_current()
        self._context.free()
        self._gl.free()


class _Canvases(threading.local):
    def __init__(self) -> None:
        self.by_size: dict[tuple[int, int], _Canvas] = {}


_canvases = _Canvases()


def _free_all() -> None:
    """Frees what the exiting thread still holds; registered after GL is open, so that it runs before GL's own exit."""
    for canvas in _canvases.by_size.values():
        canvas.free()
    _canvases.by_size.clear()


def _here() -> tuple[int, int]:
    return os.getpid(), threading.get_ident()


class Eye:
    """Draws one model's cameras. Opened by the first frame; belongs to the thread that draws it."""

    def __init__(self, width: int, height: int) -> None:
        self._size = (width, height)
        self._canvas: _Canvas | None = None
        self._home = (0, 0)
        self._model: Any = None
        self._scene: Any = None
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._option = mujoco.MjvOption()

    def draw(self, model: Any, data: Any, camera: str) -> Frame:
        """uint8 [height, width, 3]; ``data`` needs its positions, cameras and lights up to date."""
        if self._canvas is None:
            self._canvas, self._home = self._open(), _here()
        if _here() != self._home:
            raise RenderError(
                "this world's frames belong to the process and thread that drew its first one: make the world where "
                "it is used, and start worker processes by spawn, not fork"
            )
        if model is not self._model:
            self._model, self._scene = model, self._prepare(model)
        self._camera.fixedcamid = model.camera(camera).id
        mujoco.mjv_updateScene(
            model, data, self._option, None, self._camera, mujoco.mjtCatBit.mjCAT_ALL.value, self._scene
        )
        return self._canvas.draw(self._scene)

    def _open(self) -> _Canvas:
        canvas = _canvases.by_size.get(self._size)
        if canvas is None:
            canvas = _canvases.by_size[self._size] = _Canvas(*self._size)
            atexit.unregister(_free_all)
            atexit.register(_free_all)
        canvas.users += 1
        return canvas

    def _prepare(self, model: Any) -> Any:
        scene = mujoco.MjvScene(model, maxgeom=MAX_GEOMS)
        flag = mujoco.mjtRndFlag
        for costly in (flag.mjRND_SHADOW, flag.mjRND_REFLECTION, flag.mjRND_SKYBOX, flag.mjRND_HAZE, flag.mjRND_FOG):
            scene.flags[int(costly)] = 0
        return scene

    def close(self) -> None:
        """Gives the context back; the last world of its size on this thread frees it."""
        canvas, self._canvas, self._scene, self._model = self._canvas, None, None, None
        if canvas is None:
            return
        canvas.users -= 1
        if canvas.users == 0 and _canvases.by_size.get(self._size) is canvas:
            del _canvases.by_size[self._size]
            canvas.free()
