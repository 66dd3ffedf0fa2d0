"""What was seen of a robot's drivers on the graph, in plain numbers."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from rlt_ros.types import Array


@dataclass(frozen=True)
class Heard:
    """A message of joint states.

    Attributes:
        arrival: when it came, s of this computer's clock.
        stamp: of its header, s.
        names: as the driver has them.
        position: shape (J,).
        velocity: shape (J,); None: it gives none.
    """

    arrival: float
    stamp: float
    names: tuple[str, ...]
    position: Array
    velocity: Array | None = None


@dataclass
class JointTopic:
    """A topic of joint states.

    Attributes:
        topic: its name.
        publishers: nodes that publish it.
        heard: in the order in which they came.
    """

    topic: str
    publishers: tuple[str, ...] = ()
    heard: list[Heard] = field(default_factory=list)

    @property
    def groups(self) -> list[tuple[str, ...]]:
        """Names of its messages; several where the driver splits them."""
        return list(dict.fromkeys(message.names for message in self.heard))

    def of(self, name: str) -> list[Heard]:
        """The messages that tell of a joint."""
        return [message for message in self.heard if name in message.names]


@dataclass(frozen=True)
class ControllerSeen:
    """A topic of commands.

    Attributes:
        topic: its name.
        interface: as in a description.
        subscribers: nodes that listen.
        publishers: nodes that speak.
        joints: the parameter of the node that the topic belongs to; None: it does not tell.
        active: whether its controller manager says so; None: nobody tells.
    """

    topic: str
    interface: str
    subscribers: tuple[str, ...] = ()
    publishers: tuple[str, ...] = ()
    joints: tuple[str, ...] | None = None
    active: bool | None = None


@dataclass
class CameraSeen:
    """A topic of pictures.

    Attributes:
        topic: its name.
        publishers: nodes that publish it.
        encoding: of the newest picture; of a compressed one its format.
        size: width and height; zeros where it is compressed.
        times: arrival and stamp of every picture, s.
    """

    topic: str
    publishers: tuple[str, ...] = ()
    encoding: str = ""
    size: tuple[int, int] = (0, 0)
    times: list[tuple[float, float]] = field(default_factory=list)


@dataclass
class Seen:
    """Everything.

    Attributes:
        seconds: that were looked.
        joints: by topic.
        controllers: by topic.
        cameras: by topic.
        descriptions: text of robot descriptions, by topic.
        gripper_actions: kind as in a description, by name.
        stops: publishers of Bool topics, by topic.
    """

    seconds: float = 0.0
    joints: dict[str, JointTopic] = field(default_factory=dict)
    controllers: dict[str, ControllerSeen] = field(default_factory=dict)
    cameras: dict[str, CameraSeen] = field(default_factory=dict)
    descriptions: dict[str, str] = field(default_factory=dict)
    gripper_actions: dict[str, str] = field(default_factory=dict)
    stops: dict[str, tuple[str, ...]] = field(default_factory=dict)


def rate_and_jitter(times: list[float]) -> tuple[float, float]:
    """Messages a second, and the largest gap beyond the usual one, s; zeros for less than three."""
    if len(times) < 3:
        return 0.0, 0.0
    gaps = np.diff(np.asarray(times))
    usual = float(np.median(gaps))
    return (len(times) - 1) / max(times[-1] - times[0], 1e-9), float(gaps.max() - usual)
