"""Bundles of VLAs that others trained; what checkpoint or server does not say is taken from a dataset of the robot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rlt_ros import __version__
from rlt_ros.config import ConfigError
from rlt_ros.normaliser import Normaliser
from rlt_ros.vla.bundle import Bundle
from rlt_ros.vla.dataset import Contents, read_contents, read_episodes
from rlt_ros.vla.openpi_backend import ask_greeting

_WHOLE_EPISODE = 1 << 30
"""A stride at which one set of pictures an episode is decoded: only its motion is needed."""


@dataclass(frozen=True)
class Robot:
    """What a dataset says of the robot on which it was recorded.

    Attributes:
        contents: robot, joints, cameras and rate.
        tasks: its tasks, and the instruction of each.
        normaliser: scales of its motion.
    """

    contents: Contents
    tasks: dict[str, str]
    normaliser: Normaliser


def robot_of(datasets: Sequence[Path]) -> Robot:
    """Read datasets of one robot; pictures are left alone.

    Raises:
        ConfigError: they cannot be read, or are of different robots.
    """
    contents = read_contents(datasets[0])
    position, velocity, steps, critical = [], [], [], []
    tasks: dict[str, str] = {}
    for path in datasets:
        if read_contents(path) != contents:
            raise ConfigError(f"{path} is {read_contents(path)}, but {datasets[0]} is {contents}: they cannot be mixed")
        for episode in read_episodes(path, _WHOLE_EPISODE):
            tasks.setdefault(episode.task, episode.instruction)
            position.append(episode.position)
            velocity.append(episode.velocity)
            steps.append(np.diff(episode.command, axis=0, prepend=episode.before[None]))
            critical.append(episode.critical)
    normaliser = Normaliser.fit(*(np.concatenate(part) for part in (position, velocity, steps, critical)))
    return Robot(contents, tasks, normaliser)


def import_openpi(
    uri: str, out: Path, name: str, datasets: Sequence[Path], settings: dict[str, Any], **given: Any
) -> Bundle:
    """A bundle whose VLA is a server's.

    Args:
        uri: of the server, `ws://host:port`.
        out: directory of the bundle.
        name: of the bundle.
        datasets: of the robot; needed for a server that is not `rlt serve`.
        settings: see `OpenpiSettings`.
        given: `horizon` and `image_size`, for a server that does not say them.

    Raises:
        ConfigError: there is no server, or something is not known of its VLA; the message says what to give.
    """
    greeting = ask_greeting(uri).get("rlt")
    if isinstance(greeting, dict):
        said = {**greeting, "normaliser": Normaliser.from_dict(greeting["normaliser"]), "sha256": greeting["vla"]}
    elif not datasets:
        raise ConfigError(
            f"{uri} does not say which robot it flies, as openpi's own servers do not: give a dataset of the robot by "
            "--data, recorded by 'rlt collect --live' or any LeRobot v3 one"
        )
    else:
        robot = robot_of(datasets)
        contents = robot.contents
        said = {
            "robot": contents.robot,
            "joints": contents.joints,
            "cameras": contents.cameras,
            "period": contents.period,
            "image_size": contents.image_size,
            "tasks": robot.tasks,
            "normaliser": robot.normaliser,
            "sha256": "0" * 64,
            "horizon": 50,
            "token_dim": 0,
            **{key: value for key, value in given.items() if value is not None},
        }
    out.mkdir(parents=True, exist_ok=True)
    bundle = Bundle(
        directory=out,
        name=name,
        version=__version__,
        robot=said["robot"],
        cameras=tuple(said["cameras"]),
        image_size=said["image_size"],
        joints=tuple(said["joints"]),
        horizon=said["horizon"],
        period=said["period"],
        token_dim=said["token_dim"],
        tasks=said["tasks"],
        normaliser=said["normaliser"],
        sha256=said["sha256"],
        training={"imported": uri},
        backend="openpi",
        settings={"uri": uri, **settings},
    )
    bundle.save()
    return bundle
