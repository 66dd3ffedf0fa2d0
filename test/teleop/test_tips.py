"""Poses of an arm's tip, how fast they change, and the joints that bring it on its way."""

from __future__ import annotations

from pathlib import Path

import mujoco
import numpy as np
import pytest

from rlt_ros.robot.derive import teleop
from rlt_ros.robot.description import read_robot
from rlt_ros.share import share_directory
from rlt_ros.sim.model import build_spec
from rlt_ros.sim.tasks import TASKS
from rlt_ros.teleop.tips import Tips, TipsError, load_tips, skeleton

JOINTS = ("pan", "lift", "bend", "")
PLANAR = """
<mujoco><worldbody><body name="link_1"><joint name="pan" axis="0 0 1" range="-3 3" limited="true"/>
<geom size=".1"/><body name="link_2" pos="1 0 0"><joint name="lift" axis="0 0 1"/><geom size=".1"/>
<body name="link_3" pos="1 0 0"><joint name="bend" axis="0 0 1"/><geom size=".1"/><site name="tip" pos="1 0 0"/>
</body></body></body></worldbody></mujoco>
"""
CELL = read_robot(share_directory() / "config" / "robots" / "aloha.yaml")


def planar() -> Tips:
    return Tips(mujoco.MjModel.from_xml_string(PLANAR), ("tip",), JOINTS)


def cell() -> Tips:
    given = teleop(CELL)
    return Tips(build_spec(next(iter(TASKS.values()))).compile(), given["frames"], given["model_joints"])


def test_a_pose_is_position_two_columns_and_the_gripper() -> None:
    tips = planar()
    position = np.array([[0.0, 0.0, 0.0, 0.3], [np.pi / 2, 0.0, 0.0, 0.7]])
    np.testing.assert_allclose(
        tips.numbers(position),
        [[3, 0, 0, 1, 0, 0, 0, 1, 0, 0.3], [0, 3, 0, 0, 1, 0, -1, 0, 0, 0.7]],
        atol=1e-12,
    )
    assert tips.numbers(position[0]).shape == (tips.size,) == (10,)


def test_rates_are_what_the_numbers_do() -> None:
    tips, rng = cell(), np.random.default_rng(0)
    position, velocity = rng.uniform(-0.5, 0.5, (20, 14)), rng.normal(size=(20, 14))
    step = 1e-6 * velocity
    change = (tips.numbers(position + step) - tips.numbers(position - step)) / 2e-6
    np.testing.assert_allclose(tips.rates(position, velocity), change, atol=1e-7)


def test_both_arms_go_the_asked_way_and_what_a_row_leaves_the_next_one_makes_up_for() -> None:
    tips, start = cell(), np.full(14, 0.2)
    actions = np.zeros((50, tips.action_size))
    actions[:, :3], actions[:, 5], actions[:, 6] = (2e-3, -1e-3, 1e-3), 4e-3, np.linspace(0, 1, 50)
    actions[:, 7:10] = (-1e-3, 0.0, 2e-3)
    rows = tips.rows(start, actions)
    before, after = tips.numbers(start), tips.numbers(rows[-1])
    np.testing.assert_allclose(after[:3] - before[:3], (0.1, -0.05, 0.05), atol=1e-3)
    np.testing.assert_allclose(after[10:13] - before[10:13], (-0.05, 0.0, 0.1), atol=1e-3)
    np.testing.assert_allclose(after[13:19], before[13:19], atol=0.01)
    angle = np.arctan2(*np.cross(before[3:6], after[3:6])[[2]], before[3:5] @ after[3:5])
    assert angle == pytest.approx(0.2, abs=0.01)
    np.testing.assert_allclose(rows[:, 6], np.linspace(0, 1, 50))
    assert np.abs(np.diff(rows, axis=0, prepend=start[None]))[:, :6].max() < 0.05, "no joint leaps"


TURNED = """
<mujoco><worldbody><body name="table"><site name="mount" pos="1 2 0" euler="0 0 90"/>
<body name="carriage" pos="1 2 0" euler="0 0 90">
<body name="link_1"><joint name="pan" axis="0 0 1" range="-3 3" limited="true"/>
<geom size=".1"/><body name="link_2" pos="1 0 0"><joint name="lift" axis="0 0 1"/><geom size=".1"/>
<body name="link_3" pos="1 0 0"><joint name="bend" axis="0 0 1"/><geom size=".1"/><site name="tip" pos="1 0 0"/>
</body></body></body></body></body></worldbody></mujoco>
"""


