"""A random model for whole runs, and worlds and trackers that keep to themselves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from policy.tiny import SMALLEST, build_tiny
from tests import fake_worlds
from tests.fake_worlds import Strip
from tests.run_helpers import TEXTS
from training import worlds


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    build_tiny(folder, TEXTS, seed=0, shape=SMALLEST)
    return folder


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setitem(worlds.TASKS, Strip.task_id, Strip)
    fake_worlds.BREAK.clear()
    yield
