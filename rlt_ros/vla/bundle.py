"""A bundle: one directory with a VLA ready to serve, and everything needed to know whether it fits a robot.

`bundle.yaml` says which VLA it is and how it is run (`backend`): a model file here, a LeRobot checkpoint here, or a
server elsewhere. Images, joint positions and instruction go in; the reference chunk (absolute joint targets) comes out,
and the RL token, or the embeddings of which the encoder beside the VLA makes it.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from rlt_ros.config import ConfigError
from rlt_ros.missing import remedy
from rlt_ros.normaliser import Normaliser
from rlt_ros.yaml_file import read_yaml

if TYPE_CHECKING:
    from rlt_ros.teleop.tips import Tips

FORMAT = 2
BACKENDS = ("onnx", "lerobot", "openpi", "none")
_WITHOUT_MODEL = ("openpi", "none")
"""Back ends whose weights are no file of the bundle."""
POLICY = "policy"
"""Directory of a LeRobot checkpoint in a bundle."""
JOINTS, END_EFFECTOR = "joints", "end_effector"
_IN_POSES = ("proprioception", "state", "actions")
"""What may be told in poses of the arms' tips."""
_OPTIONAL: dict[str, Any] = {
    "files": {},
    "backend": "onnx",
    "settings": {},
    "encoder": None,
    "skeleton": None,
    "proprioception": JOINTS,
    "state": JOINTS,
    "actions": JOINTS,
}
"""Keys that may be left out of `bundle.yaml`, and what that means."""
MODEL_FILE = "model.onnx"
DESCRIPTION_FILE = "bundle.yaml"


class BundleError(ValueError):
    """A bundle is missing, damaged or made for another robot. The message says what to do."""


@dataclass(frozen=True)
class Encoder:
    """The RL token's encoder beside a frozen VLA.

    Attributes:
        file: ONNX file in the bundle.
        vla: identity of the VLA whose embeddings it was trained on (`Bundle.vla`); those of another one would give
            a token that says nothing, without a word.
    """

    file: str
    vla: str


