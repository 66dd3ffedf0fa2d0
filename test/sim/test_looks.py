"""The cell in its good clothes is the same cell, to physics and to the policy's cameras."""

from __future__ import annotations

import numpy as np
import pytest

from rlt_ros.sim.cell import Cell
from rlt_ros.sim.looks import FOR_PEOPLE, Photographer
from rlt_ros.sim.names import CAMERA_NAMES
from rlt_ros.sim.tasks import SETTINGS, TASKS, get_task


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("task", sorted(TASKS))
def test_the_policy_and_physics_see_no_difference(task: str, setting: str) -> None:
    cells = [Cell(get_task(task, setting=setting), randomisation=0.5, dressed=dressed) for dressed in (False, True)]
    for cell in cells:
        cell.reset(5)
        if cell is cells[1]:
            Photographer(cell.model, 64, 48).close()
        for _ in range(10):
            cell.step(cell.command + 0.002)
    plain, dressed = cells
    assert np.array_equal(plain.data.qpos, dressed.data.qpos)
    seen = [cell.render() for cell in cells]
    for name in CAMERA_NAMES:
        assert np.array_equal(seen[0][name], seen[1][name]), name
    for cell in cells:
        cell.close()


def test_people_see_what_is_there_and_only_that() -> None:
    cell = Cell(get_task("charger", setting="full"), dressed=True)
    cell.reset(0)
    model = cell.model
    shown = {"plug": False, "plug_on_table": True}
    for body, there in shown.items():
        geoms = (model.geom_bodyid == model.body(body).id) & (model.geom_group == FOR_PEOPLE)
        assert geoms.any()
        assert set(model.geom_rgba[geoms & ~_stands(cell), 3]) == {float(there)}, body
    photographer = Photographer(model, 160, 120)
    picture = photographer.picture(cell.data)
    assert picture.shape == (120, 160, 3)
    assert picture.std() > 10
    model.geom_rgba[model.geom_group == FOR_PEOPLE, 3] = 0.0
    assert not np.array_equal(photographer.picture(cell.data), picture)
    photographer.close()
    cell.close()


def _stands(cell: Cell) -> np.ndarray:
    return np.array([cell.model.geom(geom).name.endswith("stand") for geom in range(cell.model.ngeom)])
