"""Render the pictures of the cell that stand in docs/images: the cameras of every task, and overviews.

Usage: MUJOCO_GL=egl ./rlt exec python scripts/render_docs.py
"""

from pathlib import Path

import mujoco
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rlt_ros.sim.cell import CAMERA_NAMES, Cell
from rlt_ros.sim.expert import Expert
from rlt_ros.sim.tasks import SETTINGS, TASKS, get_task

OUT = Path(__file__).parents[1] / "docs" / "images"
SCALE = 3


def main() -> None:
    """Write cameras.png (what the VLA sees, enlarged), randomised.png (the same, mixed) and cell-*.png."""
    OUT.mkdir(parents=True, exist_ok=True)
    rows, mixed = [], []
    for task in TASKS:
        for setting in SETTINGS:
            cell = Cell(get_task(task, setting=setting))
            cell.reset(1)
            rows.append(_row(cell))
            if task == "ethernet":
                _overview(cell, f"cell-{setting}.png")
            cell.close()
        cell = Cell(get_task(task), randomisation=1.0)
        cell.reset(2)
        mixed.append(_row(cell))
        cell.close()
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


def _overview(cell: Cell, name: str) -> None:
    view = mujoco.MjvCamera()
    view.lookat[:] = [0.0, 0.5, 0.22]
    view.distance, view.azimuth, view.elevation = 1.25, 60.0, -22.0
    with mujoco.Renderer(cell.model, 400, 640) as renderer:
        renderer.update_scene(cell.data, camera=view)
        Image.fromarray(renderer.render()).save(OUT / name)


if __name__ == "__main__":
    main()
