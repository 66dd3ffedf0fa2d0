"""The simulated human, with teleoperation between its hands and the cell as in the running graph."""

from __future__ import annotations

import numpy as np
import pytest

from rlt_ros.bringup.graph import Bringup
from rlt_ros.config import from_mapping
from rlt_ros.share import share_directory
from rlt_ros.sim.cell import CONTROL_PERIOD, Cell
from rlt_ros.sim.human import AXES, BEGIN_CRITICAL, BUTTONS, TAKEOVER, SimulatedHuman
from rlt_ros.sim.names import JOINT_NAMES
from rlt_ros.sim.tasks import TASKS, get_task
from rlt_ros.teleop.config import TeleopParameters, arm_slots
from rlt_ros.teleop.kinematics import Arms
from rlt_ros.teleop.mapping import Function, load_mapping
from rlt_ros.teleop.teleop import Teleop
from rlt_ros.types import Phase

MAPPING = load_mapping(share_directory() / "config" / "joystick" / "simulated.yaml")
SPEEDS = {f"{way}_speed": getattr(TeleopParameters, f"{way}_speed") for way in ("linear", "angular", "gripper")}


def test_the_mapping_is_what_the_human_speaks() -> None:
    assert (MAPPING.axis_count, MAPPING.buttons[TAKEOVER]) == (AXES, Function.TAKEOVER)
    assert MAPPING.buttons[BEGIN_CRITICAL] is Function.BEGIN_CRITICAL
    assert MAPPING.button_count == BUTTONS


@pytest.mark.parametrize("task", sorted(TASKS))
def test_a_human_with_a_joystick_finishes_what_stands_still(task: str) -> None:
    cell = Cell(get_task(task))
    human = SimulatedHuman(0.3, 1, np.random.default_rng(0), **SPEEDS)
    parameters = from_mapping(TeleopParameters, Bringup().of_robot("teleop_node"), "teleop_node")
    names = parameters.model_joint(JOINT_NAMES)
    arms = Arms(cell.model, parameters.frames, names)
    done, taken = 0, []
    for seed in range(4):
        cell.reset(seed)
        teleop = Teleop(parameters, MAPPING, arms, arm_slots(names))
        teleop.joy(-CONTROL_PERIOD, np.zeros(AXES), [0] * BUTTONS)
        delayed = [cell.command] * 2
        for tick in range(round(cell.task.limit / CONTROL_PERIOD)):
            now = tick * CONTROL_PERIOD
            axes, buttons = human(cell, Phase.CRITICAL)
            teleop.command(now, cell.command)
            teleop.joy(now, axes, buttons)
            wish = teleop.tick(now)
            flies = wish is not None and wish.target is not None
            if buttons[TAKEOVER] and len(taken) == seed:
                taken.append(tick)
            delayed.append(wish.target if flies else cell.command)
            cell.step(delayed.pop(0))
            if cell.insertion().success:
                done += 1
                break
    cell.close()
    assert done >= 3
    assert taken[0] == 0, "the first one is a demonstration"
    assert all(0 <= tick <= 31 for tick in taken[1:])


def test_hands_rest_outside_the_critical_phase() -> None:
    cell = Cell(get_task("ethernet"))
    human = SimulatedHuman(0.0, 0, np.random.default_rng(0), **SPEEDS)
    for phase in (Phase.IDLE, Phase.RESET, Phase.ENDED):
        axes, buttons = human(cell, phase)
        assert not axes.any()
        assert not any(buttons)
    assert human(cell, Phase.BASE)[1][BEGIN_CRITICAL] == 1, "both parts are held, before each other"
    cell.close()
    full = Cell(get_task("ethernet", setting="full"))
    assert human(full, Phase.BASE)[1][BEGIN_CRITICAL] == 0
    full.close()
