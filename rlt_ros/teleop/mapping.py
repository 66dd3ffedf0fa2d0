"""What the sticks and buttons of a device mean, from a YAML file."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from rlt_ros.types import Array
from rlt_ros.yaml_file import read_yaml

MOTIONS = ("x", "y", "z", "roll", "pitch", "yaw", "open", "close")
"""Along and about the axes of the robot's base, x forward, y left, z up (REP-103), and the gripper."""
ARM_CHOICES = ("", "left", "right")
_AT_REST = 0.2
"""Share of an axis' way that counts as its rest."""


class MappingError(ValueError):
    """A mapping file is not as it must be. The message names the file and says what is allowed."""


class Function(Enum):
    """What a button does."""

    TAKEOVER = "takeover"
    SWITCH_ARM = "switch_arm"
    SINGLE_JOINTS = "single_joints"
    BEGIN_CRITICAL = "begin_critical"
    SUCCESS = "success"
    FAILURE = "failure"
    UNDO = "undo"
    READY = "ready"
    ESTOP = "estop"


EXPLANATIONS = {
    Function.TAKEOVER: "hold: fly the robot; let go: stop, then the policy flies on",
    Function.SWITCH_ARM: "move the next arm",
    Function.SINGLE_JOINTS: "sticks move single joints (six at a time), or the gripper's frame again",
    Function.BEGIN_CRITICAL: "the hard part begins: the actor flies, samples are stored",
    Function.SUCCESS: "the episode ends: done",
    Function.FAILURE: "the episode ends: failed",
    Function.UNDO: "take the last label back",
    Function.READY: "start the session; later: the scene is ready for the next episode",
    Function.ESTOP: "emergency stop",
}


@dataclass(frozen=True)
class Source:
    """Where a motion's value comes from.

    Attributes:
        axis: index of an axis; -1: a button.
        button: index of a button; -1: an axis.
        scale: factor, -1 turns the axis round.
        rest: reading of the axis at rest; with `full` for triggers.
        full: reading at its end; None: the axis rests at 0 and goes both ways.
        held: index of a button that must be held; other motions of the same axis rest meanwhile. -1: none.
    """

    axis: int = -1
    button: int = -1
    scale: float = 1.0
    rest: float = 0.0
    full: float | None = None
    held: int = -1

    def rests(self, axes: Sequence[float], buttons: Sequence[int]) -> bool:
        """Whether it reads what it reads when nobody touches it."""
        if self.button >= 0:
            return not buttons[self.button]
        way = 1.0 if self.full is None else abs(self.full - self.rest)
        return abs(float(axes[self.axis]) - self.rest) <= _AT_REST * way

    def read(self, axes: Sequence[float], buttons: Sequence[int]) -> float:
        """The value, -1 to 1."""
        if self.button >= 0:
            return self.scale * float(bool(buttons[self.button]))
        value = float(axes[self.axis])
        if self.full is not None:
            value = float(np.clip((value - self.rest) / (self.full - self.rest), 0, 1))
        return self.scale * float(np.clip(value, -1, 1))


@dataclass(frozen=True)
class Mapping:
    """One device's.

    Attributes:
        name: of the kind of device.
        layout: of `Joystick` that the indices refer to.
        devices: parts of device names that this mapping is made for.
        motions: by arm (`""`: the chosen one, `left`, `right`) and motion.
        buttons: what they do, by index.
        labels: what is printed on them, by index.
    """

    name: str
    layout: str
    devices: tuple[str, ...]
    motions: dict[tuple[str, str], Source]
    buttons: dict[int, Function]
    labels: dict[int, str] = field(default_factory=dict)

    @property
    def axis_count(self) -> int:
        """Axes that a message must have at least."""
        return 1 + max((source.axis for source in self.motions.values()), default=-1)

    @property
    def button_count(self) -> int:
        """Buttons that a message must have at least."""
        used = [*self.buttons, *(max(source.button, source.held) for source in self.motions.values())]
        return 1 + max(used, default=-1)

    def fits(self, axes: Sequence[float], buttons: Sequence[int]) -> bool:
        """Whether a message can come from such a device: long enough, and all of it finite."""
        enough = len(axes) >= self.axis_count and len(buttons) >= self.button_count
        return enough and bool(np.isfinite(np.asarray(axes, dtype=np.float64)).all())

    def held(self, buttons: Sequence[int]) -> set[Function]:
        """Functions whose button is held."""
        return {function for button, function in self.buttons.items() if buttons[button]}

    def at_rest(self, axes: Sequence[float], buttons: Sequence[int]) -> set[Source]:
        """Sources that nobody touches, by a message that fits."""
        return {source for source in self.motions.values() if source.rests(axes, buttons)}

    def names(self, sources: set[Source]) -> list[str]:
        """The motions of some sources, for people."""
        return [" ".join(filter(None, name)) for name, source in self.motions.items() if source in sources]

    def motion(
        self,
        axes: Sequence[float],
        buttons: Sequence[int],
        chosen: int,
        arms: int,
        asleep: Collection[Source] = (),
    ) -> Array:
        """How each arm is to move.

        Args:
            axes: of a message that fits.
            buttons: of the same.
            chosen: number of the arm that motions without an arm's name are of; `left` is arm 0, `right` arm 1.
            arms: how many there are; what is of another one moves nothing.
            asleep: sources that move nothing: whoever starts a trigger may read half its way until it is touched.

        Returns:
            Shape (arms, 7): x, y, z, roll, pitch, yaw and gripper (positive: open) of each arm, -1 to 1.
        """
        lent = {s.axis for s in self.motions.values() if s.axis >= 0 and s.held >= 0 and buttons[s.held]}
        out = np.zeros((arms, 7))
        for (arm, motion), source in self.motions.items():
            if source in asleep:
                continue
            if source.held >= 0 and not buttons[source.held]:
                continue
            if source.held < 0 and source.axis in lent:
                continue
            value = source.read(axes, buttons)
            slot, of = min(MOTIONS.index(motion), 6), ARM_CHOICES.index(arm) - 1 if arm else chosen
            if of < arms:
                out[of, slot] += -value if motion == "close" else value
        return np.clip(out, -1, 1)


