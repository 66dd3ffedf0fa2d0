"""The cell: real contact, an expert that inserts, pictures that show the parts."""

from __future__ import annotations

import numpy as np
import pytest

from rlt_ros.sim.cell import CAMERA_NAMES, JOINT_NAMES, Cell
from rlt_ros.sim.expert import Expert
from rlt_ros.sim.kinematics import RelativePose
from rlt_ros.sim.tasks import get_task
from rlt_ros.vla.demos import collect


@pytest.fixture(scope="module")
def cell() -> Cell:
    return Cell(get_task("ethernet"), image_size=96)


def test_starts_are_random_but_repeatable_and_not_inserted(cell: Cell) -> None:
    cell.reset(3)
    first = cell.position
    cell.reset(4)
    assert not np.allclose(cell.position, first)
    cell.reset(3)
    assert np.array_equal(cell.position, first)
    task, place = cell.task, cell.insertion()
    assert -task.start_gap[1] - 1e-3 <= place.depth <= -task.start_gap[0] + 1e-3
    assert not place.success


def test_the_arms_follow_a_slow_command_within_a_milliradian_once_it_rests(cell: Cell) -> None:
    cell.reset(0)
    goal = cell.command
    goal[0] += 0.05
    for _ in range(60):
        cell.step(cell.command + np.clip(goal - cell.command, -0.002, 0.002))
    assert np.abs(cell.position - goal)[:6].max() < 3e-3


def test_the_socket_stops_a_plug_that_misses_the_hole(cell: Cell) -> None:
    """Contact is real: pushed 20 mm against the rim, the plug stays outside."""
    cell.reset(0)
    pose, centre = cell.kinematics.relative_pose(cell.command)
    offset = np.array([pose.offset[0], 0.010, 0.0])
    for target in (0.005, -0.015):
        for _ in range(150):
            offset[0] += np.clip(target - offset[0], -5e-4, 5e-4)
            cell.step(cell.kinematics.track(cell.command, RelativePose(offset, np.zeros(3)), centre))
    assert cell.insertion().depth < 0.002


def test_the_expert_inserts_most_of_the_time(cell: Cell) -> None:
    wins = 0
    for seed in range(10):
        cell.reset(seed)
        expert = Expert(cell, np.random.default_rng(seed))
        for _ in range(500):
            cell.step(expert.act())
            if cell.insertion().success:
                wins += 1
                break
    assert wins >= 6


@pytest.mark.parametrize("command", [np.zeros(13), np.full(14, np.nan)])
def test_an_absurd_command_is_refused(cell: Cell, command: np.ndarray) -> None:
    with pytest.raises(ValueError, match="command"):
        cell.step(command)


def test_an_unknown_task_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="choose one of ethernet"):
        get_task("usb")


def test_both_wrist_cameras_see_plug_and_socket(cell: Cell) -> None:
    cell.reset(0)
    images = cell.render()
    assert tuple(images) == CAMERA_NAMES
    for name in CAMERA_NAMES:
        red, _, blue = (images[name][..., channel].astype(int) for channel in range(3))
        assert (red - blue > 80).sum() > 30, f"{name} does not see the plug"
        assert (blue - red > 80).sum() > 30, f"{name} does not see the socket"
    cell.close()


def test_demonstrations_hold_what_was_commanded(cell: Cell) -> None:
    demos = collect(cell, episodes=3, horizon=50, stride=10, seed=0)
    cell.close()
    assert demos.images.shape[1:] == (3, 96, 96, 3)
    assert demos.steps.shape[1:] == (50, len(JOINT_NAMES))
    assert set(demos.episode) == set(np.flatnonzero(demos.ticks))
    for index in range(len(demos.episode) - 1):
        if demos.episode[index] == demos.episode[index + 1]:
            assert np.array_equal(demos.steps[index][10:], demos.steps[index + 1][:-10]) or not demos.valid[index].all()
    assert not demos.steps[~demos.valid].any()
