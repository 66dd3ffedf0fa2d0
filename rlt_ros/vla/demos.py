"""Demonstrations for behaviour cloning: episodes at the control rate, cut into observations and chunks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rlt_ros.normaliser import Normaliser
from rlt_ros.types import Episode


@dataclass(frozen=True)
class Demonstrations:
    """Observations at some ticks of successful episodes, and what was commanded from there on.

    Attributes:
        images: uint8, shape (N, cameras, size, size, 3).
        position: measured joint positions, shape (N, J).
        velocity: measured joint velocities, shape (N, J).
        steps: change of the joint target in each of the next `horizon` ticks, shape (N, H, J).
        valid: which of these ticks were demonstrated, shape (N, H).
        critical: whether the observation belongs to the critical phase, shape (N,).
        grounding: see `Episode`, shape (N, GROUNDING).
        episode: episode of each observation, shape (N,).
        instruction: index into `tasks` of each observation, shape (N,).
        tasks: the tasks, and what the robot was told for each.
        ticks: length of each episode until success, shape (E,); 0 where it failed.
    """

    images: NDArray[np.uint8]
    position: NDArray[np.float32]
    velocity: NDArray[np.float32]
    steps: NDArray[np.float32]
    valid: NDArray[np.bool_]
    critical: NDArray[np.bool_]
    grounding: NDArray[np.float32]
    episode: NDArray[np.int32]
    instruction: NDArray[np.int32]
    tasks: dict[str, str]
    ticks: NDArray[np.int32]

    @property
    def normaliser(self) -> Normaliser:
        """Scales of what was demonstrated."""
        return Normaliser.fit(self.position, self.velocity, self.steps[:, 0], self.critical)


def prepare(episodes: Iterable[Episode], horizon: int) -> Demonstrations:
    """Cut episodes into observations and chunks; failed episodes are dropped but counted in `ticks`.

    Args:
        episodes: from `collect` or a dataset.
        horizon: rows of the reference chunk.

    Raises:
        RuntimeError: no episode was a success.
        ValueError: a task comes with two instructions.
    """
    columns: dict[str, list[NDArray[np.generic]]] = {
        name: [] for name in ("position", "velocity", "steps", "valid", "critical", "grounding")
    }
    images: list[NDArray[np.uint8]] = []
    owner: list[NDArray[np.int32]] = []
    told: list[NDArray[np.int32]] = []
    tasks: dict[str, str] = {}
    lengths: list[int] = []
    for index, episode in enumerate(episodes):
        lengths.append(episode.ticks)
        if tasks.setdefault(episode.task, episode.instruction) != episode.instruction:
            raise ValueError(
                f"task '{episode.task}' comes with two instructions, '{tasks[episode.task]}' and "
                f"'{episode.instruction}'; give one of them another task name"
            )
        number = list(tasks).index(episode.task)
        if not episode.ticks:
            continue
        image_ticks, total = episode.image_ticks, len(episode.command)
        steps = np.diff(episode.command, axis=0, prepend=episode.before[None]).astype(np.float32)
        rows = image_ticks[:, None] + np.arange(horizon)
        valid = rows < total
        images.append(episode.images)
        columns["steps"].append(np.where(valid[..., None], steps[np.minimum(rows, total - 1)], np.float32(0)))
        columns["valid"].append(valid)
        for name in ("position", "velocity", "critical", "grounding"):
            columns[name].append(getattr(episode, name)[image_ticks])
        owner.append(np.full(len(image_ticks), index, dtype=np.int32))
        told.append(np.full(len(image_ticks), number, dtype=np.int32))
    if not owner:
        raise RuntimeError(f"none of the {len(lengths)} episodes was a success: there is nothing to learn from")
    return Demonstrations(
        images=_stack(images),
        **{name: np.concatenate(columns.pop(name)) for name in list(columns)},  # type: ignore[arg-type]
        episode=np.concatenate(owner),
        instruction=np.concatenate(told),
        tasks=tasks,
        ticks=np.array(lengths, dtype=np.int32),
    )


def _stack(parts: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Concatenate and empty the list on the way: pictures are gigabytes, and two copies may be too many."""
    out = np.empty((sum(map(len, parts)), *parts[0].shape[1:]), dtype=np.uint8)
    at = 0
    parts.reverse()
    while parts:
        part = parts.pop()
        out[at : at + len(part)] = part
        at += len(part)
    return out
