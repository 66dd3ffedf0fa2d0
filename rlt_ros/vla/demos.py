"""Demonstrations for behaviour cloning."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np
from numpy.typing import NDArray

from rlt_ros.sim.cell import CAMERA_NAMES, CONTROL_PERIOD, Cell
from rlt_ros.sim.expert import Expert, ExpertConfig
from rlt_ros.sim.tasks import get_task

OVERRUN = 15
"""Ticks the expert goes on after success, so that the last rows of a chunk are demonstrated too."""
GROUNDING = 5
"""Values that say where the plug is in the socket's frame: x, y, z of the tip in m, y and z of its axis in rad."""


@dataclass(frozen=True)
class Episode:
    """One demonstration at the control rate; T ticks, J joints.

    Attributes:
        task: name of the task.
        instruction: what the robot was told.
        setting: `controlled` or `full`.
        ticks: until success; 0: it failed.
        seen: ticks whose images were kept, shape (S,).
        images: uint8, shape (S, cameras, size, size, 3).
        position: measured joint positions before each tick, shape (T, J).
        velocity: measured joint velocities before each tick, shape (T, J).
        before: the joint targets at the start, shape (J,).
        command: the joint targets of each tick, shape (T, J).
        critical: whether the tick belongs to the critical phase, shape (T,).
        grounding: where the plug was, shape (T, GROUNDING); NaN where that is not known or has no sense.
    """

    task: str
    instruction: str
    setting: str
    ticks: int
    seen: NDArray[np.int64]
    images: NDArray[np.uint8]
    position: NDArray[np.float32]
    velocity: NDArray[np.float32]
    before: NDArray[np.float64]
    command: NDArray[np.float64]
    critical: NDArray[np.bool_]
    grounding: NDArray[np.float32]


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


def demonstrate(cell: Cell, *, seed: int, stride: int = 1, expert: ExpertConfig | None = None) -> Episode:
    """Let the scripted expert do one episode.

    Args:
        cell: the simulated cell; it is reset first.
        seed: seed of the start and of the expert's aim.
        stride: ticks between two kept sets of images.
        expert: how the expert moves.
    """
    cell.reset(seed)
    hand = Expert(cell, np.random.default_rng([seed, 1]), expert)
    limit = round(cell.task.limit / CONTROL_PERIOD)
    before, ticks, end = cell.command, 0, limit
    rows: list[tuple[NDArray[np.float64], ...]] = []
    images, critical = [], []
    tick = 0
    while tick < end:
        if tick % stride == 0:
            seen = cell.render()
            images.append(np.stack([seen[name] for name in CAMERA_NAMES]))
        place = cell.insertion()
        grounding = np.concatenate([place.offset, place.tilt]) if place.held else np.full(GROUNDING, np.nan)
        position, velocity = cell.position, cell.velocity
        command = hand.act()
        cell.step(command)
        rows.append((position, velocity, command, grounding))
        critical.append(hand.critical)
        tick += 1
        if not ticks and cell.insertion().success:
            ticks, end = tick, tick + OVERRUN
    positions, velocities, commands, groundings = (np.array(column) for column in zip(*rows, strict=True))
    return Episode(
        task=cell.task.name,
        instruction=cell.task.instruction,
        setting=cell.task.setting,
        ticks=ticks,
        seen=np.arange(0, tick, stride),
        images=np.stack(images),
        position=positions.astype(np.float32),
        velocity=velocities.astype(np.float32),
        before=before,
        command=commands,
        critical=np.array(critical),
        grounding=groundings.astype(np.float32),
    )


def collect(cell: Cell, *, episodes: int, stride: int, seed: int) -> Iterator[Episode]:
    """Demonstrate `episodes` times with the seeds from `seed` on; failed episodes are given too."""
    for episode in range(episodes):
        yield demonstrate(cell, seed=seed + episode, stride=stride)


@dataclass(frozen=True)
class Order:
    """What to demonstrate: `episodes` of a task with the seeds from `seed` on."""

    task: str
    setting: str
    episodes: int
    stride: int
    seed: int
    randomisation: float = 0.0


def demonstration_seed(seed: int, task: str, setting: str) -> int:
    """First seed of the demonstrations of a task: far from other tasks, other settings and from evaluation."""
    return (seed % 50) * 10_000 + 2_000_000 + 1_000_000 * (zlib.crc32(f"{task}/{setting}".encode()) % 1000)


def collect_parallel(orders: list[Order], workers: int | None = None) -> Iterator[Episode]:
    """The demonstrations of all orders, in order, by one process a core."""
    portion = 10
    jobs = [
        (order, first, min(portion, order.episodes - first))
        for order in orders
        for first in range(0, order.episodes, portion)
    ]
    workers = workers or os.cpu_count() or 1
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for episodes in pool.map(_fill, jobs):
            yield from episodes


def _fill(job: tuple[Order, int, int]) -> list[Episode]:
    order, first, count = job
    cell = Cell(get_task(order.task, setting=order.setting), randomisation=order.randomisation)
    try:
        return list(collect(cell, episodes=count, stride=order.stride, seed=order.seed + first))
    finally:
        cell.close()


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
        name: [] for name in ("images", "position", "velocity", "steps", "valid", "critical", "grounding")
    }
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
        seen, total = episode.seen, len(episode.command)
        steps = np.diff(episode.command, axis=0, prepend=episode.before[None]).astype(np.float32)
        rows = seen[:, None] + np.arange(horizon)
        valid = rows < total
        columns["images"].append(episode.images)
        columns["steps"].append(np.where(valid[..., None], steps[np.minimum(rows, total - 1)], np.float32(0)))
        columns["valid"].append(valid)
        for name in ("position", "velocity", "critical", "grounding"):
            columns[name].append(getattr(episode, name)[seen])
        owner.append(np.full(len(seen), index, dtype=np.int32))
        told.append(np.full(len(seen), number, dtype=np.int32))
    if not owner:
        raise RuntimeError(f"none of the {len(lengths)} episodes was a success: there is nothing to learn from")
    return Demonstrations(
        **{name: np.concatenate(columns.pop(name)) for name in list(columns)},  # type: ignore[arg-type]
        episode=np.concatenate(owner),
        instruction=np.concatenate(told),
        tasks=tasks,
        ticks=np.array(lengths, dtype=np.int32),
    )