@dataclass(frozen=True)
class Skeleton:
    """The robot's kinematics; see `rlt_ros.teleop.tips`.

    Attributes:
        file: MJCF file in the bundle.
        frames: its sites or bodies that are the arms' tips, in the order of the arms.
        joints: its names of the bundle's joints, empty for a gripper.
        bases: its sites or bodies that the tips' poses are told in, empty for its root; none: all are told in that.
    """

    file: str
    frames: tuple[str, ...]
    joints: tuple[str, ...]
    bases: tuple[str, ...] = ()


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
        sha256: hash of the model: of its file, of a checkpoint's files, or what a server says that it is.
        training: how it was made and how it did, for the reader.
        files: hash of every other file that is read (external data of the model, the encoder), by name.
        backend: how the VLA is run: onnx, lerobot or openpi; none: there is no VLA, a human flies.
        settings: what its back end needs to know.
        encoder: of the RL token; None: the model makes it itself, or there is none.
        skeleton: the robot's kinematics, where anything is told in poses of the arms' tips; None: nothing is.
        proprioception: what RL knows of the robot: `joints`, or `end_effector`, the poses of its tips.
        state: what the VLA is told of it, in the same words.
        actions: what the VLA's rows are: joint targets, or steps of the tips that become joint targets here.
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
    files: dict[str, str] = field(default_factory=dict)
    backend: str = "onnx"
    settings: dict[str, Any] = field(default_factory=dict)
    encoder: Encoder | None = None
    skeleton: Skeleton | None = None
    proprioception: str = JOINTS
    state: str = JOINTS
    actions: str = JOINTS

    @property
    def id(self) -> str:
        """Identity of the token space and action scale: stamped on every message and checkpoint."""
        words = {key: END_EFFECTOR for key in _IN_POSES if getattr(self, key) == END_EFFECTOR}
        return f"{self.name}-{_identity(self.sha256, {**self.files, **words})[:12]}"

    def actions_id(self, period: float) -> str:
        """Identity of token space and actions of a loop with this period: an actor flies only where it is the same."""
        return self.id if self.normaliser.at(period) is self.normaliser else f"{self.id}@{period:g}s"

    @property
    def has_vla(self) -> bool:
        """Whether anybody but a human flies with it."""
        return self.backend != "none"

    @property
    def vla(self) -> str:
        """Identity of the VLA alone, whatever encoder stands beside it."""
        beside = [it.file for it in (self.encoder, self.skeleton) if it is not None]
        return _identity(self.sha256, {name: digest for name, digest in self.files.items() if name not in beside})

    def instruction(self, task: str = "") -> str:
        """What to tell the VLA for `task`; the first task's instruction where it does not know the name."""
        return self.tasks.get(task, next(iter(self.tasks.values())))

    def unknown(self, task: str) -> str:
        """What a user must know of a task that the VLA was not trained on; empty where it was."""
        if task in self.tasks:
            return ""
        known = ", ".join(self.tasks)
        return f"the bundle does not know task '{task}' (it knows {known}); the VLA is told '{self.instruction(task)}'"

    @property
    def model_path(self) -> Path:
        """The file of the weights; a bundle of `openpi` or `none` has none."""
        return self.directory / (f"{POLICY}/model.safetensors" if self.backend == "lerobot" else MODEL_FILE)

    def tips(self) -> Tips:
        """Kinematics of the robot, for one thread.

        Raises:
            BundleError: the bundle has none, or it cannot be read.
            ConfigError: MuJoCo is not installed.
        """
        return _tips(self.directory, self.skeleton)

    def check_fits(self, joints: tuple[str, ...], cameras: tuple[str, ...], robot: str = "") -> None:
        """Refuse another robot, or one that lacks a joint or a camera of this bundle.

        Args:
            joints: the robot's; none: not known.
            cameras: the robot's; none: not known.
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
            if present and missing:
                raise BundleError(
                    f"bundle '{self.name}' is for robot '{self.robot}': {what} {', '.join(missing)} are not on this "
                    f"robot (it has {', '.join(present)}); choose another bundle or name them in the robot's config"
                )

    def save(self) -> None:
        """Write `bundle.yaml` into the directory."""
        data: dict[str, Any] = {"format": FORMAT}
        for column in fields(self):
            value = getattr(self, column.name)
            if column.name == "directory" or (column.name in _OPTIONAL and value == _OPTIONAL[column.name]):
                continue
            if isinstance(value, Normaliser):
                value = value.to_dict()
            elif isinstance(value, (Encoder, Skeleton)):
                value = {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(value).items()}
            data[column.name] = list(value) if isinstance(value, tuple) else value
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
    data = read_yaml(path, BundleError)
    if not isinstance(data, dict):
        raise BundleError(f"{path} must hold a mapping, it holds {type(data).__name__}")
    if data.pop("format", None) != FORMAT:
        raise BundleError(f"{path}: 'format' must be {FORMAT}; this bundle was made by another version of rlt_ros")
    optional = {name: data.pop(name, default) for name, default in _OPTIONAL.items()}
    expected = {column.name for column in fields(Bundle)} - {"directory", *optional}
    for problem, names in (("lacks", expected - set(data)), ("has unknown", set(data) - expected)):
        if names:
            raise BundleError(f"{path} {problem} keys: {', '.join(sorted(names))}")
    try:
        skeleton = _skeleton(optional["skeleton"])
        tips = _tips(directory, skeleton) if optional["proprioception"] == END_EFFECTOR else None
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
            normaliser=replace(Normaliser.from_dict(data["normaliser"], tips), period=float(data["period"])),
            sha256=str(data["sha256"]),
            training=dict(data["training"]),
            files={str(name): str(digest) for name, digest in dict(optional["files"]).items()},
            backend=str(optional["backend"]),
            settings=dict(optional["settings"]),
            encoder=Encoder(**optional["encoder"]) if optional["encoder"] else None,
            skeleton=skeleton,
            proprioception=str(optional["proprioception"]),
            state=str(optional["state"]),
            actions=str(optional["actions"]),
        )
    except (TypeError, ValueError) as error:
        raise BundleError(f"{path}: {error}") from error
    if min(bundle.image_size, bundle.horizon) < 1 or bundle.token_dim < 0 or not 0 < bundle.period < 1:
        raise BundleError(f"{path}: image_size and horizon must be positive and period within (0, 1) s")
    if bundle.backend not in BACKENDS:
        raise BundleError(f"{path}: unknown back end '{bundle.backend}'; known are {', '.join(BACKENDS)}")
    for key in _IN_POSES:
        if getattr(bundle, key) not in (JOINTS, END_EFFECTOR):
            raise BundleError(f"{path}: '{key}' is '{getattr(bundle, key)}', it must be {JOINTS} or {END_EFFECTOR}")
    if bundle.skeleton and len(bundle.skeleton.joints) != len(bundle.joints):
        raise BundleError(f"{path}: the skeleton names {len(bundle.skeleton.joints)} of {len(bundle.joints)} joints")
    if not bundle.tasks:
        raise BundleError(f"{path}: 'tasks' must name at least one task and its instruction")
    if len(bundle.normaliser.action_std) != len(bundle.joints):
        raise BundleError(
            f"{path}: the normaliser has {len(bundle.normaliser.action_std)} joints, not {len(bundle.joints)}"
        )
    bundle = replace(bundle, files=_checked_files(bundle))
    if bundle.encoder and bundle.encoder.vla != bundle.vla:
        raise BundleError(
            f"{path}: the RL token's encoder was trained on embeddings of another VLA ({bundle.encoder.vla[:12]}, this "
            f"one is {bundle.vla[:12]}): train it anew with 'rlt adapt token'"
        )
    return bundle


def _skeleton(data: Any) -> Skeleton | None:
    if not data:
        return None
    frames, joints, bases = (
        tuple(map(str, names)) for names in (data["frames"], data["joints"], data.get("bases", ()))
    )
    return Skeleton(str(data["file"]), frames, joints, bases)


def _tips(directory: Path, skeleton: Skeleton | None) -> Tips:
    """Kinematics of a bundle.

    Raises:
        BundleError: it has none, or it cannot be read.
        ConfigError: MuJoCo is not installed.
    """
    if skeleton is None:
        raise BundleError(f"{directory}: it tells of the arms' tips, but names no skeleton; 'rlt adapt pose' adds one")
    try:
        from rlt_ros.teleop.tips import TipsError, load_tips  # MuJoCo, which other bundles do not need
    except ImportError as error:
        raise ConfigError(f"{directory} tells of the arms' tips: {remedy(error, 'teleop')}") from error
    try:
        return load_tips(directory / skeleton.file, skeleton.frames, skeleton.joints, skeleton.bases)
    except TipsError as error:
        raise BundleError(f"{directory}: {error}") from error


def _checked_files(bundle: Bundle) -> dict[str, str]:
    """The hashes of the files that the bundle's model reads; they are those that are written down."""
    needed = dict(bundle.files)
    if bundle.backend not in _WITHOUT_MODEL:
        if not bundle.model_path.is_file():
            raise BundleError(f"{bundle.model_path} is missing")
        if file_sha256(bundle.model_path) != bundle.sha256:
            raise BundleError(f"{bundle.model_path} is not the file that {DESCRIPTION_FILE} describes (sha256 differs)")
    if bundle.backend == "onnx":
        needed = {**dict.fromkeys(external_data(bundle.model_path), ""), **needed}
    for beside in (bundle.encoder, bundle.skeleton):
        if beside:
            needed.setdefault(beside.file, "")
    files = {name: _digest(bundle, name) for name in sorted(needed)}
    for name, digest in files.items():
        if needed[name] not in ("", digest):
            raise BundleError(
                f"{bundle.directory / name} is not the file that {DESCRIPTION_FILE} describes (sha256 differs): it is "
                "of another bundle; restore it, or make the bundle anew"
            )
    return files


