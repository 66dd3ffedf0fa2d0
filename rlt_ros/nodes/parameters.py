"""The parameters of every node, as dataclasses: read by the nodes, checked by bring-up, printed by the docs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rlt_ros.cameras.sets import MAX_SKEW
from rlt_ros.config import ConfigError, param
from rlt_ros.control.executor import ExecutorConfig
from rlt_ros.control.limits import JointLimits
from rlt_ros.control.measured import LARGEST_ANGLE
from rlt_ros.nodes.camera_parameters import CameraParameters
from rlt_ros.nodes.console_parameters import ConsoleParameters
from rlt_ros.rl.config import LearnerConfig
from rlt_ros.session.episodes import SessionConfig
from rlt_ros.sim.names import ARM_JOINTS, ARMS, CAMERA_NAMES, JOINT_NAMES
from rlt_ros.teleop.teleop import TeleopConfig
from rlt_ros.types import Array, Phase

_STOP_WITHIN = 0.2
COMMAND_TOPICS = {
    "forward_position": "forward_position_controller/commands",
    "joint_trajectory": "joint_trajectory_controller/joint_trajectory",
}


@dataclass(frozen=True)
class ExecutorParameters(ExecutorConfig):
    """Of `executor_node`."""

    bundle: str = param("", "directory of the VLA bundle")
    robot: str = param("", "name of the robot, as the bundle's `robot` has it; empty: it is not compared")
    actor: str = param("", "file of an actor that flies from the start on; empty: the learner's weights are awaited")
    joints: tuple[str, ...] = param(JOINT_NAMES, "the robot's joints, in the order of its command topic")
    joint_low: tuple[float, ...] = param(
        (-3.14,) * 14, "smallest target of each joint", unit="rad, grippers 0-1", low=-LARGEST_ANGLE, high=LARGEST_ANGLE
    )
    joint_high: tuple[float, ...] = param(
        (3.14,) * 14, "largest target of each joint", unit="rad, grippers 0-1", low=-LARGEST_ANGLE, high=LARGEST_ANGLE
    )
    joint_velocity: tuple[float, ...] = param((1.0,) * 14, "largest speed of each joint's target", unit="1/s", low=0.0)
    joint_acceleration: tuple[float, ...] = param(
        (0.0,) * 14,
        "largest gain in speed of each joint's target; 0: any",
        unit="1/s^2",
        low=0.0,
    )
    joint_deceleration: tuple[float, ...] = param(
        (0.0,) * 14,
        "largest loss of speed of each joint's target, in flight and in every stop; 0: its acceleration, or where that "
        "is 0 too, a stop from full speed within 0.2 s",
        unit="1/s^2",
        low=0.0,
    )
    joint_following: tuple[float, ...] = param(
        (0.3,) * 14,
        "largest distance of each joint's target from its measured position; 0: any",
        unit="rad, grippers 0-1",
        low=0.0,
    )
    command_interface: str = param("forward_position", "forward_position or joint_trajectory")
    command_topics: tuple[str, ...] = param(
        ("",),
        "where commands go: one topic, or several that share the joints evenly in their order (one for each arm); "
        "empty: the usual topic of the interface",
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

    @property
    def wire_topics(self) -> tuple[str, ...]:
        """Where commands go.

        Raises:
            ConfigError: the command interface is unknown, or the topics cannot share the joints evenly.
        """
        if self.command_interface not in COMMAND_TOPICS:
            raise ConfigError(f"command_interface '{self.command_interface}' is unknown: {' or '.join(COMMAND_TOPICS)}")
        topics = self.command_topics if any(self.command_topics) else (COMMAND_TOPICS[self.command_interface],)
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
        if self.command_interface != "joint_trajectory":
            raise ConfigError("home needs command_interface joint_trajectory: its controller brings the robot there")
        outside = [
            name
            for name, at, low, high in zip(self.joints, self.home, self.joint_low, self.joint_high, strict=True)
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
        names = (
            *("joint_low", "joint_high", "joint_velocity"),
            *("joint_acceleration", "joint_deceleration", "joint_following"),
        )
        for name in names:
            if len(getattr(self, name)) != len(self.joints):
                raise ConfigError(f"{name} has {len(getattr(self, name))} entries for {len(self.joints)} joints")
        if set(order) != set(self.joints):
            raise ConfigError(f"the bundle commands {', '.join(order)}; the command topic has {', '.join(self.joints)}")
        pick = [self.joints.index(name) for name in order]
        low, high, velocity, acceleration, deceleration, following = (
            np.array(getattr(self, name))[pick] for name in names
        )
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
        named = tuple(topic for topic in self.stop_topics if topic)
        if self.stop_heartbeat and not named:
            raise ConfigError("executor_node: stop_heartbeat needs stop_topics whose silence is a stop")
        return named


@dataclass(frozen=True)
class VlaParameters:
    """Of `vla_node`."""

    bundle: str = param("", "directory of the VLA bundle")
    robot: str = param("", "name of the robot, as the bundle's `robot` has it; empty: it is not compared")
    task: str = param("", "task whose instruction the VLA is told; one the bundle does not know: its first")
    instruction: str = param("", "what the VLA is told instead; empty: the instruction of the task")
    joints: tuple[str, ...] = param(JOINT_NAMES, "the robot's joints; the bundle's must be among them")
    cameras: tuple[str, ...] = param(CAMERA_NAMES, "the robot's cameras; the bundle's must be among them")
    providers: tuple[str, ...] = param(
        ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"),
        "ONNX Runtime execution providers in order of preference",
    )
    threads: int = param(1, "threads of one forward pass on the CPU", low=1, high=64)
    max_joint_age: float = param(0.05, "largest distance of joint state and picture", unit="s", low=0.0, high=5.0)
    max_camera_skew: float = param(MAX_SKEW, "largest time between the pictures of a set", unit="s", low=0.0, high=1.0)
    autostart: bool = param(True, "configure and activate at start")


@dataclass(frozen=True)
class LearnerParameters(LearnerConfig):
    """Of `learner_node`."""

    bundle: str = param("", "directory of the VLA bundle")
    chunk: int = param(10, "rows of an action chunk (C); the executor's", low=1, high=100)
    stride: int = param(2, "ticks between the starts of two samples; divides the chunk", low=1, high=100)
    publish_period: float = param(0.5, "time between two publications of weights", unit="s", low=0.1, high=60.0)
    checkpoint_dir: str = param("", "where checkpoints are, and are gone on from; empty: none are written")
    checkpoint_period: float = param(60.0, "time between two checkpoints", unit="s", low=1.0)
    keep_checkpoints: int = param(3, "newest checkpoints kept, besides the best one", low=1)
    journal_dir: str = param("", "journal that the replay is rebuilt from at start; empty: none")
    robots: tuple[str, ...] = param(("",), "namespaces of the robots it learns from; empty: the node's own")
    threads: int = param(1, "threads of torch", low=1, high=64)
    nice: int = param(5, "how far the learner steps back for the other processes", low=0, high=19)


@dataclass(frozen=True)
class RecorderParameters:
    """Of `recorder_node`."""

    directory: str = param("", "of the journal")
    robots: tuple[str, ...] = param(("",), "namespaces of the robots; empty: the node's own")
    phases: tuple[str, ...] = param(
        ("critical",), "phases whose steps are recorded: base, critical, reset, ended, idle"
    )
    images: bool = param(False, "record the cameras too, as JPEG")
    cameras: tuple[str, ...] = param(CAMERA_NAMES, "cameras to record with `images`")
    jpeg_quality: int = param(95, "quality of these images", unit="%", low=1, high=100)
    segment_size: float = param(64.0, "size from which on the next episode begins a new file", unit="MB", low=0.01)
    sync_period: float = param(0.5, "time between two flushes to the disk itself", unit="s", low=0.05, high=1.0)
    reserve: float = param(
        2.0, "free space on the disk below which nothing is recorded; below twice as much no images", unit="GB", low=0.0
    )
    budget: float = param(0.0, "size of the journal from which on nothing is recorded; 0: any", unit="GB", low=0.0)

    def check(self) -> None:
        """Look at what ranges cannot tell.

        Raises:
            ConfigError: there is no directory, or a phase is unknown.
        """
        if not self.directory:
            raise ConfigError("recorder_node: set directory, where the journal goes")
        known = [phase.name.lower() for phase in Phase]
        for name in self.phases:
            if name not in known:
                raise ConfigError(f"recorder_node: phase '{name}' is unknown: choose from {', '.join(known)}")


@dataclass(frozen=True)
class SessionParameters(SessionConfig):
    """Of `session_node`."""

    task: str = param("ethernet", "name of the task, for people")
    autostart: bool = param(False, "start episodes at once, without a call of ~/start")
    learner_wait: float = param(0.0, "how long autostart waits for a learner", unit="s", low=0.0, high=600.0)
    reset_service: str = param("", "service that puts the scene back (ResetCell); empty: wait for ~/reset_done")
    success_topic: str = param("", "topic that tells how an episode ends; empty: wait for ~/label")
    success_type: str = param("ground_truth", "of its messages: ground_truth (GroundTruth), or bool (true: success)")
    episodes_before: int = param(
        0, "episodes that this run had before: they are counted on, and are part of the warm-up", low=0
    )
    epoch_before: int = param(
        0, "epoch of this run's last session: the new one's is later, even where the clock was set back", low=0
    )
    reset_seed: int = param(-1, "seed of the first reset, counted up; -1: the cell's own random starts", low=-1)

    def check(self) -> None:
        """See `SessionConfig.check`."""
        super().check()
        if self.success_type not in ("ground_truth", "bool"):
            raise ConfigError(f"success_type '{self.success_type}' is unknown: choose ground_truth or bool")


@dataclass(frozen=True)
class JoystickParameters:
    """Of `joystick_node`."""

    device: str = param("", "part of the device's name; empty: the first one")
    layout: str = param("auto", "how axes and buttons are numbered: gamepad, raw, or auto (gamepad where SDL knows it)")
    deadzone: float = param(0.05, "share of an axis' way that counts as rest", low=0.0, high=0.9)
    autorepeat_rate: float = param(50.0, "messages a second while nothing changes", unit="Hz", low=1.0, high=500.0)


@dataclass(frozen=True)
class TeleopParameters(TeleopConfig):
    """Of `teleop_node`."""

    bundle: str = param("", "directory of the VLA bundle: whose joints are flown")
    joints: tuple[str, ...] = param(JOINT_NAMES, "the robot's joints; the bundle's must be among them")
    mapping: str = param(
        "auto", "name in config/joystick, or path, of what sticks and buttons mean; auto: by the device's name"
    )
    model: str = param(
        "cell",
        "MJCF or URDF file of the robot, for Cartesian motion; cell: the simulated cell's; empty: single joints only",
    )
    frames: tuple[str, ...] = param(("left_grasp", "right_grasp"), "the model's sites or bodies that the sticks move")
    model_joints: tuple[str, ...] = param(
        tuple(
            "" if joint == "gripper" else f"vx300s_{arm}/{joint}" for arm in ARMS for joint in (*ARM_JOINTS, "gripper")
        ),
        "the model's name of each of `joints`; empty for a gripper, whose target is 0-1",
    )
    leader_topic: str = param("leader/joint_states", "joint states of the leader arms, with the robot's joint names")

    def model_joint(self, order: tuple[str, ...]) -> tuple[str, ...]:
        """The model's joint names in the order of a bundle's joints.

        Raises:
            ConfigError: the lists do not fit, or there is not one gripper an arm.
        """
        if len(self.model_joints) != len(self.joints):
            raise ConfigError(f"model_joints has {len(self.model_joints)} entries for {len(self.joints)} joints")
        named = dict(zip(self.joints, self.model_joints, strict=True))
        missing = [name for name in order if name not in named]
        if missing:
            raise ConfigError(f"the bundle commands {', '.join(missing)}, which are not among joints")
        out = tuple(named[name] for name in order)
        if out.count("") != 2:
            raise ConfigError(f"model_joints names {out.count('')} grippers (empty entries), it must be two")
        return out


@dataclass(frozen=True)
class SimParameters:
    """Of `sim_node`."""

    task: str = param("ethernet", "task of the cell")
    setting: str = param("controlled", "start: controlled (parts in hand) or full (parts on the table)")
    clearance: float = param(0.0, "free play a side; 0: the task's own", unit="m", low=0.0, high=0.004)
    randomisation: float = param(0.0, "how much light, colours and cameras change at a reset", low=0.0, high=1.0)
    seed: int = param(0, "seed of the start positions", low=0)
    image_size: int = param(96, "side of the square camera images", unit="px", low=16, high=640)
    image_every: int = param(2, "control periods between two camera sets", low=1, high=50)
    command_topic: str = param("forward_position_controller/commands", "where commands come from")
    priority: int = param(20, "SCHED_FIFO priority of the physics loop; 0: normal priority", low=0, high=99)
    human: bool = param(False, "play a human with a joystick (`joy`), who takes over where nothing moves on")
    demonstrations: int = param(0, "critical phases that this human flies from their start, the first ones", low=0)
    human_patience: float = param(
        1.0, "time without progress after which this human takes over, on average", unit="s", low=0.0
    )
    viewer: bool = param(False, "open MuJoCo's viewer (needs a display)")


PARAMETERS: dict[str, type] = {
    "executor_node": ExecutorParameters,
    "vla_node": VlaParameters,
    "learner_node": LearnerParameters,
    "recorder_node": RecorderParameters,
    "session_node": SessionParameters,
    "teleop_node": TeleopParameters,
    "joystick_node": JoystickParameters,
    "camera_node": CameraParameters,
    "console_node": ConsoleParameters,
    "sim_node": SimParameters,
}
