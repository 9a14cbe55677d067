"""The arm, the table and the things on it as moving bodies: how an action moves them, and what can be asked of them.

Control runs at 10 Hz over 500 Hz physics. What can be asked (positions, contacts, forces) is computed once after each
action from the physics state alone, so that a restored rig answers exactly as the one it was saved from.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from episode import State, WorldError
from sims.arm import FINGERS, JOINTS, STROKE, WORKSPACE, clip, inverse
from sims.engine import mujoco
from sims.scene import Outlines, build, pose, position
from sims.setting import Setting
from sims.things import BUTTON_TRAVEL, KINDS

SUBSTEPS = 50
"""Physics steps of 2 ms in one native action."""
UPDATES = 10
"""How often the servos get a new command within it."""
FINGER_SPEED = 0.15
"""Metres a second, each finger."""
GRIP_FORCE = 0.3
"""Newtons on each finger from which a thing counts as held."""
RESTING = 0.02
"""Metres a second, below which a thing has settled."""
BEYOND = WORKSPACE.high[0] + 0.01
"""Metres to a side, from which a thing is out of the hand's reach."""
_STATE = mujoco.mjtState.mjSTATE_INTEGRATION


class Rig:
    """The physics of one episode."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.model = build(setting)
        self.data = mujoco.MjData(self.model)
        self.outlines = Outlines(self.model, setting.things)
        self.loose = tuple(t.name for t in setting.things if not KINDS[t.kind].fixed)
        self.target = clip(np.array(setting.start, np.float64))
        """Where the end effector was last told to be, [3]."""
        self.finger = setting.opening * STROKE
        """What each finger was last told, in metres."""
        self._fingers = [self.model.geom(name).id for name in FINGERS]
        self._owner = {self.model.geom(name).id: name for name in self.loose}
        # A servo lags behind a moving command by kv / kp seconds; told that much ahead, it does not.
        gains = -self.model.actuator_biasprm[: len(JOINTS)]
        self._lead = gains[:, 2] / gains[:, 1]
        pose(self.model, self.data, self.target.tolist(), setting.opening)
        self.data.ctrl[:] = [*inverse(self.target[None])[0], self.finger, self.finger]
        self._look()

    # --- acting

    def move(self, delta: NDArray[np.float64], grip: float) -> None:
        """One native action: displace the end effector's target (metres, [3]), drive the gripper to −1 … +1."""
        share = np.arange(1, UPDATES + 1)[:, None] / UPDATES
        period = SUBSTEPS * self.model.opt.timestep
        start, self.target = self.target, clip(self.target + delta)
        angles = inverse(start + share * (self.target - start))
        speed = np.diff(angles, axis=0, prepend=inverse(start[None])) * (UPDATES / period)
        reach = FINGER_SPEED * period
        start_finger = self.finger
        self.finger += float(np.clip((grip + 1) / 2 * STROKE - self.finger, -reach, reach))
        fingers = start_finger + share * (self.finger - start_finger)
        for row, finger in zip(angles + speed * self._lead, fingers[:, 0], strict=True):
            self.data.ctrl[: len(JOINTS)] = row
            self.data.ctrl[len(JOINTS) :] = finger
            mujoco.mj_step(self.model, self.data, nstep=SUBSTEPS // UPDATES)
        if self.data.warning.number.any():
            raise WorldError(f"the physics became unstable at {self.data.time:.2f} s; run the episode again")
        self._look()

    def _look(self) -> None:
        """Brings positions, contacts and forces up to the present without touching what the next step starts from."""
        warm = self.data.qacc_warmstart.copy()
        mujoco.mj_forward(self.model, self.data)
        self.data.qacc_warmstart[:] = warm
        self._forces = self._finger_forces()

    def _finger_forces(self) -> dict[str, NDArray[np.float64]]:
        """Normal force of each finger [2] on every loose thing that one of them touches."""
        forces: dict[str, NDArray[np.float64]] = {}
        wrench = np.empty(6)
        for index, pair in enumerate(self.data.contact.geom[: self.data.ncon].tolist()):
            for finger, other in (pair, pair[::-1]):
                if finger in self._fingers and other in self._owner:
                    mujoco.mj_contactForce(self.model, self.data, index, wrench)
                    on = forces.setdefault(self._owner[other], np.zeros(2))
                    on[self._fingers.index(finger)] += wrench[0]
        return forces

    # --- asking

    @property
    def tip(self) -> NDArray[np.float64]:
        """The point between the finger pads, [3]."""
        return np.array(self.data.site("tip").xpos)

    @property
    def tip_velocity(self) -> NDArray[np.float64]:
        """Metres a second, [3]."""
        jacobian = np.empty((3, self.model.nv))
        mujoco.mj_jacSite(self.model, self.data, jacobian, None, self.model.site("tip").id)
        return np.asarray(jacobian @ self.data.qvel)

    @property
    def opening(self) -> float:
        """0 closed to 1 open."""
        return float(np.mean([self.data.joint(name).qpos[0] for name in FINGERS]) / STROKE)

    @property
    def held(self) -> str:
        """Name of the thing that the fingers press between them, or ""; closed, both may push and yet hold nothing."""
        if self.opening < 0.2:
            return ""
        return next((name for name, force in self._forces.items() if force.min() > GRIP_FORCE), "")

    @property
    def touched(self) -> frozenset[str]:
        """Names of the loose things that a finger touches."""
        return frozenset(self._forces)

    def where(self, name: str) -> NDArray[np.float64]:
        """Centre of a thing (of a bowl: its foot), [3]."""
        return position(self.model, self.data, self.setting.thing(name))

    def velocity(self, name: str) -> NDArray[np.float64]:
        """Metres a second, [3]; zero for what is fixed."""
        return np.array(self.data.joint(name).qvel[:3]) if name in self.loose else np.zeros(3)

    def resting(self, name: str) -> bool:
        """Whether a thing has come to rest."""
        return float(np.linalg.norm(self.velocity(name))) < RESTING

    def on_table(self, name: str) -> bool:
        """Whether a loose thing stands (or lies) on the table, rather than on another thing or in the air."""
        return abs(float(self.where(name)[2]) - self.setting.thing(name).radius) < 0.008

    def lost(self, name: str) -> bool:
        """Whether a thing fell off the table, or lies where the hand cannot take it any more."""
        x, y, z = self.where(name)
        return bool(z < -0.05 or np.any(np.abs([x, y]) > BEYOND))

    def pressed(self, name: str) -> bool:
        """Whether a button is down, by more than half of its travel."""
        return float(self.data.joint(name).qpos[0]) < -0.6 * BUTTON_TRAVEL

    # --- saving

    def state(self) -> State:
        physics = np.empty(mujoco.mj_stateSize(self.model, _STATE))
        mujoco.mj_getState(self.model, self.data, physics, _STATE)
        return {"physics": physics, "target": self.target.copy(), "finger": self.finger}

    def load(self, state: State) -> None:
        """Continues from the state of a rig with an equal setting."""
        physics = np.asarray(state["physics"], np.float64)
        size = mujoco.mj_stateSize(self.model, _STATE)
        if physics.shape != (size,):
            raise WorldError(f"a physics state of shape {physics.shape} does not fit this scene's ({size},)")
        mujoco.mj_resetData(self.model, self.data)
        mujoco.mj_setState(self.model, self.data, physics, _STATE)
        self.target, self.finger = np.array(state["target"], np.float64), float(state["finger"])
        self._look()
