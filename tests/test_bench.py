"""``make bench`` runs: the figures themselves are looked at by people."""

import json
from pathlib import Path

import gui_env
import sims
from benchmarks.worlds import SCREENS, main


def test_every_task_is_compared_with_its_baseline(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "worlds.json"
    main(seconds=0.001, out=out)
    rows = json.loads(out.read_text())["rows"]
    assert len(rows) == len(SCREENS) * len(gui_env.TASKS) + 3 * len(sims.TASKS) + 1
    for row in rows:
        assert row["rate"] > 0 and row["baseline"]
        assert row["lowest"] <= row["ratio"] <= row["highest"]
