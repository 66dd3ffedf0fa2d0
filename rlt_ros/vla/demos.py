"""Demonstrations for behaviour cloning: episodes at the control rate, cut into observations and chunks.

Their pictures are gigabytes: they can be kept in a file, of which only those that are looked at are in memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from rlt_ros.normaliser import Normaliser
from rlt_ros.types import Episode

_PICTURES, _REST = "pictures.raw", "demonstrations.safetensors"


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


def prepare(episodes: Iterable[Episode], horizon: int, kept: Path | None = None) -> Demonstrations:
    """Cut episodes into observations and chunks; failed episodes are dropped but counted in `ticks`.

    Args:
        episodes: from `collect` or a dataset.
        horizon: rows of the reference chunk.
        kept: directory to keep them in, for `load_demonstrations`; default: in memory.

    Raises:
        RuntimeError: no episode was a success.
        ValueError: a task comes with two instructions.
    """
    if kept is not None:
        (kept / _REST).unlink(missing_ok=True)  # of an older attempt, whose pictures are written over now
    columns: dict[str, list[NDArray[np.generic]]] = {
        name: [] for name in ("position", "velocity", "steps", "valid", "critical", "grounding")
    }
    pictures = _InMemory() if kept is None else _InFile(kept / _PICTURES)
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
        pictures.append(episode.images)
        columns["steps"].append(np.where(valid[..., None], steps[np.minimum(rows, total - 1)], np.float32(0)))
        columns["valid"].append(valid)
        for name in ("position", "velocity", "critical", "grounding"):
            columns[name].append(getattr(episode, name)[image_ticks])
        owner.append(np.full(len(image_ticks), index, dtype=np.int32))
        told.append(np.full(len(image_ticks), number, dtype=np.int32))
    if not owner:
        raise RuntimeError(f"none of the {len(lengths)} episodes was a success: there is nothing to learn from")
    demos = Demonstrations(
        images=pictures.all(),
        **{name: np.concatenate(columns.pop(name)) for name in list(columns)},  # type: ignore[arg-type]
        episode=np.concatenate(owner),
        instruction=np.concatenate(told),
        tasks=tasks,
        ticks=np.array(lengths, dtype=np.int32),
    )
    if kept is not None:
        _save_rest(demos, kept / _REST)
    return demos


def load_demonstrations(kept: Path) -> Demonstrations | None:
    """What `prepare` kept in a directory; None: nothing, or it was interrupted.

    Raises:
        ValueError: the files are damaged.
    """
    path, pictures = kept / _REST, kept / _PICTURES
    if not path.is_file():
        return None
    try:
        with safe_open(path, "np") as file:
            told = json.loads(file.metadata()["demonstrations"])
            columns = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        images = np.memmap(pictures, np.uint8, "r", shape=tuple(told["pictures"]))
        return Demonstrations(images=images, tasks=told["tasks"], **columns)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"the demonstrations in {kept} cannot be read ({error}); remove them") from error


def _save_rest(demos: Demonstrations, path: Path) -> None:
    """Everything but the pictures; once it is there, the demonstrations are whole."""
    columns = {field.name: getattr(demos, field.name) for field in fields(demos)}
    told = {"tasks": columns.pop("tasks"), "pictures": columns.pop("images").shape}
    fresh = path.with_suffix(".new")
    save_file(
        {name: np.ascontiguousarray(value) for name, value in columns.items()},
        fresh,
        metadata={"demonstrations": json.dumps(told)},
    )
    fresh.replace(path)


class _InFile:
    """Pictures one after the other in a file."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._file = path, path.open("wb")
        self._count, self._shape = 0, (0,)

    def append(self, pictures: NDArray[np.uint8]) -> None:
        """Those of an episode."""
        self._shape = pictures.shape[1:]
        self._count += len(pictures)
        self._file.write(np.ascontiguousarray(pictures).data)

    def all(self) -> NDArray[np.uint8]:
        """All of them, mapped into memory."""
        self._file.close()
        return np.memmap(self._path, np.uint8, "r", shape=(self._count, *self._shape))


class _InMemory:
    """Pictures one after the other in memory."""

    def __init__(self) -> None:
        self._parts: list[NDArray[np.uint8]] = []

    def append(self, pictures: NDArray[np.uint8]) -> None:
        """Those of an episode."""
        self._parts.append(pictures)

    def all(self) -> NDArray[np.uint8]:
        """All of them; the parts are let go on the way, for two copies may be too many."""
        parts = self._parts
        out = np.empty((sum(map(len, parts)), *parts[0].shape[1:]), dtype=np.uint8)
        at = 0
        parts.reverse()
        while parts:
            part = parts.pop()
            out[at : at + len(part)] = part
            at += len(part)
        return out
