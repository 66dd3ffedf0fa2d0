"""A third person's task: nothing but data, and everything else follows."""

from __future__ import annotations

import numpy as np

from rlt_ros.sim.cell import Cell
from rlt_ros.sim.demonstrate import collect
from rlt_ros.sim.shapes import Box, holes
from rlt_ros.sim.tasks import Part, Parts, Task


def three_pins(clearance: float) -> Parts:
    pitch = (-0.014, 0.0, 0.014)
    body = Box((0.010, 0.0, 0.0), (0.010, 0.020, 0.008), (0.2, 0.2, 0.2))
    pins = [Box((0.030, y, 0.0), (0.010, 0.003, 0.004), (0.9, 0.8, 0.2)) for y in pitch]
    socket = holes(list(pitch), 0.003 + clearance, 0.004 + clearance, 0.024, 0.006, (0.6, 0.1, 0.5))
    return Parts(Part((body, *pins), reach=0.040), Part(tuple(socket), reach=0.024))


def test_a_task_made_of_data_is_flown_by_the_same_expert() -> None:
    task = Task(name="three_pins", instruction="insert the three pins", parts=three_pins, clearance=0.002)
    cell = Cell(task, image_size=32)
    episodes = list(collect(cell, episodes=8, stride=50, seed=0))
    cell.close()
    done = [episode.ticks for episode in episodes if episode.ticks]
    assert len(done) >= 4
    assert np.median(done) > 100
    assert episodes[0].instruction == "insert the three pins"
