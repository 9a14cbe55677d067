"""The arm world: motion, predicates, endings, snapshots, pools and experts."""

import hashlib
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import sims
from episode import Advice, Outcome, Split, WorldError, chunk_of, stream
from sims.draw import block_names
from sims.look import ARMS, BOWLS, FLOORS, HELDOUT_PAIRS, TABLES, WALLS
from sims.tasks import put_in_bowl, reach, touch_color
from sims.things import BOWL_HEIGHT
from sims.world import ArmWorld

SPLITS: tuple[Split, ...] = ("train", "heldout")
ROOT = Path(__file__).resolve().parent.parent


def _action(x: float = 0, y: float = 0, z: float = 0, grip: float = 1) -> NDArray[np.float32]:
    return np.array([x, y, z, grip], np.float32)


def _blind(world: ArmWorld) -> ArmWorld:
    """The same world without frames, for tests that look only at the state."""
    world.observe = dict  # type: ignore[method-assign]
    return world


def _put(world: ArmWorld, name: str, point: tuple[float, float, float]) -> None:
    world.rig.data.joint(name).qpos[:3] = point
    world.rig.data.joint(name).qvel[:] = 0
    world.rig._look()


# --- motion


def test_the_tip_follows_its_target() -> None:
    """Five steps of 3 cm in x and −2 cm in z: 15 and 10 cm, at 0.36 m/s, with millimetres of error at the end."""
    world = _blind(reach.Reach())
    for seed in range(5):
        world.reset(seed=seed)
        world.rig.target[:] = world.rig.tip
        start = world.rig.tip
        sign = -1 if start[0] > 0 else 1
        for _ in range(5):
            world.rig.move(np.array([sign * 0.03, 0, -0.005]), 1.0)
        assert world.rig.tip - start == pytest.approx([sign * 0.15, 0, -0.025], abs=0.004)
        for _ in range(2):
            world.rig.move(np.zeros(3), 1.0)
        assert np.abs(world.rig.tip - world.rig.target).max() < 0.001
        assert np.linalg.norm(world.rig.tip_velocity) < 0.005


def test_the_workspace_is_a_wall() -> None:
    world = _blind(reach.Reach())
    world.reset(seed=0)
    for _ in range(20):
        world.rig.move(np.array([0.03, -0.03, -0.03]), -1.0)
    assert world.rig.tip == pytest.approx([0.22, -0.22, 0.012], abs=0.003)
    assert world.rig.opening < 0.02


def test_actions_are_clipped_and_nonsense_is_refused() -> None:
    world = _blind(reach.Reach())
    world.reset(seed=0)
    start = world.rig.target.copy()
    world.advance(np.array([9, 0, 0, 9], np.float32))
    assert np.abs(world.rig.target - start).max() <= 0.03 + 1e-9
    for bad in (np.array([np.nan, 0, 0, 0], np.float32), np.zeros(3, np.float32)):
        with pytest.raises(WorldError, match="four finite numbers"):
            world.advance(bad)


def test_order_of_calls() -> None:
    world = _blind(reach.Reach())
    with pytest.raises(WorldError, match="call reset"):
        world.advance(_action())
    world.reset(seed=3)
    for step in range(world.horizon):
        _, terminated, truncated, info = world.advance(_action())
        assert not terminated and truncated == (step == world.horizon - 1)
    assert info["outcome"] is Outcome.TRUNCATED
    with pytest.raises(WorldError, match="over"):
        world.advance(_action())


def test_bad_arguments_name_the_nearest() -> None:
    with pytest.raises(WorldError, match="did you mean heldout"):
        reach.Reach(split="held-out")  # type: ignore[arg-type]
    with pytest.raises(WorldError, match="did you mean front"):
        reach.Reach(cameras=("fron",))


# --- predicates


def test_reach_wants_a_still_hand() -> None:
    world = _blind(reach.Reach())
    world.reset(seed=0)
    marker = world.rig.where(world.rig.setting.target)
    world.rig.target[:] = marker - [0.0, 0.0, 0.03]
    for _ in range(3):
        world.rig.move(np.zeros(3), 1.0)
    world.rig.target[:] = world.rig.tip
    _, terminated, _, info = world.advance(_action(z=0.03))  # arrives, but at 0.3 m/s
    assert info["subgoals"] == {"near": True, "reached": True} and not terminated
    _, terminated, _, info = world.advance(_action())
    assert terminated and info["success"] and info["outcome"] is Outcome.SUCCESS
    assert info["terms"] == {"task": 1.0, "subgoal": 0.0}  # Φ was 1 already