def _identity(sha256: str, files: dict[str, str]) -> str:
    if not files:
        return sha256
    lines = [sha256, *(f"{name} {digest}" for name, digest in sorted(files.items()))]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def external_data(model: Path) -> list[str]:
    """Names of the files that an ONNX file reads its larger weights from (those above 2 GB must be outside of it)."""
    # StringStringEntryProto {key: "location", value: NAME}, as every protobuf writer lays it out.
    data, names = model.read_bytes(), set()
    for entry in re.finditer(rb"\n\x08location\x12([\x00-\x7f]|[\x80-\xff][\x00-\x7f])", data):
        low, *high = entry.group(1)
        length = (low & 0x7F) | (high[0] << 7 if high else 0)
        names.add(data[entry.end() : entry.end() + length].decode(errors="replace"))
    return sorted(names)


def _digest(bundle: Bundle, name: str) -> str:
    path = bundle.directory / name
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise BundleError(f"{bundle.directory} reads {name}, which is outside of the bundle: make it anew")
    if not path.is_file():
        raise BundleError(f"{path} is missing: the model keeps weights in it")
    return file_sha256(path)


def file_sha256(path: Path) -> str:
    """Hex digest of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def shipped_actor(bundle: Path, task: str) -> Path:
    """The trained actor beside a bundle.

    Raises:
        ConfigError: none ships for this task.
    """
    path = bundle / "actors" / task / "actor.safetensors"
    if not path.is_file():
        known = sorted(found.parent.name for found in bundle.glob("actors/*/actor.safetensors"))
        raise ConfigError(f"{bundle} has no trained actor for '{task}'; it has {', '.join(known) or 'none'}")
    return path
