"""Stable-Baselines3's PPO on the red button, from random weights until it is learned, a seed a round.

    .peers/sb3/bin/python -m benchmarks.peers.sb3_ppo

Its defaults (``CnnPolicy``, a Gaussian over the place, 10 epochs of minibatches of 64) with frames of 84x84 as its
networks are made for, eight worlds and 1,024 steps a collection.
"""

from __future__ import annotations

import argparse
from collections import deque
from functools import partial
from itertools import count
from typing import Any

import cv2
import gymnasium as gym
import numpy as np
import torch
from stable_baselines3 import PPO  # type: ignore[import-not-found]
from stable_baselines3.common.callbacks import BaseCallback  # type: ignore[import-not-found]
from stable_baselines3.common.vec_env import DummyVecEnv  # type: ignore[import-not-found]

from benchmarks.peers.meter import Meter
from benchmarks.peers.red_button import LEARNED, WINDOW, RedButton
from episode import Observation, screen_action

FRAME, WORLDS = 84, 8


class Clicking(gym.Env[np.ndarray, np.ndarray]):
    """The task as a frame in, a place in [-1, 1]² out, 1 for a hit; episodes begin with seeds that nobody repeats."""

    observation_space = gym.spaces.Box(0, 255, (FRAME, FRAME, 3), np.uint8)
    action_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)

    def __init__(self, first: int) -> None:
        self.world = RedButton()
        self.seeds = count(first, WORLDS)

    def reset(self, **_: Any) -> tuple[np.ndarray, dict[str, Any]]:
        observation, _info = self.world.reset(seed=next(self.seeds))
        return self._small(observation), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        x, y = ((action + 1) / 2 * (self.world.width - 1, self.world.height - 1)).round().astype(int)
        observation, _, _, _, info = self.world.step(screen_action("click", int(x), int(y)))
        return self._small(observation), float(info["success"]), True, False, {}

    def _small(self, observation: Observation) -> np.ndarray:
        screen = observation["frames"]["screen"]
        return np.asarray(cv2.resize(screen, (FRAME, FRAME), interpolation=cv2.INTER_AREA))


class UntilLearned(BaseCallback):  # type: ignore[misc]
    """Ends the run once the last clicks hit often enough."""

    def __init__(self) -> None:
        super().__init__()
        self.hits: deque[float] = deque(maxlen=WINDOW)

    def _on_step(self) -> bool:
        self.hits.extend(self.locals["rewards"].tolist())
        if self.num_timesteps % WINDOW == 0:
            print(f"{self.num_timesteps} steps: {sum(self.hits) / WINDOW:.3f}", flush=True)
        return len(self.hits) < WINDOW or sum(self.hits) < LEARNED * WINDOW


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=int, default=200_000, help="steps after which it is given up")
    options = parser.parse_args()
    torch.set_num_threads(1)
    meter, seeds = Meter(), count(2)  # as ours
    meter.ready(("stable-baselines3", "torch", "gymnasium"), frame=FRAME, worlds=WORLDS)
    while meter.asked():
        seed = next(seeds)
        worlds = DummyVecEnv([partial(Clicking, 1_000_000 * seed + i) for i in range(WORLDS)])
        learner = PPO("CnnPolicy", worlds, n_steps=WINDOW // WORLDS, seed=seed, device="cpu")
        learner.learn(options.limit, callback=UntilLearned())
        if learner.num_timesteps >= options.limit:
            raise SystemExit(f"seed {seed}: not learned in {options.limit} steps")
        meter.done(1, steps=learner.num_timesteps)


if __name__ == "__main__":
    main()