def mapping_path(name: str, directory: Path) -> Path:
    """The file of a mapping: `name` itself where it is a path, else the one of that name in `directory`.

    Raises:
        MappingError: there is none.
    """
    if "/" in name or name.endswith(".yaml"):
        return Path(name)
    path = directory / f"{name}.yaml"
    if not path.is_file():
        known = sorted(found.stem for found in directory.glob("*.yaml"))
        raise MappingError(f"there is no mapping '{name}': choose {', '.join(known)}, or give a path")
    return path


def load_mapping(path: Path) -> Mapping:
    """Read and check a mapping.

    Raises:
        MappingError: the file cannot be read, or something in it is unknown, missing or assigned twice.
    """
    data = read_yaml(path, MappingError)
    try:
        return _mapping(data)
    except MappingError as error:
        raise MappingError(f"{path}: {error}") from None


def find_mapping(directory: Path, device: str, layout: str = "") -> Mapping | None:
    """The mapping in `directory` that names this device; for other pads in `gamepad` layout the one for any pad."""
    mappings = [load_mapping(path) for path in sorted(directory.glob("*.yaml"))]
    fitting = [mapping for mapping in mappings if not layout or mapping.layout == layout]
    for mapping in fitting:
        if any(part.lower() in device.lower() for part in mapping.devices):
            return mapping
    return next((mapping for mapping in fitting if layout == "gamepad" and mapping.name == "gamepad"), None)


def _mapping(data: Any) -> Mapping:
    keys = {"name", "layout", "devices", "motions", "buttons", "labels"}
    if not isinstance(data, dict):
        raise MappingError(f"must hold a mapping, it holds a {type(data).__name__}")
    _known("key", set(data), keys)
    for key in ("name", "layout", "motions", "buttons"):
        if key not in data:
            raise MappingError(f"'{key}' is missing")
    if data["layout"] not in ("gamepad", "raw"):
        raise MappingError(f"layout '{data['layout']}' is unknown: choose gamepad or raw")
    motions: dict[tuple[str, str], Source] = {}
    for arm, entries in _arms(data["motions"]).items():
        for motion, entry in entries.items():
            motions[arm, motion] = _source(f"{arm}.{motion}".lstrip("."), entry)
    buttons: dict[int, Function] = {}
    _known("function", set(_dict("buttons", data["buttons"])), {function.value for function in Function})
    for function, index in data["buttons"].items():
        button = _index(f"buttons.{function}", index)
        if button in buttons:
            raise MappingError(f"button {button} has two functions: {buttons[button].value} and {function}")
        buttons[button] = Function(function)
    if Function.TAKEOVER not in buttons.values():
        raise MappingError("no button has the function 'takeover': without a dead-man's switch nobody may take over")
    for name, source in motions.items():
        used = buttons.get(max(source.held, source.button))
        if used is not None:
            raise MappingError(f"{'.'.join(name).lstrip('.')} uses the button of '{used.value}'")
    labels = {_index("labels", button): str(text) for button, text in _dict("labels", data.get("labels", {})).items()}
    listed = data.get("devices", [])
    if not isinstance(listed, list):
        raise MappingError("'devices' must be a list of parts of device names")
    return Mapping(str(data["name"]), data["layout"], tuple(map(str, listed)), motions, buttons, labels)


def _arms(data: Any) -> dict[str, dict[str, Any]]:
    """Motions by arm; those that stand on the first level are of the chosen arm."""
    entries = _dict("motions", data)
    _known("motion", set(entries), {*MOTIONS, "left", "right"})
    out = {"": {name: entry for name, entry in entries.items() if name in MOTIONS}}
    for arm in ("left", "right"):
        if arm in entries:
            out[arm] = _dict(f"motions.{arm}", entries[arm])
            _known("motion", set(out[arm]), set(MOTIONS))
    if not any(out.values()):
        raise MappingError("'motions' is empty: nothing could be moved")
    return out


def _source(name: str, entry: Any) -> Source:
    fields = _dict(f"motions.{name}", entry)
    _known(f"key in motions.{name}", set(fields), {"axis", "button", "scale", "rest", "full", "held"})
    if ("axis" in fields) == ("button" in fields):
        raise MappingError(f"motions.{name} needs either 'axis' or 'button'")
    for key in ("axis", "button", "held"):
        if key in fields:
            _index(f"motions.{name}.{key}", fields[key])
    for key in ("scale", "rest", "full"):
        if key in fields and (isinstance(fields[key], bool) or not isinstance(fields[key], (int, float))):
            raise MappingError(f"motions.{name}.{key} must be a number, it is {fields[key]!r}")
    source = Source(**fields)
    if source.full is not None and source.full == source.rest:
        raise MappingError(f"motions.{name}: 'rest' and 'full' must differ")
    return source


def _dict(name: str, value: Any) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise MappingError(f"'{name}' must be a mapping, it is {value!r}")
    return value


def _known(what: str, given: set[Any], known: set[str]) -> None:
    if unknown := given - known:
        raise MappingError(
            f"unknown {what} {', '.join(sorted(map(str, unknown)))}; known are {', '.join(sorted(known))}"
        )


def _index(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise MappingError(f"{name} must be the index of an axis or button, from 0 on; it is {value!r}")
    return value
