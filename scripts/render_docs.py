"""Render the pictures of the cell that stand in docs/images: the cameras of every task, and overviews.

Usage: MUJOCO_GL=egl ./rlt exec python scripts/render_docs.py
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rlt_ros.sim.cell import CAMERA_NAMES, Cell
from rlt_ros.sim.expert import Expert
from rlt_ros.sim.looks import Photographer
from rlt_ros.sim.tasks import SETTINGS, TASKS, get_task

OUT = Path(__file__).parents[1] / "docs" / "images"
SCALE = 3


def main() -> None:
    """Write what the VLA sees, enlarged (cameras.png, randomised.png), and what people see (cell-*.png, tasks.png)."""
    OUT.mkdir(parents=True, exist_ok=True)
    rows, mixed = [], []
    for task in TASKS:
        for setting in SETTINGS:
            cell = Cell(get_task(task, setting=setting))
            cell.reset(1)
            rows.append(_row(cell))
            cell.close()
        cell = Cell(get_task(task), randomisation=1.0)
        cell.reset(2)
        mixed.append(_row(cell))
        cell.close()
    for setting in SETTINGS:
        _overview("ethernet", setting)
    _close(sorted(TASKS))
    _save(rows, "cameras.png")
    _save(mixed, "randomised.png")
    cell = Cell(get_task("ethernet"))
    cell.reset(1)
    expert = Expert(cell, np.random.default_rng(1))
    while not cell.insertion().success:
        cell.step(expert.act())
    _save([_row(cell)], "inserted.png")
    cell.close()


def _row(cell: Cell) -> NDArray[np.uint8]:
    seen = cell.render()
    return np.concatenate([seen[name] for name in CAMERA_NAMES], axis=1)


def _save(rows: list[NDArray[np.uint8]], name: str) -> None:
    picture = np.concatenate(rows)
    size = (picture.shape[1] * SCALE, picture.shape[0] * SCALE)
    Image.fromarray(picture).resize(size, Image.Resampling.NEAREST).save(OUT / name)


def _overview(task: str, setting: str) -> None:
    cell = Cell(get_task(task, setting=setting), dressed=True)
    cell.reset(1)
    cell.step(cell.command)
    photographer = Photographer(cell.model)
    Image.fromarray(photographer.picture(cell.data)).save(OUT / f"cell-{setting}.png")
    photographer.close()
    cell.close()


def _close(tasks: list[str]) -> None:
    """What people see of the parts of each task, side by side."""
    pictures = []
    for task in tasks:
        cell = Cell(get_task(task), dressed=True)
        cell.reset(1)
        cell.step(cell.command)
        photographer = Photographer(cell.model, 320, 240)
        photographer.look_at(cell.data.site("socket_mouth").xpos.copy(), 0.22, 68.0, -24.0)
        pictures.append(photographer.picture(cell.data))
        photographer.close()
        cell.close()
    Image.fromarray(np.concatenate(pictures, axis=1)).save(OUT / "tasks.png")


if __name__ == "__main__":
    main()
