"""Demonstrations of the cell's tasks by the scripted expert."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np
from numpy.typing import NDArray

from rlt_ros.sim.cell import CAMERA_NAMES, CONTROL_PERIOD, Cell
from rlt_ros.sim.expert import Expert, ExpertConfig
from rlt_ros.sim.tasks import get_task
from rlt_ros.types import GROUNDING, Episode

_PORTION = 3
"""Episodes that a process flies before it hands them over: pictures of every tick are 25 MB an episode."""
OVERRUN = 15
"""Ticks the expert goes on after success, so that the last rows of a chunk are demonstrated too."""


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
        if cell.insertion().stopped or hand.gave_up:
            break
    positions, velocities, commands, groundings = (np.array(column) for column in zip(*rows, strict=True))
    return Episode(
        task=cell.task.name,
        instruction=cell.task.instruction,
        setting=cell.task.setting,
        ticks=ticks,
        image_ticks=np.arange(0, tick, stride),
        images=np.stack(images),
        position=positions.astype(np.float32),
        velocity=velocities.astype(np.float32),
        before=before,
        command=commands,
        critical=np.array(critical),
        grounding=groundings.astype(np.float32),
    )


def collect(
    cell: Cell, *, episodes: int, stride: int, seed: int, expert: ExpertConfig | None = None
) -> Iterator[Episode]:
    """Demonstrate `episodes` times with the seeds from `seed` on; failed episodes are given too."""
    for episode in range(episodes):
        yield demonstrate(cell, seed=seed + episode, stride=stride, expert=expert)


@dataclass(frozen=True)
class Order:
    """What to demonstrate: `episodes` of a task with the seeds from `seed` on."""

    task: str
    setting: str
    episodes: int
    stride: int
    seed: int
    randomisation: float = 0.0
    clearance: float | None = None
    expert: ExpertConfig | None = None


def demonstration_seed(seed: int, task: str, setting: str) -> int:
    """First seed of the demonstrations of a task: far from other tasks, other settings and from evaluation."""
    return (seed % 50) * 10_000 + 2_000_000 + 1_000_000 * (zlib.crc32(f"{task}/{setting}".encode()) % 1000)


def collect_parallel(orders: list[Order], workers: int | None = None) -> Iterator[Episode]:
    """The demonstrations of all orders, in order, by one process a core."""
    jobs = [
        (order, first, min(_PORTION, order.episodes - first))
        for order in orders
        for first in range(0, order.episodes, _PORTION)
    ]
    workers = workers or os.cpu_count() or 1
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        try:
            for episodes in pool.map(_fill, jobs):
                yield from episodes
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _fill(job: tuple[Order, int, int]) -> list[Episode]:
    order, first, count = job
    task = get_task(order.task, clearance=order.clearance, setting=order.setting)
    cell = Cell(task, randomisation=order.randomisation)
    try:
        return list(collect(cell, episodes=count, stride=order.stride, seed=order.seed + first, expert=order.expert))
    finally:
        cell.close()  # its renderer cannot be left to the interpreter's end
