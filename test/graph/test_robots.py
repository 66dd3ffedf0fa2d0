"""Four robots as their vendors' drivers present them: a description is drafted, the check-up finds what is wrong."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from drivers import DRIVERS
from running import process

from rlt_ros.control.realtime import wait_until
from rlt_ros.robot.checkup import Finding, checkup
from rlt_ros.robot.description import read_robot
from rlt_ros.robot.draft import from_graph
from rlt_ros.robot.sections import Robot
from rlt_ros.robot.seen import Seen
from rlt_ros.ros.nudge import Nudger
from rlt_ros.ros.survey import Surveyor
from rlt_ros.share import share_directory

pytestmark = pytest.mark.live
PROGRAM = Path(__file__).parents[1] / "drivers.py"
_LOOK = 5.0


@contextmanager
def driver(name: str, tmp_path: Path, *faults: str) -> Iterator[None]:
    log = tmp_path / "driver.log"
    with process([sys.executable, str(PROGRAM), name, *faults], log):
        assert wait_until(lambda: "speaks" in log.read_text(), 20), log.read_text()
        yield


def described(name: str, tmp_path: Path) -> tuple[Robot, Path]:
    """The shipped description; an action needs control_msgs, a position controller does not."""
    path = share_directory() / "config" / "robots" / f"{name}.yaml"
    data = yaml.safe_load(path.read_text())
    for gripper, values in data.get("grippers", {}).items():
        if values.pop("action", ""):
            values.pop("effort", None)
            data["controllers"].append({"topic": "/hand_controller/commands", "joints": [gripper]})
    mine = tmp_path / "robot.yaml"
    mine.write_text(yaml.safe_dump(data, sort_keys=False))
    return read_robot(mine), mine


def looked(robot: Robot | None = None) -> Seen:
    surveyor = Surveyor(camera.topic for camera in (robot.cameras if robot else ()))
    try:
        return surveyor.look(_LOOK)
    finally:
        surveyor.close()


def wrong(robot: Robot) -> list[Finding]:
    """What does not fit; a machine that is busy may be late, which is not what is looked at here."""
    return [finding for finding in checkup(robot, looked(robot)) if not finding.ok and "are late" not in finding.remedy]


@pytest.mark.parametrize("name", DRIVERS)
def test_a_first_description_is_what_the_driver_says_and_the_shipped_one_fits(
    name: str, domain: int, tmp_path: Path
) -> None:
    shipped, _ = described(name, tmp_path)
    with driver(name, tmp_path):
        draft = from_graph(looked(), name)
        assert not wrong(shipped)
    path = tmp_path / "draft.yaml"
    path.write_text(draft.text())
    robot = read_robot(path)
    assert [len(arm.joints) for arm in robot.arms] == [len(arm.joints) for arm in shipped.arms]
    assert all(arm.gripper for arm in robot.arms)
    theirs = [[robot.theirs(joint) for joint in arm.joints] for arm in robot.arms]
    assert theirs == [[shipped.theirs(joint) for joint in arm.joints] for arm in shipped.arms]
    assert {source.topic for source in robot.sources} == {f"/{it.topic.lstrip('/')}" for it in shipped.sources}
    assert {it.topic for it in robot.controllers} == {f"/{it.topic.lstrip('/')}" for it in shipped.controllers}
    assert len(robot.leaders) == len(shipped.leaders)
    assert {source.unit for source in robot.sources} == {source.unit for source in shipped.sources}
    assert {it.topic for it in robot.cameras} == {f"/{it.topic.lstrip('/')}" for it in shipped.cameras}


@pytest.mark.parametrize(
    ("name", "fault", "finding", "told"),
    [
        (
            "ur5e_pair",
            "order=/left/forward_position_controller/commands",
            "controller /left/forward",
            "another one: wrist_3",
        ),
        ("aloha", "late=/base/color/image_raw", "skew base", "ms from left_wrist"),
        ("franka", "unit=/franka/joint_states", "joint fr3_joint2", "correct its unit: deg"),
        ("so101", "silent=/follower/joint_states", "joint states /follower/joint_states", "start the driver"),
    ],
)
def test_what_is_wrong_is_named(name: str, fault: str, finding: str, told: str, domain: int, tmp_path: Path) -> None:
    robot, _ = described(name, tmp_path)
    with driver(name, tmp_path, fault):
        found = {it.name: it for it in wrong(robot)}
    named = next(it for name, it in found.items() if name.startswith(finding))
    assert told in f"{named.detail} {named.remedy}"


def moved(robot: Robot, path: Path) -> dict[str, Finding]:
    surveyor = Surveyor()
    try:
        return {finding.name: finding for finding in Nudger(surveyor, robot, path, {}).run()}
    finally:
        surveyor.close()


def test_joints_that_answer_pass_and_others_are_named(domain: int, tmp_path: Path) -> None:
    robot, path = described("so101", tmp_path)
    with driver("so101", tmp_path, "sign=wrist_roll"):
        found = moved(robot, path)
    assert [name for name, it in found.items() if not it.ok] == ["moves wrist_roll"]
    assert "sign is wrong" in found["moves wrist_roll"].remedy


def test_a_controller_that_is_not_active_is_named_by_its_joints(domain: int, tmp_path: Path) -> None:
    robot, path = described("so101", tmp_path)
    with driver("so101", tmp_path, "inactive=/follower/forward_position_controller/commands"):
        found = moved(robot, path)
    assert not any(it.ok for it in found.values())
    assert all("is its controller active" in it.remedy for it in found.values())
