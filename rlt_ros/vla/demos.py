"""Demonstrations for behaviour cloning, kept in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rlt_ros.sim.cell import CAMERA_NAMES, Cell
from rlt_ros.sim.expert import Expert

_OVERRUN = 15
"""Ticks the expert goes on after success, so that the last rows of a chunk are demonstrated too."""


@dataclass(frozen=True)
class Demonstrations:
    """Observations at some ticks and what the expert commanded from there on.

    Attributes:
        images: uint8, shape (N, cameras, size, size, 3).
        position: measured joint positions, shape (N, J).
        velocity: measured joint velocities, shape (N, J).
        steps: change of the joint target in each of the next `horizon` ticks, shape (N, H, J).
        valid: which of these ticks were demonstrated, shape (N, H).
        episode: episode of each observation, shape (N,).
        ticks: length of each episode until success, shape (E,); 0 where it failed.
    """

    images: NDArray[np.uint8]
    position: NDArray[np.float32]
    velocity: NDArray[np.float32]
    steps: NDArray[np.float32]
    valid: NDArray[np.bool_]
    episode: NDArray[np.int32]
    ticks: NDArray[np.int32]


def collect(
    cell: Cell,
    *,
    episodes: int,
    horizon: int,
    stride: int,
    seed: int,
    progress: Callable[[int], None] = lambda _: None,
) -> Demonstrations:
    """Let the scripted expert demonstrate; failed episodes are dropped but counted in `ticks`.

    Args:
        cell: the simulated cell.
        episodes: number of attempts.
        horizon: rows of the reference chunk.
        stride: ticks between two kept observations.
        seed: seed of start positions and of the expert's aim.
        progress: called after every episode with the number done.
    """
    kept: dict[str, list[NDArray[np.generic]]] = {
        name: [] for name in ("images", "position", "velocity", "steps", "valid")
    }
    owner: list[int] = []
    lengths = np.zeros(episodes, dtype=np.int32)
    limit = round(cell.task.time_limit / 0.02)
    for episode in range(episodes):
        cell.reset(seed + episode)
        expert = Expert(cell, np.random.default_rng([seed, episode]))
        commands, seen = [cell.command], []
        end = limit + _OVERRUN
        for tick in range(limit + _OVERRUN):
            if tick % stride == 0:
                images = cell.render()
                seen.append(
                    (
                        tick,
                        np.stack([images[name] for name in CAMERA_NAMES]),
                        cell.position.astype(np.float32),
                        cell.velocity.astype(np.float32),
                    )
                )
            command = expert.act()
            commands.append(command)
            cell.step(command)
            if not lengths[episode] and cell.insertion().success and tick < limit:
                lengths[episode] = tick + 1
                end = tick + 1 + _OVERRUN
            if tick + 1 >= end:
                break
        progress(episode + 1)
        if not lengths[episode]:
            continue
        steps = np.diff(np.array(commands, dtype=np.float64), axis=0).astype(np.float32)
        for tick, images_now, position, velocity in seen:
            rows = np.zeros((horizon, steps.shape[1]), dtype=np.float32)
            future = steps[tick : tick + horizon]
            rows[: len(future)] = future
            kept["images"].append(images_now)
            kept["position"].append(position)
            kept["velocity"].append(velocity)
            kept["steps"].append(rows)
            kept["valid"].append(np.arange(horizon) < len(future))
            owner.append(episode)
    if not owner:
        raise RuntimeError(f"the expert failed in all {episodes} episodes of task '{cell.task.name}'")
    arrays = {name: np.stack(values) for name, values in kept.items()}
    return Demonstrations(**arrays, episode=np.array(owner, dtype=np.int32), ticks=lengths)  # type: ignore[arg-type]
