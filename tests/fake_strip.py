"""Imported by name (``Config.imports``), as a user's module is: registers the strip on every rank."""

from tests.fake_worlds import Strip
from training.worlds import TASKS

TASKS[Strip.task_id] = Strip