@pytest.mark.parametrize("base", ["mount", "carriage"])
def test_told_in_its_base_an_arm_is_the_same_wherever_it_stands(base: str) -> None:
    placed = Tips(mujoco.MjModel.from_xml_string(TURNED), ("tip",), JOINTS, (base,))
    alone, rng = planar(), np.random.default_rng(0)
    position, velocity = rng.uniform(-0.5, 0.5, (20, 4)), rng.normal(size=(20, 4))
    np.testing.assert_allclose(placed.numbers(position), alone.numbers(position), atol=1e-9)
    np.testing.assert_allclose(placed.rates(position, velocity), alone.rates(position, velocity), atol=1e-9)
    steps = rng.normal(0, 1e-3, (20, alone.action_size))
    np.testing.assert_allclose(placed.rows(position[0], steps), alone.rows(position[0], steps), atol=1e-9)
    elsewhere = Tips(mujoco.MjModel.from_xml_string(TURNED), ("tip",), JOINTS)
    assert not np.allclose(elsewhere.numbers(position), alone.numbers(position), atol=0.1)


def test_a_base_that_moves_is_none() -> None:
    with pytest.raises(TipsError, match="'link_2' is no base: lift moves it"):
        Tips(mujoco.MjModel.from_xml_string(PLANAR), ("tip",), JOINTS, ("link_2",))


def test_out_of_reach_it_stays_within_limits_and_finite() -> None:
    tips = planar()
    rows = tips.rows(np.array([2.9, 0.0, 0.0, 0.0]), np.tile([-0.5, -0.5, 0, 0, 0, 0.5, 1.0], (30, 1)))
    assert np.isfinite(rows).all()
    assert rows[:, 0].max() <= 3.0


def test_a_skeleton_has_the_same_kinematics_and_no_other_file(tmp_path: Path) -> None:
    given = teleop(CELL)
    path = tmp_path / "skeleton.xml"
    path.write_text(skeleton(build_spec(next(iter(TASKS.values())))))
    assert "<geom" not in path.read_text()
    position = np.random.default_rng(0).uniform(-0.5, 0.5, (20, 14))
    mine = load_tips(path, given["frames"], given["model_joints"])
    np.testing.assert_allclose(mine.numbers(position), cell().numbers(position), atol=1e-9)


def test_a_link_that_is_fixed_to_another_is_a_tip(tmp_path: Path) -> None:
    """MuJoCo melts the fixed links of a URDF into one, and `tool0` is gone."""
    inertia = '<inertial><mass value="1"/><inertia ixx="1" iyy="1" izz="1" ixy="0" ixz="0" iyz="0"/></inertial>'
    path = tmp_path / "arm.urdf"
    path.write_text(
        f'<robot name="arm"><link name="base"/><link name="link">{inertia}</link><link name="tool0"/>'
        '<joint name="pan" type="revolute"><parent link="base"/><child link="link"/><axis xyz="0 0 1"/>'
        '<limit lower="-1" upper="1" effort="1" velocity="1"/></joint>'
        '<joint name="fixed" type="fixed"><parent link="link"/><child link="tool0"/><origin xyz="0.5 0 0"/></joint>'
        "</robot>"
    )
    (tmp_path / "skeleton.xml").write_text(skeleton(mujoco.MjSpec.from_file(str(path))))
    tips = load_tips(tmp_path / "skeleton.xml", ("tool0",), ("pan",))
    np.testing.assert_allclose(tips.numbers(np.array([np.pi / 2]))[:3], (0, 0.5, 0), atol=1e-9)


@pytest.mark.parametrize(
    ("frames", "joints", "told"),
    [
        (("tip",), ("pan", "left", "bend", ""), "no joint 'left'; it has pan, lift, bend"),
        (("nose",), JOINTS, "no site or body 'nose'"),
        (("tip", "tip"), JOINTS, "each of 1 arms, it has 2"),
    ],
)
def test_what_the_model_lacks_is_named(frames: tuple[str, ...], joints: tuple[str, ...], told: str) -> None:
    with pytest.raises(TipsError, match=told):
        Tips(mujoco.MjModel.from_xml_string(PLANAR), frames, joints)