def test_touching_another_colour_fails() -> None:
    world = _blind(touch_color.TouchColor())
    world.reset(seed=0)
    other = next(name for name in world.rig.loose if name != world.rig.setting.target)
    _put(world, other, tuple(world.rig.tip))
    _, terminated, _, info = world.advance(_action(grip=-1))
    assert terminated and info["outcome"] is Outcome.FAILURE and not info["success"]


def test_in_the_bowl_is_success_only_when_settled_and_let_go() -> None:
    world = _blind(put_in_bowl.PutInBowl())
    world.reset(seed=0)
    target, bowl = world.rig.setting.target, world.rig.where("bowl")
    _put(world, target, (bowl[0], bowl[1], 0.10))
    reward, terminated, _, info = world.advance(_action())
    assert not terminated and info["progress"] == 0.0 and reward == 0.0
    for _ in range(10):
        reward, terminated, _, info = world.advance(_action())
        if terminated:
            break
    assert info["success"] and all(info["subgoals"].values())
    assert world.rig.where(target)[2] < BOWL_HEIGHT


def test_physics_that_explodes_is_an_error() -> None:
    world = _blind(reach.Reach())
    world.reset(seed=0)
    world.rig.data.qvel[:] = 1e12
    with pytest.raises(WorldError, match="unstable"):
        world.advance(_action())


def test_a_lost_object_fails() -> None:
    world = _blind(put_in_bowl.PutInBowl())
    world.reset(seed=1)
    _put(world, world.rig.setting.target, (0.4, 0.0, -0.1))
    _, terminated, _, info = world.advance(_action())
    assert terminated and info["outcome"] is Outcome.FAILURE


# --- pools


def test_pools_are_disjoint_and_heldout_words_are_known() -> None:
    for pool in (TABLES, FLOORS, WALLS, BOWLS, ARMS):
        assert not set(pool["train"]) & set(pool["heldout"])
    for task in sims.TASKS.values():
        phrases = sys.modules[task.__module__].PHRASES
        assert not set(phrases["train"]) & set(phrases["heldout"])
        known = {word for phrase in phrases["train"] for word in phrase.split()}
        assert {word for phrase in phrases["heldout"] for word in phrase.split()} <= known


def test_heldout_pairs_stay_out_of_training() -> None:
    for seed in range(200):
        train = block_names(stream(seed, "task"), 4, "train")
        heldout = block_names(stream(seed, "task"), 4, "heldout")
        assert not set(train) & HELDOUT_PAIRS and heldout[0] in HELDOUT_PAIRS
        assert len({color for color, _ in train}) == len({color for color, _ in heldout}) == 4


# --- snapshots


def _bytes(world: ArmWorld, action: NDArray[np.float32]) -> list[bytes]:
    """Everything that a step lets one see."""
    observation, reward, _, _, info = world.step(action)
    frames = [frame.tobytes() for frame in observation["frames"].values()]
    rest = [observation["proprio"].tobytes(), world.privileged().tobytes(), repr((reward, info)).encode()]
    return frames + rest + [repr((world.state_key(), world.scene())).encode()]


def _digest(world: ArmWorld, actions: list[NDArray[np.float32]]) -> str:
    return hashlib.sha256(b"".join(piece for action in actions for piece in _bytes(world, action))).hexdigest()


def _grasping(world: ArmWorld, seed: int, decisions: int) -> None:
    world.reset(seed=seed)
    for _ in range(decisions):
        for action in world.expert().actions:
            world.step(action)


