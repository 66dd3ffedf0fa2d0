"""A strap that must be seen, a slot that must be met, a ratchet that never goes back."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from rlt_ros.sim.cell import Cell
from rlt_ros.sim.expert import Expert
from rlt_ros.sim.kinematics import RelativePose
from rlt_ros.sim.tasks import get_task
from rlt_ros.sim.tasks.zip_tie import Strap


@pytest.fixture(scope="module")
def cell() -> Iterator[Cell]:
    made = Cell(get_task("zip_tie"), image_size=32)
    yield made
    made.close()


class Puller:
    """A hand that moves the strap in straight lines."""

    def __init__(self, cell: Cell, seed: int = 0) -> None:
        cell.reset(seed)
        self.cell = cell
        pose, self._centre = cell.kinematics.relative_pose(cell.command)
        self.offset, self._tilt = pose.offset.copy(), pose.tilt.copy()

    @property
    def teeth(self) -> int:
        assert isinstance(self.cell.mechanism, Strap)
        return self.cell.mechanism.teeth

    def move(self, goal: list[float], seconds: float) -> None:
        for _ in range(round(seconds * 50)):
            self.offset += np.clip(np.array(goal) - self.offset, -4e-4, 4e-4)
            self._tilt *= 0.9
            pose = RelativePose(self.offset, self._tilt)
            self.cell.step(self.cell.kinematics.track(self.cell.command, pose, self._centre))

    def meet(self) -> None:
        """Bring the tip before the slot, wherever the strap is bent to."""
        self.move([0.01, 0.0, 0.0], 2.0)
        for _ in range(3):
            aim = self.offset[1:] - self.cell.insertion().offset[1:]
            self.move([0.01, *aim], 0.6)
        assert self.cell.insertion().lateral < 4e-4


def test_how_the_strap_is_bent_is_different_in_every_episode_and_the_joints_do_not_tell(cell: Cell) -> None:
    misses = []
    for seed in range(12):
        hand = Puller(cell, seed)
        hand.move(list(hand.offset), 0.4)
        misses.append(cell.insertion().offset[2] - hand.offset[2])
    assert np.std(misses) > 0.002


def test_what_has_gone_through_never_comes_back(cell: Cell) -> None:
    hand = Puller(cell)
    hand.meet()
    hand.move([-0.020, *hand.offset[1:]], 2.0)
    teeth, depth = hand.teeth, cell.insertion().depth
    assert teeth >= 10
    assert not cell.insertion().success, "it is not tight"
    hand.move([0.0, *hand.offset[1:]], 1.0)
    assert hand.teeth == teeth
    assert cell.insertion().depth > depth - 0.003, "a tooth, and what a strap gives"
    assert cell.insertion().press < -1.0, "one feels it"
    hand.move([-0.042, *hand.offset[1:]], 4.0)
    assert cell.insertion().success
    assert hand.teeth >= 30


def test_a_strap_that_goes_past_the_head_has_gone_through_nothing(cell: Cell) -> None:
    hand = Puller(cell)
    hand.meet()
    above = hand.offset[2] + 0.012
    hand.move([0.01, hand.offset[1], above], 1.5)
    hand.move([-0.045, hand.offset[1], above], 4.0)
    assert cell.insertion().depth > cell.task.success_depth
    assert hand.teeth == 0
    assert not cell.insertion().success


def test_a_tip_that_misses_the_slot_bends_aside(cell: Cell) -> None:
    hand = Puller(cell)
    hand.meet()
    hand.move([0.01, hand.offset[1], hand.offset[2] + 0.0028], 1.0)
    hand.move([-0.012, *hand.offset[1:]], 2.0)
    assert hand.teeth == 0
    assert cell.insertion().lateral > 0.003
    assert not cell.insertion().stopped, "a strap is soft"


def test_the_same_seed_is_the_same_tie(cell: Cell) -> None:
    ends = []
    for _ in range(2):
        cell.reset(3)
        expert = Expert(cell, np.random.default_rng(3))
        for _ in range(200):
            cell.step(expert.act())
        ends.append((cell.position, cell.insertion().offset))
    assert all(np.array_equal(first, second) for first, second in zip(*ends, strict=True))
