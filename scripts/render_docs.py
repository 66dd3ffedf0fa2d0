"""Render the pictures of the cell that stand in docs/images: the three cameras and an overview.

Usage: MUJOCO_GL=egl ./rlt exec python scripts/render_docs.py
"""

from pathlib import Path

import mujoco
import numpy as np
from PIL import Image

from rlt_ros.sim.cell import CAMERA_NAMES, Cell
from rlt_ros.sim.tasks import get_task

OUT = Path(__file__).parents[1] / "docs" / "images"


def main() -> None:
    """Write cameras.png (what the VLA sees, enlarged) and cell.png."""
    OUT.mkdir(parents=True, exist_ok=True)
    cell = Cell(get_task("ethernet"), image_size=96)
    cell.reset(1)
    seen = cell.render()
    cell.close()
    row = np.concatenate([seen[name] for name in CAMERA_NAMES], axis=1)
    Image.fromarray(row).resize((row.shape[1] * 3, row.shape[0] * 3), Image.Resampling.NEAREST).save(
        OUT / "cameras.png"
    )
    view = mujoco.MjvCamera()
    view.lookat[:] = [0.0, 0.5, 0.25]
    view.distance, view.azimuth, view.elevation = 1.25, 60.0, -22.0
    with mujoco.Renderer(cell.model, 400, 640) as renderer:
        renderer.update_scene(cell.data, camera=view)
        Image.fromarray(renderer.render()).save(OUT / "cell.png")


if __name__ == "__main__":
    main()
