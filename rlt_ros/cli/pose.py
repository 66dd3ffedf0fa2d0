"""`rlt adapt pose`: a bundle that thinks in poses of the arms' tips."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from rlt_ros.cli.options import Json, check_datasets, report
from rlt_ros.config import ConfigError
from rlt_ros.missing import remedy

if TYPE_CHECKING:
    from rlt_ros.robot.sections import Robot
    from rlt_ros.vla.bundle import Bundle, Skeleton

_FILE = "skeleton.xml"
_NO_PICTURES = 1_000_000
"""Ticks between two pictures where only the motion is looked at."""


def pose(
    bundle: Annotated[Path, typer.Option(help="Finished bundle; actors that know it are useless then.")],
    robot: Annotated[Path, typer.Option(metavar="FILE", help="Description with `model`, and a `tip` for each arm.")],
    data: Annotated[list[Path], typer.Option(help="LeRobot v3 dataset of the robot, may be repeated.")],
    state: Annotated[bool, typer.Option(help="The VLA is told poses too, as it was trained.")] = False,
    actions: Annotated[bool, typer.Option(help="The VLA's rows are steps of the tips, as it was trained.")] = False,
    as_json: Json = False,
) -> None:
    """Let RL know the robot by the poses of its tips instead of its joints, as the paper does for its precise tasks.

    The robot's kinematics become part of the bundle, so that flight, samples and learner compute the same; their scales
    are those of the demonstrations. With --state and --actions the VLA is told and asked in poses as well.
    """
    from rlt_ros.robot.description import read_robot
    from rlt_ros.vla.bundle import END_EFFECTOR, JOINTS, file_sha256, load_bundle
    from rlt_ros.vla.dataset import read_contents, read_episodes

    check_datasets(data)
    loaded = load_bundle(bundle)
    loaded.check_fits(read_contents(data[0]).joints, ())
    skeleton = write_skeleton(loaded, read_robot(robot), robot)
    made = dataclasses.replace(
        loaded,
        skeleton=skeleton,
        files={**loaded.files, skeleton.file: file_sha256(bundle / skeleton.file)},
        proprioception=END_EFFECTOR,
        state=END_EFFECTOR if state else JOINTS,
        actions=END_EFFECTOR if actions else JOINTS,
    )
    episodes = [episode for path in data for episode in read_episodes(path, _NO_PICTURES)]
    order = [read_contents(data[0]).joints.index(name) for name in loaded.joints]
    position, velocity = (
        np.concatenate([getattr(episode, name)[:, order] for episode in episodes]) for name in ("position", "velocity")
    )
    tips, still = made.tips(), np.zeros((len(position), len(order)))
    fitted = type(loaded.normaliser).fit(position, velocity, still, np.zeros(len(position), bool), tips)
    scales: dict[str, Any] = {"proprio_mean": fitted.proprio_mean, "proprio_std": fitted.proprio_std, "tips": tips}
    made = dataclasses.replace(made, normaliser=dataclasses.replace(loaded.normaliser, **scales))
    made.save()
    told = {"bundle": str(bundle), "id": load_bundle(bundle).id, "was": loaded.id, "numbers": tips.size}
    report({**told, "state": made.state, "actions": made.actions}, as_json)


def write_skeleton(bundle: Bundle, robot: Robot, path: Path) -> Skeleton:
    """Put the robot's kinematics into the bundle's directory.

    Args:
        bundle: whose joints are meant.
        robot: with a model.
        path: of its description, for what is told.

    Raises:
        ConfigError: the description names no model, or not a tip for each arm; or MuJoCo is not installed.
    """
    from rlt_ros.robot.derive import teleop
    from rlt_ros.teleop.config import TeleopParameters, arm_slots
    from rlt_ros.vla.bundle import Skeleton

    if not robot.model or not all(arm.tip for arm in robot.arms):
        raise ConfigError(f"{path}: poses need `model` (an MJCF or URDF file), and a `tip` of it for each arm")
    try:
        from rlt_ros.teleop.tips import TipsError, load_tips, skeleton
    except ImportError as error:
        raise ConfigError(f"poses need MuJoCo: {remedy(error, 'teleop')}") from error
    names = TeleopParameters(joints=robot.joints, model_joints=tuple(teleop(robot)["model_joints"]))
    joints = names.model_joint(bundle.joints)
    first = [bundle.joints[slots.joints[0]] for slots in arm_slots(joints)]
    arms = [arm for name in first for arm in robot.arms if name in arm.joints]
    frames, bases = tuple(arm.tip for arm in arms), tuple(arm.base for arm in arms)
    try:
        (bundle.directory / _FILE).write_text(skeleton(_model(robot.model)), encoding="utf-8")
        load_tips(bundle.directory / _FILE, frames, joints, bases)
    except (TipsError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from error
    return Skeleton(_FILE, frames, joints, bases if any(bases) else ())


def _model(name: str) -> Any:
    """Of a description's `model`."""
    import mujoco

    if name != "cell":
        return mujoco.MjSpec.from_file(name)
    from rlt_ros.sim.model import build_spec
    from rlt_ros.sim.tasks import TASKS

    return build_spec(next(iter(TASKS.values())))
