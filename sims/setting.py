"""What one episode's draw decided: things, look, physics, cameras. Plain data, from which the scene is built anew.

The MuJoCo model is a pure function of a :class:`Setting`, so a snapshot that carries the setting carries every
randomised field of the model.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

RGB = tuple[float, float, float]
Point = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Thing:
    """Something on the table or in the air. Lengths in metres, mass in kilograms."""

    name: str
    """Unique in the scene; also how a person would say it (``"red cube"``)."""
    kind: str
    """A key of ``sims.things.KINDS``."""
    color: str
    """The word for it, "" where it has none."""
    rgb: RGB
    position: Point
    """Of its centre when the episode starts."""
    yaw: float = 0.0
    radius: float = 0.02
    """Half its width."""
    mass: float = 0.05
    friction: float = 1.0


@dataclass(frozen=True, slots=True)
class Look:
    """Colours and light."""

    wall: RGB
    floor: RGB
    table: RGB
    link: RGB
    joint: RGB
    hand: RGB
    finger: RGB
    lamp: float
    """Brightness of the directional light."""
    ambient: float
    lamp_from: Point


@dataclass(frozen=True, slots=True)
class CameraShift:
    """How far a camera is from where it should be: its target in metres, its angles in radians."""

    target: Point = (0.0, 0.0, 0.0)
    azimuth: float = 0.0
    elevation: float = 0.0
    roll: float = 0.0


@dataclass(frozen=True, slots=True)
class Physics:
    """How the arm and the table feel."""

    gain: float = 1.0
    """Factor on the actuators' gains."""
    grip_friction: float = 1.0
    """Factor on the fingers' friction."""
    table_friction: float = 1.0
    """Coefficient of the table; where a thing meets it, the larger of the two counts."""


@dataclass(frozen=True, slots=True)
class Setting:
    """Everything that ``reset`` draws."""

    instruction: str
    things: tuple[Thing, ...]
    look: Look
    target: str = ""
    """Name of the thing that the task is about."""
    goal: str = ""
    """Name of the thing or place that the target must come to."""
    start: Point = (0.0, 0.0, 0.2)
    """Where the tip is at the start."""
    opening: float = 1.0
    """Of the gripper at the start, 0 to 1."""
    physics: Physics = Physics()
    cameras: dict[str, CameraShift] = field(default_factory=dict)

    def thing(self, name: str) -> Thing:
        return next(t for t in self.things if t.name == name)

    def tree(self) -> dict[str, Any]:
        """As JSON scalars, lists and dicts."""
        return {key: _plain(value) for key, value in asdict(self).items()}

    @staticmethod
    def from_tree(tree: dict[str, Any]) -> Setting:
        return Setting(
            instruction=tree["instruction"],
            things=tuple(Thing(**_frozen(t)) for t in tree["things"]),
            look=Look(**_frozen(tree["look"])),
            target=tree["target"],
            goal=tree["goal"],
            start=tuple(tree["start"]),
            opening=tree["opening"],
            physics=Physics(**tree["physics"]),
            cameras={name: CameraShift(**_frozen(c)) for name, c in tree["cameras"].items()},
        )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value


def _frozen(tree: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(v) if isinstance(v, list) else v for key, v in tree.items()}
