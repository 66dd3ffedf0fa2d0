"""Film the base VLA beside the scripted expert in every task: docs/images/base_and_expert_TASK.webp.

Usage: ./rlt exec python scripts/moving_pictures.py [TASK ...]

Both begin at the same start, the first of the evaluation's from which the base succeeds.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from rlt_ros.bringup.graph import Bringup
from rlt_ros.offline.evaluate import FIRST_SEED
from rlt_ros.offline.rollout import Rollout, make_executor
from rlt_ros.sim.cell import Cell
from rlt_ros.sim.demonstrate import OVERRUN
from rlt_ros.sim.expert import Expert
from rlt_ros.sim.looks import Photographer
from rlt_ros.sim.names import CONTROL_PERIOD
from rlt_ros.sim.tasks import TASKS, get_task
from rlt_ros.types import Phase, SessionView
from rlt_ros.vla.bundle import load_bundle
from rlt_ros.vla.loaded import LoadedVla

OUT = Path(__file__).parents[1] / "docs" / "images"
WIDTH, HEIGHT, EVERY = 360, 260, 5
"""Pixels of one picture, and control periods between two."""
LARGEST = 3_000_000
Film = list[NDArray[np.uint8]]


class Camera:
    """Takes a picture of a cell every few control periods."""

    def __init__(self, cell: Cell) -> None:
        """Close to the parts, from where a person would stand."""
        self.film: Film = []
        self._cell, self._ticks = cell, 0
        self._photographer = Photographer(cell.model, WIDTH, HEIGHT)

    def look(self) -> None:
        """A control period is over."""
        if self._ticks % EVERY == 0:
            if not self._ticks:
                self._photographer.look_at(self._cell.data.site("socket_mouth").xpos.copy(), 0.22, 68.0, -24.0)
            self.film.append(self._photographer.picture(self._cell.data))
        self._ticks += 1

    def close(self) -> None:
        """Free the rendering context."""
        self._photographer.close()


def of_base(task: str, seed: int) -> tuple[bool, Film]:
    """An episode of the base VLA: whether it succeeded, and its film."""
    bundle = load_bundle(Bringup().bundle_path)
    cell = Cell(get_task(task), dressed=True)
    rollout = Rollout(cell, LoadedVla(bundle), bundle, make_executor(bundle))
    camera = Camera(cell)
    trial = rollout.run(
        seed, SessionView(1, seed, Phase.CRITICAL, actor_enabled=False), on_step=lambda _: camera.look()
    )
    camera.close()
    cell.close()
    return trial.success, camera.film


def of_expert(task: str, seed: int) -> Film:
    """The same of the expert."""
    cell = Cell(get_task(task), dressed=True)
    cell.reset(seed)
    hand, camera = Expert(cell, np.random.default_rng([seed, 1])), Camera(cell)
    for _ in range(round(cell.task.limit / CONTROL_PERIOD)):
        camera.look()
        cell.step(hand.act())
        if cell.insertion().success:
            break
    for _ in range(OVERRUN):
        camera.look()
        cell.step(hand.act())
    camera.close()
    cell.close()
    return camera.film


def beside(films: dict[str, Film]) -> list[Image.Image]:
    """Films side by side with their names and seconds; whoever is done first waits."""
    font = ImageFont.load_default(15)
    frames = []
    for index in range(max(map(len, films.values())) + round(1 / (EVERY * CONTROL_PERIOD))):
        whole = Image.new("RGB", (WIDTH * len(films) + 4 * (len(films) - 1), HEIGHT), "white")
        for place, (name, film) in enumerate(films.items()):
            at = min(index, len(film) - 1)
            whole.paste(Image.fromarray(film[at]), (place * (WIDTH + 4), 0))
            told = f"{name}  {at * EVERY * CONTROL_PERIOD:.1f} s" + ("  done" if at < index else "")
            ImageDraw.Draw(whole).text((place * (WIDTH + 4) + 10, 8), told, fill="black", font=font)
        frames.append(whole)
    return frames


def main() -> None:
    """Write the films of the tasks that are named; default: all."""
    OUT.mkdir(parents=True, exist_ok=True)
    for task in sys.argv[1:] or sorted(TASKS):
        for seed in range(FIRST_SEED, FIRST_SEED + 20):
            success, film = of_base(task, seed)
            if success:
                break
        frames = beside({"base VLA": film, "expert": of_expert(task, seed)})
        path = OUT / f"base_and_expert_{task}.webp"
        for quality in (70, 50, 35):
            frames[0].save(
                path,
                save_all=True,
                append_images=frames[1:],
                duration=round(1000 * EVERY * CONTROL_PERIOD),
                loop=0,
                quality=quality,
                method=4,
            )
            if path.stat().st_size <= LARGEST:
                break
        print(f"{path.name}: start {seed}, {len(frames)} pictures, {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
