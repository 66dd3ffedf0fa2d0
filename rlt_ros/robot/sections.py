"""What a description of a robot says, section by section."""

from __future__ import annotations

from dataclasses import dataclass, field

from rlt_ros.config import param

INTERFACES = ("forward_position", "joint_trajectory")
ACTIONS = ("gripper_command", "parallel_gripper_command")


@dataclass(frozen=True)
class Unit:
    """How a driver's number becomes ours: `ours = scale * theirs + offset`. Ours are rad, and grippers 0 to 1.

    Attributes:
        scale: of a joint's number; negative where the driver counts the other way round.
        offset: of our number, where theirs is 0.
    """

    scale: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True)
class Arm:
    """One arm."""

    name: str = param("", "of the arm")
    joints: tuple[str, ...] = param(("",), "our names, from the base on")
    gripper: str = param("", "our name of its gripper; empty: it has none")
    base: str = param("", "site or body of `model` that the tip's pose is told in; empty: the model's root")
    tip: str = param("", "site or body of `model` that the sticks move; empty: single joints only")

    @property
    def all_joints(self) -> tuple[str, ...]:
        """Joints and gripper."""
        return (*self.joints, *([self.gripper] if self.gripper else []))


@dataclass(frozen=True)
class Gripper:
    """A gripper, whose target goes from 0 (closed) to 1 (open)."""

    name: str = param("", "ours, as an arm names it")
    closed: float = param(0.0, "the driver's number when it is closed")
    open: float = param(1.0, "the driver's number when it is open")
    action: str = param("", "action that moves it; empty: a controller does")
    kind: str = param("gripper_command", "of the action: gripper_command or parallel_gripper_command")
    effort: float = param(0.0, "largest effort of the action; 0: the driver's own", low=0.0)

    @property
    def unit(self) -> Unit:
        """Of its driver."""
        return gripper_unit(self.closed, self.open)


def gripper_unit(closed: float, opened: float) -> Unit:
    """Of a driver that says `closed` and `opened` where we say 0 and 1."""
    scale = 1.0 / (opened - closed)
    return Unit(scale, -closed * scale)


@dataclass(frozen=True)
class Limits:
    """What a joint's target may do; 0 in the last three: not limited."""

    low: float = param(float("nan"), "smallest target", unit="rad, grippers 0-1")
    high: float = param(float("nan"), "largest target", unit="rad, grippers 0-1")
    velocity: float = param(float("nan"), "largest speed of the target", unit="1/s")
    acceleration: float = param(0.0, "largest gain in speed", unit="1/s^2", low=0.0)
    deceleration: float = param(0.0, "largest loss of speed", unit="1/s^2", low=0.0)
    following: float = param(float("nan"), "largest distance of the target from the measured joint", low=0.0)


@dataclass(frozen=True)
class Source:
    """Joint states as a driver publishes them.

    Attributes:
        topic: of sensor_msgs/JointState.
        joints: the driver's name of every joint -> ours.
        unit: of positions and velocities, but for grippers, which have their own.
        gripper: unit of its grippers; None: that in which they are commanded.
        description: topic of the robot description that has the driver's names.
    """

    topic: str
    joints: dict[str, str]
    unit: Unit = Unit()
    gripper: Unit | None = None
    description: str = "robot_description"


@dataclass(frozen=True)
class Controller:
    """Who takes joint targets.

    Attributes:
        topic: where it listens.
        interface: `forward_position` (Float64MultiArray) or `joint_trajectory` (JointTrajectory).
        joints: our names in the controller's order.
        unit: of its targets, but for grippers, which have their own.
    """

    topic: str
    interface: str
    joints: tuple[str, ...]
    unit: Unit = Unit()


@dataclass(frozen=True)
class Camera:
    """A camera, by the name that the bundle has for it."""

    name: str = param("", "as the bundle has it")
    topic: str = param("", "sensor_msgs/Image, or CompressedImage where it ends with /compressed")
    crop: tuple[int, ...] = param(
        (0, 0, 0, 0), "x, y, width, height of what the model sees; zeros: the largest square in the middle", unit="px"
    )


@dataclass(frozen=True)
class Stops:
    """Stop boxes: Bool topics whose `true` stops."""

    topics: tuple[str, ...] = param(("estop",), "one a box")
    heartbeat: float = param(0.0, "longest silence of a box; more is a stop. 0: any", unit="s", low=0.0, high=60.0)


@dataclass(frozen=True)
class Robot:
    """Everything.

    Attributes:
        name: as the bundle has it.
        rate: commands a second.
        arms: in the order of our joints.
        grippers: by our name; those that need a unit or an action.
        limits: by our name of the joint; `all`: of those that are not named.
        sources: of joint states.
        controllers: of targets.
        cameras: in the order of the bundle's.
        camera_skew: largest time between the pictures of a set, s; None: the usual.
        leaders: joint states of leader arms, by our names; none: a joystick.
        stops: stop boxes.
        home: joint targets of `~/home` by our names; empty: none.
        urdf: path of the robot description, for limits; empty: only the topic's.
        model: MJCF or URDF file for Cartesian motion; empty: single joints only.
        model_joints: the model's names of our joints, where they are not the driver's.
    """

    name: str
    rate: float
    arms: tuple[Arm, ...]
    grippers: dict[str, Gripper]
    limits: dict[str, Limits]
    sources: tuple[Source, ...]
    controllers: tuple[Controller, ...]
    cameras: tuple[Camera, ...] = ()
    camera_skew: float | None = None
    leaders: tuple[Source, ...] = ()
    stops: Stops = field(default_factory=Stops)
    home: dict[str, float] = field(default_factory=dict)
    urdf: str = ""
    model: str = ""
    model_joints: dict[str, str] = field(default_factory=dict)

    @property
    def joints(self) -> tuple[str, ...]:
        """Our names in our order."""
        return tuple(name for arm in self.arms for name in arm.all_joints)

    @property
    def period(self) -> float:
        """Seconds between two commands."""
        return 1.0 / self.rate

    @property
    def gripper_names(self) -> set[str]:
        """Joints that go from 0 to 1."""
        return {arm.gripper for arm in self.arms if arm.gripper}

    def theirs(self, joint: str) -> str:
        """The driver's name of one of our joints."""
        return next(theirs for source in self.sources for theirs, ours in source.joints.items() if ours == joint)

    def unit(self, joint: str, other: Unit, gripper: Unit | None = None) -> Unit:
        """The unit of a joint in a source or controller whose joints have `other`, and whose grippers `gripper`."""
        if joint in self.gripper_names:
            if gripper is not None:
                return gripper
            return self.grippers[joint].unit if joint in self.grippers else Unit()
        return other
