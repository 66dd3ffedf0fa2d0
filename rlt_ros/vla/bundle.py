"""A bundle: one directory with a VLA ready to serve, and everything needed to know whether it fits a robot.

`bundle.yaml` describes `model.onnx`: uint8 images, joint positions and instruction in; RL token and reference
chunk (absolute joint targets) out.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from rlt_ros.normaliser import Normaliser

FORMAT = 2
MODEL_FILE = "model.onnx"
DESCRIPTION_FILE = "bundle.yaml"


class BundleError(ValueError):
    """A bundle is missing, damaged or made for another robot. The message says what to do."""


@dataclass(frozen=True)
class Bundle:
    """The contents of `bundle.yaml`.

    Attributes:
        directory: where it was read from.
        name: human-readable name.
        version: version of the bundle's contents.
        robot: robot it was made for.
        cameras: camera names in the order of the model's image input.
        image_size: side of the square images, pixels.
        joints: joint names in the order of every action and position.
        horizon: rows of the reference chunk.
        period: seconds between rows.
        token_dim: size of the RL token.
        tasks: the tasks it was trained on, and the instruction of each.
        normaliser: scales of proprioception and actions.
        sha256: hash of the model file.
        training: how it was made and how it did, for the reader.
    """

    directory: Path
    name: str
    version: str
    robot: str
    cameras: tuple[str, ...]
    image_size: int
    joints: tuple[str, ...]
    horizon: int
    period: float
    token_dim: int
    tasks: dict[str, str]
    normaliser: Normaliser
    sha256: str
    training: dict[str, Any]

    @property
    def id(self) -> str:
        """Identity of the token space and action scale: stamped on every message and checkpoint."""
        return f"{self.name}-{self.sha256[:12]}"

    def instruction(self, task: str = "") -> str:
        """What to tell the VLA for `task`; the first task's instruction where it does not know the name."""
        return self.tasks.get(task, next(iter(self.tasks.values())))

    @property
    def model_path(self) -> Path:
        """The ONNX file."""
        return self.directory / MODEL_FILE

    def check_fits(self, joints: tuple[str, ...], cameras: tuple[str, ...], robot: str = "") -> None:
        """Refuse another robot, or one that lacks a joint or a camera of this bundle.

        Args:
            joints: the robot's.
            cameras: the robot's.
            robot: its name; empty: not known.

        Raises:
            BundleError: says what differs.
        """
        if robot and robot != self.robot:
            raise BundleError(
                f"bundle '{self.name}' flies robot '{self.robot}', this one is '{robot}': choose a bundle that was "
                "made for it (--bundle), or correct `robot` in its parameter file"
            )
        for what, needed, present in (("joints", self.joints, joints), ("cameras", self.cameras, cameras)):
            missing = [name for name in needed if name not in present]
            if missing:
                raise BundleError(
                    f"bundle '{self.name}' is for robot '{self.robot}': {what} {', '.join(missing)} are not on this "
                    f"robot (it has {', '.join(present)}); choose another bundle or name them in the robot's config"
                )

    def save(self) -> None:
        """Write `bundle.yaml` into the directory."""
        data: dict[str, Any] = {"format": FORMAT}
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "directory":
                continue
            if isinstance(value, Normaliser):
                value = value.to_dict()
            data[field.name] = list(value) if isinstance(value, tuple) else value
        (self.directory / DESCRIPTION_FILE).write_text(yaml.safe_dump(data, sort_keys=False, width=120))


def load_bundle(directory: Path | str) -> Bundle:
    """Read and check a bundle.

    Raises:
        BundleError: the directory, a file, a key, a value or the model's hash is not as it must be.
    """
    directory = Path(directory)
    path = directory / DESCRIPTION_FILE
    if not path.is_file():
        raise BundleError(f"no bundle at {directory}: {DESCRIPTION_FILE} is missing; make one with 'rlt adapt'")
    try:
        data = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise BundleError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise BundleError(f"{path} must hold a mapping, it holds {type(data).__name__}")
    if data.pop("format", None) != FORMAT:
        raise BundleError(f"{path}: 'format' must be {FORMAT}; this bundle was made by another version of rlt_ros")
    expected = {field.name for field in fields(Bundle)} - {"directory"}
    for problem, names in (("lacks", expected - set(data)), ("has unknown", set(data) - expected)):
        if names:
            raise BundleError(f"{path} {problem} keys: {', '.join(sorted(names))}")
    try:
        bundle = Bundle(
            directory=directory,
            name=str(data["name"]),
            version=str(data["version"]),
            robot=str(data["robot"]),
            cameras=tuple(map(str, data["cameras"])),
            image_size=int(data["image_size"]),
            joints=tuple(map(str, data["joints"])),
            horizon=int(data["horizon"]),
            period=float(data["period"]),
            token_dim=int(data["token_dim"]),
            tasks={str(name): str(text) for name, text in dict(data["tasks"]).items()},
            normaliser=Normaliser.from_dict(data["normaliser"]),
            sha256=str(data["sha256"]),
            training=dict(data["training"]),
        )
    except (TypeError, ValueError) as error:
        raise BundleError(f"{path}: {error}") from error
    if min(bundle.image_size, bundle.horizon, bundle.token_dim) < 1 or not 0 < bundle.period < 1:
        raise BundleError(f"{path}: image_size, horizon, token_dim must be positive and period within (0, 1) s")
    if not bundle.tasks:
        raise BundleError(f"{path}: 'tasks' must name at least one task and its instruction")
    if len(bundle.normaliser.action_std) != len(bundle.joints):
        raise BundleError(
            f"{path}: the normaliser has {len(bundle.normaliser.action_std)} joints, not {len(bundle.joints)}"
        )
    if not bundle.model_path.is_file():
        raise BundleError(f"{bundle.model_path} is missing")
    if file_sha256(bundle.model_path) != bundle.sha256:
        raise BundleError(f"{bundle.model_path} is not the file that {DESCRIPTION_FILE} describes (sha256 differs)")
    return bundle


def file_sha256(path: Path) -> str:
    """Hex digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
