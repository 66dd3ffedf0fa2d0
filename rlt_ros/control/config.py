"""Parameters of the executor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rlt_ros.config import ConfigError, named, param
from rlt_ros.control.limits import JointLimits
from rlt_ros.control.measured import LARGEST_ANGLE
from rlt_ros.types import Array

COMMAND_TOPICS = {
    "forward_position": "forward_position_controller/commands",
    "joint_trajectory": "joint_trajectory_controller/joint_trajectory",
}
_PER_JOINT = (
    *("joint_low", "joint_high", "joint_velocity"),
    *("joint_acceleration", "joint_deceleration", "joint_following"),
)
_STOP_WITHIN = 0.2
_SHORTEST_PERIOD = 0.002


@dataclass(frozen=True)
class ExecutorConfig:
    """Parameters of the executor."""

    period: float = param(0.0, "time between commands; 0: that of the bundle's rows", unit="s", low=0.0, high=1.0)
    chunk: int = param(10, "rows of an actor chunk (C)", low=1, high=100)
    reference_rows: int = param(20, "rows of the reference flown before the next one is taken", low=1, high=100)
    max_input_age: float = param(0.3, "oldest policy input a chunk may start from", unit="s", low=0.0, high=5.0)
    max_joint_age: float = param(0.1, "oldest joint state under which the robot may move", unit="s", low=0.0, high=5.0)
    max_joint_speed: float = param(
        6.3,
        "fastest that a joint moves, by itself or by hand; a measured pose that moves faster is not believed",
        unit="rad/s, grippers 1/s",
        low=0.1,
        high=50.0,
    )
    max_session_age: float = param(1.5, "longest silence of the session", unit="s", low=0.0, high=60.0)
    max_intervention_age: float = param(0.2, "longest silence of an active human", unit="s", low=0.0, high=5.0)
    handover_ticks: int = param(10, "ticks over which control passes to a human and back", low=1, high=200)
    hold_time: float = param(
        0.5, "how long a hold is repeated on the wire; then it is kept in silence", unit="s", low=0.0, high=3600.0
    )
    stop_heartbeat: float = param(
        0.0, "longest silence of a stop source; more is a stop. 0: any", unit="s", low=0.0, high=60.0
    )
    blend_ticks: int = param(
        0, "ticks over which a reference chunk gives way to the next one; 0: at once", low=0, high=100
    )
    trajectory_rows: int = param(
        1, "points of a joint trajectory: the command, and planned rows after it", low=1, high=100
    )
    reference_speed: float = param(1.0, "factor on the reference's motion, for comparisons", low=0.1, high=5.0)
    seed: int = param(0, "seed of the exploration noise", low=0)


@dataclass(frozen=True)
class ExecutorParameters(ExecutorConfig):
    """Of `executor_node`."""

    bundle: str = param("", "directory of the VLA bundle")
    robot: str = param("", "name of the robot, as the bundle's `robot` has it; empty: it is not compared")
    actor: str = param("", "file of an actor that flies from the start on; empty: the learner's weights are awaited")
    robot_file: str = param(
        "", "description of the robot (robot.yaml): who tells of its joints, who takes its targets; empty: see below"
    )
    joints: tuple[str, ...] = param(("",), "the robot's joints, in the order of its command topic")
    # Of these lists, one entry for each of `joints`; a single one holds for all.
    joint_low: tuple[float, ...] = param(
        (-3.14,), "smallest target of each joint", unit="rad, grippers 0-1", low=-LARGEST_ANGLE, high=LARGEST_ANGLE
    )
    joint_high: tuple[float, ...] = param(
        (3.14,), "largest target of each joint", unit="rad, grippers 0-1", low=-LARGEST_ANGLE, high=LARGEST_ANGLE
    )
    joint_velocity: tuple[float, ...] = param((1.0,), "largest speed of each joint's target", unit="1/s", low=0.0)
    joint_acceleration: tuple[float, ...] = param(
        (0.0,),
        "largest gain in speed of each joint's target; 0: any",
        unit="1/s^2",
        low=0.0,
    )
    joint_deceleration: tuple[float, ...] = param(
        (0.0,),
        "largest loss of speed of each joint's target, in flight and in every stop; 0: its acceleration, or where that "
        "is 0 too, a stop from full speed within 0.2 s",
        unit="1/s^2",
        low=0.0,
    )
    joint_following: tuple[float, ...] = param(
        (0.3,),
        "largest distance of each joint's target from its measured position; 0: any",
        unit="rad, grippers 0-1",
        low=0.0,
    )
    command_interface: str = param(
        "", "forward_position or joint_trajectory; empty: as robot_file says, otherwise forward_position"
    )
    command_topics: tuple[str, ...] = param(
        ("",),
        "where commands go: one topic, or several that share the joints evenly in their order (one for each arm); "
        "empty: as robot_file says, otherwise the usual topic of the interface",
    )
    home: tuple[float, ...] = param(
        (0.0,),
        "joint targets of ~/home in the order of `joints`; a single 0: none. Needs joint_trajectory and control_msgs",
        unit="rad, grippers 0-1",
    )
    stop_topics: tuple[str, ...] = param(
        ("estop",), "stop sources (Bool): `true` stops and latches; with stop_heartbeat their silence does too"
    )
    priority: int = param(50, "SCHED_FIFO priority of the control loop; 0: normal priority", low=0, high=99)
    autostart: bool = param(True, "configure and activate at start")

    def check(self) -> None:
        """Look at what ranges cannot tell.

        Raises:
            ConfigError: the robot's joints are not named, or a list has the wrong length.
        """
        if not named(self.joints):
            raise ConfigError(
                "executor_node.joints is not set: name the robot's joints, in the order of its command topic"
            )
        if 0 < self.period < _SHORTEST_PERIOD:
            raise ConfigError(f"period is {self.period} s: {_SHORTEST_PERIOD} s is the shortest")
        for name in _PER_JOINT:
            self.per_joint(name)

    def per_joint(self, name: str) -> Array:
        """One of the lists of the joints' limits, shape (J,), in the order of `joints`.

        Raises:
            ConfigError: its length is neither that of `joints` nor one.
        """
        values = getattr(self, name)
        if len(values) not in (1, len(self.joints)):
            raise ConfigError(f"{name} has {len(values)} entries for {len(self.joints)} joints")
        return np.broadcast_to(np.array(values, dtype=np.float64), len(self.joints)).copy()

    @property
    def interface(self) -> str:
        """Of the controllers that the description does not name."""
        return self.command_interface or next(iter(COMMAND_TOPICS))

    @property
    def described(self) -> bool:
        """Whether the description says who takes commands; what is said here beats it."""
        return bool(self.robot_file) and not self.command_interface and not any(self.command_topics)

    @property
    def wire_topics(self) -> tuple[str, ...]:
        """Where commands go.

        Raises:
            ConfigError: the command interface is unknown, or the topics cannot share the joints evenly.
        """
        if self.interface not in COMMAND_TOPICS:
            raise ConfigError(f"command_interface '{self.command_interface}' is unknown: {' or '.join(COMMAND_TOPICS)}")
        topics = self.command_topics if any(self.command_topics) else (COMMAND_TOPICS[self.interface],)
        if not all(topics) or len(self.joints) % len(topics):
            raise ConfigError(f"command_topics: {len(topics)} topics cannot share {len(self.joints)} joints evenly")
        return topics

    @property
    def home_position(self) -> Array | None:
        """Joint targets of `home`, shape (J,), in the order of `joints`; None: not configured.

        Raises:
            ConfigError: its length or interface is wrong, or it is outside the joints' limits.
        """
        if self.home == (0.0,):
            return None
        if len(self.home) != len(self.joints):
            raise ConfigError(f"home has {len(self.home)} entries for {len(self.joints)} joints")
        if not self.described and self.interface != "joint_trajectory":
            raise ConfigError("home needs command_interface joint_trajectory: its controller brings the robot there")
        outside = [
            name
            for name, at, low, high in zip(
                self.joints, self.home, self.per_joint("joint_low"), self.per_joint("joint_high"), strict=True
            )
            if not low <= at <= high
        ]
        if outside:
            raise ConfigError(f"home is outside the limits of {', '.join(outside)}")
        return np.array(self.home)

    def limits(self, order: tuple[str, ...]) -> JointLimits:
        """The limits in the order of a bundle's joints.

        Raises:
            ConfigError: a list of limits has the wrong length, or the bundle leaves a joint without a command.
        """
        if set(order) != set(self.joints):
            raise ConfigError(f"the bundle commands {', '.join(order)}; the command topic has {', '.join(self.joints)}")
        pick = [self.joints.index(name) for name in order]
        low, high, velocity, acceleration, deceleration, following = (self.per_joint(name)[pick] for name in _PER_JOINT)
        softest = np.where(acceleration > 0, acceleration, velocity / _STOP_WITHIN)
        deceleration = np.where(deceleration > 0, deceleration, softest)
        acceleration, following = (np.where(x > 0, x, np.inf) for x in (acceleration, following))
        try:
            return JointLimits(low, high, velocity, acceleration, following, deceleration)
        except ValueError as error:
            raise ConfigError(f"executor_node: {error}") from error

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop topics that are named.

        Raises:
            ConfigError: a heartbeat is asked for, but of nobody.
        """
        topics = named(self.stop_topics)
        if self.stop_heartbeat and not topics:
            raise ConfigError("executor_node: stop_heartbeat needs stop_topics whose silence is a stop")
        return topics