def test_a_snapshot_continues_bit_for_bit_in_dirty_data_and_in_another_process(tmp_path: Path) -> None:
    world = put_in_bowl.PutInBowl("heldout")
    _grasping(world, seed=7, decisions=4)  # contacts and forces, amid the lift
    state = world.snapshot()
    world.action_space.seed(0)
    actions = [world.action_space.sample() for _ in range(6)]
    expected = _digest(world, actions)
    world.restore(state)  # the same data, after other steps
    assert _digest(world, actions) == expected
    _grasping(world, seed=8, decisions=2)  # another scene in between
    world.restore(state)
    assert _digest(world, actions) == expected
    world.close()
    file = tmp_path / "state.pkl"
    file.write_bytes(pickle.dumps((state, actions)))
    done = subprocess.run(
        [sys.executable, __file__, str(file)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.stdout.strip() == expected, done.stderr


def test_a_snapshot_is_a_plain_tree() -> None:
    world = put_in_bowl.PutInBowl()
    world.reset(seed=0)

    def leaves(tree: Any) -> list[Any]:
        if isinstance(tree, dict):
            assert all(isinstance(key, str) for key in tree)
            return [leaf for value in tree.values() for leaf in leaves(value)]
        return [leaf for value in tree for leaf in leaves(value)] if isinstance(tree, list) else [tree]

    kinds = {type(leaf) for leaf in leaves(world.snapshot())}
    assert kinds <= {np.ndarray, str, int, float, bool, type(None)}
    state = world.snapshot()
    state["rig"] = {key: np.asarray(value).tolist() for key, value in state["rig"].items()}
    again = json.loads(json.dumps(state))
    first, second = world.observe(), world.restore(again)
    assert np.array_equal(first["frames"]["top"], second["frames"]["top"])


def test_a_foreign_snapshot_is_refused() -> None:
    world, other = _blind(reach.Reach()), _blind(touch_color.TouchColor())
    world.reset(seed=0)
    with pytest.raises(WorldError, match="cannot be restored into sims/touch-color-v0"):
        other.restore(world.snapshot())


def test_privileged_vector_is_the_same_for_every_task() -> None:
    layouts = set()
    for task in sims.TASKS.values():
        world = _blind(task())
        world.reset(seed=0)
        assert world.privileged().shape == (len(world.privileged_layout()),)
        layouts.add(world.privileged_layout())
    assert len(layouts) == 1


# --- experts


def _on_grid(world: ArmWorld, advice: Advice, grid: float) -> list[NDArray[np.float32]]:
    """The advice as a codec would pass it on: the decision's displacement in whole multiples of ``grid``."""
    total = np.sum([action[:3] for action in advice.actions], axis=0)
    return chunk_of(world.embodiment, (np.round(total / grid) * grid).tolist(), float(advice.actions[0][3]))


def _solve(world: ArmWorld, seed: int, grid: float) -> tuple[bool, int]:
    world.reset(seed=seed)
    for turn in range(world.horizon):
        for action in _on_grid(world, world.expert(), grid):
            _, terminated, truncated, info = world.advance(action)
            if terminated or truncated:
                return info["success"], turn + 1
    raise AssertionError("the episode did not end")


LONGEST = {
    "sims/reach-v0": 4,
    "sims/touch-color-v0": 4,
    "sims/put-in-bowl-v0": 10,
    "sims/push-to-zone-v0": 16,
    "sims/lift-v0": 7,
    "sims/stack-two-v0": 11,
    "sims/push-to-object-v0": 18,
    "sims/press-button-v0": 4,
}
"""Decisions that an expert may take where every motion is rounded to 1.5 cm."""


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("task", sims.TASKS.values())
def test_experts_on_the_coarsest_grid(task: type[ArmWorld], split: Split) -> None:
    world = _blind(task(split))
    results = [_solve(world, seed, 0.015) for seed in range(10)]
    assert all(success for success, _ in results)
    assert max(turns for _, turns in results) <= LONGEST[task.task_id]


@pytest.mark.slow
@pytest.mark.parametrize("grid", [0.015, 0.001])
@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("task", sims.TASKS.values())
def test_experts_over_200_seeds(task: type[ArmWorld], split: Split, grid: float) -> None:
    world = _blind(task(split))
    assert sum(_solve(world, 5000 + seed, grid)[0] for seed in range(200)) >= 190


def test_an_expert_mends_what_went_wrong() -> None:
    """Dropped halfway, the object is picked up again."""
    world = _blind(put_in_bowl.PutInBowl())
    _grasping(world, seed=0, decisions=4)
    name = world.rig.setting.target
    for _ in range(6):
        world.advance(_action(grip=1))
    assert world.rig.held == ""
    for _ in range(10):
        for action in world.expert().actions:
            _, terminated, truncated, info = world.advance(action)
            if terminated or truncated:
                assert info["success"], name
                return
    raise AssertionError("the expert did not finish")


if __name__ == "__main__":  # the other process of the snapshot test
    saved, moves = pickle.loads(Path(sys.argv[1]).read_bytes())
    fresh = sims.TASKS[saved["task"]]()
    fresh.restore(saved)
    print(_digest(fresh, moves))
