"""What a new robot begins with."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from robot_support import written

from rlt_ros.bringup.graph import Bringup
from rlt_ros.cli.init import init
from rlt_ros.config import ConfigError
from rlt_ros.robot.description import read_robot
from rlt_ros.vla.bundle import load_bundle
from rlt_ros.vla.loaded import LoadedVla


def test_a_bundle_without_a_vla_fits_its_robot(tmp_path: Path) -> None:
    path = written(tmp_path / "robot.yaml", cameras={"wrist": "w/image_raw"})
    init("bundle", out=tmp_path / "first", robot=path, task="wipe", instruction="wipe the table")
    bundle = load_bundle(tmp_path / "first")
    robot = read_robot(path)
    bundle.check_fits(robot.joints, ("wrist",), robot=robot.name)
    assert (bundle.period, bundle.tasks) == (robot.period, {"wipe": "wipe the table"})
    bringup = Bringup(target="robot", robot_file=path, bundle=tmp_path / "first", settings={"vla_node.threads": 2})
    bringup.check_robot()
    started = {spec.name for spec in bringup.nodes()}
    assert {"executor_node", "teleop_node"} < started, "a human flies"
    assert not {"vla_node", "learner_node"} & started, "nobody asks a VLA that is not there, again and again"
    with pytest.raises(ConfigError, match="has no VLA: with it a human flies"):
        LoadedVla(bundle)
    with pytest.raises(ConfigError, match="already holds a bundle"):
        init("bundle", out=tmp_path / "first", robot=path)
    with pytest.raises(ConfigError, match="names no cameras"):
        init("bundle", out=tmp_path / "second", robot=written(tmp_path / "blind.yaml"))


def test_a_file_of_before_is_moved_and_says_what_is_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = tmp_path / "old.yaml", tmp_path / "robot.yaml"
    executor = {"robot": "r", "joints": ["pan", "gripper"], "joint_low": [-1.0, 0.0], "joint_high": [1.0, 1.0]}
    old.write_text(yaml.safe_dump({"/**/executor_node": {"ros__parameters": executor}}))
    init("robot", out=new, old=old)
    assert read_robot(new).joints == ("pan", "gripper")
    assert "executor_node.joint_low" in capsys.readouterr().err
    specs = Bringup(target="robot", robot_file=new).nodes()
    assert next(spec for spec in specs if spec.name == "executor_node").parameters["robot"] == "r"
    with pytest.raises(ConfigError, match="is there already"):
        init("robot", out=new, old=old)
    with pytest.raises(ConfigError, match="'robot' or a 'bundle', not 'spoon'"):
        init("spoon")
